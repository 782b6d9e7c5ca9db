"""The check of the obligations, judged on made-up result files: what passed counts, and nothing else does."""

import os
import subprocess
import sys

import pytest

from esp_replay import ROOT

RUST = """\
   Compiling crypto-pmd v0.1.0
     Running unittests src/lib.rs (target/debug/deps/crypto_pmd-0123456789abcdef)

running 4 tests
test session::tests::a_closed_session_is_wiped ... ok
test session::tests::a_card_that_is_gone ... FAILED
test session::tests::on_a_later_day ... ignored, needs a card
test session::tests::a_wrong_handle_panics - should panic ... ok

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

     Running tests/round_trip.rs (/elsewhere/debug/deps/round_trip-fedcba9876543210)

running 1 test
test packets_come_back ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests crypto_pmd

running 1 test
test crypto-pmd/src/session.rs - session::Session (line 12) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s
"""
PYTHON = """\
<?xml version="1.0"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.interop.test_outbound" name="test_lengths[aes128-sha1]"/>
<testcase classname="tests.interop.test_outbound" name="test_lengths[aes256-sha1]"/>
<testcase classname="test_outbound" name="test_wrap[a]"/>
<testcase classname="test_outbound" name="test_wrap[b]"><failure message="no"/></testcase>
<testcase classname="test_tshark" name="test_icv"><skipped message="tshark is not installed"/></testcase>
<testcase classname="test_tshark" name="test_setup"><error message="no"/></testcase>
</testsuite></testsuites>
"""


def row(*tests, name="OCF-7.wipes-keys", source="crypto(9), NAME"):
    """One obligation."""
    claimed = ", ".join(f'"{test}"' for test in tests)
    return f'[[obligation]]\nid = "{name}"\nstatement = "Keys go."\nsource = "{source}"\ntests = [{claimed}]\n'


@pytest.fixture
def results(tmp_path):
    """A folder with results of both sides."""
    (tmp_path / "rust.txt").write_text(RUST)
    (tmp_path / "python.xml").write_text(PYTHON)
    return tmp_path


def script(name, *arguments, ci="false"):
    """Runs one of the scripts in `tests`."""
    command = [sys.executable, str(ROOT / "tests" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CI": ci})


def check(results, obligations):
    """Checks this list against the results."""
    path = results / "obligations.toml"
    path.write_text(obligations)
    files = ("--obligations", path, "--rust", results / "rust.txt", "--python", results / "python.xml")
    return script("check_obligations.py", *files)


HELD_CLAIMS = [
    "crypto_pmd::session::tests::a_closed_session_is_wiped",
    "crypto_pmd::session::tests::a_wrong_handle_panics",
    "round_trip::packets_come_back",
    "test_outbound.py::test_lengths",
]
BROKEN_CLAIMS = {
    "crypto_pmd::session::tests::nobody_wrote_this": "not among the tests that ran",
    "crypto_pmd::session::tests::a_card_that_is_gone": "failed",
    "crypto_pmd::session::tests::on_a_later_day": "skipped",
    "round_trip::session::tests::a_closed_session_is_wiped": "not among the tests that ran",
    "test_outbound.py::test_wrap": "failed",
    "test_outbound.py::test_lengths[aes128-sha1]": "not among the tests that ran",
    "test_tshark.py::test_icv": "skipped",
    "test_tshark.py::test_setup": "failed",
}


def test_claims_whose_tests_passed_hold(results):
    done = check(results, row(*HELD_CLAIMS) + row(name="HW-13.c-interface"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "obligations: 2 listed, 1 claimed, 0 problems\n"


@pytest.mark.parametrize("test, status", BROKEN_CLAIMS.items())
def test_a_claim_whose_test_did_not_pass_is_named(results, test, status):
    done = check(results, row(HELD_CLAIMS[0], test))
    assert done.returncode == 1
    assert done.stderr == f"error: OCF-7.wipes-keys: {test}: {status}\n"


def test_one_name_with_two_results_counts_as_the_worse(results):
    passed = RUST.splitlines()[1:6]
    (results / "rust.txt").write_text(RUST + "\n".join(passed).replace("... FAILED", "... ok"))
    assert check(results, row("crypto_pmd::session::tests::a_card_that_is_gone")).returncode == 1


BAD_LISTS = {
    "no-rows": ("", "empty"),
    "one-id-twice": (row() + row(), "used twice"),
    "unknown-family": (row(name="AH-1.tunnel"), "AH-1.tunnel"),
    "no-clause": (row(name="OCF-7"), "OCF-7"),
    "no-number": (row(name="OCF-0.x"), "OCF-0.x"),
    "no-source": (row(source=" "), "`source` is empty"),
    "no-statement": (row().replace('statement = "Keys go."\n', ""), "no field `statement`"),
    "unknown-field": (row() + 'test = ["a::b"]\n', "unknown field `test`"),
    "tests-that-are-no-list": (row().replace("tests = []", 'tests = "a::b"'), "`tests` is no list"),
    "no-toml": ("[[obligation]", "obligations.toml"),
}


@pytest.mark.parametrize("obligations, message", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_malformed_list_is_refused(results, obligations, message):
    done = check(results, obligations)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_results_no_claim_holds(tmp_path):
    done = check(tmp_path, row(HELD_CLAIMS[0]))
    assert done.returncode == 1


PASSING_RUST = RUST.replace("FAILED", "ok").replace("2 passed; 1 failed", "3 passed; 0 failed")
CPU_SKIP = PASSING_RUST.replace("ignored, needs a card", "ignored, cpu: avx512 is missing")


@pytest.mark.parametrize(
    "rust, ci, code",
    [(PASSING_RUST, "false", 0), (PASSING_RUST, "true", 1), (CPU_SKIP, "true", 0), (RUST, "false", 1)],
    ids=["skip-at-home", "skip-in-ci", "cpu-skip-in-ci", "failure"],
)
def test_a_skip_is_a_failure_in_ci_unless_the_cpu_is_to_blame(tmp_path, rust, ci, code):
    (tmp_path / "rust.txt").write_text(rust)
    done = script("summarise.py", "--results", tmp_path, ci=ci)
    assert done.returncode == code, done.stdout


def test_the_totals_are_summed_over_both_sides(results):
    (results / "skips.txt").write_text("no virtual environment\n")
    done = script("summarise.py", "--results", results, "--skips", results / "skips.txt")
    assert done.stdout.splitlines()[-1] == "7 passed, 3 failed, 3 skipped"
    for reason in ("no virtual environment", "tshark is not installed", "needs a card"):
        assert reason in done.stdout


def test_a_failed_step_without_failed_tests_still_counts(tmp_path):
    done = script("summarise.py", "--results", tmp_path, "--failed-step", "cargo clippy")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"
