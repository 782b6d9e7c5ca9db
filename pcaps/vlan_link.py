#!/usr/bin/env python3
"""An 802.1Q interface for kernels that have none: a TAP device whose frames cross another interface with a tag.

usage: vlan_link.py LOWER NAME VLAN_ID

Creates the TAP device NAME, then copies frames between it and LOWER, in the network namespace it was started in. Frames
leave LOWER with the tag (IEEE 802.1Q, priority 0) and only frames with that VLAN ID come back, without it. It sets no
address, keeps no MAC table, and ends when it is killed; the TAP device ends with it.
"""
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
ETH_P_ALL, ETH_P_8021Q = 0x0003, 0x8100
SOL_PACKET, PACKET_AUXDATA = 263, 8
# struct tpacket_auxdata: the kernel takes the tag out of a received frame and reports it here.
AUXDATA = struct.Struct("=IIIHHHH")
TP_STATUS_VLAN_VALID = 1 << 4
MAC_PAIR = 12
LARGEST_FRAME = 65536


def open_tap(name):
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def open_lower(name):
    lower = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    lower.bind((name, ETH_P_ALL))
    lower.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return lower


def tag_down(tap, lower, vlan_id):
    frame = os.read(tap, LARGEST_FRAME)
    lower.send(frame[:MAC_PAIR] + struct.pack("!HH", ETH_P_8021Q, vlan_id) + frame[MAC_PAIR:])


def untag_up(tap, lower, vlan_id):
    frame, control, _, source = lower.recvmsg(LARGEST_FRAME, socket.CMSG_SPACE(AUXDATA.size))
    if source[2] == socket.PACKET_OUTGOING:
        return
    for level, kind, data in control:
        if (level, kind) != (SOL_PACKET, PACKET_AUXDATA):
            continue
        status, _, _, _, _, tag, _ = AUXDATA.unpack(data[: AUXDATA.size])
        if status & TP_STATUS_VLAN_VALID and tag & 0x0FFF == vlan_id:
            os.write(tap, frame)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    lower_name, name, vlan_id = sys.argv[1], sys.argv[2], int(sys.argv[3])
    lower, tap = open_lower(lower_name), open_tap(name)
    # Until the recorder has set the device up, it cannot be read.
    print("ready", flush=True)
    while True:
        for ready in select.select([tap, lower], [], [])[0]:
            try:
                (tag_down if ready is tap else untag_up)(tap, lower, vlan_id)
            except OSError as error:
                print(error, file=sys.stderr)


main()
