"""Runs the `esp-replay` binary as a user would, and reads back what it left: exit code, messages, report, capture.

Knows the tool's promises on the outside only: options, the JSON report, exit codes, messages.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from captures import ETHERNET, read_pcap, write_pcap

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("ESP_REPLAY") or ROOT / "target" / "release" / "esp-replay")
HANG_GUARD_SECONDS = 300
DONE, NOT_VERIFIED, BAD_USAGE = 0, 1, 2


@dataclass
class Run:
    """What one run left behind; `frames` is None where it wrote no capture, `report` where it wrote no JSON."""

    exit: int
    stdout: str
    stderr: str
    report: dict | None = None
    frames: list | None = None

    @property
    def packets(self):
        """The report's packet counts."""
        return self.report["packets"]

    @property
    def dropped(self):
        """How many packets were dropped, over all reasons."""
        return sum(self.packets["dropped"].values())

    def assert_accounted(self, packets_in):
        """in + made = out + dropped + absorbed + held, and `in` is what the capture holds."""
        counts = self.packets
        assert counts["in"] == packets_in
        absorbed = sum(counts["absorbed"].values())
        assert counts["in"] + counts["made"] == counts["out"] + self.dropped + absorbed + counts["held"], counts
        assert counts["held"] == 0, counts

    def assert_all_through(self, packets):
        """Exit 0, every packet in went out, and the capture holds as many."""
        assert self.exit == DONE, (self.exit, self.stderr, self.report and self.packets)
        self.assert_accounted(packets)
        assert self.packets["out"] == packets, self.packets
        assert self.dropped == 0, self.packets
        assert len(self.frames) == packets

    def assert_unharmed(self):
        """Whatever happened, it did not crash."""
        assert "panicked" not in self.stderr, self.stderr
        assert self.exit in (DONE, NOT_VERIFIED, BAD_USAGE), (self.exit, self.stderr)


def run_tool(*arguments):
    """One run with these arguments and nothing else."""
    command = [str(BINARY), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=HANG_GUARD_SECONDS
    )
    run = Run(done.returncode, done.stdout, done.stderr)
    run.assert_unharmed()
    return run


def write_config(path, text):
    """A configuration that only its owner can read, so that the tool has nothing to warn about."""
    path.write_text(text)
    path.chmod(0o600)
    return path


class Replay:
    """Runs the tool on frames, in one folder; each run has its own files there."""

    def __init__(self, folder):
        self.folder = folder
        self.runs = 0

    def config(self, text):
        """Writes a configuration and returns its path."""
        return write_config(self.folder / f"{self.runs}.toml", text)

    def frames(self, direction, config, frames, *options, link_type=ETHERNET, driver="software"):
        """Replays `frames` through a driver and reads its report and output."""
        self.runs += 1
        capture = write_pcap(self.folder / f"{self.runs}-in.pcap", frames, link_type)
        out, report = self.folder / f"{self.runs}-out.pcap", self.folder / f"{self.runs}.json"
        fixed = ("--config", self.config(config), "--direction", direction, "--driver", driver)
        run = run_tool(capture, *fixed, "--out", out, "--json", report, *options)
        assert report.exists(), f"no report; exit {run.exit}: {run.stderr}"
        run.report = json.loads(report.read_text())
        run.frames = read_pcap(out, link_type)
        assert run.report["schema"] == "sealane.replay/1"
        assert (run.report["direction"], run.report["driver"]) == (direction, driver)
        return run
