"""`tools/peers` without its peer: the tags that DPDK is to check, the cases, the picture, and a machine that lacks DPDK."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

PEERS = Path(__file__).resolve().parents[2] / "tools" / "peers"
sys.path.insert(0, str(PEERS))

import dpdk  # noqa: E402
from dpdk_peer import MACHINE_LACKS  # noqa: E402
from heat_table import picture  # noqa: E402
from suites import AAD_LEN, SUITES  # noqa: E402

AEADS = [("aes128gcm16", AESGCM), ("aes256gcm16", AESGCM), ("chacha20poly1305", ChaCha20Poly1305)]


@pytest.mark.parametrize("name, judge", AEADS, ids=[name for name, _ in AEADS])
@pytest.mark.parametrize("size", [1, 16, 40, 64, 1408, 1500])
def test_the_tags_of_zeros_are_genuine(name, judge, size):
    suite = SUITES[name]
    sealed = bytes(size) + suite.tag(size)
    opened = judge(suite.keys["aead_key"]).decrypt(suite.keys["aead_iv"], sealed, suite.keys["aad"])
    assert len(opened) == size and suite.keys["aad"] == bytes(AAD_LEN)


def options_of(monkeypatch, *arguments):
    """The options of a command line."""
    monkeypatch.setattr(sys, "argv", ["dpdk.py", *arguments])
    return dpdk.arguments()


def test_every_case_is_there_once(monkeypatch):
    cases = list(dpdk.cases_of(options_of(monkeypatch)))
    assert len({dpdk.place_of(case) for case in cases}) == len(cases) == len(SUITES) * 2 * 2 * 2 * 2 * 9
    for case in cases:
        assert case["packets"] >= case["burst"] and case["packets"] >= case["sessions"]
        assert case["peer_pool"] >= case["packets"]


def test_the_estimate_grows_with_cases_and_pairs(monkeypatch):
    few = options_of(monkeypatch, "--suite", "aes128gcm16", "--pairs", "1")
    many = options_of(monkeypatch, "--suite", "aes128gcm16")
    assert 0 < dpdk.estimate(list(dpdk.cases_of(few)), few) < dpdk.estimate(list(dpdk.cases_of(many)), many)


def row(**changes):
    """A measured case."""
    plain = {"suite": "aes128gcm16", "direction": "encrypt", "size": 64, "burst": 32, "pool": "hot", "sessions": 1, "ratio": 1.5}
    return plain | changes


def test_the_picture_has_a_line_for_each_combination_and_a_bar_for_each_size(tmp_path):
    path = tmp_path / "peer.svg"
    picture([row(), row(size="imix", ratio=0.5), row(size=1408), row(burst=1)], path)
    words = [element.text for element in ElementTree.parse(path).iter() if element.tag.endswith("text")]
    assert words.count("aes128gcm16 encrypt, burst 32, hot, sessions 1") == 1
    assert words.count("aes128gcm16 encrypt, burst 1, hot, sessions 1") == 1
    assert words.count("1.50") == 3 and words.count("0.50") == 1
    assert words[1:4] == ["64 B", "1408 B", "imix"]


def test_rows_are_kept_for_a_run_that_goes_on(monkeypatch, tmp_path):
    path = tmp_path / "peer.json"
    options = options_of(monkeypatch, "--json", str(path))
    dpdk.write([row(), row(size=1408)], options)
    kept = json.loads(path.read_text())
    assert (kept["schema"], [one["size"] for one in kept["rows"]]) == ("sealane.peer/2", [64, 1408])
    assert [entry.name for entry in tmp_path.iterdir()] == ["peer.json"]


def test_a_machine_without_dpdk_gets_one_clear_line(tmp_path):
    environment = {"PATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, PEERS / "dpdk.py", "--binary", sys.executable]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (MACHINE_LACKS, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: dpdk-test-crypto-perf") and "apt-get install dpdk-dev" in line


@pytest.mark.parametrize("arguments, said", [
    (("--suite", "aes512"), "aes512 is unknown; use aes128-sha1"),
    (("--suite", "aes128-sha1", "--size", "100"), "aes128-sha1 works on blocks of 16 bytes"),
    (("--resume",), "--resume needs --json"),
])
def test_what_does_not_go_is_refused(arguments, said):
    command = [sys.executable, PEERS / "dpdk.py", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stderr
