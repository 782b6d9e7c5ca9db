"""One outbound packet for each way in which a packet may leave or end, and the configuration that decides so.

Two SAs take turns, so that a packet's number in the capture is not its number on its SA. Knows the names under which
the tool counts, and nothing of how it decides.
"""

from associations import SUITES, SWEPT_SUITE, Association
from captures import record
from packets import frame, ipv4, udp, udp_packet, udp_packets

ASSOCIATION = Association(SWEPT_SUITE)
IPV6 = Association(SUITES["aes128gcm16"], inner=6, outer=6, spi=0x2002)
DISCARDED_PROTOCOL = 253
BYPASSED_ADDRESSES = ("10.0.9.1", "10.0.2.10")
OTHER_POLICIES = f"""
[[policy]]
direction = "outbound"
priority = 10
selector = {{ src = "10.0.1.0/24", dst = "10.0.2.0/24", protocol = "{DISCARDED_PROTOCOL}" }}
action = "discard"

[[policy]]
direction = "outbound"
priority = 20
selector = {{ src = "10.0.9.0/24", dst = "10.0.2.0/24" }}
action = "bypass"
"""
CONFIG = ASSOCIATION.toml("outbound") + IPV6.toml("outbound").replace("under-test", "second-sa") + OTHER_POLICIES

ARP_REQUEST = bytes.fromhex("ffffffffffff 020000000001 0806 0001 0800 06 04 0001") + bytes(20)


def fates_and_frames():
    """Rows of the name under which a packet is counted and its frame, in the order of the capture."""
    first, second, third = udp_packets(4, [10, 20, 30])
    bypassed = ipv4(udp(4, bytes(4), addresses=BYPASSED_ADDRESSES), addresses=BYPASSED_ADDRESSES)
    unmatched = ipv4(bytes(8), addresses=("10.0.1.10", "172.16.0.1"))
    return [
        ("protected", frame(first)),
        ("bypassed_non_ip", ARP_REQUEST),
        ("protected", frame(udp_packet(6, 10))),
        ("policy_discard", frame(ipv4(bytes(8), protocol=DISCARDED_PROTOCOL))),
        ("protected", frame(second)),
        ("bypassed", frame(bypassed)),
        ("no_policy", frame(unmatched)),
        ("protected", frame(third)),
    ]


FATES, FRAMES = zip(*fates_and_frames())
CUT_LENGTH = 40
# One more packet behind `FRAMES`, of which the capture kept only the first bytes.
CUT_RECORD = record(FRAMES[0][:CUT_LENGTH], microseconds=len(FRAMES), original_len=len(FRAMES[0]))
CUT_FATE = "capture_truncated"
WAYS_OUT = ("protected", "bypassed", "bypassed_non_ip")
