"""What the interop tests share: the tool under test and its peers, or a clear skip where one is missing."""

import shutil

import pytest

import crypto_perf
from esp_replay import BINARY, Replay


@pytest.fixture
def tool():
    """Skips where the tool is not built; for tests that run it by hand."""
    if not BINARY.is_file():
        pytest.skip(f"esp-replay is not built: {BINARY} (run: cargo build --release, or set ESP_REPLAY)")


@pytest.fixture
def perf():
    """Skips where `crypto-perf` is not built."""
    if not crypto_perf.BINARY.is_file():
        pytest.skip(f"crypto-perf is not built: {crypto_perf.BINARY} (run: cargo build --release, or set CRYPTO_PERF)")


@pytest.fixture
def replay(tool, tmp_path):
    """Runs the tool on frames in a fresh folder."""
    return Replay(tmp_path)


@pytest.fixture
def tshark():
    """The path of tshark."""
    path = shutil.which("tshark")
    if path is None:
        pytest.skip("tshark is not installed (Debian: apt-get install tshark)")
    return path
