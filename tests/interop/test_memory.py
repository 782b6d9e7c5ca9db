"""In which kind of pages packets lie: what the kernel has, the tool takes, and says so.

The judge is the kernel's own account of the process (`/proc/PID/smaps`), read while the tool runs.
"""

import ctypes
import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from esp_replay import BINARY, HANG_GUARD_SECONDS

RESERVED = Path("/proc/sys/vm/nr_hugepages")
COMPACT = Path("/proc/sys/vm/compact_memory")
TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PR_SET_THP_DISABLE = 41
ENOUGH_PAGES = 64

pytestmark = pytest.mark.usefixtures("tool")


@contextmanager
def reserved(pages):
    """So many huge pages in the kernel's reserve, or a skip where it will not give them."""
    before = RESERVED.read_text()
    try:
        RESERVED.write_text(str(pages))
    except OSError as error:
        pytest.skip(f"huge pages cannot be reserved: {error} (run as root)")
    try:
        if int(RESERVED.read_text()) < pages:
            # Free memory in small pieces is put together, and the kernel asked once more.
            COMPACT.write_text("1")
            RESERVED.write_text(str(pages))
        if int(RESERVED.read_text()) < pages:
            pytest.skip(f"memory is too fragmented for {pages} huge pages")
        yield
    finally:
        RESERVED.write_text(before)


def without_transparent_pages():
    """For the child, before it becomes the tool: the kernel makes it no huge pages."""
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def kernel_sees(process, name):
    """The largest figure of this name, in KiB, over the mappings of a running process, or 0."""
    try:
        text = Path(f"/proc/{process.pid}/smaps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return max((int(size) for size in re.findall(rf"^{name}: +(\d+) kB", text, re.MULTILINE)), default=0)


def run_and_look(name, prepare=None):
    """What the report says of the pages, and the largest mapping of this kind that the kernel showed meanwhile."""
    command = [str(BINARY), "--driver", "null", "--generate", "64", "--direction", "outbound"]
    command += ["--repeat", "20000", "--json", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=prepare)
    seen = 0
    while process.poll() is None:
        seen = max(seen, kernel_sees(process, name))
        time.sleep(0.002)
    out, _ = process.communicate(timeout=HANG_GUARD_SECONDS)
    assert process.returncode == 0
    return json.loads(out)["memory"], seen


def test_packets_lie_in_reserved_huge_pages_where_there_are_some():
    with reserved(ENOUGH_PAGES):
        memory, seen = run_and_look("Private_Hugetlb")
    assert (memory, seen > 0) == ("huge pages", True)


def test_without_a_reserve_packets_lie_in_transparent_huge_pages():
    if "[never]" in TRANSPARENT.read_text():
        pytest.skip("this kernel makes no transparent huge pages")
    with reserved(0):
        memory, seen = run_and_look("AnonHugePages")
    assert (memory, seen >= 2048) == ("transparent huge pages", True)


def test_without_either_packets_lie_in_plain_pages():
    with reserved(0):
        memory, seen = run_and_look("AnonHugePages", without_transparent_pages)
    assert (memory, seen) == ("plain pages", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the reserve")
def test_a_reserve_that_is_too_small_is_not_used():
    with reserved(1):
        memory, _ = run_and_look("Private_Hugetlb")
    assert memory != "huge pages"
