#!/usr/bin/env python3
"""Whether a bridge changed anything: `same_frames.py INSIDE.pcapng OUTSIDE.pcapng` compares the frames on its both sides, those of
each sender in their order, byte for byte. Prints how many there are, or the first that differ."""

import struct
import sys
from collections import defaultdict


def frames(path):
    """The frames of a pcapng file, by sender."""
    out = defaultdict(list)
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack("<II", data[at : at + 8])
        if kind == 6:
            captured = struct.unpack("<I", data[at + 20 : at + 24])[0]
            frame = data[at + 28 : at + 28 + captured]
            out[frame[6:12]].append(frame)
        at += length
    return out


def main():
    """Compares."""
    inside, outside = frames(sys.argv[1]), frames(sys.argv[2])
    for sender in inside.keys() | outside.keys():
        a, b = inside[sender], outside[sender]
        if a != b:
            n = next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            name = sender.hex(":")
            print(f"of {len(a)} and {len(b)} frames from {name} number {n} differs:")
            print("; ".join(f[n].hex() if n < len(f) else "none" for f in (a, b)))
            return 1
    total = sum(map(len, inside.values()))
    print(f"{total} frames of {len(inside)} senders")
    return 0 if total > 100 and len(inside) == 2 else 1


sys.exit(main())
