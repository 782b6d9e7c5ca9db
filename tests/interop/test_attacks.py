"""Hostile captures: replayed, forged, cut and mis-padded packets never pass, and every one of them is accounted for."""

import struct

import pytest

from associations import SUITES, Association
from esp_replay import NOT_VERIFIED
from packets import frame, internet_checksum, udp_packet, udp_packets, unframe
from scapy_peer import ScapyPeer, esp_of

CBC_AND_GCM = pytest.mark.parametrize("suite", ["aes128-sha1", "aes128gcm16"])


def attack(replay, association, frames, passing):
    """Replays `frames` inbound; exactly `passing` comes out, the rest is dropped and counted. Gives the drop counts."""
    run = replay.frames("inbound", association.toml("inbound"), frames)
    assert run.exit == NOT_VERIFIED, run.stderr
    assert run.report["verified"] is False
    run.assert_accounted(len(frames))
    assert [unframe(each) for each in run.frames] == passing
    assert run.packets["out"] == len(passing)
    assert run.dropped == len(frames) - len(passing)
    return run.packets["dropped"]


def replays_among(dropped):
    """How many packets fell to the replay window."""
    return sum(count for reason, count in dropped.items() if "replay" in reason)


@CBC_AND_GCM
def test_a_duplicate_next_to_its_original_passes_once(replay, suite):
    association = Association(SUITES[suite])
    peer, packets = ScapyPeer(association), udp_packets(4, [40, 41, 42])
    sealed = [frame(peer.seal(packet)) for packet in packets]
    frames = [sealed[0], sealed[1], sealed[1], sealed[1], sealed[2]]
    assert replays_among(attack(replay, association, frames, packets)) == 2


@CBC_AND_GCM
def test_a_whole_capture_sent_twice_passes_once(replay, suite):
    association = Association(SUITES[suite])
    peer, packets = ScapyPeer(association), udp_packets(4, [60] * 500)
    sealed = [frame(peer.seal(packet)) for packet in packets]
    assert replays_among(attack(replay, association, sealed + sealed, packets)) == 500


@CBC_AND_GCM
@pytest.mark.parametrize("window", [32, 64, 1024])
def test_a_packet_older_than_the_window_is_dropped(replay, suite, window):
    association = Association(SUITES[suite], replay_window=window)
    peer, packets = ScapyPeer(association), udp_packets(4, [20, 30])
    late = frame(peer.seal(packets[0]))
    newest = frame(peer.seal(packets[1], sequence=1 + window))
    assert replays_among(attack(replay, association, [newest, late], [packets[1]])) == 1


def test_a_replay_from_before_the_wrap_is_dropped(replay):
    association = Association(SUITES["aes128-sha1"], esn=True, sequence=2**32 - 6)
    peer, packets = ScapyPeer(association), udp_packets(4, [50] * 12)
    sealed = [frame(peer.seal(packet)) for packet in packets]
    assert replays_among(attack(replay, association, sealed + sealed[:6], packets)) == 6


def flipped(packet, bit):
    """`packet` with one bit turned over."""
    changed = bytearray(packet)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


@CBC_AND_GCM
@pytest.mark.parametrize("outer", [4, None], ids=["tunnel", "transport"])
def test_no_flipped_bit_passes_and_the_original_still_does(replay, suite, outer):
    association = Association(SUITES[suite], outer=outer)
    packet = udp_packet(4, 3)
    sealed = ScapyPeer(association).seal(packet)
    start = esp_of(sealed)[3]
    forged = [frame(flipped(sealed, bit)) for bit in range(start * 8, len(sealed) * 8)]
    attack(replay, association, [*forged, frame(sealed)], [packet])


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes128gcm16"])
def test_no_flipped_bit_passes_with_extended_sequence_numbers(replay, suite):
    association = Association(SUITES[suite], esn=True, sequence=2**32 + 5)
    packet = udp_packet(4, 3)
    sealed = ScapyPeer(association).seal(packet)
    start = esp_of(sealed)[3]
    forged = [frame(flipped(sealed, bit)) for bit in range(start * 8, len(sealed) * 8)]
    attack(replay, association, [*forged, frame(sealed)], [packet])


@CBC_AND_GCM
def test_a_forged_high_sequence_number_does_not_move_the_window(replay, suite):
    association = Association(SUITES[suite])
    peer, packets = ScapyPeer(association), udp_packets(4, [10, 11])
    sealed = [peer.seal(packet) for packet in packets]
    start = esp_of(sealed[0])[3] + 4
    forged = sealed[0][:start] + struct.pack("!I", 2**31) + sealed[0][start + 4 :]
    attack(replay, association, [frame(sealed[0]), frame(forged), frame(sealed[1])], packets)


@CBC_AND_GCM
def test_packets_cut_short_are_dropped(replay, suite):
    association = Association(SUITES[suite])
    packet = udp_packet(4, 30)
    sealed = ScapyPeer(association).seal(packet)
    cuts = [frame(shortened(sealed, length)) for length in range(20, len(sealed))]
    attack(replay, association, [*cuts, frame(sealed)], [packet])


def shortened(packet, length):
    """An IPv4 packet cut to `length` bytes, whose header agrees that this is all."""
    header = bytearray(packet[:20])
    header[2:4] = struct.pack("!H", length)
    header[10:12] = b"\0\0"
    header[10:12] = struct.pack("!H", internet_checksum(bytes(header)))
    return bytes(header) + packet[20:length]


def test_frames_that_end_before_their_ip_packet_does_are_dropped(replay):
    association = Association(SUITES["aes128-sha1"])
    packet = udp_packet(4, 30)
    sealed = ScapyPeer(association).seal(packet)
    cuts = [frame(sealed)[:length] for length in range(14 + 1, 14 + len(sealed))]
    attack(replay, association, [*cuts, frame(sealed)], [packet])


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16", "null-sha256"])
def test_an_unknown_spi_is_dropped(replay, suite):
    ours, stranger = Association(SUITES[suite]), Association(SUITES[suite], spi=0x2002)
    packets = udp_packets(4, [5, 6])
    frames = [frame(ScapyPeer(ours).seal(packets[0])), frame(ScapyPeer(stranger).seal(packets[1]))]
    attack(replay, ours, frames, [packets[0]])


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16", "null-sha256"])
def test_sequence_number_zero_is_dropped(replay, suite):
    association = Association(SUITES[suite])
    peer, packets = ScapyPeer(association), udp_packets(4, [5, 6])
    frames = [frame(peer.seal(packets[0], sequence=0)), frame(peer.seal(packets[1]))]
    attack(replay, association, frames, [packets[1]])


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes128gcm16", "null-sha256"])
def test_wrong_padding_is_dropped_though_the_integrity_check_passes(replay, suite):
    association = Association(SUITES[suite], outer=None)
    peer, packet = ScapyPeer(association), udp_packet(4, 12)
    right = bytes(range(1, 11)) if association.suite.alignment == 16 else bytes([1, 2])
    wrong = [bytes(len(right)), right[::-1], bytes([*right[:-1], 0xFF])]
    frames = [frame(peer.seal_mispadded(packet, padding)) for padding in [right, *wrong]]
    longer_than_the_packet = peer.seal_mispadded(packet, right, pad_length=0xFF)
    frames.append(frame(longer_than_the_packet))
    attack(replay, association, frames, [packet])


@pytest.mark.parametrize("suite", ["aes128-sha1", "aes256gcm16"])
def test_an_inner_packet_outside_the_policy_is_dropped(replay, suite):
    association = Association(SUITES[suite])
    peer = ScapyPeer(association)
    packets = udp_packets(4, [5]) + udp_packets(6, [6])
    attack(replay, association, [frame(peer.seal(packet)) for packet in packets], [packets[0]])


def test_a_packet_in_the_clear_that_should_have_been_protected_is_dropped(replay):
    association = Association(SUITES["aes128-sha1"])
    packets = udp_packets(4, [5, 6])
    frames = [frame(ScapyPeer(association).seal(packets[0])), frame(packets[1])]
    attack(replay, association, frames, [packets[0]])
