"""What a command line gives to every program, for the tests of each: help, terminals, streams that nobody reads.

Knows nothing of what the programs do.
"""

import fcntl
import os
import pty
import struct
import subprocess
import termios

import pytest

from esp_replay import HANG_GUARD_SECONDS

WIDE, SMALL = 200, 80  # columns
TERMINAL = {**os.environ, "TERM": "xterm"}


def examples_of(text):
    """The lines of the help's examples."""
    return text.split("Examples:\n", 1)[1].split("\n\n", 1)[0].splitlines()


def command_words(example):
    """The words behind the program's name, without what is said about them behind two spaces or more."""
    return example.strip().split("  ")[0].split()[1:]


def processors_of(process):
    """The processors that the kernel lets a running process use, as the kernel writes them."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(line.split()[1] for line in status if line.startswith("Cpus_allowed_list:"))


def stderr_on_a_terminal(binary, *arguments):
    """Exit code and what a terminal on standard error was sent; standard output goes nowhere."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [str(binary), *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=TERMINAL)
    os.close(theirs)
    sent = b""
    try:
        while chunk := read_terminal(ours):
            sent += chunk
    finally:
        os.close(ours)
    return process.wait(timeout=HANG_GUARD_SECONDS), sent.decode(errors="replace")


def read_terminal(descriptor):
    """The next bytes; nothing once the other side is closed, which Linux tells as an input error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def broken_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_device():
    """A device that takes nothing."""
    return os.open("/dev/full", os.O_WRONLY)


BROKEN_STREAMS = pytest.mark.parametrize("broken", [broken_pipe, full_device], ids=["closed-pipe", "full-device"])
