"""What scapy seals, the tool opens: the inner packets come back bit for bit, and the report says verified."""

import pytest

from associations import EVERY_ASSOCIATION, SUITES, SWEPT_SUITE, Association, payload_lengths
from odd_packets import ODD_PACKETS
from packets import EXPERIMENT, frame, ipv4, udp_packets, unframe
from scapy_peer import ScapyPeer

ESN_SUITES = ["aes128-sha1", "aes256-sha512", "aes256gcm16", "null-sha256"]


def assert_tool_opens(replay, association, packets):
    """The tool gets back each of `packets` from what scapy makes of them, in order."""
    peer = ScapyPeer(association)
    sealed = [frame(peer.seal(packet)) for packet in packets]
    run = replay.frames("inbound", association.toml("inbound"), sealed)
    run.assert_all_through(len(packets))
    assert run.report["verified"] is True
    for number, (packet, opened) in enumerate(zip(packets, run.frames, strict=True)):
        assert unframe(opened) == packet, f"packet {number + 1}, {len(packet)} bytes"


@pytest.mark.parametrize("association", EVERY_ASSOCIATION, ids=str)
def test_the_tool_opens_every_length_bit_for_bit(replay, association):
    assert_tool_opens(replay, association, udp_packets(association.inner, payload_lengths(association.suite)))


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
def test_ip_payloads_from_nothing_on_come_back(replay, outer):
    packets = [ipv4(bytes(length), protocol=EXPERIMENT, number=length) for length in range(65)]
    assert_tool_opens(replay, Association(SWEPT_SUITE, outer=outer), packets)


@pytest.mark.parametrize("name, association, packet", ODD_PACKETS, ids=[name for name, *_ in ODD_PACKETS])
def test_headers_of_every_kind_come_back(replay, name, association, packet):
    assert_tool_opens(replay, association, [packet])


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
@pytest.mark.parametrize("suite", ESN_SUITES)
def test_extended_sequence_numbers_cross_the_wrap(replay, suite, outer):
    association = Association(SUITES[suite], outer=outer, esn=True, sequence=2**32 - 6)
    assert_tool_opens(replay, association, udp_packets(4, range(30, 42)))


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16"])
def test_udp_encapsulated_packets_come_back(replay, suite, outer):
    association = Association(SUITES[suite], outer=outer, udp_encap=True)
    assert_tool_opens(replay, association, udp_packets(4, [*range(40), 1400]))


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16"])
def test_packets_out_of_order_inside_the_window_all_pass(replay, suite):
    association = Association(SUITES[suite])
    peer = ScapyPeer(association)
    packets = udp_packets(4, range(100))
    order = [start + step for start in range(0, 100, 50) for step in range(49, -1, -1)]
    sealed = {number: frame(peer.seal(packet)) for number, packet in enumerate(packets)}
    run = replay.frames("inbound", association.toml("inbound"), [sealed[number] for number in order])
    run.assert_all_through(len(packets))
    assert run.report["verified"] is True
    assert [unframe(each) for each in run.frames] == [packets[number] for number in order]
