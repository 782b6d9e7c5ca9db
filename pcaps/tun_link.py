#!/usr/bin/env python3
"""A wire without Ethernet: one TUN device in each of two network namespaces, and packets carried between them.

usage: tun_link.py NAMESPACE NAMESPACE NAME

Both devices are called NAME and are created down and without an address. What one kernel sends, the other receives,
byte for byte. It ends when it is killed; the devices end with it.
"""
import ctypes
import fcntl
import os
import select
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
LARGEST_PACKET = 65536


def open_tun(namespace, name):
    """The namespace in which the control device is opened is the one that gets the interface."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{namespace}") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {namespace}")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    left, right = (open_tun(namespace, sys.argv[3]) for namespace in sys.argv[1:3])
    other = {left: right, right: left}
    print("ready", flush=True)
    while True:
        for ready in select.select([left, right], [], [])[0]:
            try:
                os.write(other[ready], os.read(ready, LARGEST_PACKET))
            except OSError as error:
                # One end is still down; a wire loses what nobody listens to.
                print(error, file=sys.stderr)


main()
