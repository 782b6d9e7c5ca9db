"""Where and of which SA packets were dropped, as the report tells it, on one core and on several."""

import pytest

from associations import SUITES, Association
from packets import frame, udp_packets
from scapy_peer import ScapyPeer

FIRST = Association(SUITES["aes128-sha1"])
SECOND = Association(SUITES["aes128gcm16"], inner=6, outer=6, spi=0x2002)
LAYOUTS = [(), ("--cores", "0,1"), ("--cores", "0,1", "--layout", "pipelined"), ("--cores", "0,1,2,3", "--layout", "pipelined")]


def config():
    """Both SAs inbound."""
    return FIRST.toml("inbound") + SECOND.toml("inbound").replace("under-test", "second-sa")


def forged(packet):
    """The last bit of the ICV turned over."""
    return packet[:-1] + bytes([packet[-1] ^ 1])


@pytest.mark.parametrize("options", LAYOUTS, ids=["one", "two", "pipelined-two", "pipelined-four"])
def test_drops_are_told_by_sa_and_by_stage(replay, options):
    first, second = ScapyPeer(FIRST), ScapyPeer(SECOND)
    a = [first.seal(packet) for packet in udp_packets(4, [40] * 6)]
    b = [second.seal(packet) for packet in udp_packets(6, [40] * 3)]
    frames = [frame(packet) for packet in [*a, a[2], a[3], b[0], forged(b[1]), b[2]]]
    run = replay.frames("inbound", config(), frames, *options)
    run.assert_accounted(len(frames))
    assert run.report["dropped_by_sa"] == [
        {"sa": "second-sa", "direction": "inbound", "reason": "integrity_failed", "packets": 1},
        {"sa": "under-test", "direction": "inbound", "reason": "replayed", "packets": 2},
    ]
    assert run.report["dropped_by_stage"] == {"esp_in": {"integrity_failed": 1, "replayed": 2}}
    assert "2" in run.stdout and "replayed by under-test, inbound" in run.stdout


def test_without_drops_there_are_none_to_tell(replay):
    peer, packets = ScapyPeer(FIRST), udp_packets(4, [40] * 3)
    run = replay.frames("inbound", config(), [frame(peer.seal(packet)) for packet in packets])
    assert (run.report["dropped_by_sa"], run.report["dropped_by_stage"]) == ([], {})
