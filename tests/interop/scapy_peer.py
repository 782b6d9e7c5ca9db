"""scapy as the other end of an SA: it seals and opens ESP packets with code that the product does not share.

One `ScapyPeer` is one SA with its own 64-bit sequence counter. It checks no replay; scapy itself does not look at the
padding, so opening does.
"""

import logging
import struct

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402  (the level above must be set before scapy is loaded)
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation, _ESPPlain  # noqa: E402

from packets import OUTER, family_of  # noqa: E402

__all__ = ["IPSecIntegrityError", "ScapyPeer"]

IP_CLASS = {4: IP, 6: IPv6}
LOW_32_BITS = 0xFFFF_FFFF


class ScapyPeer:
    """The far end of `association`."""

    def __init__(self, association):
        self.association = association
        self.sequence = association.sequence
        self.sa = scapy_sa(association)

    def seal(self, packet, sequence=None):
        """The ESP packet of an IP packet; takes the next sequence number unless it is told one (64-bit)."""
        if sequence is None:
            sequence = self.sequence
            self.sequence += 1
        self._set_sequence(sequence)
        self.sa.seq_num = sequence & LOW_32_BITS
        return bytes(self.sa.encrypt(IP_CLASS[family_of(packet)](packet)))

    def open(self, packet, sequence=None):
        """The IP packet in an ESP packet that bears the number `seal` would give; `IPSecIntegrityError` if forged."""
        if sequence is None:
            sequence = self.sequence
            self.sequence += 1
        self._set_sequence(sequence)
        outer = IP_CLASS[family_of(packet)](packet)
        assert outer[ESP].seq == sequence & LOW_32_BITS, f"sequence {outer[ESP].seq:#x}, expected {sequence:#x}"
        self._check_trailer(outer[ESP])
        return bytes(self.sa.decrypt(outer))

    def seal_mispadded(self, packet, padding, pad_length=None):
        """A transport-mode IPv4 packet with this padding and pad length (default: its true one), with a right ICV."""
        pad_length = len(padding) if pad_length is None else pad_length
        header, data, sequence = IP(packet[:20]), packet[20:], self.sequence
        self.sequence += 1
        iv = self.sa.crypt_algo.generate_iv()
        esp = _ESPPlain(
            spi=self.sa.spi, seq=sequence, iv=iv, data=data, padding=padding, padlen=pad_length, nh=header.proto
        )
        sealed = self.sa.crypt_algo.encrypt(self.sa, esp, self.sa.crypt_key)
        self.sa.auth_algo.sign(sealed, self.sa.auth_key)
        header.proto = 50
        del header.len, header.chksum
        return bytes(header / sealed)

    def _set_sequence(self, sequence):
        # scapy takes a 0 given to its constructor or to `encrypt` for "not given"; attributes are taken as they are.
        self.sa.esn_en = self.association.esn
        self.sa.esn = sequence >> 32

    def _check_trailer(self, esp):
        """RFC 4303 section 2.4: the shortest padding that aligns, counting up from 1."""
        suite, sa = self.association.suite, self.sa
        sealed = esp.copy()
        icv_size = sa.crypt_algo.icv_size or sa.auth_algo.icv_size
        plain = sa.crypt_algo.decrypt(sa, sealed, sa.crypt_key, icv_size, esn_en=sa.esn_en, esn=sa.esn)
        assert plain.padlen < suite.alignment, f"{plain.padlen} bytes of padding"
        assert bytes(plain.padding) == bytes(range(1, plain.padlen + 1)), f"padding {bytes(plain.padding).hex()}"


def scapy_sa(association):
    """scapy's own description of the SA."""
    suite = association.suite
    tunnel = None
    if association.outer:
        source, destination = OUTER[association.outer]
        tunnel = IP_CLASS[association.outer](src=source, dst=destination)
    return SecurityAssociation(
        ESP,
        spi=association.spi,
        crypt_algo=suite.cipher,
        crypt_key=suite.encryption_key,
        auth_algo=suite.integrity,
        auth_key=suite.authentication_key or None,
        tunnel_header=tunnel,
        nat_t_header=UDP(sport=4500, dport=4500) if association.udp_encap else None,
    )


def esp_of(packet):
    """SPI, sequence number and all that follows, of a packet without extension headers, and where ESP starts in it."""
    if family_of(packet) == 4:
        start = (packet[0] & 15) * 4
        protocol = packet[9]
    else:
        start, protocol = 40, packet[6]
    start += 8 if protocol == 17 else 0
    spi, sequence = struct.unpack_from("!II", packet, start)
    return spi, sequence, packet[start + 8 :], start
