"""Bad input is refused before anything is done: exit 2, one line that says where and what, no output touched.

The damaged captures and configurations are each one slip away from the good ones, which are checked to be good.
"""

import re
import struct

import pytest

from associations import SUITES, Association
from captures import FILE_HEADER_LEN, RECORD_HEADER_LEN, file_header, pcap_bytes, record
from esp_replay import BAD_USAGE, DONE, run_tool, write_config
from packets import frame, udp_packets

pytestmark = pytest.mark.usefixtures("tool")

ASSOCIATION = Association(SUITES["aes128-sha1"])
FRAMES = [frame(packet) for packet in udp_packets(4, [10, 200, 30])]
SECOND_RECORD = FILE_HEADER_LEN + RECORD_HEADER_LEN + len(FRAMES[0])
THIRD_RECORD = SECOND_RECORD + RECORD_HEADER_LEN + len(FRAMES[1])
GOOD_CAPTURE = pcap_bytes(FRAMES)
GOOD_CONFIG = ASSOCIATION.toml("outbound")
USER_LINK_TYPE = 147  # set aside for private use: nobody can know where its IP packet starts
OLD_CONTENT = b"an older result"


class Bench:
    """A folder with a capture, a configuration and a place for output."""

    def __init__(self, folder):
        self.capture, self.config, self.out = folder / "in.pcap", folder / "replay.toml", folder / "out.pcap"
        self.write(GOOD_CAPTURE, GOOD_CONFIG)

    def write(self, capture=GOOD_CAPTURE, config=GOOD_CONFIG):
        self.capture.write_bytes(capture)
        write_config(self.config, config)

    def run(self, *options, direction="outbound", driver="software", out=True):
        written = ("--out", self.out) if out else ()
        fixed = ("--config", self.config, "--direction", direction, "--driver", driver)
        return run_tool(self.capture, *fixed, *written, *options)

    def refused(self, *options, **how):
        """Runs, checks exit 2, one `error: ` line and untouched output, and gives that line."""
        run = self.run(*options, **how)
        assert run.exit == BAD_USAGE, (run.exit, run.stderr)
        assert not self.out.exists(), "output was made though the input was refused"
        lines = run.stderr.splitlines()
        assert len(lines) == 1, run.stderr
        assert lines[0].startswith("error: "), run.stderr
        return lines[0]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_the_undamaged_input_is_taken(bench):
    run = bench.run()
    assert (run.exit, run.stderr) == (DONE, "")
    assert bench.out.exists()


def with_length(capture, at, length):
    """The capture with the captured length of the record at `at` set to `length`."""
    return capture[: at + 8] + struct.pack("<I", length) + capture[at + 12 :]


DAMAGED = {
    "cut-in-a-packet": (GOOD_CAPTURE[: THIRD_RECORD + RECORD_HEADER_LEN + 5], 3),
    "cut-in-a-record-header": (GOOD_CAPTURE[: SECOND_RECORD + 7], 2),
    "cut-behind-a-record-header": (GOOD_CAPTURE[: SECOND_RECORD + RECORD_HEADER_LEN], 2),
    "length-of-four-gigabytes": (with_length(GOOD_CAPTURE, SECOND_RECORD, 0xFFFF_FFFF), 2),
    "length-of-one-gigabyte": (with_length(GOOD_CAPTURE, FILE_HEADER_LEN, 1 << 30), 1),
    "length-past-the-end": (with_length(GOOD_CAPTURE, THIRD_RECORD, len(FRAMES[2]) + 1), 3),
}


@pytest.mark.parametrize("capture, packet", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_capture_is_refused_with_the_packet_number(bench, capture, packet):
    bench.write(capture)
    assert bench.refused().startswith(f"error: {bench.capture}: packet {packet}: ")


@pytest.mark.parametrize("capture, packet", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_capture_leaves_an_older_output_as_it_was(bench, capture, packet):
    bench.write(capture)
    bench.out.write_bytes(OLD_CONTENT)
    assert bench.run().exit == BAD_USAGE
    assert bench.out.read_bytes() == OLD_CONTENT


NO_CAPTURES = {
    "empty": b"",
    "text": b"this is no capture, but a line of text that is longer than a file header\n",
    "gzip": bytes.fromhex("1f8b0800000000000003") + bytes(40),
    "short-magic": GOOD_CAPTURE[:3],
    "cut-file-header": GOOD_CAPTURE[:20],
    "unknown-link-type": file_header(USER_LINK_TYPE) + record(FRAMES[0]),
}


@pytest.mark.parametrize("capture", NO_CAPTURES.values(), ids=NO_CAPTURES.keys())
def test_a_file_that_cannot_be_replayed_is_refused_by_name(bench, capture):
    bench.write(capture)
    assert bench.refused().startswith(f"error: {bench.capture}: ")


def sa_line(field, value):
    """The good configuration with one line of its SA replaced."""
    changed, count = re.subn(rf"^{field} = .*$", f"{field} = {value}", GOOD_CONFIG, flags=re.MULTILINE)
    assert count == 1
    return changed


KEY = ASSOCIATION.suite.encryption_key.hex()
BAD_CONFIGS = {
    # name: (configuration, table at fault, a word that the message must have)
    "encryption-key-too-short": (sa_line("encryption_key", f'"{KEY[:-2]}"'), "sa", "16"),
    "encryption-key-too-long": (sa_line("encryption_key", f'"{KEY}00"'), "sa", "16"),
    "integrity-key-too-short": (sa_line("integrity_key", '"0011"'), "sa", "20"),
    "key-with-other-letters": (sa_line("encryption_key", f'"{KEY[:-2]}zz"'), "sa", "hex"),
    "key-with-half-a-byte": (sa_line("encryption_key", f'"{KEY[:-1]}"'), "sa", ""),
    "unknown-suite": (sa_line("suite", '"aes64-md4"'), "sa", "aes64-md4"),
    "suite-of-a-later-day": (sa_line("suite", '"chacha20poly1305"'), "sa", "chacha20poly1305"),
    "unknown-mode": (sa_line("mode", '"beet"'), "sa", "beet"),
    "window-too-small": (sa_line("replay_window", "31"), "sa", "32"),
    "window-too-large": (sa_line("replay_window", "65537"), "sa", "65536"),
    "spi-over-32-bits": (sa_line("spi", "0x100000000"), "sa", ""),
    "spi-that-is-reserved": (sa_line("spi", "0"), "sa", "spi"),
    "tunnel-of-two-families": (sa_line("tunnel", '{ src = "192.0.2.1", dst = "2001:db8::2" }'), "sa", ""),
    "address-that-is-none": (sa_line("tunnel", '{ src = "192.0.2.1", dst = "192.0.2.256" }'), "sa", ""),
    "unknown-field": (ASSOCIATION.toml("outbound", 'colour = "blue"\n'), "sa", "colour"),
    "lifetime": (ASSOCIATION.toml("outbound", "lifetime = { hard_packets = 5 }\n"), "sa", "lifetime"),
    "path-mtu": (ASSOCIATION.toml("outbound", "path_mtu = 1400\n"), "sa", "path_mtu"),
    "tfc-padding": (ASSOCIATION.toml("outbound", "tfc_pad_to = 1400\n"), "sa", "tfc_pad_to"),
    "inline-offload": (ASSOCIATION.toml("outbound", 'offload = "inline-crypto"\n'), "sa", "inline-crypto"),
    "policy-of-a-missing-sa": (
        ASSOCIATION.sa_toml("outbound") + ASSOCIATION.policy_toml("outbound", sa="nobody"),
        "policy",
        "nobody",
    ),
    "selector-that-is-none": (GOOD_CONFIG.replace("10.0.1.0/24", "10.0.1.0/33"), "policy", ""),
    "two-sas-of-one-name": (ASSOCIATION.sa_toml("outbound") + GOOD_CONFIG, "sa", "under-test"),
    "no-toml": (GOOD_CONFIG.replace('name = "under-test"', "name = "), "sa", ""),
}


def lines_of(config, table):
    """The line numbers, from 1, of all tables of this kind."""
    numbers, inside = set(), False
    for number, line in enumerate(config.splitlines(), start=1):
        if line.startswith("[["):
            inside = line == f"[[{table}]]"
        if inside:
            numbers.add(number)
    return numbers


def assert_points_into(bench, message, config, table):
    """The message starts with FILE:LINE:COL and the line is one of the faulty table."""
    found = re.match(rf"error: {re.escape(str(bench.config))}:(\d+):(\d+): ", message)
    assert found, message
    assert int(found[1]) in lines_of(config, table), message


@pytest.mark.parametrize("config, table, word", BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
def test_a_bad_configuration_is_refused_with_file_line_and_column(bench, config, table, word):
    bench.write(config=config)
    message = bench.refused()
    assert_points_into(bench, message, config, table)
    assert word.lower() in message.lower()


def test_a_bad_configuration_never_prints_a_key(bench):
    bench.write(config=sa_line("encryption_key", f'"{KEY[:-2]}"'))
    assert KEY[:8] not in bench.run().stderr


def test_two_inbound_sas_with_one_spi_and_destination_are_refused(bench):
    second = ASSOCIATION.sa_toml("inbound").replace("under-test", "its-double")
    config = ASSOCIATION.sa_toml("inbound") + second + ASSOCIATION.policy_toml("inbound")
    bench.write(config=config)
    message = bench.refused(direction="inbound")
    assert_points_into(bench, message, config, "sa")
    assert "0x1001" in message


def test_inbound_without_an_inbound_sa_is_refused(bench):
    assert "inbound" in bench.refused(direction="inbound")


REFUSED_OPTIONS = {
    "nic": ("--driver", "nic"),
    "scheduler-over-nic": ("--children", "software,nic", "--driver", "scheduler"),
    "offload": ("--offload", "inline-crypto"),
    "html": ("--html", "x"),
}
USAGE_ERRORS = {
    "unknown-option": ("--no-such-option",),
    "unknown-direction": ("--direction", "sideways"),
    "unknown-driver": ("--driver", "magic"),
    "burst-of-words": ("--burst", "many"),
    "burst-of-nothing": ("--burst", "0"),
    "option-without-value": ("--repeat",),
    "two-captures": ("another.pcap",),
    "unknown-layout": ("--layout", "ring"),
    "a-core-twice": ("--cores", "0,0"),
    "too-many-cores": ("--cores", ",".join(map(str, range(64)))),
    "no-rate": ("--rate", "0"),
    "unknown-idle": ("--idle", "nap"),
    "children-of-nobody": ("--children", "software"),
    "policy-of-nobody": ("--policy", "failover"),
    "unknown-child": ("--driver", "scheduler", "--children", "software,magic"),
    "unknown-policy": ("--driver", "scheduler", "--policy", "random"),
}


def run_with(bench, options):
    """A run with these options and, of the usual ones, those that they do not set."""
    usual = {"--direction": "outbound", "--driver": "software", "--out": bench.out, "--config": bench.config}
    rest = [word for name, value in usual.items() if name not in options for word in (name, value)]
    return run_tool(bench.capture, *rest, *options)


@pytest.mark.parametrize("options", REFUSED_OPTIONS.values(), ids=REFUSED_OPTIONS.keys())
def test_an_option_of_a_later_day_is_refused_by_name(bench, options):
    run = run_with(bench, options)
    assert run.exit == BAD_USAGE, (run.exit, run.stderr)
    assert run.stderr.startswith("error: "), run.stderr
    first = run.stderr.splitlines()[0]
    assert options[0].lstrip("-") in first or options[1] in first, first
    assert not bench.out.exists()


@pytest.mark.parametrize("options", USAGE_ERRORS.values(), ids=USAGE_ERRORS.keys())
def test_bad_usage_is_told_as_an_error(bench, options):
    run = run_with(bench, options)
    assert run.exit == BAD_USAGE, (run.exit, run.stderr)
    assert run.stderr.startswith("error: "), run.stderr
    assert not bench.out.exists()


def test_the_null_driver_writes_no_output(bench):
    assert "null" in bench.refused(driver="null")


def test_the_null_driver_takes_no_inbound_capture(bench):
    bench.write(config=ASSOCIATION.toml("inbound"))
    assert "null" in bench.refused(driver="null", direction="inbound", out=False)


def test_a_missing_capture_is_named(bench):
    bench.capture.unlink()
    assert bench.refused().startswith(f"error: {bench.capture}: ")


def test_a_missing_configuration_is_named(bench):
    bench.config.unlink()
    assert bench.refused().startswith(f"error: {bench.config}: ")


def test_a_folder_is_no_capture(bench):
    bench.capture.unlink()
    bench.capture.mkdir()
    assert bench.refused().startswith(f"error: {bench.capture}: ")


@pytest.mark.parametrize("option, name", [("--out", "out.pcap"), ("--json", "report.json")])
def test_a_missing_output_folder_is_named(bench, tmp_path, option, name):
    missing = tmp_path / "no-such-folder" / name
    message = bench.refused(option, missing, out=False)
    assert message.startswith(f"error: {missing}: ")
    assert not missing.parent.exists()
