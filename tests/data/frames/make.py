#!/usr/bin/env python3
"""Writes the frame files beside it, each a class of what captures and hostile peers hold.

tests/frames.rs plays each file to the gateway, redirected in GRE and to its MAC address, and knows what
becomes of it.
"""

import struct
from pathlib import Path

HERE = Path(__file__).parent
CLIENT, SERVER, US, ROUTER = "10.0.0.10", "198.51.100.7", "10.9.0.2", "10.9.0.1"
CLIENT6, SERVER6 = bytes.fromhex("20010db8000a" + "00" * 9 + "10"), bytes.fromhex("20010db80007" + "00" * 9 + "07")
ETHERNET, RAW, COOKED, COOKED2, NULL, LOOP = 1, 101, 113, 276, 0, 108


def ip(text):
    return bytes(int(n) for n in text.split("."))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def v4(payload, proto=6, src=CLIENT, dst=SERVER, ident=1, frag=0, ttl=64, options=b"", length=None, first=None, good=True):
    head = bytearray(20 + len(options))
    head[0] = first if first is not None else 0x40 | len(head) // 4
    struct.pack_into("!HHHBB", head, 2, len(head) + len(payload) if length is None else length, ident, frag, ttl, proto)
    head[12:16], head[16:20], head[20:] = ip(src), ip(dst), options
    struct.pack_into("!H", head, 10, checksum(bytes(head)) ^ (0 if good else 0x55))
    return bytes(head) + payload


def v6(payload, next_header=6, src=CLIENT6, dst=SERVER6, length=None, hops=64):
    size = len(payload) if length is None else length
    return struct.pack("!IHBB", 6 << 28, size, next_header, hops) + src + dst + payload


def tcp(flags=2, sport=40000, dport=21, seq=1, ack=0, options=b"", data=b"", offset=None, pair=None, good=True):
    """pair: addresses of the pseudo header"""
    offset = (20 + len(options)) // 4 if offset is None else offset
    segment = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, offset << 4, flags, 8192, 0, 0) + options + data
    src, dst = pair or (ip(CLIENT), ip(SERVER))
    width = "!4s4sBBH" if len(src) == 4 else "!16s16sIxxxB"
    last = (0, 6, len(segment)) if len(src) == 4 else (len(segment), 6)
    total = checksum(struct.pack(width, src, dst, *last) + segment) ^ (0 if good else 0x55)
    return segment[:16] + struct.pack("!H", total) + segment[18:]


def eth(packet, kind=None, tags=b""):
    if kind is None:
        kind = 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800
    return bytes.fromhex("020000000009020000000008") + tags + struct.pack("!H", kind) + packet


def gre(inner, flags=0, proto=0x883E, redirect=b"\1\x3d\0\0", extra=b""):
    return struct.pack("!HH", flags, proto) + extra + redirect + inner


def write(name, records, link=ETHERNET):
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for n, record in enumerate(records):
        data, length = record if isinstance(record, tuple) else (record, len(record))
        out += struct.pack("<IIII", 1000 + n, 0, len(data), length) + data
    (HERE / f"{name}.pcap").write_bytes(out)


SYN = tcp()
DATA = tcp(flags=0x18, dport=4321, data=b"not ours")

write("ip-headers", [
    eth(v4(DATA)),
    eth(v4(DATA, first=0x55)),                    # a version that is none
    eth(v4(DATA, first=0x44)),                    # a header shorter than 20 bytes
    eth(v4(DATA, first=0x4F)),                    # a header longer than the packet
    eth(v4(DATA, length=4000)),                   # a total length longer than the frame
    eth(v4(DATA, length=12)),                     # and one shorter than the header
    eth(v4(DATA, good=False)),
    eth(v4(DATA, options=b"\x94\x04\0\0")),       # router alert
    eth(v4(DATA, options=b"\x07\0\0\0")),         # an option of no length
    eth(v4(DATA, options=b"\x83\xff\0\0")),       # an option that does not end
    eth(v4(DATA, ttl=0)),
    eth(v4(DATA, ttl=1)),
    eth(v4(DATA) + b"\0" * 6),                    # padding
    eth(v4(b"\x08\0\xf7\xff\0\0\0\0", proto=1)),
    eth(v4(b"", proto=255)),
    eth(v4(DATA, src="224.0.0.1")),
    eth(v4(DATA, dst="255.255.255.255")),
    eth(v4(DATA, src="0.0.0.0")),
    eth(b""),
    eth(b"\x45"),
])
write("ip-fragments", [
    eth(v4(tcp(data=b"x" * 76), frag=0x2000)),
    eth(v4(b"x" * 16, frag=12)),
    eth(v4(b"x" * 16, frag=0x2001)),              # over the TCP header
    eth(v4(tcp()[:8], frag=0x2000)),              # a header in pieces
    eth(v4(b"x" * 64, frag=0x1FFF)),              # beyond 65,535 bytes
    eth(v4(b"", frag=0x2000)),
    eth(v4(b"xyz", frag=0x2000)),                 # not a multiple of eight
    eth(v4(SYN, frag=0x6000)),                    # DF and MF
    eth(v4(SYN, frag=0x8000)),                    # the reserved bit
])
pairs = (ip(CLIENT), ip(SERVER))
write("tcp-headers", [
    eth(v4(tcp(offset=4))),
    eth(v4(tcp(offset=15))),
    eth(v4(SYN[:19])),
    eth(v4(b"")),
    eth(v4(tcp(good=False))),
    eth(v4(tcp(options=b"\2\0\0\0"))),            # an option of no length
    eth(v4(tcp(sport=40001, options=b"\2\xff\5\xb4"))),
    eth(v4(tcp(sport=40002, options=b"\2\4\0\0"))),   # an MSS of 0
    eth(v4(tcp(sport=40003, options=b"\3\3\xff\0"))), # a window scale of 255
    eth(v4(tcp(flags=0, dport=4321))),
    eth(v4(tcp(flags=0x29, dport=4321))),
    eth(v4(tcp(flags=0xFF))),
    eth(v4(tcp(flags=3, sport=40004))),           # SYN and FIN
    eth(v4(tcp(flags=6, sport=40005))),           # SYN and RST
    eth(v4(tcp(flags=0x12, sport=40006))),        # SYN and ACK to the service's port
    eth(v4(tcp(sport=40007, data=b"USER x\r\n"))),
    eth(v4(tcp(sport=0))),
    eth(v4(tcp(dport=0))),
    eth(v4(tcp(dport=2020))),                     # a data port that nobody was told
    eth(v4(tcp(flags=0x10, sport=40008, ack=1))), # in the middle of a connection
    eth(v4(tcp(flags=0x14, sport=40008, ack=1))),
    eth(v4(tcp(sport=21, dport=21, pair=(ip(SERVER),) * 2), src=SERVER)),   # to itself
])
inner = v4(DATA)
write("gre-headers", [
    eth(v4(gre(inner), proto=47)),
    eth(v4(gre(inner)[:3], proto=47)),
    eth(v4(gre(inner)[:6], proto=47)),
    eth(v4(gre(b""), proto=47)),
    eth(v4(gre(inner[:10]), proto=47)),
    eth(v4(gre(inner, flags=0x2000, extra=b"\0\0\0\7"), proto=47)),
    eth(v4(gre(inner, flags=0x1000, extra=b"\0\0\0\7"), proto=47)),
    eth(v4(gre(inner, flags=0x8000, extra=b"\1\2\0\0"), proto=47)),
    eth(v4(gre(b"", flags=0xB000, extra=b"\0" * 5)[:10], proto=47)),
    eth(v4(gre(inner, flags=0x4000, extra=b"\0" * 4), proto=47)),
    eth(v4(gre(inner, flags=0x0001), proto=47)),  # version 1
    eth(v4(gre(inner, proto=0x0800, redirect=b""), proto=47)),
    eth(v4(gre(v6(DATA)), proto=47)),
    eth(v4(gre(v4(gre(inner), proto=47, dst=US)), proto=47)),     # redirected twice
    eth(v4(gre(v4(DATA, src=US)), proto=47)),     # our own packet comes back
    eth(v4(gre(v4(DATA, length=4000)), proto=47)),
    eth(v4(gre(inner), proto=47, frag=0x2000)),   # a piece alone
])
pair6 = (CLIENT6, SERVER6)
SYN6 = tcp(pair=pair6)
hop = bytes.fromhex("0600010400000000")
write("ipv6", [
    eth(v6(tcp(flags=0x18, dport=4321, data=b"not ours", pair=pair6))),
    eth(v6(SYN6)),
    eth(v6(hop + tcp(sport=40001, pair=pair6), next_header=0)),
    eth(v6(hop + SYN6, next_header=43)),
    eth(v6(b"\0\0\1\4\0\0\0\0" * 12 + hop + SYN6, next_header=0)),       # too many headers
    eth(v6(b"\6\xff\0\0\0\0\0\0" + SYN6, next_header=60)),               # one that does not end
    eth(v6(b"\6\0\0\1\0\0\0\5" + SYN6, next_header=44)),                 # a first fragment
    eth(v6(b"\6\0\0\x11\0\0\0\5" + SYN6, next_header=44)),
    eth(v6(b"\6\0\0\0\0\0\0\5" + tcp(sport=40002, pair=pair6), next_header=44)),  # an atomic one
    eth(v6(b"", next_header=59)),
    eth(v6(SYN6, length=0)),
    eth(v6(SYN6, length=4000)),
    eth(v6(SYN6)[:39]),
    eth(v6(tcp(flags=0x10, pair=pair6), hops=1)),
    eth(v6(tcp(flags=0x10, pair=pair6), hops=0)),
    eth(v6(b"\x80\0\0\0\0\0\0\0", next_header=58)),
])
tag, outer = b"\x81\0\0\x64", b"\x88\xa8\0\x65"
write("ethernet", [
    eth(v4(DATA), tags=tag),
    eth(v4(DATA), tags=outer + tag),
    eth(v4(DATA), tags=outer + tag + tag),        # more tags than are looked behind
    eth(v4(DATA), tags=tag)[:17],
    eth(v4(DATA))[:13],
    eth(v4(DATA))[:14],
    eth(b"\0\1\x08\0\6\4\0\1" + b"\0" * 20, kind=0x0806),
    eth(b"\x42\x42\3" + b"\0" * 40, kind=38),     # 802.3
    eth(b"\0" * 40, kind=0x88CC),
    eth(v6(SYN6), kind=0x0800),                   # a type that contradicts the packet
    eth(v4(DATA), kind=0x86DD),
    b"",
])
packets = [v4(DATA), v4(SYN), v6(SYN6), b"\x45", b""]
kinds = [0x0800, 0x0800, 0x86DD, 0x0800, 0x0806]
write("linux-cooked", [
    struct.pack("!HHH8sH", 0, 1, 6, b"\2\0\0\0\0\7", k) + p for k, p in zip(kinds, packets)
] + [struct.pack("!HHH8sH", 0, 824, 0, b"", 0x0800) + v4(DATA), b"\0" * 15], COOKED)
write("linux-cooked-2", [
    struct.pack("!HHIHBB8s", k, 0, 2, 1, 0, 6, b"\2\0\0\0\0\7") + p for k, p in zip(kinds, packets)
] + [struct.pack("!HHIHBB8s", 0x8100, 0, 2, 1, 0, 6, b"") + b"\0\x64\x08\0" + v4(DATA), b"\0" * 19], COOKED2)
write("null", [struct.pack(order, 2) + v4(DATA) for order in ("<I", ">I")]
      + [struct.pack("<I", f) + v6(SYN6) for f in (10, 24, 28, 30)] + [struct.pack("<I", 7) + v4(DATA), b"\2\0\0"], NULL)
write("loop", [struct.pack(">I", 2) + v4(DATA), struct.pack(">I", 24) + v6(SYN6)], LOOP)
write("raw-ip", [v4(DATA), v4(SYN), v6(SYN6), b"\x45", b"\0", b""], RAW)
whole = eth(v4(tcp(flags=0x18, sport=40009, dport=4321, data=b"x" * 500)))
write("cut", [(whole[:n], len(whole)) for n in (0, 13, 14, 15, 20, 33, 34, 40, 53, 54, 68, 100, 553)] + [whole])
write("long", [
    eth(v4(tcp(flags=0x10, dport=4321, data=b"x" * (size - 40)), frag=frag))
    for size in (1472, 1473, 1500, 1501, 1800, 1906, 1907, 9000) for frag in (0, 0x4000)
])
quoted = v4(tcp(), src=US)[:28]
write("to-us", [
    eth(v4(tcp(dport=21, pair=(ip(CLIENT), ip(US))), dst=US)),
    eth(v4(struct.pack("!HHHH", 2048, 2048, 8, 0), proto=17, src=ROUTER, dst=US)),
    eth(v4(struct.pack("!HHHH", 2048, 2048, 24, 0) + b"\0\0\0\x0b\2\0\xff\xff" * 2, proto=17, src=ROUTER, dst=US)),
    eth(v4(struct.pack("!HHHH", 2048, 2048, 9999, 0), proto=17, src=ROUTER, dst=US)),
    eth(v4(b"\3\4\0\0\0\0\5\0" + quoted, proto=1, src=ROUTER, dst=US)),
    eth(v4(b"\3\4" + struct.pack("!H", checksum(b"\3\4\0\0\0\0\0\0" + quoted)) + b"\0\0\0\0" + quoted, proto=1, src=ROUTER, dst=US)),
    eth(v4(b"\3\1\xfc\xfe\0\0\0\0", proto=1, src=ROUTER, dst=US)),
    eth(v4(b"\x08\0\xf7\xff\0\0\0\0", proto=1, dst=US)),
    eth(v4(b"", proto=50, dst=US)),
])
