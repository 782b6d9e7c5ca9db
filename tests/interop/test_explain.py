"""`--explain N`: the story of one packet names what decided its fate, agrees with the counts of a whole run, and
leaves no file behind.

Looks for the names that matter in the story, not for whole sentences.
"""

import json
from collections import Counter

import pytest

from associations import SWEPT_SUITE, Association
from captures import pcap_bytes, write_pcap
from esp_replay import BAD_USAGE, DONE, run_tool, write_config
from fates import ASSOCIATION, CONFIG, CUT_FATE, CUT_LENGTH, CUT_RECORD, FATES, FRAMES
from packets import frame, udp_packet, udp_packets
from scapy_peer import ScapyPeer

pytestmark = pytest.mark.usefixtures("tool")


class Teller:
    """A capture and a configuration, and the stories of its packets."""

    def __init__(self, folder):
        self.folder = folder
        self.capture, self.config = folder / "in.pcap", folder / "replay.toml"
        self.put(pcap_bytes(FRAMES) + CUT_RECORD, CONFIG)
        self.direction = "outbound"

    def put(self, capture, config):
        self.capture.write_bytes(capture)
        write_config(self.config, config)

    def run(self, *options):
        fixed = ("--config", self.config, "--direction", self.direction, "--driver", "software")
        return run_tool(self.capture, *fixed, *options)

    def story(self, number):
        """What is told of packet `number`; the run must be done and complain of nothing."""
        run = self.run("--explain", number)
        assert (run.exit, run.stderr) == (DONE, "")
        assert f"packet {number} of " in run.stdout.splitlines()[0], run.stdout
        return run.stdout

    def counts(self):
        """How a whole run counts the same packets: ways out and drops, by name."""
        packets = json.loads(self.run("--json", "-").stdout)["packets"]
        return Counter(packets["out_by"]) + Counter(packets["dropped"])


@pytest.fixture
def teller(tmp_path):
    return Teller(tmp_path)


def assert_tells(story, *words):
    """Every one of `words` is in the story."""
    assert [word for word in words if word not in story] == [], story


def fates_in(story, names):
    """Which of `names` the story tells, as whole words."""
    words = set(story.replace(",", " ").split())
    return words & set(names)


def test_a_protected_packet_names_policy_sa_suite_and_its_number_on_the_sa(teller):
    story = teller.story(5)
    policy = ("priority 100", "10.0.1.0/24", "10.0.2.0/24", "protect")
    assert_tells(story, *policy, "under-test", "0x1001", "aes128-sha1", "192.0.2.1", "192.0.2.2")
    assert_tells(story, "packet 2 of this SA")
    assert "second-sa" not in story


def test_each_sa_counts_its_own_packets(teller):
    assert_tells(teller.story(1), "under-test", "packet 1 of this SA")
    assert_tells(teller.story(3), "second-sa", "0x2002", "aes128gcm16", "packet 1 of this SA")
    assert_tells(teller.story(8), "under-test", "packet 3 of this SA")


def test_a_protected_packet_names_its_flow_and_its_lengths(teller):
    story = teller.story(5)
    assert_tells(story, "10.0.1.10", "10.0.2.10", "40000", "40001", "udp")
    # 20 of outer header, 8 of ESP, 16 of IV, 64 of ciphertext (48 and a trailer), 12 of ICV (RFC 4303, RFC 2404).
    assert_tells(story, "48 bytes in", "120 bytes out")


def test_a_frame_that_is_not_ip_passes(teller):
    story = teller.story(2)
    assert_tells(story, "no IP", "passes", "bypassed_non_ip")
    assert "policy" not in story and "SA" not in story


def test_a_packet_that_a_policy_discards_names_the_policy(teller):
    story = teller.story(4)
    assert_tells(story, "priority 10:", "discard", "dropped", "policy_discard")
    assert "under-test" not in story


def test_a_packet_that_a_policy_lets_pass_names_the_policy(teller):
    assert_tells(teller.story(6), "priority 20:", "10.0.9.0/24", "bypass", "passes")


def test_a_packet_that_no_policy_takes_is_told_so(teller):
    story = teller.story(7)
    assert_tells(story, "no policy", "dropped", "no_policy")
    assert "priority" not in story


def test_a_packet_behind_a_cut_one_has_its_story(teller):
    file_header_length = 24
    first, second = (pcap_bytes([frame(packet)]) for packet in udp_packets(4, [8, 9]))
    teller.put(first + CUT_RECORD + second[file_header_length:], ASSOCIATION.toml("outbound"))
    assert_tells(teller.story(3), "protected", SWEPT_SUITE.name)


def test_a_packet_cut_by_the_capture_is_told_with_both_lengths(teller):
    story = teller.story(len(FRAMES) + 1)
    assert_tells(story, CUT_FATE, f"{CUT_LENGTH} bytes", f"{len(FRAMES[0])} bytes")
    assert "SA" not in story


@pytest.mark.parametrize("number", range(1, len(FRAMES) + 1))
def test_each_story_tells_one_fate_and_the_right_one(teller, number):
    assert fates_in(teller.story(number), FATES) == {FATES[number - 1]}


def test_a_whole_run_counts_what_the_stories_tell(teller):
    assert teller.counts() == Counter(FATES) + Counter([CUT_FATE])


def inbound(teller, sealed):
    """Makes these ESP packets the capture."""
    teller.direction = "inbound"
    teller.put(pcap_bytes([frame(packet) for packet in sealed]), ASSOCIATION.toml("inbound"))


def test_a_packet_that_was_received_before_is_told_as_replayed(teller):
    peer = ScapyPeer(ASSOCIATION)
    first, second = (peer.seal(packet) for packet in udp_packets(4, [10, 20]))
    inbound(teller, [first, second, first])
    assert_tells(teller.story(1), "under-test", "0x1001", "decrypted", "packet 1 of this SA")
    assert_tells(teller.story(2), "decrypted", "packet 2 of this SA")
    last = teller.story(3)
    assert_tells(last, "dropped", "replayed")
    assert "decrypted" not in last


def test_a_forged_packet_and_a_stranger_are_told_apart(teller):
    sealed = ScapyPeer(ASSOCIATION).seal(udp_packet(4, 10))
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    stranger = ScapyPeer(Association(SWEPT_SUITE, spi=0x3003)).seal(udp_packet(4, 10))
    inbound(teller, [forged, stranger, sealed])
    assert_tells(teller.story(1), "dropped", "integrity_failed")
    assert_tells(teller.story(2), "dropped", "unknown_spi")
    assert_tells(teller.story(3), "passes", "decrypted")


def test_a_round_trip_tells_both_ways(teller):
    teller.direction = "roundtrip"
    outward, back = teller.story(5).split("inbound:")
    assert_tells(outward, "outbound:", "under-test", "protected", "48 bytes in", "120 bytes out")
    assert_tells(back, "under-test", "decrypted", "120 bytes in", "48 bytes out")


@pytest.mark.parametrize("number", [len(FRAMES) + 2, 2**32 - 1])
def test_a_packet_beyond_the_capture_is_refused_in_one_line(teller, number):
    run = teller.run("--explain", number)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"error: {teller.capture}: ")
    assert_tells(run.stderr, str(number), f"{len(FRAMES) + 1} packets")


@pytest.mark.parametrize("number", ["0", "-1", "4294967296", "first", ""])
def test_what_is_no_packet_number_is_bad_usage(teller, number):
    run = teller.run(f"--explain={number}")
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    assert_tells(run.stderr, "error: ", "--explain")


def test_an_explanation_takes_no_output_file_and_harms_none(teller):
    before = set(teller.folder.iterdir())
    out, report, log = (teller.folder / name for name in ("out.pcap", "report.json", "latency.hlog"))
    out.write_bytes(b"an older result")
    for option, value in (("--out", out), ("--json", report), ("--histogram", log), ("--repeat", 3)):
        run = teller.run("--explain", 5, option, value)
        assert (run.exit, run.stdout) == (BAD_USAGE, "")
        assert_tells(run.stderr, "error: ", "--explain", option)
    assert set(teller.folder.iterdir()) == before | {out}
    assert out.read_bytes() == b"an older result"


def test_an_empty_capture_has_no_packet_to_explain(teller):
    write_pcap(teller.capture, [])
    run = teller.run("--explain", 1)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    assert_tells(run.stderr, "0 packets")
