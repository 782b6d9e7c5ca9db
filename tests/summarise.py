#!/usr/bin/env python3
"""The end of a test run: what was skipped and why, then the totals over Rust and Python on one line.

    summarise.py --results FOLDER [--skips FILE] [--failed-step NAME]

`--skips` has a reason per line for what the calling script itself left out. A failed step that is no failed test
(a lint, a build) counts as one failure, so that the totals never look better than the run was. Exit 0: nothing
failed and, where the environment says CI=true, nothing was skipped but for a CPU feature that this machine lacks
(reasons that start with `cpu:`).
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from results import lines_of, read_python, read_rust

ALLOWED_IN_CI = "cpu:"


def main():
    """Prints the summary; gives the exit code."""
    options = arguments()
    sides = [read_rust(options.results / "rust.txt"), read_python(options.results / "python.xml")]
    own_skips = lines_of(options.skips) if options.skips else []
    reasons = Counter(own_skips)
    for side in sides:
        reasons.update(f"{skip.reason or 'no reason given'} ({skip.name})" for skip in side.skips())
    passed, failed = (sum(getattr(side, kind) for side in sides) for kind in ("passed", "failed"))
    skipped = sum(side.skipped for side in sides) + len(own_skips)
    if options.failed_step:
        failed = max(failed, 1)
        print(f"\nFAILED: {options.failed_step}")
    refused = print_skips(reasons)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or refused else 0


def arguments():
    """Where the results are."""
    parser = argparse.ArgumentParser(description="Prints what was skipped and the totals of a test run.")
    parser.add_argument("--results", type=Path, required=True, help="folder with rust.txt and python.xml")
    parser.add_argument("--skips", type=Path, help="reasons of what the script itself left out, one per line")
    parser.add_argument("--failed-step", help="the step at which the run stopped")
    return parser.parse_args()


def print_skips(reasons):
    """Lists the skips, and tells whether CI refuses any of them."""
    in_ci = os.environ.get("CI") == "true"
    refused = {reason for reason in reasons if in_ci and not reason.startswith(ALLOWED_IN_CI)}
    if reasons:
        print("\nSkipped:")
    for reason, count in sorted(reasons.items()):
        times = f" [{count} times]" if count > 1 else ""
        print(f"  {reason}{times}{' - a failure, since CI=true' if reason in refused else ''}")
    return refused


if __name__ == "__main__":
    sys.exit(main())
