#!/usr/bin/env python3
"""crypto-perf and DPDK's dpdk-test-crypto-perf in turn on one core: TSC cycles an operation, and their ratio.

    tools/peers/dpdk.py                                       everything (hours; it says how many before it starts)
    tools/peers/dpdk.py --suite aes128gcm16 --size 64,imix    a part
    tools/peers/dpdk.py --json FILE --svg FILE                the figures for other programs, and as a picture, written after every case
    tools/peers/dpdk.py --json FILE --resume --stop-after 60  the cases that FILE has not yet, for a minute

README.md beside this file tells what is compared, what is the same on both sides and what is not, and how to read the table.

Exit codes: 0 done; 2 bad usage; 3 the machine lacks what is needed (DPDK, root, huge pages); 4 stopped by --stop-after with cases left.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dpdk_peer import PEER, HugePages, Peer, install, lacks
from heat_table import picture
from suites import SUITES

ROOT = Path(__file__).resolve().parents[2]
LEFT = 4
SIZES = [64, 128, 256, 512, 1024, 1408, 2048, 8192, "imix"]
COLD = 16384
# Packets from here on fill the second-level cache by fewer than 64.
LARGE = 4096
PROBE_OPERATIONS = 10_000
# Times that DPDK's tool works through its pool at least, so that most of a run finds it as the last round left it.
PEER_ROUNDS = 2
# crypto-perf has a whole round in each of nine slices, and two before.
OUR_ROUNDS = 11
# For the estimate: a start of either tool, and cycles of an operation for a packet and for a byte.
START_SECONDS, PACKET_CYCLES, BYTE_CYCLES, USUAL_HZ = 0.6, 500, 3, 2.5e9
COLUMNS = ["suite", "direction", "size", "burst", "pool", "sessions"]


def pools(name, size):
    """Packets in memory on our side and on DPDK's. "hot" lies in a second-level cache of 512 KiB. DPDK's driver keeps packets back
    between bursts: a few of one size, and of the mix all that came after the longest one; its pool must have them besides a burst."""
    if name == "cold":
        return COLD, COLD
    if size == "imix":
        return 192, 192
    return (32, 48) if size >= LARGE else (64, 64)


class Comparison:
    """Measures cases; knows which of DPDK's drivers is the fastest for each."""

    def __init__(self, options, folder):
        self.options = options
        self.peer = Peer(options, folder)
        self.hz = 0

    def ours(self, case):
        """Our cycles for one operation, through the dispatcher."""
        suite, options = SUITES[case["suite"]], self.options
        done = self.run_ours(case, suite.ours)
        if done.returncode and suite.otherwise and "not supported" in done.stderr:
            done = self.run_ours(case, suite.otherwise)
        if done.returncode:
            lacks(f"{options.binary}: {case}: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        self.hz = report["tsc_hz"]
        return report["rows"][0]

    def run_ours(self, case, subject):
        """One run of crypto-perf."""
        suite, options = SUITES[case["suite"]], self.options
        command = [
            options.binary, "--test", "cycles", "--driver", options.driver, *subject, "--operation", suite.operations[case["direction"]],
            "--size", case["size"], "--burst", case["burst"], "--pool", case["packets"], "--sessions", case["sessions"],
            "--seconds", options.seconds, "--cores", options.core, "--json", "-",
        ]
        command += ["--level", options.level] if options.level else []
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    def probe(self, case):
        """The fastest of DPDK's drivers for a case, its cycles, and how many of its results were failures."""
        best, said = None, ""
        operations = max(PROBE_OPERATIONS, PEER_ROUNDS * case["peer_pool"])
        for device in SUITES[case["suite"]].devices:
            cycles, failed, words = self.peer.run(case, SUITES[case["suite"]], device, operations, check=True)
            said = words or said
            if cycles is not None and (best is None or cycles < best[1]):
                best = device, cycles, failed, operations
        if best is None:
            lacks(f"{PEER} gives no figure for {case}: {said}")
        return best

    def measure(self, case):
        """The medians of alternating pairs."""
        device, cycles, failed, checked = self.probe(case)
        row = self.ours(case)
        operations = int(max(PEER_ROUNDS * case["peer_pool"], self.options.seconds * self.hz / cycles))
        suite = SUITES[case["suite"]]

        def mine():
            return self.ours(case)["tsc_cycles_per_operation"]

        def theirs():
            cycles, _, said = self.peer.run(case, suite, device, operations)
            return cycles if cycles is not None else lacks(f"{PEER} gives no figure for {case}: {said}")

        pairs = []
        for turn in range(self.options.pairs):
            order = (mine, theirs) if turn % 2 == 0 else (theirs, mine)
            figures = {side: side() for side in order}
            pairs.append((figures[mine], figures[theirs]))
        ours, peer = (statistics.median(side) for side in zip(*pairs))
        return case | {
            "driver": row["driver"], "level": row["level"], "tsc_cycles": ours, "peer_device": device, "peer_tsc_cycles": peer,
            "ratio": statistics.median(theirs / ours for ours, theirs in pairs), "pairs": pairs,
            "peer_checked": checked, "peer_failed": failed,
        }


def line_of(row):
    """A row of the table."""
    words = f"{row['suite']:<16} {row['direction']:<8} {row['size']:>5} {row['burst']:>5} {row['pool']:>5} {row['sessions']:>8}"
    figures = f"{row['tsc_cycles']:>9.1f} {row['peer_tsc_cycles']:>9.1f} {row['ratio']:>6.2f}   {row['peer_device']}"
    many = row["peer_failed"] > row["peer_checked"] / 100
    wrong = f"   ({row['peer_failed']} of {row['peer_checked']} tags of DPDK's check run were not valid)" if many else ""
    return f"{words} {figures}{wrong}"


HEADING = (f"{'suite':<16} {'does':<8} {'size':>5} {'burst':>5} {'pool':>5} {'sessions':>8} {'ours':>9} {'DPDK':>9} {'ratio':>6}   "
           "TSC cycles an operation; ratio: how many times ours DPDK takes")


def words(kind, known=None):
    """A list with commas, of what is known."""

    def read(text):
        found = [kind(word) for word in text.split(",")]
        for one in found:
            if known and one not in known:
                raise argparse.ArgumentTypeError(f"{one} is unknown; use {', '.join(map(str, known))}")
        return found

    return read


def size(text):
    """Bytes, or the mix."""
    return text if text == "imix" else int(text)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=words(str, SUITES), default=list(SUITES), help=", ".join(SUITES))
    parser.add_argument("--direction", type=words(str, ["encrypt", "decrypt"]), default=["encrypt", "decrypt"],
                        help="encrypt, decrypt; of a MAC: generate, verify")
    parser.add_argument("--size", type=words(size), default=SIZES, help="bytes, or imix")
    parser.add_argument("--burst", type=words(int), default=[1, 32])
    parser.add_argument("--pool", type=words(str, ["hot", "cold"]), default=["hot", "cold"],
                        help=f"hot: packets that fit the second-level cache; cold: {COLD} of them")
    parser.add_argument("--sessions", type=words(int), default=[1, 32])
    parser.add_argument("--driver", default="multibuffer")
    parser.add_argument("--level", help="of our driver")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one run")
    parser.add_argument("--core", type=int, default=1, help="the core that is measured")
    parser.add_argument("--main-core", type=int, default=0, help="where DPDK's main thread waits, busily: another one")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/crypto-perf")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--resume", action="store_true", help="keep the rows that --json has, and measure the others")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="end then, with exit code 4 if cases are left")
    options = parser.parse_args()
    if options.resume and not options.json:
        parser.error("--resume needs --json, where the rows are kept")
    for suite in options.suite:
        block = SUITES[suite].block
        if any(one != "imix" and one % block for one in options.size):
            parser.error(f"--size: {suite} works on blocks of {block} bytes")
    return options


def cases_of(options):
    """All combinations."""
    for suite in options.suite:
        for direction in options.direction:
            for burst in options.burst:
                for pool in options.pool:
                    for sessions in options.sessions:
                        for one in options.size:
                            packets, peer_pool = pools(pool, one)
                            yield {"suite": suite, "direction": direction, "size": one, "burst": burst, "pool": pool,
                                   "sessions": sessions, "packets": packets, "peer_pool": peer_pool}


def place_of(row):
    """What tells a case from all others."""
    return tuple(row[column] for column in COLUMNS)


def write(rows, options):
    """All rows so far; a file is replaced as a whole, so that it is never half written."""
    if options.json:
        half = options.json.with_name(options.json.name + ".part")
        half.write_text(json.dumps({"schema": "sealane.peer/2", "peer": PEER, "rows": rows}, indent=1) + "\n")
        half.replace(options.json)
    if options.svg and rows:
        picture(rows, options.svg)


def span(seconds):
    """A time in words."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def estimate(cases, options):
    """Seconds that all cases take."""
    total = 0
    for case in cases:
        sizes = SUITES[case["suite"]].sizes(case["size"])
        cycles = PACKET_CYCLES + BYTE_CYCLES * sum(sizes) / len(sizes)
        mine = max(options.seconds, OUR_ROUNDS * case["packets"] * cycles / USUAL_HZ)
        theirs = max(options.seconds, PEER_ROUNDS * case["peer_pool"] * cycles / USUAL_HZ)
        total += (options.pairs + 1) * (mine + theirs + 2 * START_SECONDS)
    return total


def main():
    """Measures, prints, writes."""
    options = arguments()
    if not options.binary.exists():
        lacks(f"{options.binary} is not there; build it with: cargo build --release")
    rows = json.loads(options.json.read_text())["rows"] if options.resume and options.json.exists() else []
    done = set(map(place_of, rows))
    cases = [case for case in cases_of(options) if place_of(case) not in done]
    install()
    print(f"{len(cases)} cases of {options.pairs} pairs, about {span(estimate(cases, options))} where nothing else runs")
    print(HEADING, flush=True)
    start = time.monotonic()
    # A run that is told to end gives the huge pages back first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with HugePages(), tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(options, folder)
        for number, case in enumerate(cases):
            if options.stop_after is not None and time.monotonic() - start >= options.stop_after:
                print(f"{len(cases) - number} cases are left")
                return LEFT
            rows.append(comparison.measure(case))
            print(line_of(rows[-1]), flush=True)
            write(rows, options)
    write(rows, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
