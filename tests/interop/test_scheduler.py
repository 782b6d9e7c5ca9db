"""`esp-replay --driver scheduler`: several drivers as one, by each policy, on the way out, in, and there and back."""

import json

import pytest

from associations import EVERY_ASSOCIATION, SWEPT_SUITE, Association
from esp_replay import BAD_USAGE, DONE, run_tool
from packets import frame, udp_packets, unframe
from scapy_peer import ScapyPeer
from test_outbound import assert_outer_headers, assert_scapy_opens

pytestmark = pytest.mark.usefixtures("tool")

POLICIES = ["round-robin", "packet-size:300", "queue-depth", "failover"]
KERNELS = ("portable", "sse", "avx2", "avx512")
LENGTHS = [0, 1, 64, 200, 300, 700, 1200] * 20


def report_of(*options):
    """The report of a run that went well."""
    run = run_tool("--driver", "scheduler", *options, "--json", "-")
    assert run.exit == DONE, (options, run.stderr)
    return json.loads(run.stdout)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("children", [None, "software", "software,multibuffer,software"])
@pytest.mark.parametrize("cores", [(), ("--cores", "0,1", "--layout", "pipelined")], ids=["one-core", "pipelined"])
def test_a_round_trip_is_verified_by_each_policy(policy, children, cores):
    given = ("--children", children) if children else ()
    report = report_of("--policy", policy, *given, *cores, "--generate", "imix,flows=16")
    assert (report["driver"], report["verified"]) == ("scheduler", True)
    assert report["level"] in (("portable",) if children == "software" else KERNELS)
    assert report["packets"]["out"] == report["packets"]["in"] > 0


def test_the_level_is_that_of_the_child_with_kernels():
    assert report_of("--level", "portable", "--hold", "0")["level"] == "portable"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("association", EVERY_ASSOCIATION[:4], ids=str)
def test_scapy_opens_what_a_scheduler_seals(replay, association, policy):
    packets = udp_packets(association.inner, LENGTHS)
    frames = [frame(packet) for packet in packets]
    run = replay.frames("outbound", association.toml("outbound"), frames, "--policy", policy, driver="scheduler")
    run.assert_all_through(len(packets))
    sealed = [unframe(each) for each in run.frames]
    assert_outer_headers(association, sealed)
    assert_scapy_opens(association, packets, sealed)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_scheduler_opens_what_scapy_seals(replay, policy):
    association = Association(SWEPT_SUITE)
    packets = udp_packets(association.inner, LENGTHS)
    peer = ScapyPeer(association)
    frames = [frame(peer.seal(packet)) for packet in packets]
    run = replay.frames("inbound", association.toml("inbound"), frames, "--policy", policy, driver="scheduler")
    run.assert_all_through(len(packets))
    assert [unframe(each) for each in run.frames] == packets
    assert run.report["verified"] is True


@pytest.mark.parametrize(
    "options, said",
    [
        (("--children", "software"), "--children: only --driver scheduler has children"),
        (("--policy", "failover"), "--policy: only --driver scheduler has children"),
        (("--driver", "scheduler", "--children", "multibuffer,nic"), "--children nic is not implemented yet"),
        (("--driver", "scheduler", "--children", "auto"), "'auto' for '--children <LIST>'"),
        (("--driver", "scheduler", "--children", "null,software"), "'null' for '--children <LIST>'"),
        (("--driver", "scheduler", "--children", ",".join(["software"] * 9)), "a scheduler has 8 at most"),
        (("--driver", "scheduler", "--policy", "fastest"), 'give "round-robin", "packet-size:BYTES"'),
        (("--driver", "scheduler", "--policy", "packet-size:many"), '"many" is no number of bytes'),
        (("--driver", "scheduler", "--children", "software", "--hold", "8"), "--hold 8: only --driver multibuffer"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(options, said):
    run = run_tool(*options)
    assert (run.exit, run.stdout) == (BAD_USAGE, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: ") and said in line, line
