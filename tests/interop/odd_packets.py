"""Packets with the headers that plain UDP tests miss: options, extension headers, fragments, other protocols, DSCP.

Each row: name, the SA that carries it, the packet. Fragments go through tunnels only (RFC 4303 section 3.1.1).
"""

import struct

from associations import SWEPT_SUITE, Association
from packets import UDP, filler, internet_checksum, ipv4, ipv6, udp

TCP, ICMP, ICMPV6, HOP_BY_HOP, FRAGMENT, DESTINATION_OPTIONS = 6, 1, 58, 0, 44, 60
MORE_FRAGMENTS = 0x2000
DONT_FRAGMENT = 0x4000
ROUTER_ALERT = bytes.fromhex("94040000")
# PadN over six bytes: an extension header of 8 bytes that asks for nothing (RFC 8200 section 4.2).
EMPTY_OPTIONS = bytes.fromhex("0104 00000000")


def tcp_segment():
    """A TCP segment; nobody looks at its checksum."""
    return struct.pack("!HHIIHHHH", 40000, 80, 1, 1, 0x5018, 512, 0, 0) + filler(100)


def echo_request():
    """An ICMP echo request with its checksum."""
    body = struct.pack("!HH", 7, 1) + filler(56)
    checksum = internet_checksum(struct.pack("!BBH", 8, 0, 0) + body)
    return struct.pack("!BBH", 8, 0, checksum) + body


def extension(next_header, payload):
    """`payload` behind an extension header of padding."""
    return bytes([next_header, 0]) + EMPTY_OPTIONS + payload


def odd_packets():
    """All rows, for tunnels and for transport mode."""
    v4, v6 = udp(4, filler(100)), udp(6, filler(100))
    both = {
        "v4-options": ipv4(v4, options=ROUTER_ALERT),
        "v4-dont-fragment": ipv4(v4, fragment=DONT_FRAGMENT),
        "v4-dscp-and-ecn": ipv4(v4, tos=0xBA),
        "v4-ttl-1": ipv4(v4, ttl=1),
        "v4-tcp": ipv4(tcp_segment(), protocol=TCP),
        "v4-icmp": ipv4(echo_request(), protocol=ICMP),
        "v6-traffic-class-and-flow": ipv6(v6, traffic_class=0xBA, number=0x12345),
        "v6-hop-by-hop": ipv6(extension(UDP, v6), next_header=HOP_BY_HOP),
        "v6-destination-options": ipv6(extension(UDP, v6), next_header=DESTINATION_OPTIONS),
        "v6-tcp": ipv6(tcp_segment(), next_header=TCP),
    }
    tunnel_only = {
        "v4-first-fragment": ipv4(v4, fragment=MORE_FRAGMENTS),
        "v4-last-fragment": ipv4(filler(40), fragment=13),
        "v6-fragment": ipv6(struct.pack("!BBHI", UDP, 0, 1, 99) + v6, next_header=FRAGMENT),
    }
    rows = []
    for name, packet in both.items():
        family = int(name[1])
        rows.append((f"transport-{name}", Association(SWEPT_SUITE, family, None), packet))
    for name, packet in (both | tunnel_only).items():
        family = int(name[1])
        rows.append((f"tunnel-{name}", Association(SWEPT_SUITE, family, family), packet))
    return rows


ODD_PACKETS = odd_packets()
