"""scapy as the other end of the emulated card's inline protocol: what the card builds scapy opens, and the other way round.

The card runs by itself, in an example program of crypto-pmd; the code of the ESP library has no part in it.
"""

import os
import subprocess
from pathlib import Path

import pytest

from associations import SUITES, Association
from captures import read_pcap, write_pcap
from esp_replay import HANG_GUARD_SECONDS, ROOT
from packets import OUTER, family_of, frame, internet_checksum, udp_packets, unframe
from scapy_peer import ScapyPeer

BINARY = Path(os.environ.get("INLINE_WIRE") or ROOT / "target" / "release" / "examples" / "inline_wire")
CIPHERS = {"AES-CBC": "aes-cbc", "AES-GCM": "aes-gcm", "NULL": "null"}
INTEGRITIES = {"HMAC-SHA1-96": "sha1-hmac", "SHA2-256-128": "sha2-256-hmac", "SHA2-512-256": "sha2-512-hmac"}
WRAPS = 2**32 - 5


def associations():
    """Suites of each kind of cipher; every mode and family; short numbers, and extended ones that wrap; UDP."""
    for name in ["aes128-sha1", "aes256-sha512", "aes256gcm16", "null-sha256"]:
        suite = SUITES[name]
        for inner, outer in [(4, 4), (6, 4), (4, 6), (6, 6), (4, None), (6, None)]:
            yield Association(suite, inner=inner, outer=outer)
        yield Association(suite, esn=True, sequence=WRAPS)
        yield Association(suite, inner=6, outer=None, esn=True, sequence=WRAPS)
        yield Association(suite, udp_encap=True)
        yield Association(suite, outer=None, udp_encap=True)


def name_of(association):
    """For pytest's list of tests."""
    outer = association.outer or "transport"
    esn, udp = "-esn" * association.esn, "-udp" * association.udp_encap
    return f"{association.suite.name}-{association.inner}in{outer}{esn}{udp}"


class Card:
    """Runs frames through the card."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, way, association, frames):
        """The frames on the other side of the card, and what the program says."""
        suite = association.suite
        before, after = write_pcap(self.folder / f"{way}-in.pcap", frames), self.folder / f"{way}-out.pcap"
        options = {
            "way": way,
            "in": before,
            "out": after,
            "spi": association.spi,
            "cipher": CIPHERS[suite.cipher],
            "esn": str(association.esn).lower(),
            "sequence": association.sequence,
        }
        if suite.cipher_key:
            options["key"] = suite.encryption_key.hex()
        if suite.integrity:
            options["integrity"] = f"{INTEGRITIES[suite.integrity]}:{suite.icv}"
            options["integrity_key"] = suite.authentication_key.hex()
        if association.outer:
            options["tunnel"] = ",".join(OUTER[association.outer])
        if association.udp_encap:
            options["udp"] = 4500
        command = [BINARY, *(f"{key}={value}" for key, value in options.items())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_GUARD_SECONDS)
        assert done.returncode == 0, done.stderr
        return read_pcap(after), done.stdout


@pytest.fixture
def card(tmp_path):
    """The card, or a skip where its program is not built."""
    if not BINARY.is_file():
        pytest.skip(
            f"inline_wire is not built: {BINARY} "
            "(run: cargo build --release -p crypto-pmd --example inline_wire, or set INLINE_WIRE)"
        )
    return Card(tmp_path)


def packets_for(association):
    """All lengths of padding, and a large one."""
    return udp_packets(association.inner, [*range(35), 700, 1400])


@pytest.mark.parametrize("association", list(associations()), ids=name_of)
def test_scapy_opens_what_the_card_builds(card, association):
    packets = packets_for(association)
    sealed, _ = card.run("out", association, [frame(packet) for packet in packets])
    peer = ScapyPeer(association)
    for packet, each in zip(packets, sealed, strict=True):
        esp = unframe(each)
        if family_of(esp) == 4:
            assert internet_checksum(esp[:20]) == 0
            assert int.from_bytes(esp[2:4], "big") == len(esp)
        else:
            assert int.from_bytes(esp[4:6], "big") == len(esp) - 40
        assert peer.open(esp) == packet


@pytest.mark.parametrize("association", list(associations()), ids=name_of)
def test_the_card_opens_what_scapy_seals(card, association):
    packets, peer = packets_for(association), ScapyPeer(association)
    sealed = [frame(peer.seal(packet)) for packet in packets]
    opened, said = card.run("in", association, sealed)
    assert [unframe(each) for each in opened] == packets, said


@pytest.mark.parametrize("name", ["aes128-sha1", "aes256gcm16", "null-sha256"])
def test_the_card_lets_in_nothing_twice_and_nothing_forged(card, name):
    association = Association(SUITES[name])
    packets, peer = udp_packets(4, [40] * 20), ScapyPeer(association)
    sealed = [frame(peer.seal(packet)) for packet in packets]
    forged = [bytes(byte ^ (index == len(each) - 1) for index, byte in enumerate(each)) for each in sealed[10:]]
    # The forged ones come before the right ones, which must not be hurt by them; then everything once more.
    opened, said = card.run("in", association, sealed[:10] + forged + sealed[10:] + sealed)
    assert [unframe(each) for each in opened] == packets, said
    assert "50 frames in, 20 out" in said
