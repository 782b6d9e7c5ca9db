"""`crypto-perf` from outside: the report's rows, the verdicts, refusals, exit codes, help.

Figures are held against each other and never against a size that they should have.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from command_line import BROKEN_STREAMS, SMALL, command_words, examples_of, processors_of, stderr_on_a_terminal
from crypto_perf import BAD_USAGE, BINARY, DONE, MACHINE_LACKS, TINY, refusal_of, report_of, run_perf
from esp_replay import HANG_GUARD_SECONDS

pytestmark = pytest.mark.usefixtures("perf")

PROMISED_FIELDS = (
    "driver level suite operation size burst operations mops gbps tsc_cycles_per_operation tsc_cycles_per_byte latency_ns"
)
PROMISED_OPTIONS = "test driver level hold children policy suite algorithm operation size burst sessions pool seconds cores json"
ENDS_OF_SUITES = ("aes128-sha1", "aes256-sha512", "aes128gcm16", "aes256gcm16", "null-sha1", "null-sha256")
SOME_ALGORITHMS = ("aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "aes-128-gcm", "sha1-hmac", "sha2-256-hmac")
MIX = [40] * 7 + [576] * 4 + [1500]
NO_SUCH_CORE = 9999


def near(one, other):
    """Equal but for rounding."""
    return one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("test", ["throughput", "cycles", "latency"])
@pytest.mark.parametrize("driver", ["null", "software", "multibuffer", "nic", "scheduler"])
def test_there_is_a_row_for_each_operation_size_and_burst(driver, test):
    options = ("--test", test, "--driver", driver, "--suite", "aes128-sha1", "--size", "64,1408", "--burst", "1,8,32")
    report = report_of(*options)
    assert (report["schema"], report["test"]) == ("sealane.crypto-perf/1", test)
    kernels = ["portable", "sse", "avx2", "avx512"]
    levels = {"null": ["none"], "software": ["portable"], "multibuffer": kernels, "nic": kernels, "scheduler": kernels}[driver]
    (level,) = {row["level"] for row in report["rows"]}
    assert level in levels
    for row in report["rows"]:
        assert set(PROMISED_FIELDS.split()) <= set(row)
        assert (row["driver"], row["level"], row["suite"]) == (driver, level, "aes128-sha1")
        assert row["operations"] > 0 and row["operations"] % row["pool"] == 0
    places = [(row["operation"], row["size"], row["burst"]) for row in report["rows"]]
    assert places == [(way, size, burst) for way in ("encrypt", "decrypt") for size in (64, 1408) for burst in (1, 8, 32)]


@pytest.mark.parametrize("test", ["throughput", "cycles"])
def test_the_figures_of_a_row_agree_with_each_other(test):
    report = report_of("--test", test, "--driver", "all", "--suite", "aes128gcm16,null-sha256")
    for row in report["rows"]:
        assert near(row["mops"] * 1e6 * row["tsc_cycles_per_operation"], report["tsc_hz"]), row
        assert near(row["gbps"] * 1e3, row["mops"] * row["size"] * 8), row
        assert near(row["tsc_cycles_per_byte"] * row["size"], row["tsc_cycles_per_operation"]), row
        assert 0 < row["tsc_cycles_per_operation_min"] <= row["tsc_cycles_per_operation"]
        assert near(row["tsc_cycles_per_byte_min"] * row["size"], row["tsc_cycles_per_operation_min"]), row
        assert row["slices"] >= 7
        assert row["noisy"] == (row["spread_percent"] > 10)
        assert row["latency_ns"] is None and row["verified"] is None


def test_only_the_cycles_test_measures_the_empty_loop():
    measured = {test: report_of("--test", test)["rows"] for test in ("throughput", "cycles")}
    assert all(row["empty_loop_tsc_cycles_per_operation"] is None for row in measured["throughput"])
    assert all(row["empty_loop_tsc_cycles_per_operation"] > 0 for row in measured["cycles"])


LATENCY_FIELDS = "min p50 p90 p99 p999 max"


@pytest.mark.parametrize("burst", [1, 32])
def test_latency_has_the_time_of_every_operation_and_no_speed(burst):
    for row in report_of("--test", "latency", "--driver", "all", "--burst", burst)["rows"]:
        latency = row["latency_ns"]
        assert latency["count"] == row["operations"] > 0
        times = [latency[field] for field in LATENCY_FIELDS.split()]
        assert times == sorted(times) and times[0] > 0, row
        assert row["mops"] is None and row["tsc_cycles_per_operation"] is None and row["noisy"] is None


def test_what_takes_longer_has_the_longer_latency():
    options = ("--test", "latency", "--driver", "software", "--suite", "aes128-sha1", "--operation", "encrypt", "--size", "16,8192")
    least = {(row["size"], row["burst"]): row["latency_ns"]["min"] for row in report_of(*options, "--burst", "1,32")["rows"]}
    assert least[16, 1] < least[8192, 1] < least[8192, 32]
    assert least[16, 1] < least[16, 32] < least[8192, 32]


def two_processors():
    """Two of this machine's, or one of them and one that is not there; and those of the two that are."""
    there = sorted(os.sched_getaffinity(0))[:2]
    return (there if len(there) == 2 else [*there, NO_SUCH_CORE]), there


@pytest.mark.parametrize("test", ["throughput", "cycles", "latency", "verify"])
def test_several_cores_do_a_row_together(test):
    asked, there = two_processors()
    alone = report_of("--test", test, "--cores", there[0], "--driver", "software")
    report = report_of("--test", test, "--cores", ",".join(map(str, asked)), "--driver", "software")
    assert report["cores"] == there
    for row, of_one in zip(report["rows"], alone["rows"], strict=True):
        if test == "verify":
            assert row["verified"] and row["checks"] == of_one["checks"]
            assert row["operations"] == 2 * of_one["operations"]
        elif test == "latency":
            assert row["latency_ns"]["count"] == row["operations"]
        else:
            assert near(row["mops"] * 1e6 * row["tsc_cycles_per_operation"], 2 * report["tsc_hz"]), row
            assert near(row["gbps"] * 1e3, row["mops"] * row["size"] * 8), row


def test_a_noisy_row_is_warned_about_and_no_other():
    run = run_perf(*TINY, "--suite", "all", "--size", "64", "--json", "-")
    assert run.exit == DONE
    rows = json.loads(run.stdout)["rows"]
    noisy = [f"{row['driver']} {row['suite']} {row['operation']} 64 burst 32" for row in rows if row["noisy"]]
    warned = [line.split(": ")[1] for line in run.stderr.splitlines() if line.startswith("warning: ")]
    assert warned == noisy


@pytest.mark.parametrize("suite, block", [("aes128gcm16", 1), ("aes128-sha1", 16)])
def test_the_mix_has_its_sizes_padded_to_whole_blocks(suite, block):
    row = report_of("--suite", suite, "--operation", "encrypt", "--size", "imix", "--pool", "60", "--burst", "12", tiny=TINY[:2])
    (row,) = row["rows"]
    padded = [-(-size // block) * block for size in MIX]
    assert row["size"] == "imix" and row["pool"] == 60
    assert near(row["gbps"] * 1e3 / row["mops"] / 8, sum(padded) / len(padded))


@pytest.mark.parametrize("sessions", [1, 7, 64])
def test_sessions_are_spread_over_the_packets(sessions):
    for test in ("throughput", "verify"):
        rows = report_of("--test", test, "--sessions", sessions)["rows"]
        assert {row["sessions"] for row in rows} == {sessions}
        assert {row["operation"] for row in rows} == {"encrypt", "decrypt"}


def test_every_suite_verifies_on_the_software_driver():
    report = report_of("--test", "verify", "--suite", "all", "--size", "16,64,1408,imix", "--burst", "1,32", "--sessions", "3")
    assert set(ENDS_OF_SUITES) <= {row["suite"] for row in report["rows"]}
    for row in report["rows"]:
        assert (row["verified"], row["failure"], row["kind"]) == (True, None, "suite"), row
        expected = {"encrypt": ["opened", "vector"], "decrypt": ["original", "tampering", "vector"]}
        assert row["checks"] == expected[row["operation"]], row
        assert row["mops"] is None and row["tsc_cycles_per_operation"] is None
        assert row["operations"] >= 64
    suites = {row["suite"] for row in report["rows"]}
    assert len(report["rows"]) == len(suites) * 2 * 4 * 2


@pytest.mark.parametrize("policy", ["round-robin", "packet-size:200", "queue-depth", "failover"])
def test_every_suite_verifies_on_a_scheduler_by_each_policy(policy):
    options = ("--driver", "scheduler", "--children", "software,multibuffer,software", "--policy", policy, "--sessions", "3")
    report = report_of("--test", "verify", "--suite", "all", "--size", "16,1408,imix", "--burst", "1,32", *options)
    assert set(ENDS_OF_SUITES) <= {row["suite"] for row in report["rows"]}
    for row in report["rows"]:
        assert (row["driver"], row["verified"], row["failure"]) == ("scheduler", True, None), row


@pytest.mark.parametrize("profile", ["lookaside-accelerator", "inline-100g", "hifn-7751-like"])
def test_every_suite_of_a_card_verifies_on_it(profile):
    options = ("--driver", "nic", "--profile", profile, "--sessions", "3")
    report = report_of("--test", "verify", "--suite", "all", "--size", "16,1408,imix", "--burst", "1,32", *options)
    assert "null-sha1" in {row["suite"] for row in report["rows"]}
    for row in report["rows"]:
        assert (row["driver"], row["verified"], row["failure"]) == ("nic", True, None), row


@pytest.mark.parametrize("test", ["throughput", "latency", "verify", "cycles"])
@pytest.mark.parametrize(
    "driver", [("nic", "--cards", "2"), ("scheduler", "--children", "nic,multibuffer")], ids=["cards", "scheduler-over-a-card"]
)
def test_cards_are_tested_by_every_test(test, driver):
    report = report_of("--test", test, "--driver", *driver, "--suite", "aes128gcm16", "--size", "64")
    assert [row["driver"] for row in report["rows"]] == [driver[0]] * 2


def test_every_algorithm_verifies_on_a_scheduler():
    report = report_of("--test", "verify", "--algorithm", "all", "--driver", "scheduler", "--size", "16,imix", "--sessions", "3")
    assert set(SOME_ALGORITHMS) <= {row["suite"] for row in report["rows"]}
    assert all(row["verified"] for row in report["rows"])


def test_every_algorithm_verifies_on_the_software_driver():
    report = report_of("--test", "verify", "--algorithm", "all", "--size", "16,64,1408,imix", "--sessions", "3")
    done = {(row["suite"], row["operation"]) for row in report["rows"]}
    for name in SOME_ALGORITHMS:
        ways = ("generate", "verify") if name.endswith("-hmac") else ("encrypt", "decrypt")
        assert all((name, way) in done for way in ways), name
    for row in report["rows"]:
        assert (row["verified"], row["kind"]) == (True, "algorithm"), row


@pytest.mark.parametrize("name", SOME_ALGORITHMS)
def test_an_algorithm_is_measured_by_its_own_name(name):
    rows = report_of("--algorithm", name, "--driver", "all", "--size", "64")["rows"]
    assert {row["suite"] for row in rows} == {name}
    assert {row["driver"] for row in rows} == {"null", "software", "multibuffer"}
    assert len(rows) == 6


def test_the_null_driver_is_left_out_of_verify_with_a_note():
    run = run_perf(*TINY, "--test", "verify", "--driver", "all", "--json", "-")
    assert run.exit == DONE
    assert {row["driver"] for row in json.loads(run.stdout)["rows"]} == {"software", "multibuffer"}
    assert run.stderr.startswith("note: ") and "null" in run.stderr


REFUSALS = [
    (("--test", "verify", "--driver", "null"), "--driver null computes nothing to verify; use --driver software"),
    (("--driver", "software", "--profile", "inline-25g"), "--profile: only --driver nic has cards"),
    (("--driver", "nic", "--profile", "inline-1t"), '"inline-1t" is neither a bundled card (hifn-7751-like, '),
    (("--driver", "nic", "--profile", "hifn-7751-like", "--suite", "aes128gcm16"), "aes-gcm is not among the driver's algorithms"),
    (("--driver", "scheduler", "--children", "software,null"), "'null' for '--children <LIST>'"),
    (("--driver", "scheduler", "--children", ",".join(["software"] * 9)), "9 are listed, and a scheduler has 8 at most"),
    (("--children", "software"), "--children: only --driver scheduler has children"),
    (("--driver", "all", "--policy", "failover"), "--policy: only --driver scheduler has children and only --driver nic has cards"),
    (("--driver", "scheduler", "--policy", "random"), 'give "round-robin", "packet-size:BYTES", "queue-depth" or "failover"'),
    (("--driver", "scheduler", "--policy", "packet-size"), 'as in "packet-size:256"'),
    (("--driver", "scheduler", "--children", "software", "--level", "sse"), "--level sse needs kernels"),
    (("--driver", "nvidia"), "nvidia"),
    (("--level", "sse"), "--level sse needs kernels, which only --driver multibuffer has"),
    (("--hold", "32"), "--hold 32: only --driver multibuffer holds jobs"),
    (("--hold", "65", "--driver", "multibuffer"), "--hold"),
    (("--level", "mmx"), "--level mmx is unknown; use avx512, avx2, sse or portable"),
    (("--suite", "aes128-sh1"), 'there is no suite "aes128-sh1"; near it: aes128-sha1'),
    (("--suite", "aes128-sha1", "--algorithm", "sha1-hmac"), "--algorithm"),
    (("--algorithm", "aes-cbc"), 'there is no algorithm "aes-cbc"; near it: aes-128-cbc'),
    (("--algorithm", "sha1-hmac", "--operation", "encrypt"), "use generate or verify"),
    (("--suite", "aes128gcm16", "--operation", "digest"), "use encrypt or decrypt"),
    (("--suite", "aes128-sha1", "--size", "64,100"), "--size 100 is not whole blocks: aes128-sha1 works on blocks of 16"),
    (("--size", "0"), "give bytes from 1 to"),
    (("--size", "64513"), "give bytes from 1 to"),
    (("--size", "IMIX"), "imix"),
    (("--burst", "0"), "--burst"),
    (("--burst", "65"), "--burst"),
    (("--pool", "16", "--burst", "32"), "use --pool 32 or more"),
    (("--sessions", "65", "--pool", "64"), "--sessions 65 needs a packet for each"),
    (("--sessions", "0"), "--sessions"),
    (("--pool", "1048576", "--size", "64512", "--suite", "aes128gcm16"), "use a smaller pool"),
    (("--seconds", "0"), "give seconds above 0"),
    (("--seconds", "nan"), "give seconds above 0"),
    (("--cores", "0,0"), "--cores lists 0 twice"),
    (("--json", "/no/such/folder/report.json"), "its folder does not exist"),
    (("--json", "."), "is a folder; name a file"),
    (("capture.pcap",), "capture.pcap"),
]


@pytest.mark.parametrize("arguments, said", REFUSALS, ids=[" ".join(arguments) for arguments, _ in REFUSALS])
def test_what_does_not_go_is_refused_in_one_line_that_says_what_would(arguments, said):
    assert said in refusal_of(*arguments)


HUGE = "9" * 100_000
ODD_VALUES = ["", ",", "-1", HUGE, "\udcff", "a\nb", "1e-3", "64,,64", "18446744073709551616", "all,all", "\u0663"]


@pytest.mark.parametrize("option", PROMISED_OPTIONS.split())
@pytest.mark.parametrize("value", ODD_VALUES, ids=range(len(ODD_VALUES)))
def test_odd_values_never_panic(tmp_path, option, value):
    fixed = TINY if option not in ("seconds", "pool") else ()
    run = run_perf(*fixed, f"--{option}={value}", "--suite=null-sha1", "--size=16", cwd=tmp_path)
    assert run.exit == DONE or "error: " in run.stderr, run.stderr[:500]


def test_a_core_that_is_not_there_is_told_with_those_that_are():
    run = run_perf("--cores", NO_SUCH_CORE)
    assert (run.exit, run.stdout) == (MACHINE_LACKS, "")
    there = ", ".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    assert run.stderr.startswith("error: ") and run.stderr.rstrip().endswith(there)


@pytest.mark.parametrize("choose", [min, max])
def test_the_run_stays_on_the_processor_that_was_named(choose):
    core = choose(os.sched_getaffinity(0))
    assert report_of("--cores", core)["cores"] == [core]
    assert processors_seen_by(core) == str(core)


def processors_seen_by(core):
    """What the kernel lets the running tool use, once it has begun to measure."""
    command = [str(BINARY), "--cores", str(core), "--seconds", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + HANG_GUARD_SECONDS
        while (seen := processors_of(process)) != str(core) and time.monotonic() < deadline:
            time.sleep(0.005)
        return seen
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine lets tests use one processor only")
def test_each_of_several_cores_keeps_to_its_processor():
    cores = sorted(os.sched_getaffinity(0))[:2]
    command = [str(BINARY), "--cores", ",".join(map(str, cores)), "--seconds", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + HANG_GUARD_SECONDS
        wanted = {str(core) for core in cores}
        while not wanted <= (seen := processors_of_threads(process)) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert wanted <= seen
    finally:
        process.kill()
        process.wait()


def processors_of_threads(process):
    """What the kernel lets each thread of a process use."""
    lists = set()
    for status in Path(f"/proc/{process.pid}/task").glob("*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:
            continue
        lists |= {line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:")}
    return lists


def test_json_goes_to_a_file_beside_the_table(tmp_path):
    path = tmp_path / "report.json"
    run = run_perf(*TINY, "--suite", "aes128-sha1", "--json", path)
    assert run.exit == DONE
    report = json.loads(path.read_text())
    lines = [line.split() for line in run.stdout.splitlines()]
    assert lines[1][:5] == ["driver", "suite", "does", "size", "burst"]
    for row, words in zip(report["rows"], lines[2:], strict=True):
        assert words[:5] == [row["driver"], row["suite"], row["operation"], str(row["size"]), str(row["burst"])]
        assert words[5] == f"{row['mops']:.3f}"


def test_a_report_that_was_there_stays_when_a_run_is_refused(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("older")
    refusal_of("--json", path, "--suite", "aes128-sha1", "--size", "100")
    assert path.read_text() == "older"


@pytest.mark.parametrize("test", ["throughput", "latency", "verify", "cycles"])
def test_the_table_fits_one_screen_with_a_line_for_each_row(test):
    everything = report_of("--test", test, "--suite", "all", "--size", "64")["rows"]
    run = run_perf(*TINY, "--test", test, "--suite", "all", "--size", "64")
    lines = run.stdout.splitlines()
    assert len(lines) == 2 + len(everything)
    assert max(map(len, lines)) <= 100


def help_text():
    """What `--help` prints on a small screen."""
    run = run_perf("--help", env={**os.environ, "COLUMNS": str(SMALL)})
    assert (run.exit, run.stderr) == (DONE, "")
    return run.stdout


def test_the_examples_of_the_help_work():
    examples = examples_of(help_text())
    assert len(examples) >= 3
    for words in map(command_words, examples):
        fixed = list(TINY) if "--sessions" not in words else ["--seconds", "0.0001"]
        kept = [word for at, word in enumerate(words) if "--seconds" not in (word, words[at - 1])]
        run = run_perf(*fixed, *kept)
        assert run.exit == DONE, (words, run.stderr)


def test_the_help_names_every_option_and_exit_code_and_says_what_is_timed():
    text = help_text()
    words = [line.split() for line in text.splitlines()]
    assert all(any(line[:1] == [f"--{option}"] for line in words) for option in PROMISED_OPTIONS.split())
    codes = text.split("Exit codes:", 1)[1].strip().splitlines()
    assert [int(line.split()[0]) for line in codes] == [0, 1, 2, 3]
    assert "What is timed" in text


@BROKEN_STREAMS
@pytest.mark.parametrize("options", [(), ("--json", "-"), ("--help",)])
def test_output_that_nobody_takes_is_no_panic(broken, options):
    stream = broken()
    try:
        run = run_perf(*TINY, *options, stdout=stream)
    finally:
        os.close(stream)
    assert run.exit in (DONE, BAD_USAGE)


def test_a_run_shows_a_progress_bar_on_a_terminal_and_takes_it_away():
    code, sent = stderr_on_a_terminal(BINARY, "--seconds", "0.1", "--suite", "null-sha1")
    assert code == DONE
    assert "% left" in sent, repr(sent)
    assert "\x1b[2K" in sent.rpartition("% left")[2], "the bar was left standing"


def test_no_progress_bar_goes_into_a_pipe():
    run = run_perf("--seconds", "0.1", "--suite", "null-sha1")
    assert run.exit == DONE
    assert all(line.startswith("warning: ") for line in run.stderr.splitlines())
    assert "\x1b" not in run.stdout + run.stderr and "\r" not in run.stdout + run.stderr
