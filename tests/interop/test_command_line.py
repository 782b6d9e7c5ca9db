"""The command line itself: help, exit codes, the progress bar, and streams and files that fail underneath.

Whatever is given, the tool ends with one of its four exit codes and never panics.
"""

import os
import subprocess
import time

import pytest

from associations import SWEPT_SUITE, Association
from captures import pcap_bytes
from command_line import BROKEN_STREAMS, SMALL, WIDE, command_words, examples_of, processors_of, stderr_on_a_terminal
from esp_replay import BAD_USAGE, BINARY, DONE, HANG_GUARD_SECONDS, NOT_VERIFIED, run_tool, write_config
from packets import frame, udp_packets

pytestmark = pytest.mark.usefixtures("tool")

MACHINE_LACKS = 3
EXIT_CODES = (DONE, NOT_VERIFIED, BAD_USAGE, MACHINE_LACKS)
NO_SUCH_CORE = 9999
PROMISED_OPTIONS = (
    "config direction out driver level hold children policy profile offload cores layout burst repeat duration rate explain json"
    " histogram html"
)
LONG_RUNS = [("--duration", "0.3"), ("--repeat", "200")]


def run_with_streams(*arguments, **streams):
    """A run whose streams the test chooses; unlike `run_tool` it takes any exit code."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [str(BINARY), *map(str, arguments)]
    return subprocess.run(command, text=True, errors="replace", timeout=HANG_GUARD_SECONDS, **given)


def help_text(columns):
    """What `--help` prints for a screen of so many columns; the program wraps its lines to it."""
    run = run_with_streams("--help", env={**os.environ, "COLUMNS": str(columns)})
    assert (run.returncode, run.stderr) == (DONE, "")
    return run.stdout


@pytest.mark.parametrize("columns", [WIDE, SMALL])
def test_help_has_examples_each_on_a_line_of_its_own(columns):
    examples = examples_of(help_text(columns))
    assert len(examples) >= 3
    assert all(line.strip().startswith("esp-replay") for line in examples), examples


def test_help_lists_every_exit_code():
    lines = help_text(WIDE).split("Exit codes:", 1)[1].strip().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(EXIT_CODES)


@pytest.mark.parametrize("option", PROMISED_OPTIONS.split())
def test_help_names_every_option(option):
    lines = [line.split() for line in help_text(WIDE).splitlines()]
    assert any(words[:1] == [f"--{option}"] for words in lines)


def test_the_examples_of_the_help_work(tmp_path):
    association = Association(SWEPT_SUITE)
    frames = [frame(packet) for packet in udp_packets(4, range(8))]
    (tmp_path / "a.pcap").write_bytes(pcap_bytes(frames))
    write_config(tmp_path / "east.toml", association.toml("outbound"))
    write_config(tmp_path / "west.toml", association.toml("inbound"))
    for words in map(command_words, examples_of(help_text(WIDE))):
        shortened = ["0.01" if words[at - 1] == "--duration" else word for at, word in enumerate(words)]
        run = run_with_streams(*shortened, cwd=tmp_path)
        assert run.returncode == DONE, (words, run.stderr)
    assert (tmp_path / "b.pcap").read_bytes() == (tmp_path / "a.pcap").read_bytes()


def test_the_short_help_is_shorter():
    short = run_tool("-h")
    assert short.exit == DONE
    assert len(short.stdout.splitlines()) < len(run_tool("--help").stdout.splitlines())


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_one_line(option):
    run = run_tool(option)
    assert (run.exit, run.stderr) == (DONE, "")
    name, version = run.stdout.split()
    assert name == "esp-replay"
    assert [part.isdigit() for part in version.split(".")] == [True] * 3


def test_a_core_that_is_not_there_is_told_with_those_that_are():
    run = run_with_streams("--cores", NO_SUCH_CORE)
    assert (run.returncode, run.stdout) == (MACHINE_LACKS, "")
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith("error: ") and str(NO_SUCH_CORE) in run.stderr
    there = ", ".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    assert run.stderr.rstrip().endswith(there)


def test_a_core_that_this_process_may_not_use_is_not_there():
    allowed = min(os.sched_getaffinity(0))
    confined = {"preexec_fn": lambda: os.sched_setaffinity(0, {allowed})}
    other = max(os.sched_getaffinity(0) - {allowed}, default=allowed + 1)
    run = run_with_streams("--cores", other, **confined)
    assert run.returncode == MACHINE_LACKS
    assert run.stderr.rstrip().endswith(f"use one of {allowed}")
    assert run_with_streams("--cores", allowed, **confined).returncode == DONE


@pytest.mark.parametrize("choose", [min, max])
def test_the_polling_core_is_pinned_to_the_processor_that_was_named(choose):
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        pytest.skip("cpu: with a single processor every process is pinned")
    core = choose(allowed)
    command = [str(BINARY), "--cores", str(core), "--generate", "64,packets=32", "--duration", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + HANG_GUARD_SECONDS
        while processors_of(process) != str(core):
            assert process.poll() is None and time.monotonic() < deadline, "it never was pinned"
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("options", LONG_RUNS)
def test_a_long_run_shows_a_progress_bar_on_a_terminal_and_takes_it_away(options):
    code, sent = stderr_on_a_terminal(BINARY, *options)
    assert code == DONE
    assert "% left" in sent, repr(sent)
    assert sent.endswith("\r\x1b[2K"), "the bar was left standing"


@pytest.mark.parametrize("options", LONG_RUNS)
def test_no_progress_bar_goes_into_a_pipe(options):
    run = run_tool(*options)
    assert (run.exit, run.stderr) == (DONE, "")
    assert "\x1b" not in run.stdout and "\r" not in run.stdout


def test_a_single_pass_shows_no_progress_bar():
    assert stderr_on_a_terminal(BINARY) == (DONE, "")


@BROKEN_STREAMS
@pytest.mark.parametrize("options", [(), ("--json", "-"), ("--explain", "5"), ("--help",), ("--version",), ("-h",)])
def test_output_that_nobody_takes_is_no_panic(broken, options):
    stream = broken()
    try:
        run = run_with_streams(*options, stdout=stream)
    finally:
        os.close(stream)
    assert "panicked" not in run.stderr
    assert run.returncode in (DONE, BAD_USAGE), (run.returncode, run.stderr)
    assert len(run.stderr.splitlines()) <= 1


@BROKEN_STREAMS
@pytest.mark.parametrize(
    "options, code",
    [
        (("--cores", NO_SUCH_CORE), MACHINE_LACKS),
        (("no-such-file.pcap",), BAD_USAGE),
        (("--no-such-option",), BAD_USAGE),
        (("--repeat", "2"), DONE),
    ],
)
def test_messages_that_nobody_takes_leave_the_exit_code_as_it_is(broken, options, code):
    stream = broken()
    try:
        run = run_with_streams(*options, stderr=stream)
    finally:
        os.close(stream)
    assert run.returncode == code


def test_closed_streams_do_no_harm():
    close_all = {"preexec_fn": lambda: os.closerange(0, 3)}
    run = run_with_streams(stdin=None, stdout=None, stderr=None, **close_all)
    assert run.returncode == DONE


HUGE = "9" * 100_000
ODD_VALUES = {
    "config": ["", ".", "/", HUGE, "a\nb", "\udcff\udcfe", "/proc/self/mem"],
    "direction": ["", "OUTBOUND", "outbound,inbound", HUGE],
    "driver": ["", "Null", "\udcff"],
    "level": ["", "avx1024", "\u202e", "\udcff"],
    "hold": ["", "-1", "65", "256", "1.5", HUGE],
    "children": ["", ",", "software,", "scheduler", "null", "\udcff", HUGE],
    "policy": ["", "packet-size", "packet-size:", "packet-size:0", "packet-size:1e3", "packet-size:-1", "\udcff", HUGE],
    "layout": ["", "pipelined,run-to-completion"],
    "offload": ["", "lookaside ", "\udcff"],
    "cores": ["", ",", "0,0", "-1", "0x0", "1e3", "4294967296", "18446744073709551615", HUGE],
    "burst": ["0", "-1", "65", "256", "4294967296", "1.5", "\u0663", HUGE],
    "repeat": ["0", "-1", "1e9", "18446744073709551616", HUGE],
    "duration": ["0", "-1", "-0.0", "nan", "inf", "-inf", "1e-300", "1e7", "1e400", "", HUGE],
    "rate": ["", "0", "-1", "nan", "1e400", "recorded", HUGE],
    "explain": ["0", "4294967295", "4294967296", "-1", "1.5", HUGE],
    "generate": ["", ",", "27", "28,packets=1", "65535,packets=3", "65536", "imix,imix", "64,flows=0", "9e9"],
    "out": ["", ".", "out", "a\n.pcap/", HUGE, "\udcff"],
    "json": ["", ".", "/", HUGE],
    "histogram": ["", ".", "-/", HUGE],
}


@pytest.mark.parametrize("option, value", [(name, value) for name, values in ODD_VALUES.items() for value in values])
def test_odd_values_never_panic(tmp_path, option, value):
    run = run_with_streams(f"--{option}={value}", cwd=tmp_path)
    assert run.returncode in EXIT_CODES, run.stderr[:500]
    assert "panicked" not in run.stderr, run.stderr[:500]
    said = "NOT verified" if run.returncode == NOT_VERIFIED else "error: "
    assert run.returncode == DONE or said in run.stdout + run.stderr, run.stderr[:500]


def loop(folder, name):
    """A symbolic link to itself: no one can read it or write to it, root neither."""
    path = folder / name
    path.symlink_to(name)
    return path


@pytest.mark.parametrize("arguments", [(), ("--config",)], ids=["capture", "config"])
@pytest.mark.parametrize("unreadable", [loop, lambda *_: "/proc/self/mem"], ids=["loop", "input-error"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path, arguments, unreadable):
    path = unreadable(tmp_path, "in.pcap")
    run = run_tool(*arguments, path)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"error: {path}: ")


def full(folder, name):
    """A file on a device that is full."""
    path = folder / name
    path.symlink_to("/dev/full")
    return path


def in_a_folder_that_takes_no_files(_, name):
    """A name in a folder of the kernel's, where nobody makes files, root neither."""
    return f"/sys/kernel/{name}"


OUTPUTS = [("--out", "o.pcap"), ("--out", "o.pcapng"), ("--json", "o"), ("--histogram", "o")]


@pytest.mark.parametrize("option, name", OUTPUTS)
@pytest.mark.parametrize("unwritable", [loop, full, in_a_folder_that_takes_no_files])
def test_an_output_that_cannot_be_written_is_named_in_one_line(tmp_path, option, name, unwritable):
    path = unwritable(tmp_path, name)
    run = run_tool(option, path)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"error: {path}: ")
