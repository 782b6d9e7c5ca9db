"""Several cores, both layouts, and packets on a schedule, as a person meets them on the command line."""

import json
import os

import pytest

from captures import read_pcap, write_pcap
from esp_replay import DONE, ROOT, run_tool
from packets import frame, udp_packets


CAPTURE = ROOT / "pcaps" / "mixed.pcap"
LAYOUTS = ["run-to-completion", "pipelined"]
ROLES = {
    ("run-to-completion", 2): ["all", "all"],
    ("run-to-completion", 4): ["all"] * 4,
    ("pipelined", 1): ["all"],
    ("pipelined", 2): ["front", "crypto"],
    ("pipelined", 3): ["front", "crypto", "crypto"],
    ("pipelined", 4): ["rx", "owner", "crypto", "tx"],
    ("pipelined", 5): ["rx", "owner", "crypto", "crypto", "tx"],
}

pytestmark = pytest.mark.usefixtures("tool")


def more_than_there_are(count):
    """A list of that many processors that begins with those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    beyond = range(max(allowed) + 1, max(allowed) + 1 + count)
    return (allowed + list(beyond))[:count]


def cores_option(count):
    return ",".join(map(str, more_than_there_are(count)))


def report_of(*options):
    run = run_tool(*options, "--json", "-")
    assert run.exit == DONE, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("layout, count", ROLES)
def test_each_core_has_its_row_and_its_role(layout, count):
    report = report_of(CAPTURE, "--layout", layout, "--cores", cores_option(count))
    assert report["verified"] is True
    assert (report["layout"], report["cores"]) == (layout, more_than_there_are(count))
    assert [core["role"] for core in report["lcores"]] == ROLES[layout, count]
    there = os.sched_getaffinity(0)
    assert [core["pinned"] for core in report["lcores"]] == [core in there for core in more_than_there_are(count)]
    senders = [core for core in report["lcores"] if core["role"] in ("all", "front", "tx")]
    assert sum(core["packets_out"] for core in senders) == report["packets"]["out"]
    assert sum(core["latency_ns"]["count"] for core in senders) == report["latency_ns"]["count"]
    assert all(core["latency_ns"] is None for core in report["lcores"] if core not in senders)
    assert set(report["stage_latency_ns"]) == {"esp_out", "esp_in"}
    for latency in report["stage_latency_ns"].values():
        # A sample of the packets, each of which stayed in the stage for some time, and no longer than the run took.
        assert 0 < latency["count"] <= report["packets"]["in"]
        assert 0 < latency["min"] <= latency["p50"] <= latency["max"] <= report["seconds"] * 1e9 * 1.01
    for name in ("busy", "idle", "stalled"):
        assert report["turns"][name] == sum(core["turns"][name] for core in report["lcores"])


def by_flow(frames):
    """The whole packets of TCP and UDP by addresses and ports, in their order, and the rest sorted."""
    flows, rest = {}, []
    for each in frames:
        protocol = None
        if each[12:14] == b"\x08\x00" and int.from_bytes(each[20:22], "big") & 0x3FFF == 0:
            protocol, addresses, start = each[23], each[26:34], 14 + each[14] % 16 * 4
        elif each[12:14] == b"\x86\xdd":
            protocol, addresses, start = each[20], each[22:54], 54
        if protocol in (6, 17):
            flows.setdefault((protocol, addresses, each[start : start + 4]), []).append(each)
        else:
            rest.append(each)
    return flows, sorted(rest)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [2, 4])
def test_what_several_cores_write_is_the_capture(tmp_path, layout, count):
    """One core that sends keeps the order of the capture; several keep that of each flow."""
    out = tmp_path / "out.pcap"
    run = run_tool(CAPTURE, "--layout", layout, "--cores", cores_option(count), "--out", out)
    assert run.exit == DONE, run.stderr
    before, after = read_pcap(CAPTURE), read_pcap(out)
    assert len(by_flow(before)[0]) > 20
    assert by_flow(after) == by_flow(before)
    if layout == "pipelined":
        assert after == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [2, 4])
def test_what_several_cores_seal_keeps_the_order_of_each_sa(tmp_path, layout, count):
    """Sequence numbers rise in the file, SPI by SPI."""
    out = tmp_path / "out.pcap"
    options = ("--direction", "outbound", "--layout", layout, "--cores", cores_option(count), "--out", out)
    run = run_tool(CAPTURE, *options)
    assert run.exit == DONE, run.stderr
    numbers = {}
    for each in read_pcap(out):
        if each[12:14] == b"\x08\x00" and each[23] == 50:
            esp = each[14 + each[14] % 16 * 4 :]
            numbers.setdefault(esp[:4], []).append(int.from_bytes(esp[4:8], "big"))
    assert len(numbers) >= 2
    assert all(of_sa == list(range(1, len(of_sa) + 1)) for of_sa in numbers.values()), numbers


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_one_core_seals_several_open_and_the_other_way_round(tmp_path, layout):
    config = tmp_path / "both.toml"
    text = (ROOT / "pcaps" / "default.toml").read_text()
    config.write_text(text + text.replace("outbound", "inbound").replace('name = "', 'name = "in-').replace('sa = "', 'sa = "in-'))
    for seal, opened in (("1", "3"), ("3", "1")):
        sealed, plain = tmp_path / f"{seal}.pcap", tmp_path / f"plain{seal}.pcap"
        usual = ("--config", config, "--layout", layout)
        out = run_tool(CAPTURE, *usual, "--direction", "outbound", "--cores", cores_option(int(seal)), "--out", sealed)
        assert out.exit == DONE, out.stderr
        back = run_tool(sealed, *usual, "--direction", "inbound", "--cores", cores_option(int(opened)), "--out", plain)
        assert back.exit == DONE, back.stderr
        assert sorted(read_pcap(plain)) == sorted(read_pcap(CAPTURE))


def test_a_table_for_several_cores_has_a_row_for_each():
    run = run_tool(CAPTURE, "--layout", "pipelined", "--cores", cores_option(3))
    rows = [line.split() for line in run.stdout.splitlines()]
    assert [row[1] for row in rows if len(row) == 8 and row[1] in ("front", "crypto")] == ["front", "crypto", "crypto"]
    assert max(map(len, run.stdout.splitlines())) <= 100


@pytest.mark.parametrize("idle", ["spin", "pause", "sleep"])
def test_every_way_of_waiting_brings_everything_through(idle):
    report = report_of(CAPTURE, "--layout", "pipelined", "--cores", cores_option(2), "--idle", idle)
    assert report["verified"] is True


@pytest.mark.parametrize("layout, count", [("run-to-completion", 1), ("run-to-completion", 2), ("pipelined", 2)])
def test_at_a_rate_packets_are_let_in_no_faster(layout, count):
    """The schedule is a lower bound for the time that a run takes, however slow the machine is."""
    rate, packets = 20_000, 2_000
    usual = ("--generate", f"64,flows=8,packets={packets}", "--layout", layout, "--cores", cores_option(count))
    report = report_of(*usual, "--rate", rate, "--repeat", 2)
    assert report["latency_kind"] == "open_loop"
    assert report["packets"]["in"] == report["packets"]["out"] == 2 * packets
    assert report["latency_ns"]["count"] == 2 * packets
    assert report["seconds"] >= (2 * packets - 64) / rate


@pytest.mark.parametrize("layout, count", [("run-to-completion", 1), ("run-to-completion", 2), ("pipelined", 2)])
def test_as_recorded_a_pass_takes_as_long_as_the_recording(tmp_path, layout, count):
    packets, apart = 150, 2_000
    capture = write_pcap(tmp_path / "slow.pcap", [frame(packet) for packet in udp_packets(4, [40] * packets)], apart=apart)
    report = report_of(capture, "--rate", "recorded", "--layout", layout, "--cores", cores_option(count))
    assert (report["latency_kind"], report["verified"]) == ("open_loop", True)
    assert report["latency_ns"]["count"] == packets
    # The clock starts with the first packet, which comes late where the core was kept from starting; without the schedule all take a millisecond.
    assert report["seconds"] >= (packets - 1) * apart / 1e6 / 2


def test_without_a_schedule_latency_is_residence():
    assert report_of(CAPTURE)["latency_kind"] == "residence"
