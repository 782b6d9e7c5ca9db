"""What lies around the IP packet: link headers, VLAN tags, padding, frames that are no IP, packets cut short."""

import json
import struct

import pytest

from associations import SWEPT_SUITE, Association
from captures import RAW_IP, record, write_pcap
from esp_replay import DONE, run_tool
from packets import ETHERTYPE, MAC_HEADER, frame, udp_packets, unframe
from scapy_peer import ScapyPeer

VLAN_TAG = bytes.fromhex("81000064")
ARP = bytes.fromhex("ffffffffffff 020000000001 0806 0001 0800 06 04 0001") + bytes(20)


def opened_by_scapy(association, sealed):
    """The inner packets of ESP packets."""
    peer = ScapyPeer(association)
    return [peer.open(packet) for packet in sealed]


def test_vlan_tags_and_mac_addresses_stay(replay):
    association = Association(SWEPT_SUITE, 4, 6)
    packets = udp_packets(4, [10, 20])
    tagged = [frame(packets[0], VLAN_TAG), frame(packets[1], VLAN_TAG + VLAN_TAG)]
    run = replay.frames("outbound", association.toml("outbound"), tagged)
    run.assert_all_through(2)
    sealed = []
    for out, tags in zip(run.frames, (VLAN_TAG, VLAN_TAG + VLAN_TAG)):
        header = MAC_HEADER + tags + struct.pack("!H", ETHERTYPE[6])
        assert out.startswith(header)
        sealed.append(out[len(header) :])
    assert opened_by_scapy(association, sealed) == packets


@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
def test_ethernet_padding_is_not_carried(replay, outer):
    association = Association(SWEPT_SUITE, outer=outer)
    packets = udp_packets(4, range(18))
    padded = [frame(packet).ljust(60, b"\xee") for packet in packets]
    run = replay.frames("outbound", association.toml("outbound"), padded)
    run.assert_all_through(len(packets))
    sealed = [unframe(each) for each in run.frames]
    assert all(int.from_bytes(packet[2:4], "big") == len(packet) for packet in sealed)
    assert opened_by_scapy(association, sealed) == packets


def test_ethernet_padding_behind_esp_is_no_part_of_it(replay):
    association = Association(SWEPT_SUITE)
    packets = udp_packets(4, range(4))
    peer = ScapyPeer(association)
    padded = [frame(peer.seal(packet)) + b"\xee" * 7 for packet in packets]
    run = replay.frames("inbound", association.toml("inbound"), padded)
    run.assert_all_through(len(packets))
    assert [unframe(each) for each in run.frames] == packets


def test_frames_that_are_no_ip_pass_unchanged(replay):
    association = Association(SWEPT_SUITE)
    packets = udp_packets(4, [1, 2])
    run = replay.frames("outbound", association.toml("outbound"), [frame(packets[0]), ARP, frame(packets[1])])
    run.assert_all_through(3)
    assert run.frames[1] == ARP
    assert run.packets["out_by"]["bypassed_non_ip"] == 1
    assert opened_by_scapy(association, [unframe(run.frames[at]) for at in (0, 2)]) == packets


@pytest.mark.parametrize("inner, outer", [(4, 4), (4, 6), (6, None)])
def test_a_capture_without_link_headers_stays_so(replay, inner, outer):
    association = Association(SWEPT_SUITE, inner, outer)
    packets = udp_packets(inner, range(20))
    run = replay.frames("outbound", association.toml("outbound"), packets, link_type=RAW_IP)
    run.assert_all_through(len(packets))
    assert opened_by_scapy(association, run.frames) == packets


def test_packets_cut_by_the_capture_are_dropped_and_counted(replay, tmp_path):
    association = Association(SWEPT_SUITE)
    whole = frame(udp_packets(4, [500])[0])
    capture = write_pcap(tmp_path / "cut.pcap", [whole])
    with capture.open("ab") as file:
        file.write(record(whole[:96], microseconds=1, original_len=len(whole)))
    out, report = tmp_path / "out.pcap", tmp_path / "report.json"
    config = replay.config(association.toml("outbound"))
    options = ("--config", config, "--direction", "outbound", "--driver", "software", "--out", out, "--json", report)
    run = run_tool(capture, *options)
    assert run.exit == DONE, run.stderr
    counts = json.loads(report.read_text())["packets"]
    assert (counts["in"], counts["out"], counts["dropped"]) == (2, 1, {"capture_truncated": 1})


def test_packets_that_no_policy_names_are_discarded_and_counted(replay):
    association = Association(SWEPT_SUITE)
    run = replay.frames("outbound", association.toml("outbound"), [frame(udp_packets(6, [5])[0])])
    assert run.exit == DONE, "outbound discards are only counted"
    run.assert_accounted(1)
    assert (run.packets["out"], run.dropped, run.frames) == (0, 1, [])
