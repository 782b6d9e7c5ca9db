#!/usr/bin/env python3
"""Takes out of a pcapng file what it says of the machine that recorded it: the options shb_hardware, shb_os and if_os.

Usage: strip_host.py FILE. Every other byte of every block stays; the file is little-endian, as dumpcap writes it here.
"""

import struct
import sys

SECTION_HEADER, INTERFACE = 0x0A0D0D0A, 1
# Block type: length of its fixed fields, options to take out (section 4 of the pcapng draft).
STRIPPED = {SECTION_HEADER: (16, {2, 3}), INTERFACE: (8, {12})}


def options_without(options, dropped):
    """The option list without the numbers in `dropped`."""
    kept, at = b"", 0
    while at + 4 <= len(options):
        number, length = struct.unpack_from("<HH", options, at)
        end = at + 4 + (length + 3 & ~3)
        if number not in dropped:
            kept += options[at:end]
        at = end
        if number == 0:
            break
    return b"" if kept == bytes(4) else kept


def blocks(data):
    """The file's blocks, the two kinds stripped."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        body, at = data[at + 8 : at + length - 4], at + length
        if kind in STRIPPED:
            fixed, dropped = STRIPPED[kind]
            body = body[:fixed] + options_without(body[fixed:], dropped)
        length = struct.pack("<I", len(body) + 12)
        yield struct.pack("<I", kind) + length + body + length


path = sys.argv[1]
with open(path, "rb") as file:
    whole = b"".join(blocks(file.read()))
with open(path, "wb") as file:
    file.write(whole)
