"""Reading and writing classic pcap files, little-endian, microseconds.

Strict on reading: what the tool writes must be a whole file. Makes no damaged files; tests that want one cut it
themselves.
"""

import struct

MAGIC = 0xA1B2C3D4
ETHERNET = 1
RAW_IP = 101
FILE_HEADER_LEN = 24
RECORD_HEADER_LEN = 16


def file_header(link_type=ETHERNET):
    """The 24 bytes that open a pcap file."""
    return struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, 262144, link_type)


def record(frame, microseconds=0, original_len=None):
    """One packet with its record header, so many microseconds after the first."""
    original = len(frame) if original_len is None else original_len
    seconds, microseconds = divmod(microseconds, 1_000_000)
    return struct.pack("<IIII", 1_700_000_000 + seconds, microseconds, len(frame), original) + frame


def pcap_bytes(frames, link_type=ETHERNET, apart=1):
    """A whole capture file; so many microseconds lie between packets."""
    records = (record(frame, number * apart) for number, frame in enumerate(frames))
    return file_header(link_type) + b"".join(records)


def write_pcap(path, frames, link_type=ETHERNET, apart=1):
    """Writes a capture and returns its path."""
    path.write_bytes(pcap_bytes(frames, link_type, apart))
    return path


def read_pcap(path, link_type=ETHERNET):
    """The frames of a capture; asserts that the file is whole and of `link_type`."""
    data = path.read_bytes()
    magic, *_, found_link = struct.unpack_from("<IHHiIII", data)
    assert magic == MAGIC, f"{path}: the timestamp resolution or byte order of the input was not kept"
    assert found_link == link_type, f"{path}: link type {found_link}"
    frames, offset = [], FILE_HEADER_LEN
    while offset < len(data):
        _, _, captured, original = struct.unpack_from("<IIII", data, offset)
        offset += RECORD_HEADER_LEN
        assert captured == original, f"{path}: packet {len(frames) + 1} is cut"
        assert offset + captured <= len(data), f"{path}: packet {len(frames) + 1} runs past the end of the file"
        frames.append(data[offset : offset + captured])
        offset += captured
    return frames
