"""What the tool seals, tshark decodes: right ICV, right inner protocol, right inner bytes.

Every suite and both modes are checked. Not checked: SAs with extended sequence numbers, since tshark knows no high
half to put into the integrity check; scapy judges those (test_outbound.py). tshark
looks at no replay and at no padding bytes.
"""

import pytest

from associations import EVERY_ASSOCIATION, SUITES, Association
from captures import write_pcap
from packets import frame, udp_packets
from scapy_peer import ScapyPeer
from tshark_peer import dissect

LENGTHS = [*range(20), 1400, 9000]
FIELDS = ["esp.icv_good", "esp.icv_bad", "esp.sequence", "frame.protocols", "udp.payload", "ip.checksum.status"]
ENCAPSULATED = [Association(SUITES[suite], udp_encap=True) for suite in ("aes128-sha1", "aes256gcm16")]
GOOD_CHECKSUM = "1"


def decoded(tshark, capture, association):
    """tshark's rows for a capture of this SA."""
    return dissect(tshark, capture, association, FIELDS)


def expected_protocols(association):
    """The layers of a decoded packet, from the outermost."""
    ip = {4: "ip", 6: "ipv6"}
    outer = ip[association.outer or association.inner]
    layers = ["eth", "ethertype", outer, *(["udp", "udpencap"] if association.udp_encap else []), "esp"]
    return ":".join([*layers, *([ip[association.inner]] if association.outer else []), "udp"])


def assert_decoded(association, rows, packets):
    """Each row shows a right ICV and the payload of its packet."""
    headers = 28 if association.inner == 4 else 48
    for row, packet in zip(rows, packets, strict=True):
        assert (row["esp.icv_good"], row["esp.icv_bad"]) == (["1"], ["0"]), row
        assert row["frame.protocols"][0].removesuffix(":data") == expected_protocols(association)
        assert set(row.get("ip.checksum.status", [GOOD_CHECKSUM])) == {GOOD_CHECKSUM}
        assert row.get("udp.payload", [""])[-1] == packet[headers:].hex()


@pytest.mark.parametrize("association", EVERY_ASSOCIATION, ids=str)
def test_tshark_finds_the_icv_good_and_the_inner_packet_right(replay, tshark, association):
    packets = udp_packets(association.inner, LENGTHS)
    run = replay.frames("outbound", association.toml("outbound"), [frame(packet) for packet in packets])
    run.assert_all_through(len(packets))
    capture = write_pcap(replay.folder / "sealed.pcap", run.frames)
    rows = decoded(tshark, capture, association)
    assert_decoded(association, rows, packets)
    assert [row["esp.sequence"] for row in rows] == [[str(number)] for number in range(1, len(packets) + 1)]


@pytest.mark.parametrize("association", ENCAPSULATED, ids=str)
def test_tshark_decodes_udp_encapsulated_packets(replay, tshark, association):
    packets = udp_packets(4, range(1, 20))
    run = replay.frames("outbound", association.toml("outbound"), [frame(packet) for packet in packets])
    run.assert_all_through(len(packets))
    capture = write_pcap(replay.folder / "sealed.pcap", run.frames)
    assert_decoded(association, decoded(tshark, capture, association), packets)


@pytest.mark.parametrize("association", [*EVERY_ASSOCIATION, *ENCAPSULATED], ids=str)
def test_tshark_tells_a_good_packet_from_a_forged_one(tmp_path, tshark, association):
    peer, packets = ScapyPeer(association), udp_packets(association.inner, [33, 34])
    good, other = (peer.seal(packet) for packet in packets)
    forged = other[:-1] + bytes([other[-1] ^ 1])
    rows = decoded(tshark, write_pcap(tmp_path / "scapy.pcap", [frame(good), frame(forged)]), association)
    assert_decoded(association, rows[:1], packets[:1])
    assert (rows[1]["esp.icv_good"], rows[1]["esp.icv_bad"]) == (["0"], ["1"])
