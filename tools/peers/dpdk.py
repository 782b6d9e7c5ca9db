#!/usr/bin/env python3
"""crypto-perf and DPDK's dpdk-test-crypto-perf in turn on one core: TSC cycles an operation, and their ratio.

    tools/peers/dpdk.py                                       everything (about half an hour)
    tools/peers/dpdk.py --suite aes128gcm16 --size 64,1408    a part
    tools/peers/dpdk.py --json FILE --svg FILE                the figures for other programs, and as a picture

Each figure is the median of alternating pairs of runs (7 unless --pairs says otherwise), with packets that are in the cache on both sides.
Needs root: it installs Debian's `dpdk-dev` and the crypto drivers, reserves 512 huge pages for the run and gives them back. Without DPDK it says so in one line and ends with 3. DPDK's main core waits busily, so it gets another core than the one that is measured.
DPDK's packets hold nothing but the payload; ours have the layout of ESP. Decryption on DPDK's side works on bytes that are not genuine after the first
round: it computes all the same, and counts them as failed.
"""

import argparse
import hmac
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PEER = "dpdk-test-crypto-perf"
PACKAGES = ["dpdk-dev", "librte-meta-crypto"]
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
MOUNT = Path("/dev/hugepages")
MACHINE_LACKS = 3
SIZES = [64, 128, 256, 512, 1024, 1408, 2048, 8192]
# DPDK's pools hand out last what was given back last, so that a run touches hardly more packets than are under way, whatever the pool's size; the
# least that its tool takes is this.
PEER_POOL = 1024
POOLS = [64]


def chain(key_bytes, hash_name, hash_key, tag):
    """AES-CBC with an HMAC, as DPDK's options; the order is given by the operation."""
    return {
        "device": "crypto_aesni_mb",
        "encrypt": ["--optype", "cipher-then-auth", "--cipher-op", "encrypt", "--auth-op", "generate"],
        "decrypt": ["--optype", "auth-then-cipher", "--cipher-op", "decrypt", "--auth-op", "verify"],
        "both": ["--cipher-algo", "aes-cbc", "--cipher-key-sz", str(key_bytes), "--cipher-iv-sz", "16",
                 "--auth-algo", f"{hash_name}-hmac", "--auth-key-sz", str(hash_key), "--digest-sz", str(tag)],
    }


def aead(device, name, key_bytes):
    """An AEAD with the associated data of ESP, as DPDK's options."""
    return {
        "device": device,
        "encrypt": ["--aead-op", "encrypt"],
        "decrypt": ["--aead-op", "decrypt"],
        "both": ["--optype", "aead", "--aead-algo", name, "--aead-key-sz", str(key_bytes), "--aead-iv-sz", "12",
                 "--aead-aad-sz", "8", "--digest-sz", "16"],
    }


SUITES = {
    "aes128-sha1": chain(16, "sha1", 20, 12),
    "aes256-sha256": chain(32, "sha2-256", 32, 16),
    "aes128gcm16": aead("crypto_aesni_gcm", "aes-gcm", 16),
    "aes256gcm16": aead("crypto_aesni_gcm", "aes-gcm", 32),
}


def lacks(what):
    """Ends with one line: the machine has not what is needed."""
    print(f"error: {what}", file=sys.stderr)
    sys.exit(MACHINE_LACKS)


def install():
    """DPDK's tool, from the distribution where it is not there yet."""
    if shutil.which(PEER):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        lacks(f"{PEER} is not here; as root on Debian: apt-get install {' '.join(PACKAGES)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "-q", *command], env=environment, stdout=subprocess.DEVNULL, check=False)
    if not shutil.which(PEER):
        lacks(f"{PEER} cannot be installed here: this distribution has no DPDK in {' or '.join(PACKAGES)}")


class HugePages:
    """512 huge pages and a place where DPDK finds them, for as long as the figures are taken."""

    def __enter__(self):
        if os.geteuid() != 0:
            lacks("huge pages for DPDK need root; run this as root")
        self.before = HUGE_PAGES.read_text()
        self.mounted = subprocess.run(["mountpoint", "-q", MOUNT], check=False).returncode != 0
        if int(self.before) < 512:
            HUGE_PAGES.write_text("512")
        if self.mounted:
            MOUNT.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "hugetlbfs", "none", MOUNT], check=True)
        if int(HUGE_PAGES.read_text()) < 400:
            self.__exit__()
            lacks("there is not enough memory in one piece for 512 huge pages; free some, or try after a restart")
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", MOUNT], check=False)
        HUGE_PAGES.write_text(self.before)


def vectors(case, suite, folder):
    """DPDK's file of test vectors, without which its tool checks no HMAC: one packet, encrypted by OpenSSL, its tag by Python's hmac."""
    value = dict(zip(suite["both"][::2], suite["both"][1::2]))
    key, iv, auth_key = bytes(range(int(value["--cipher-key-sz"]))), bytes(range(100, 116)), bytes(range(int(value["--auth-key-sz"])))
    plain = bytes(n * 7 & 255 for n in range(case["size"]))
    bits = 8 * len(key)
    command = ["openssl", "enc", f"-aes-{bits}-cbc", "-nopad", "-K", key.hex(), "-iv", iv.hex()]
    sealed = subprocess.run(command, input=plain, capture_output=True, check=True).stdout
    digest = {"sha1-hmac": "sha1", "sha2-256-hmac": "sha256"}[value["--auth-algo"]]
    tag = hmac.new(auth_key, sealed, digest).digest()[: int(value["--digest-sz"])]
    parts = {"plaintext": plain, "ciphertext": sealed, "cipher_key": key, "auth_key": auth_key, "cipher_iv": iv, "digest": tag}
    lines = [f"{name} =\n{', '.join(f'0x{byte:02x}' for byte in data)}\n" for name, data in parts.items()]
    path = Path(folder) / "vectors.data"
    path.write_text("".join(lines))
    return path


def theirs(case, options):
    """DPDK's cycles for one operation."""
    with tempfile.TemporaryDirectory() as folder:
        return run_peer(case, options, folder)


def run_peer(case, options, folder):
    """One run of DPDK's tool."""
    suite = SUITES[case["suite"]]
    operations = max(100_000, int(options.seconds * 3e9 / (200 + 2 * case["size"])))
    command = [
        PEER, "-l", f"{options.main_core},{options.core}", "--no-pci", "--no-telemetry", "--log-level", "lib.*:error",
        "--vdev", suite["device"], "--", "--ptest", "throughput", "--silent", "--csv-friendly", "--devtype", suite["device"],
        *suite["both"], *suite[case["operation"]], "--buffer-sz", str(case["size"]), "--burst-sz", str(case["burst"]),
        "--total-ops", str(operations), "--pool-sz", str(max(PEER_POOL, case["pool"])),
    ]
    if case["operation"] == "decrypt" and "--auth-algo" in suite["both"]:
        command += ["--test-file", str(vectors(case, suite, folder))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split(",") for line in done.stdout.splitlines() if line[:1].isdigit() and line.count(",") >= 9]
    if not rows:
        lacks(f"{PEER} gives no figure for {case}: {' '.join((done.stdout + done.stderr).split()[-30:])}")
    return float(rows[-1][9])


def ours(case, options):
    """Our cycles for one operation, through the dispatcher."""
    command = [
        options.binary, "--test", "cycles", "--driver", options.driver, "--suite", case["suite"], "--operation", case["operation"],
        "--size", str(case["size"]), "--burst", str(case["burst"]), "--pool", str(case["pool"]), "--sessions", str(case["sessions"]),
        "--seconds", str(options.seconds), "--cores", str(options.core), "--json", "-",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lacks(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    (row,) = json.loads(done.stdout)["rows"]
    return row["tsc_cycles_per_operation"]


def measure(case, options):
    """The medians of alternating pairs."""
    pairs = []
    for turn in range(options.pairs):
        first, second = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        figures = {first: first(case, options)}
        figures[second] = second(case, options)
        pairs.append((figures[ours], figures[theirs]))
    mine, peer = (statistics.median(side) for side in zip(*pairs))
    return case | {
        "tsc_cycles": mine, "peer_tsc_cycles": peer, "ratio": statistics.median(theirs / ours for ours, theirs in pairs),
        "pairs": pairs,
    }


def picture(rows, path):
    """Bars: how many times as many cycles DPDK needs; the line is at one."""
    height, left, scale = 16, 330, 120
    svg = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", width="900", height=str(height * len(rows) + 40))
    style = {"font-family": "sans-serif", "font-size": "11"}
    for number, row in enumerate(rows):
        top = 20 + number * height
        name = f"{row['suite']} {row['operation']} {row['size']} B, burst {row['burst']}, {row['sessions']} sessions, pool {row['pool']}"
        ElementTree.SubElement(svg, "text", x="4", y=str(top + 11), **style).text = name
        colour = "#2a7" if row["ratio"] >= 1 else "#c54"
        width = f"{min(row['ratio'], 4.5) * scale:.1f}"
        ElementTree.SubElement(svg, "rect", x=str(left), y=str(top + 2), width=width, height=str(height - 4), fill=colour)
        ElementTree.SubElement(svg, "text", x=str(left + float(width) + 4), y=str(top + 11), **style).text = f"{row['ratio']:.2f}"
    line = {"x1": str(left + scale), "x2": str(left + scale), "y1": "10", "y2": str(height * len(rows) + 24), "stroke": "#333"}
    ElementTree.SubElement(svg, "line", **line)
    ElementTree.ElementTree(svg).write(path)


def words(kind):
    """A list with commas."""
    return lambda text: [kind(word) for word in text.split(",")]


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=words(str), default=list(SUITES))
    parser.add_argument("--operation", type=words(str), default=["encrypt", "decrypt"])
    parser.add_argument("--size", type=words(int), default=SIZES)
    parser.add_argument("--burst", type=words(int), default=[1, 32])
    parser.add_argument("--pool", type=words(int), default=POOLS, help="packets that crypto-perf works through in turn")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--driver", default="multibuffer")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one run")
    parser.add_argument("--core", type=int, default=1, help="the core that is measured")
    parser.add_argument("--main-core", type=int, default=0, help="where DPDK's main thread waits")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/crypto-perf")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    for name in options.suite:
        if name not in SUITES:
            parser.error(f"--suite {name}: DPDK is compared in {', '.join(SUITES)}")
    return options


def main():
    """Measures, prints, writes."""
    options = arguments()
    if not options.binary.exists():
        lacks(f"{options.binary} is not there; build it with: cargo build --release")
    install()
    cases = [
        {"suite": suite, "operation": operation, "size": size, "burst": burst, "pool": pool, "sessions": options.sessions}
        for suite in options.suite for operation in options.operation for burst in options.burst for pool in options.pool
        for size in options.size
    ]
    rows = []
    print(f"{'suite':<14} {'operation':<8} {'size':>5} {'burst':>5} {'pool':>6} {'ours':>9} {'DPDK':>9} {'ratio':>6}   TSC cycles an operation")
    with HugePages():
        for case in cases:
            row = measure(case, options)
            rows.append(row)
            print(f"{row['suite']:<14} {row['operation']:<8} {row['size']:>5} {row['burst']:>5} {row['pool']:>6} "
                  f"{row['tsc_cycles']:>9.1f} {row['peer_tsc_cycles']:>9.1f} {row['ratio']:>6.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"schema": "sealane.peer/1", "peer": PEER, "rows": rows}, indent=1) + "\n")
    if options.svg:
        picture(rows, options.svg)


if __name__ == "__main__":
    main()
