"""What a run tells: the table for people, the JSON for scripts, the histogram's log; and that the three agree.

The promised fields are listed here by hand. Figures that come from a clock are never compared with a fixed number,
only with each other.
"""

import json
import os

import pytest

from associations import SWEPT_SUITE, Association
from captures import read_pcap, write_pcap
from esp_replay import DONE, NOT_VERIFIED, ROOT, run_tool
from fates import CONFIG, FATES, FRAMES, WAYS_OUT
from histogram_peer import RESOLUTION, read_log
from packets import frame, udp_packets
from scapy_peer import ScapyPeer

pytestmark = pytest.mark.usefixtures("tool")

ASSOCIATION = Association(SWEPT_SUITE)
BUNDLED_FRAMES = read_pcap(ROOT / "pcaps" / "mixed.pcap")
SEALED = 1000  # packets, so many that some of their bursts are sampled for the costs of the stages
SCREEN_LINES, SCREEN_COLUMNS = 24, 100

COUNT, FIGURE, TEXT = int, float, str
PROMISED = {
    "schema": TEXT,
    "capture": TEXT,
    "direction": TEXT,
    "driver": TEXT,
    "level": TEXT,
    "layout": TEXT,
    "cores": list,
    "burst": COUNT,
    "packets": {
        "in": COUNT,
        "made": COUNT,
        "out": COUNT,
        "held": COUNT,
        "dropped": dict,
        "absorbed": dict,
        "made_by": dict,
        "out_by": dict,
    },
    "bytes": {"in": COUNT, "out": COUNT},
    "seconds": FIGURE,
    "mpps": FIGURE,
    "gbps": FIGURE,
    "tsc_hz": COUNT,
    "tsc_cycles_per_packet": FIGURE,
    "latency_kind": TEXT,
    "latency_ns": {name: COUNT for name in ("count", "min", "p50", "p90", "p99", "p999", "max")},
    "stages": dict,
    "verified": (bool, type(None)),
}
# Beyond the promise; a field that comes anew is written down here.
EXTENSIONS = {"turns": {"busy": COUNT, "idle": COUNT, "stalled": COUNT}, "lcores": list, "stage_latency_ns": dict, "memory": TEXT, "dropped_by_stage": dict, "dropped_by_sa": list}
OUTBOUND_STAGES = {"esp_out_prepare", "esp_out_crypto", "esp_out_finish"}
INBOUND_STAGES = {"esp_in_prepare", "esp_in_crypto", "esp_in_finish"}


def report_of(*arguments):
    """The report of a run that must be done, from standard output."""
    run = run_tool(*arguments, "--json", "-")
    assert (run.exit, run.stderr) == (DONE, "")
    return json.loads(run.stdout)


def assert_shape(value, shape, path=""):
    """`value` has exactly the fields and types of `shape`."""
    if not isinstance(shape, dict):
        is_bool_for_a_number = isinstance(value, bool) and shape in (COUNT, FIGURE)
        assert isinstance(value, shape) and not is_bool_for_a_number, (path, value)
        return
    assert isinstance(value, dict) and set(value) == set(shape), (path, set(value) ^ set(shape))
    for name, inner in shape.items():
        assert_shape(value[name], inner, f"{path}.{name}")


def assert_consistent(report):
    """Rates, cycles and latencies follow from the counts and from `seconds`, and the books balance."""
    packets, seconds, latency = report["packets"], report["seconds"], report["latency_ns"]
    assert seconds > 0 and report["tsc_hz"] > 0
    assert report["mpps"] == pytest.approx(packets["in"] / seconds / 1e6)
    plain_bytes = report["bytes"]["out" if report["direction"] == "inbound" else "in"]
    assert report["gbps"] == pytest.approx(plain_bytes * 8 / seconds / 1e9)
    assert report["tsc_cycles_per_packet"] == pytest.approx(seconds * report["tsc_hz"] / packets["in"])
    assert latency["count"] == packets["out"]
    order = [latency[name] for name in ("min", "p50", "p90", "p99", "p999", "max")]
    assert order == sorted(order) and order[0] > 0, latency
    assert order[-1] <= seconds * 1e9 * (1 + RESOLUTION), "a packet stayed longer than the run took"
    assert sum(packets["out_by"].values()) == packets["out"]
    assert sum(packets["made_by"].values()) == packets["made"]
    ended = sum(packets["dropped"].values()) + sum(packets["absorbed"].values())
    assert packets["in"] + packets["made"] == packets["out"] + ended + packets["held"]


def assert_stages(report, names):
    """Exactly these stages are told, each with its cost and with no more packets than there were."""
    assert set(report["stages"]) == names
    for stage in report["stages"].values():
        assert_shape(stage, {"tsc_cycles_per_packet": FIGURE, "sampled_packets": COUNT})
        assert stage["tsc_cycles_per_packet"] > 0
        assert 0 < stage["sampled_packets"] <= report["packets"]["in"]


@pytest.fixture
def sealed(replay):
    """A capture of ESP packets from another implementation, and the configuration that opens it."""
    peer = ScapyPeer(ASSOCIATION)
    frames = [frame(peer.seal(packet)) for packet in udp_packets(4, [100] * SEALED)]
    capture = write_pcap(replay.folder / "sealed.pcap", frames)
    return capture, "--config", replay.config(ASSOCIATION.toml("inbound")), "--direction", "inbound"


def test_without_arguments_the_bundled_capture_goes_out_and_back():
    run = run_tool()
    assert (run.exit, run.stderr) == (DONE, "")
    assert "mixed.pcap" in run.stdout and "roundtrip" in run.stdout
    assert f"packets in {len(BUNDLED_FRAMES)} " in " ".join(run.stdout.split())
    assert run.stdout.splitlines()[-1].startswith("verified")
    report = report_of()
    assert report["packets"]["in"] == report["packets"]["out"] == len(BUNDLED_FRAMES)
    assert (report["direction"], report["verified"]) == ("roundtrip", True)


def test_the_bundled_input_is_the_one_in_the_folder(tmp_path):
    out = tmp_path / "again.pcap"
    assert run_tool("--out", out).exit == DONE
    assert read_pcap(out) == BUNDLED_FRAMES


def test_the_table_fits_one_screen_and_tells_what_the_json_tells(tmp_path):
    path = tmp_path / "report.json"
    run = run_tool("--json", path)
    report = json.loads(path.read_text())
    lines = run.stdout.splitlines()
    assert lines[0].startswith(report["capture"])
    assert len(lines) < SCREEN_LINES and max(map(len, lines)) <= SCREEN_COLUMNS, run.stdout
    words = " ".join(run.stdout.split())
    told = [
        report["capture"],
        f"driver {report['driver']} ({report['level']})",
        f"core {report['cores'][0]} ",
        f"burst {report['burst']}",
        report["memory"],
        f"packets in {report['packets']['in']} {report['bytes']['in']} bytes",
        f"packets out {report['packets']['out']} ",
        f"throughput {report['mpps']:.3f} Mpps in {report['seconds']:.6f} s",
        f"{report['gbps']:.3f} Gbit/s",
        f"cost a packet {report['tsc_cycles_per_packet']:.1f} ",
        f"latency {report['latency_ns']['p50']} ns",
        f"{report['latency_ns']['p99']} ns 99 %",
        f"{report['latency_ns']['max']} ns the longest",
        *(f"{stage['tsc_cycles_per_packet']:.1f} {name}" for name, stage in report["stages"].items()),
    ]
    assert [each for each in told if each not in words] == [], run.stdout


def test_a_roundtrip_report_has_the_promised_fields_and_they_agree():
    report = report_of()
    assert_shape(report, PROMISED | EXTENSIONS)
    assert_consistent(report)
    assert_stages(report, OUTBOUND_STAGES | INBOUND_STAGES)
    assert report["schema"] == "sealane.replay/1"
    assert report["latency_kind"] == "residence"
    assert report["layout"] == "run-to-completion"
    assert report["bytes"]["in"] == report["bytes"]["out"]
    assert report["verified"] is True


def test_an_outbound_report_verifies_nothing():
    report = report_of("--direction", "outbound")
    assert_shape(report, PROMISED | EXTENSIONS)
    assert_consistent(report)
    assert_stages(report, OUTBOUND_STAGES)
    assert report["verified"] is None
    assert report["bytes"]["out"] > report["bytes"]["in"], "ESP adds bytes"


def test_an_inbound_report_counts_the_plain_side(sealed):
    report = report_of(*sealed)
    assert_shape(report, PROMISED | EXTENSIONS)
    assert_consistent(report)
    assert_stages(report, INBOUND_STAGES)
    assert report["bytes"] == {"in": SEALED * (20 + 8 + 16 + 144 + 12), "out": SEALED * 128}
    assert report["packets"]["out_by"] == {"decrypted": SEALED}
    assert report["verified"] is True


@pytest.mark.parametrize("direction", ["outbound", "roundtrip"])
def test_the_null_driver_is_reported_and_verifies_nothing(direction):
    report = report_of("--driver", "null", "--direction", direction)
    assert_shape(report, PROMISED | EXTENSIONS)
    assert_consistent(report)
    assert (report["driver"], report["verified"]) == ("null", None)
    assert report["packets"]["out"] == len(BUNDLED_FRAMES)


def test_the_report_says_what_was_chosen():
    last = max(os.sched_getaffinity(0))
    chosen = ("--driver", "software", "--level", "portable", "--layout", "run-to-completion")
    report = report_of(*chosen, "--cores", last, "--burst", 7)
    named = {name: report[name] for name in ("driver", "level", "layout", "cores", "burst")}
    layout = "run-to-completion"
    assert named == {"driver": "software", "level": "portable", "layout": layout, "cores": [last], "burst": 7}


def test_the_automatic_driver_is_named_and_is_not_null():
    assert report_of("--driver", "auto")["driver"] not in ("auto", "null")


@pytest.mark.parametrize("burst", [1, 32, 64])
def test_turns_that_moved_packets_are_counted(burst):
    turns = report_of("--burst", burst)["turns"]
    assert turns["busy"] == -(-len(BUNDLED_FRAMES) // burst)


def test_json_to_standard_output_comes_alone():
    run = run_tool("--json", "-")
    assert len(run.stdout.splitlines()) == 1
    json.loads(run.stdout)
    assert run.stderr == ""


@pytest.mark.parametrize("direction", ["outbound", "roundtrip"])
def test_repeated_passes_are_all_counted_and_one_is_written(tmp_path, direction):
    out = tmp_path / "out.pcap"
    once = report_of("--direction", direction)
    report = report_of("--direction", direction, "--repeat", 5, "--out", out)
    assert_consistent(report)
    assert report["packets"]["in"] == report["latency_ns"]["count"] == 5 * len(BUNDLED_FRAMES)
    assert report["bytes"] == {name: 5 * count for name, count in once["bytes"].items()}
    assert report["packets"]["out_by"] == {name: 5 * count for name, count in once["packets"]["out_by"].items()}
    assert len(read_pcap(out)) == len(BUNDLED_FRAMES)


def test_each_repeated_inbound_pass_starts_from_a_fresh_window(sealed):
    report = report_of(*sealed, "--repeat", 3)
    assert_consistent(report)
    assert (report["packets"]["out_by"], report["packets"]["dropped"]) == ({"decrypted": 3 * SEALED}, {})
    assert report["verified"] is True


def test_numbers_go_on_over_repeated_passes_until_they_run_out(replay):
    association = Association(SWEPT_SUITE, sequence=2**32 - 10)
    frames = [frame(packet) for packet in udp_packets(4, range(4))]
    run = replay.frames("outbound", association.toml("outbound"), frames, "--repeat", 5)
    assert run.exit == NOT_VERIFIED
    assert len(run.frames) == len(frames), "the written pass has numbers of its own"
    assert run.packets["out"] == 10
    assert run.packets["dropped"] == {"sequence_exhausted": run.packets["in"] - 10}


def test_a_run_of_some_duration_counts_whole_passes():
    report = report_of("--duration", 0.3)
    assert_consistent(report)
    passes, rest = divmod(report["packets"]["in"], len(BUNDLED_FRAMES))
    assert passes > 0 and rest == 0
    assert report["latency_ns"]["count"] == report["packets"]["in"]
    assert report["verified"] is True


def test_a_duration_is_filled_with_passes():
    # A pass of one packet takes microseconds: only one that took the whole time would leave this at 1.
    report = report_of("--driver", "null", "--generate", "64,packets=1", "--duration", 0.3)
    assert report["packets"]["in"] > 1


@pytest.mark.parametrize("options", [(), ("--repeat", "20"), ("--direction", "outbound", "--burst", "5")])
def test_another_reader_decodes_the_histogram_and_finds_the_same(tmp_path, options):
    path = tmp_path / "latency.hlog"
    report = report_of(*options, "--histogram", path)
    latency, log = report["latency_ns"], read_log(path)
    assert log.count == latency["count"] == report["packets"]["out"]
    assert log.shortest == pytest.approx(latency["min"], rel=RESOLUTION)
    assert log.longest == pytest.approx(latency["max"], rel=RESOLUTION)
    for name, quantile in {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}.items():
        assert log.is_quantile(quantile, latency[name]), (name, latency, log.buckets)


def test_ways_out_and_reasons_are_told_by_name(replay):
    run = replay.frames("outbound", CONFIG, FRAMES)
    assert run.exit == DONE
    out = {name: FATES.count(name) for name in FATES if name in WAYS_OUT}
    dropped = {name: FATES.count(name) for name in FATES if name not in WAYS_OUT}
    assert (run.packets["out_by"], run.packets["dropped"]) == (out, dropped)
    assert run.report["latency_ns"]["count"] == run.packets["out"] == sum(out.values())
    words = " ".join(run.stdout.split())
    assert "packets out 6 1 bypassed, 1 bypassed_non_ip, 4 protected" in words
    assert "dropped 2 1 no_policy, 1 policy_discard" in words


def test_a_round_trip_that_does_not_come_back_is_not_verified(replay):
    twin = ASSOCIATION.sa_toml("inbound").replace("under-test", "another-key")
    twin = twin.replace(ASSOCIATION.suite.authentication_key.hex(), "00" * ASSOCIATION.suite.integrity_key)
    frames = [frame(packet) for packet in udp_packets(4, [1, 2, 3])]
    run = replay.frames("roundtrip", ASSOCIATION.toml("outbound") + twin, frames)
    assert (run.exit, run.report["verified"]) == (NOT_VERIFIED, False)
    assert run.packets["dropped"] == {"integrity_failed": 3}
    assert "NOT verified" in run.stdout
    assert "3 missing" in run.stdout
