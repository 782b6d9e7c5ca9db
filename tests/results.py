"""What a test run reported: the text that `cargo test` printed and the JUnit file that pytest wrote, as named results.

Results that cannot be told apart (the same test under two crates of one name) count as the worst of them.
Standard library only; decides nothing about what the results mean.
"""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"
WORST_FIRST = [FAILED, SKIPPED, PASSED]

ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# cargo's headline of a test program: `Running unittests src/lib.rs (target/debug/deps/pipeline-0123456789abcdef)`
PROGRAM = re.compile(r"^\s*Running .*[(].*?([^/\\(]+)-[0-9a-f]{16}(?:\.exe)?[)]\s*$")
DOC_TESTS = re.compile(r"^\s*Doc-tests (\S+)\s*$")
RUST_TEST = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)(?:, (.*))?$")
RUST_STATUS = {"ok": PASSED, "FAILED": FAILED, "ignored": SKIPPED}
RUST_TOTALS = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")


@dataclass(frozen=True)
class Result:
    """One test: `crate::path::name` or `file.py::name`, how it ended, and the reason of a skip."""

    name: str
    status: str
    reason: str = ""


@dataclass
class Report:
    """The results of one side, with its totals as the test runner itself counted them."""

    results: list
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def statuses(self):
        """The status of each name; where a name has several results, the worst."""
        worst = {}
        for result in self.results:
            known = worst.get(result.name, PASSED)
            worst[result.name] = min(known, result.status, key=WORST_FIRST.index)
        return worst

    def skips(self):
        """The results that did not run."""
        return [result for result in self.results if result.status == SKIPPED]


def read_rust(path):
    """Reads what `cargo test` printed on both of its streams; a missing file is an empty report."""
    report, crate = Report([]), None
    for raw in lines_of(path):
        line = ANSI_COLOUR.sub("", raw)
        if found := PROGRAM.match(line):
            crate = found[1].replace("-", "_")
        elif found := DOC_TESTS.match(line):
            crate = f"doc {found[1]}"
        elif found := RUST_TEST.match(line):
            report.results.append(Result(f"{crate}::{found[1]}", RUST_STATUS[found[2]], found[3] or ""))
        elif found := RUST_TOTALS.match(line):
            report.passed += int(found[1])
            report.failed += int(found[2])
            report.skipped += int(found[3])
    return report


def lines_of(path):
    """The lines of a file, or none where there is no file."""
    path = Path(path)
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def read_python(path):
    """Reads pytest's JUnit file; a missing file is an empty report."""
    report = Report([])
    if not Path(path).exists():
        return report
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        result = python_result(case)
        report.results.append(result)
        setattr(report, result.status, getattr(report, result.status) + 1)
    return report


def python_result(case):
    """One `testcase` element. The parameters go, so that all runs of a test bear one name."""
    modules = [part for part in case.get("classname", "").split(".") if part.startswith("test_")]
    function = case.get("name", "").split("[")[0]
    name = f"{modules[-1] if modules else case.get('classname')}.py::{function}"
    if case.find("failure") is not None or case.find("error") is not None:
        return Result(name, FAILED)
    skipped = case.find("skipped")
    if skipped is not None:
        return Result(name, SKIPPED, skipped.get("message", ""))
    return Result(name, PASSED)
