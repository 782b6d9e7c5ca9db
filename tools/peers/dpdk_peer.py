"""DPDK's side: what it needs on this machine, and one run of its `dpdk-test-crypto-perf`."""

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

PEER = "dpdk-test-crypto-perf"
PACKAGES = ["dpdk-dev", "librte-meta-crypto", "libdpdk-dev", "pkg-config", "gcc", "libc6-dev", "openssl"]
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
MOUNT = Path("/dev/hugepages")
PAGES = 400
MACHINE_LACKS = 3
CYCLES_COLUMN = 9
# A run is cut into as many slices as one of crypto-perf, whose figure is the median of them too.
SLICES = 9


def lacks(what):
    """Ends with one line: the machine has not what is needed."""
    print(f"error: {what}", file=sys.stderr)
    sys.exit(MACHINE_LACKS)


def has_everything():
    """Whether DPDK's tool is here, and what dpdk_preload.c is built with."""
    if not all(map(shutil.which, (PEER, "cc", "pkg-config", "openssl"))):
        return False
    return subprocess.run(["pkg-config", "--exists", "libdpdk"], check=False).returncode == 0


def install():
    """What is missing, from the distribution."""
    if has_everything():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        lacks(f"{PEER} or the headers of DPDK are not here; as root on Debian: apt-get install {' '.join(PACKAGES)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "-q", *command], env=environment, stdout=subprocess.DEVNULL, check=False)
    if not has_everything():
        lacks(f"{PEER} cannot be installed here: this distribution has no DPDK in {' or '.join(PACKAGES)}")


def build_preload(folder):
    """The library that gives DPDK's tool the working set and the input of crypto-perf."""
    source, library = Path(__file__).with_name("dpdk_preload.c"), Path(folder) / "dpdk_preload.so"
    flags = subprocess.run(["pkg-config", "--cflags", "libdpdk"], capture_output=True, text=True, check=True).stdout.split()
    command = ["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", *flags, "-o", library, source, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lacks(f"{source.name} cannot be built against this DPDK: {done.stderr.strip()[:500]}")
    return library


class HugePages:
    """Huge pages and a place where DPDK finds them, for as long as figures are taken."""

    def __enter__(self):
        if os.geteuid() != 0:
            lacks("huge pages for DPDK need root; run this as root")
        self.before = HUGE_PAGES.read_text()
        self.mounted = subprocess.run(["mountpoint", "-q", MOUNT], check=False).returncode != 0
        if int(self.before) < PAGES:
            HUGE_PAGES.write_text(str(PAGES))
        if self.mounted:
            MOUNT.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "hugetlbfs", "none", MOUNT], check=True)
        if int(HUGE_PAGES.read_text()) < PAGES:
            self.__exit__()
            lacks(f"there is not enough memory in one piece for {PAGES} huge pages; free some, or try after a restart")
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", MOUNT], check=False)
        HUGE_PAGES.write_text(self.before)


def hexadecimal(data):
    """Bytes as DPDK's files of vectors have them."""
    return ", ".join(f"0x{byte:02x}" for byte in data)


def vectors(suite, sizes, folder):
    """DPDK's file of test vectors, without which its tool does not know the tag to check: packets of zeros, and their tag."""
    zeros = bytes(max(sizes))
    parts = {"plaintext": zeros, "ciphertext": zeros, **suite.keys, "digest": suite.tag(sizes[0])}
    path = Path(folder) / "vectors.data"
    path.write_text("".join(f"{name} =\n{hexadecimal(data)}\n" for name, data in parts.items()))
    return path


class Peer:
    """DPDK's tool, on one core, in the working set of a case."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.preload = build_preload(folder)

    def environment(self, case, suite, sizes, check):
        """What the preloaded library is to do."""
        wanted = {"LD_PRELOAD": self.preload, "SEALANE_FIFO": 1, "SEALANE_SESSIONS": case["sessions"], "SEALANE_AEAD": int(suite.aead)}
        if len(sizes) > 1:
            wanted["SEALANE_SIZES"] = ",".join(map(str, sizes))
        if case["direction"] == "decrypt" and suite.tag:
            wanted["SEALANE_RESTORE"] = int(suite.deciphers)
            if len(sizes) > 1:
                tags = {size: suite.tag(size).hex() for size in set(sizes)}
                wanted["SEALANE_TAGS"] = ",".join(tags[size] for size in sizes)
        if check:
            wanted["SEALANE_CHECK"] = 1
        return os.environ | {name: str(value) for name, value in wanted.items()}

    def run(self, case, suite, device, operations, check=False):
        """One run: cycles for one operation, and how many operations failed."""
        sizes = suite.sizes(case["size"])
        command = [
            PEER, "-l", f"{self.options.main_core},{self.options.core}", "--in-memory", "--no-pci", "--no-telemetry",
            "--log-level", "lib.*:error", "--mbuf-pool-ops-name", "ring_sp_sc", "--vdev", device, "--", "--ptest", "throughput", "--silent",
            "--csv-friendly", "--devtype", device, *suite.both, *suite.ways[case["direction"]], "--buffer-sz", str(max(sizes)),
            "--burst-sz", ",".join([str(case["burst"])] * SLICES), "--total-ops", str(-(-operations // SLICES)),
            "--pool-sz", str(case["peer_pool"]),
        ]
        if case["direction"] == "decrypt" and suite.tag:
            command += ["--test-file", str(vectors(suite, sizes, self.folder))]
        environment = self.environment(case, suite, sizes, check)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        lines = [line.split(",") for line in done.stdout.splitlines()]
        slices = [words for words in lines if words[0].isdigit() and len(words) > CYCLES_COLUMN]
        if len(slices) != SLICES:
            return None, None, " ".join((done.stdout + done.stderr).split()[-30:])
        told = {words[0]: words[1:] for words in lines if words[0].startswith("#")}
        # The time that packets of zeros were put back in is not the driver's; crypto-perf does not count it either.
        untimed = int(told["#restoring"][0]) / (-(-operations // SLICES) * SLICES) if "#restoring" in told else 0
        failed = int(told["#finished"][2]) if "#finished" in told else 0
        return statistics.median(float(words[CYCLES_COLUMN]) for words in slices) - untimed, failed, ""
