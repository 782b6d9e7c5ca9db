"""The judge judged: scapy opens what scapy sealed, so that a failure elsewhere is not the harness's own."""

import pytest

from associations import EVERY_ASSOCIATION, SUITES, Association
from packets import EXPERIMENT, internet_checksum, ipv4, udp_packet, udp_packets
from scapy_peer import IPSecIntegrityError, ScapyPeer, esp_of

LENGTHS = [*range(18), 1400, 9000]


@pytest.mark.parametrize("association", EVERY_ASSOCIATION, ids=str)
def test_what_scapy_seals_scapy_opens_bit_for_bit(association):
    sender, receiver = ScapyPeer(association), ScapyPeer(association)
    for packet in udp_packets(association.inner, LENGTHS):
        assert receiver.open(sender.seal(packet)) == packet


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_extended_sequence_numbers_enter_the_integrity_check(suite):
    association = Association(suite, esn=True, sequence=2**32 - 2)
    sender, packet = ScapyPeer(association), udp_packet(4, 40)
    receiver = ScapyPeer(association)
    for _ in range(4):
        assert receiver.open(sender.seal(packet)) == packet
    with pytest.raises(IPSecIntegrityError):
        receiver.open(sender.seal(packet, sequence=2**32 + 9), sequence=9)


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
def test_udp_encapsulation_comes_off_again(outer):
    association = Association(SUITES["aes128-sha1"], outer=outer, udp_encap=True)
    packet = udp_packet(4, 40)
    sealed = ScapyPeer(association).seal(packet)
    assert sealed[9] == 17 and sealed[20:24] == bytes.fromhex("11941194")
    assert ScapyPeer(association).open(sealed) == packet


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
def test_a_packet_without_payload_is_sealed_and_opened(outer):
    association = Association(SUITES["aes128-sha1"], outer=outer)
    packet = ipv4(b"", protocol=EXPERIMENT)
    assert ScapyPeer(association).open(ScapyPeer(association).seal(packet)) == packet


def test_bad_padding_is_noticed():
    association = Association(SUITES["aes128-sha1"], outer=None)
    packet = udp_packet(4, 4)
    right, wrong = bytes([1, 2]), bytes([2, 1])
    assert ScapyPeer(association).open(ScapyPeer(association).seal_mispadded(packet, right)) == packet
    with pytest.raises(AssertionError, match="padding"):
        ScapyPeer(association).open(ScapyPeer(association).seal_mispadded(packet, wrong))


def test_the_builders_make_right_checksums():
    packet = udp_packet(4, 5)
    assert internet_checksum(packet[:20]) == 0
    pseudo = packet[12:20] + bytes([0, 17]) + packet[24:26]
    assert internet_checksum(pseudo + packet[20:]) == 0


def test_the_esp_header_is_found_behind_ip_and_udp():
    for association in (Association(SUITES["aes128gcm16"], 6, 6), Association(SUITES["aes128gcm16"], udp_encap=True)):
        spi, sequence, _, _ = esp_of(ScapyPeer(association).seal(udp_packet(association.inner, 1)))
        assert (spi, sequence) == (association.spi, 1)
