"""Plain IP packets and Ethernet frames, built from their formats with `struct`.

Every packet here has right lengths and checksums, and its bytes follow from its arguments alone, so that two runs
send the same. Knows nothing of ESP; no code of the product and none of scapy is used, so that either may be judged
by it.
"""

import hashlib
import socket
import struct

ETHERTYPE = {4: 0x0800, 6: 0x86DD}
MAC_HEADER = bytes.fromhex("020000000002" "020000000001")
INNER = {4: ("10.0.1.10", "10.0.2.10"), 6: ("fd00:1::10", "fd00:2::10")}
INNER_NETWORKS = {4: ("10.0.1.0/24", "10.0.2.0/24"), 6: ("fd00:1::/64", "fd00:2::/64")}
OUTER = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
UDP = 17
EXPERIMENT = 253  # RFC 3692: a protocol number that no dissector knows


def address(family, text):
    """An address as its 4 or 16 bytes."""
    return socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, text)


def internet_checksum(data):
    """RFC 1071, over `data` padded to 16 bits."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def filler(length, number=0):
    """`length` bytes that differ from packet to packet, so that swapped packets are seen."""
    return hashlib.shake_128(struct.pack("!II", length, number)).digest(length)


def ipv4(payload, protocol=UDP, number=0, ttl=61, tos=0, fragment=0, options=b"", addresses=INNER[4]):
    """An IPv4 packet; `options` is a multiple of 4 bytes, `fragment` the 16 bits of flags and offset."""
    source, destination = (address(4, each) for each in addresses)
    words = 5 + len(options) // 4
    total = words * 4 + len(payload)

    def header(checksum):
        fixed = (0x40 | words, tos, total, number & 0xFFFF, fragment, ttl, protocol, checksum)
        return struct.pack("!BBHHHBBH", *fixed) + source + destination + options

    return header(internet_checksum(header(0))) + payload


def ipv6(payload, next_header=UDP, number=0, hop_limit=61, traffic_class=0, addresses=INNER[6]):
    """An IPv6 packet; `payload` starts with its extension headers, where it has any."""
    source, destination = (address(6, each) for each in addresses)
    first = 6 << 28 | traffic_class << 20 | number & 0xFFFFF
    return struct.pack("!IHBB", first, len(payload), next_header, hop_limit) + source + destination + payload


def udp(family, data, ports=(40000, 40001), addresses=None):
    """A UDP datagram with its checksum over the pseudo-header of `family`."""
    source, destination = (address(family, each) for each in addresses or INNER[family])
    length = 8 + len(data)
    pseudo = source + destination + struct.pack("!IBBBB", length, 0, 0, 0, UDP)
    checksum = internet_checksum(pseudo + struct.pack("!HHHH", *ports, length, 0) + data) or 0xFFFF
    return struct.pack("!HHHH", *ports, length, checksum) + data


def udp_packet(family, length, number=0):
    """An IP packet with `length` bytes of UDP payload."""
    datagram = udp(family, filler(length, number))
    return ipv4(datagram, number=number) if family == 4 else ipv6(datagram, number=number)


def udp_packets(family, lengths):
    """One packet for each of `lengths`, each with its own content."""
    return [udp_packet(family, length, number) for number, length in enumerate(lengths)]


def family_of(packet):
    """4 or 6."""
    return packet[0] >> 4


def frame(packet, tags=b""):
    """An Ethernet frame around an IP packet; `tags` are whole VLAN tags."""
    return MAC_HEADER + tags + struct.pack("!H", ETHERTYPE[family_of(packet)]) + packet


def unframe(frame_bytes):
    """The IP packet of an untagged frame, whose EtherType and addresses must be right."""
    packet = frame_bytes[14:]
    assert frame_bytes[:12] == MAC_HEADER, "the MAC addresses changed"
    ethertype = int.from_bytes(frame_bytes[12:14], "big")
    assert ethertype == ETHERTYPE[family_of(packet)], "EtherType does not fit the packet"
    return packet
