"""What the tool seals, scapy opens: the inner packets come back bit for bit."""

import pytest

from associations import EVERY_ASSOCIATION, SUITES, SWEPT_SUITE, Association, payload_lengths
from esp_replay import NOT_VERIFIED
from odd_packets import ODD_PACKETS
from packets import EXPERIMENT, OUTER, address, family_of, frame, internet_checksum, ipv4, udp_packets, unframe
from scapy_peer import ScapyPeer, esp_of

ESN_SUITES = ["aes128-sha1", "aes256-sha512", "aes256gcm16", "null-sha256"]


def seal_all(replay, association, packets):
    """The ESP packets that the tool makes of `packets`, all of which must go through."""
    run = replay.frames("outbound", association.toml("outbound"), [frame(packet) for packet in packets])
    run.assert_all_through(len(packets))
    assert run.report["verified"] is None
    return [unframe(each) for each in run.frames]


def assert_scapy_opens(association, packets, sealed):
    """scapy gets each packet back, in order, with sequence numbers that rise by one."""
    peer = ScapyPeer(association)
    for number, (packet, esp) in enumerate(zip(packets, sealed, strict=True)):
        assert peer.open(esp) == packet, f"packet {number + 1}, {len(packet)} bytes"


def assert_outer_headers(association, sealed):
    """Lengths, checksum and addresses of the headers in front of ESP."""
    for packet in sealed:
        family = family_of(packet)
        assert family == (association.outer or association.inner)
        if family == 4:
            assert internet_checksum(packet[:20]) == 0
            assert int.from_bytes(packet[2:4], "big") == len(packet)
            ends = packet[12:16], packet[16:20]
        else:
            assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
            ends = packet[8:24], packet[24:40]
        if association.outer:
            assert ends == tuple(address(family, each) for each in OUTER[family])


@pytest.mark.parametrize("association", EVERY_ASSOCIATION, ids=str)
def test_scapy_opens_every_length_bit_for_bit(replay, association):
    packets = udp_packets(association.inner, payload_lengths(association.suite))
    sealed = seal_all(replay, association, packets)
    assert_outer_headers(association, sealed)
    assert_scapy_opens(association, packets, sealed)


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
def test_ip_payloads_from_nothing_on_come_back(replay, outer):
    association = Association(SWEPT_SUITE, outer=outer)
    packets = [ipv4(bytes(length), protocol=EXPERIMENT, number=length) for length in range(65)]
    assert_scapy_opens(association, packets, seal_all(replay, association, packets))


@pytest.mark.parametrize("name, association, packet", ODD_PACKETS, ids=[name for name, *_ in ODD_PACKETS])
def test_headers_of_every_kind_come_back(replay, name, association, packet):
    assert_scapy_opens(association, [packet], seal_all(replay, association, [packet]))


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
@pytest.mark.parametrize("suite", ESN_SUITES)
def test_extended_sequence_numbers_cross_the_wrap(replay, suite, outer):
    association = Association(SUITES[suite], outer=outer, esn=True, sequence=2**32 - 6)
    packets = udp_packets(4, range(30, 42))
    sealed = seal_all(replay, association, packets)
    assert [esp_of(each)[1] for each in sealed] == [number % 2**32 for number in range(2**32 - 6, 2**32 + 6)]
    assert_scapy_opens(association, packets, sealed)


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16"])
def test_a_spent_32_bit_counter_stops_the_association(replay, suite):
    association = Association(SUITES[suite], sequence=2**32 - 2)
    packets = udp_packets(4, range(40, 44))
    run = replay.frames("outbound", association.toml("outbound"), [frame(packet) for packet in packets])
    assert run.exit == NOT_VERIFIED
    run.assert_accounted(4)
    assert (run.packets["out"], run.dropped) == (2, 2)
    assert_scapy_opens(association, packets[:2], [unframe(each) for each in run.frames])


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16"])
def test_udp_encapsulated_packets_come_back(replay, suite, outer):
    association = Association(SUITES[suite], outer=outer, udp_encap=True)
    packets = udp_packets(4, [*range(40), 1400])
    sealed = seal_all(replay, association, packets)
    for packet in sealed:
        source, destination, length = (int.from_bytes(packet[at : at + 2], "big") for at in (20, 22, 24))
        assert (packet[9], source, destination, length) == (17, 4500, 4500, len(packet) - 20)
        assert packet[26:28] == b"\0\0", "RFC 3948 section 2.1 asks for a zero UDP checksum"
    assert_outer_headers(association, sealed)
    assert_scapy_opens(association, packets, sealed)


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes192-sha384", "aes256gcm16"])
def test_no_iv_is_used_twice(replay, suite):
    association = Association(SUITES[suite])
    sealed = seal_all(replay, association, udp_packets(4, [64] * 2000))
    ivs = {esp_of(packet)[2][: association.suite.iv] for packet in sealed}
    assert len(ivs) == len(sealed)


def test_cbc_ivs_do_not_follow_a_pattern(replay):
    association = Association(SWEPT_SUITE)
    sealed = seal_all(replay, association, udp_packets(4, [64] * 2000))
    ivs = [int.from_bytes(esp_of(packet)[2][:16], "big") for packet in sealed]
    assert len({(after - before) % 2**128 for before, after in zip(ivs, ivs[1:])}) == len(ivs) - 1
    set_bits = sum(iv.bit_count() for iv in ivs) / len(ivs)
    assert 60 < set_bits < 68, "of 128 bits, 64 are set on average, give or take 0.13"
