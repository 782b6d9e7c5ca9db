#!/usr/bin/env python3
"""Compares the list of obligations with the tests that ran: each test that a row names must have passed.

    check_obligations.py [--obligations FILE] [--rust FILE] [--python FILE]

A row that names tests is a claim. A test that failed, was skipped or ignored, or is not there at all, fails the
check, and so does a row that is not well formed. A row without tests claims nothing. Standard library
only (Python 3.11 or newer). Exit 0: all claims hold; 1: not.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

from results import PASSED, read_python, read_rust

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"id": str, "statement": str, "source": str, "tests": list}
OPTIONAL = {"tests"}
# A family, its row, and the clause of that row: OCF-3.migrates-live-sessions
ID = re.compile(r"(OCF|HW|PIPE|ESP|TOOL)-[1-9][0-9]*\.[a-z0-9]+(-[a-z0-9]+)*")


def main():
    """Reads, checks, prints; gives the exit code."""
    options = arguments()
    try:
        rows = tomllib.loads(options.obligations.read_text()).get("obligation", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        print(f"error: {options.obligations}: {error}", file=sys.stderr)
        return 1
    ended = read_rust(options.rust).statuses() | read_python(options.python).statuses()
    problems = form_problems(rows) + claim_problems(rows, ended)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(summary(rows, problems))
    return 1 if problems else 0


def arguments():
    """The files to read; the defaults are those of `tests/run`."""
    results = ROOT / "target" / "test-results"
    parser = argparse.ArgumentParser(description="Compares the list of obligations with the tests that ran.")
    parser.add_argument("--obligations", type=Path, default=ROOT / "tests" / "obligations.toml")
    parser.add_argument("--rust", type=Path, default=results / "rust.txt", help="what cargo test printed")
    parser.add_argument("--python", type=Path, default=results / "python.xml", help="the JUnit file of pytest")
    return parser.parse_args()


def form_problems(rows):
    """Rows with missing, unknown, empty or mistyped fields, and ids that are of no known form or not unique."""
    problems, seen = [], set()
    if not rows:
        problems.append("the list of obligations is empty")
    for number, row in enumerate(rows, start=1):
        label = row.get("id", f"row {number}")
        problems += [f"{label}: {text}" for text in field_problems(row)]
        if isinstance(row.get("id"), str) and not ID.fullmatch(row["id"]):
            problems.append(f"{label}: the id should look like OCF-3.some-clause (families OCF, HW, PIPE, ESP, TOOL)")
        if label in seen:
            problems.append(f"{label}: the id is used twice")
        seen.add(label)
    return problems


def field_problems(row):
    """What is wrong with the fields of one row."""
    problems = [f"unknown field `{name}`" for name in row if name not in FIELDS]
    for name, kind in FIELDS.items():
        if name not in row:
            if name not in OPTIONAL:
                problems.append(f"no field `{name}`")
        elif not isinstance(row[name], kind):
            problems.append(f"`{name}` is no {'list' if kind is list else 'text'}")
        elif kind is str and not row[name].strip():
            problems.append(f"`{name}` is empty")
    return problems


def claim_problems(rows, ended):
    """Claimed tests that did not pass."""
    problems = []
    for row in rows:
        for test in tests_of(row):
            status = ended.get(test, "not among the tests that ran")
            if status != PASSED:
                problems.append(f"{row.get('id')}: {test}: {status}")
    return problems


def tests_of(row):
    """The tests of a row, none where it claims nothing."""
    tests = row.get("tests", [])
    return tests if isinstance(tests, list) else []


def summary(rows, problems):
    """One line of counts."""
    claimed = sum(1 for row in rows if tests_of(row))
    return f"obligations: {len(rows)} listed, {claimed} claimed, {len(problems)} problems"


if __name__ == "__main__":
    sys.exit(main())
