"""`esp-replay --driver nic`: emulated cards on the way out, in, and there and back; cards that lack a suite, and cards that fail.

A card's engine is a thread of its own, so nothing here goes by how long anything takes, or by which card did how much.
"""

import json

import pytest

from associations import EVERY_ASSOCIATION, SUITES, Association
from esp_replay import BAD_USAGE, DONE, NOT_VERIFIED, run_tool
from packets import frame, udp_packets, unframe
from scapy_peer import ScapyPeer
from test_outbound import assert_outer_headers, assert_scapy_opens

pytestmark = pytest.mark.usefixtures("tool")

LENGTHS = [0, 1, 64, 200, 300, 700, 1200] * 20
PROFILES = ["lookaside-accelerator", "inline-100g"]
MACHINE_LACKS = 3
DEEPEST = 200  # readings of a card's depth, at most
MINE = """
name = "mine"
queues = 1
ring_depth = 16

[[algorithm]]
name = "aes-gcm"
"""


def report_of(*options):
    """The report of a run that went well."""
    run = run_tool("--driver", "nic", *options, "--json", "-")
    assert run.exit == DONE, (options, run.stderr)
    return json.loads(run.stdout)


def jobs_of(report):
    """Jobs that the cards gave back, and that went to them."""
    return [(card["driver"].get("finished", 0), card["driver"].get("submitted", 0)) for card in report["cards"]]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("cards", ["1", "2"])
@pytest.mark.parametrize(
    "cores", [(), ("--cores", "0,1"), ("--cores", "0,1", "--layout", "pipelined")], ids=["one-core", "two-cores", "pipelined"]
)
def test_a_round_trip_is_verified_on_cards(profile, cards, cores):
    report = report_of("--profile", profile, "--cards", cards, *cores, "--generate", "imix,flows=16")
    assert (report["driver"], report["verified"]) == ("nic", True)
    assert report["packets"]["out"] == report["packets"]["in"] > 0
    assert [(card["name"], card["profile"]) for card in report["cards"]] == [(f"nic{unit}", profile) for unit in range(int(cards))]
    assert sum(done for done, _ in jobs_of(report)) > 0
    assert all(done == given for done, given in jobs_of(report))
    assert report["by_software"] == []


def test_the_counters_of_cards_are_those_of_the_timed_passes():
    report = report_of("--generate", "64,flows=16,packets=512", "--repeat", "4", "--policy", "failover")
    jobs = report["cards"][0]["driver"]["submitted"] + report["dispatcher"]["fell_back"]
    assert (jobs, report["packets"]["in"]) == (2 * 4 * 512, 4 * 512)
    (card,) = report["cards"]
    assert card["card"]["commands"] == card["card"]["completions"] == card["driver"]["submitted"]
    assert card["health"] == "working" and card["queue_depth"]["mean"] > 0
    samples = card["queue_depth"]["samples"]
    assert 0 < len(samples) <= DEEPEST and samples == sorted(samples, key=lambda sample: sample[0])
    assert set(report["dispatcher"]) == {"fell_back", "redriven", "migrations"}


def test_only_the_driver_nic_reports_cards():
    run = run_tool("--driver", "software", "--json", "-")
    assert not {"cards", "dispatcher", "by_software"} & set(json.loads(run.stdout))
    assert "cards" not in json.loads(run_tool("--driver", "auto", "--json", "-").stdout)


@pytest.mark.parametrize("association", EVERY_ASSOCIATION[:20:3], ids=str)
def test_scapy_opens_what_a_card_seals(replay, association):
    packets = udp_packets(association.inner, LENGTHS)
    run = replay.frames("outbound", association.toml("outbound"), [frame(packet) for packet in packets], driver="nic")
    run.assert_all_through(len(packets))
    sealed = [unframe(each) for each in run.frames]
    assert_outer_headers(association, sealed)
    assert_scapy_opens(association, packets, sealed)


@pytest.mark.parametrize("suite", ["aes128gcm16", "aes256-sha512"])
def test_a_card_opens_what_scapy_seals(replay, suite):
    association = Association(SUITES[suite])
    packets = udp_packets(association.inner, LENGTHS)
    peer = ScapyPeer(association)
    frames = [frame(peer.seal(packet)) for packet in packets]
    run = replay.frames("inbound", association.toml("inbound"), frames, driver="nic")
    run.assert_all_through(len(packets))
    assert [unframe(each) for each in run.frames] == packets
    assert run.report["verified"] is True


@pytest.mark.parametrize("suite, by_card", [("aes128gcm16", False), ("null-sha1", True)])
def test_what_an_old_card_lacks_goes_to_software_and_is_said(replay, suite, by_card):
    association = Association(SUITES[suite])
    packets = udp_packets(association.inner, LENGTHS)
    frames = [frame(packet) for packet in packets]
    run = replay.frames("outbound", association.toml("outbound"), frames, "--profile", "hifn-7751-like", driver="nic")
    run.assert_all_through(len(packets))
    assert_scapy_opens(association, packets, [unframe(each) for each in run.frames])
    (card,) = run.report["cards"]
    assert (card["card"]["commands"] > 0) == by_card
    if by_card:
        assert (run.stderr, run.report["by_software"]) == ("", [])
    else:
        assert run.stderr.splitlines() == ['note: SA "under-test" goes to software: driver nic0: aes-gcm is not among the driver\'s algorithms']
        assert [passed["sa"] for passed in run.report["by_software"]] == ["under-test"]
        assert 'went to software' in run.stdout


def test_a_card_that_a_user_describes_is_driven(tmp_path):
    profile = tmp_path / "mine.toml"
    profile.write_text(MINE)
    report = report_of("--profile", profile, "--generate", "64,flows=16")
    assert report["verified"] and report["cards"][0]["profile"] == "mine"


FAULTS = [
    "engine-hang@5ms,icv-error:1e-3",
    "engine-hang@1ms",
    "never:1e-3,twice:1e-2",
    "out-of-order:1e-2,late:1e-2~100us",
    "descriptor-error:1e-2,doorbell-lost:1e-2",
    "reset@3ms/20ms",
    "removal@20ms~80ms",
    "ring-stuck#100",
    "memory-fault:1e-3",
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("cards", ["1", "2"])
@pytest.mark.parametrize("cores", [(), ("--cores", "0,1", "--layout", "pipelined")], ids=["one-core", "pipelined"])
def test_a_card_that_fails_loses_packets_by_name_and_never_hands_out_a_wrong_one(fault, cards, cores):
    faults = ("--driver", "nic", "--cards", cards, "--fault", fault, "--fault-seed", "7")
    run = run_tool(*faults, *cores, "--generate", "imix,flows=16", "--repeat", "5", "--json", "-")
    report = json.loads(run.stdout)
    run.report = report
    counts = report["packets"]
    run.assert_accounted(counts["in"])
    lost = sum(counts["dropped"].values())
    assert set(counts["dropped"]) <= {"integrity_failed", "crypto_indeterminate", "crypto_failed", "crypto_late"}, counts
    assert (run.exit, report["verified"]) == ((NOT_VERIFIED, False) if lost else (DONE, True)), run.stderr
    table = run_tool(*faults, *cores, "--generate", "imix,flows=16").stdout
    assert not any(wrong in table for wrong in (" different", " repeated", " out of order")), table


def test_faults_of_one_seed_are_counted_by_name():
    run = run_tool("--driver", "nic", "--fault", "twice#3,icv-error#5", "--generate", "64", "--json", "-")
    report = json.loads(run.stdout)
    assert (run.exit, report["verified"]) == (NOT_VERIFIED, False)
    assert report["packets"]["dropped"] == {"integrity_failed": 1}
    struck = report["cards"][0]["card"]
    assert (struck["twice"], struck["icv-error"]) == (1, 1)
    assert report["cards"][0]["driver"]["stale"] == 1


def test_the_table_has_a_row_for_each_card():
    run = run_tool("--driver", "nic", "--cards", "2", "--profile", "inline-25g", "--generate", "64")
    assert run.exit == DONE
    rows = [line.split() for line in run.stdout.splitlines()]
    for name in ("nic0", "nic1"):
        (row,) = [row for row in rows if row and row[0] == name]
        assert row[1] == "working" and len(row) == 9
    assert "cards inline-25g; fell back to software: " in run.stdout


def test_a_packet_is_explained_as_if_software_did_it():
    explained = run_tool("--explain", "3", "--driver", "software").stdout
    assert run_tool("--explain", "3", "--driver", "nic").stdout == explained


def test_a_scheduler_has_cards_among_its_children():
    run = run_tool("--driver", "scheduler", "--children", "nic,multibuffer", "--profile", "inline-25g", "--json", "-")
    report = json.loads(run.stdout)
    assert (run.exit, report["driver"], report["verified"]) == (DONE, "scheduler", True)


@pytest.mark.parametrize("driver", ["null", "software", "multibuffer", "scheduler", "auto"])
@pytest.mark.parametrize("option", [("--profile", "inline-25g"), ("--cards", "2"), ("--fault", "twice#3"), ("--engine-core", "0")], ids=lambda option: option[0])
def test_options_of_cards_go_with_cards_only(driver, option):
    run = run_tool("--driver", driver, *option)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    assert run.stderr == f"error: {option[0]}: only --driver nic has cards; name that, or leave {option[0]} out\n"


@pytest.mark.parametrize(
    "options, said",
    [
        (("--profile", "inline-1t"), '"inline-1t" is neither a bundled card (hifn-7751-like, lookaside-accelerator, inline-25g,'),
        (("--fault", "engine-hang@2"), '"2" is no time; write it as 2s, 10ms, 50us or 800ns'),
        (("--fault", "engine-hangs@2s"), 'fault "engine-hangs" is unknown; use one of ring-stuck, '),
        (("--fault", "engine-hang"), '"engine-hang" is no fault with a time; write engine-hang@2s'),
        (("--fault-seed", "7"), "--fault-seed is where chance begins for --fault; name faults"),
        (("--cards", "0"), "0 is not in 1..=8"),
        (("--cards", "9"), "9 is not in 1..=8"),
        (("--offload", "inline-crypto"), "--offload inline-crypto is not implemented yet"),
        (("--level", "sse"), "--level sse needs kernels"),
        (("--children", "software"), "--children: only --driver scheduler has children"),
        (("--driver", "scheduler", "--children", "nic", "--cards", "2"), "leave --cards out"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(options, said):
    driver = () if "--driver" in options else ("--driver", "nic")
    run = run_tool(*driver, *options)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ") and said in line, line


@pytest.mark.parametrize(
    "text, place, remedy",
    [
        ('name = "a"\nring_depth = 100\n', ":2:14: ", "use 128"),
        ('name = "a"\n[[algorithm]]\nname = "aes-xyz"\n', ":3:8: ", "use names such as aes-gcm"),
        ('name = "a"\nservices = ["sideways"]\n', ":2:12: ", "use lookaside"),
        ('name = "a"\nspeed = 3\n', ":2:1: ", "expected"),
    ],
)
def test_a_profile_that_is_wrong_is_refused_with_its_place(tmp_path, text, place, remedy):
    profile = tmp_path / "wrong.toml"
    profile.write_text(text)
    run = run_tool("--driver", "nic", "--profile", profile)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    (line,) = run.stderr.splitlines()
    assert f"{profile}{place}" in line and remedy in line, line
