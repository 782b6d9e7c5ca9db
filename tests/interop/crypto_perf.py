"""Runs the `crypto-perf` binary as a user would, and reads back exit code, messages and report.

Knows the tool's promises on the outside only. Seconds are tiny, so that nothing here takes any; no figure is judged by its size.
"""

import json
import os
import subprocess
from pathlib import Path

from esp_replay import HANG_GUARD_SECONDS, Run

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("CRYPTO_PERF") or ROOT / "target" / "release" / "crypto-perf")
DONE, BAD_RESULT, BAD_USAGE, MACHINE_LACKS = range(4)
TINY = ("--seconds", "0.0001", "--pool", "64")


def run_perf(*arguments, **streams):
    """One run with these arguments and nothing else."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [str(BINARY), *map(str, arguments)]
    done = subprocess.run(command, text=True, errors="replace", timeout=HANG_GUARD_SECONDS, **given)
    run = Run(done.returncode, done.stdout, done.stderr)
    assert "panicked" not in (run.stderr or ""), run.stderr
    assert run.exit in (DONE, BAD_RESULT, BAD_USAGE, MACHINE_LACKS), (run.exit, run.stderr)
    return run


def report_of(*arguments, tiny=TINY):
    """The JSON report of a run that went well."""
    run = run_perf(*tiny, *arguments, "--json", "-")
    assert run.exit == DONE, (arguments, run.stderr)
    return json.loads(run.stdout)


def refusal_of(*arguments):
    """The one line of a run that was refused as bad usage."""
    run = run_perf(*arguments)
    assert (run.exit, run.stdout) == (BAD_USAGE, ""), (arguments, run.stderr)
    lines = [line for line in run.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), run.stderr
    return lines[0]
