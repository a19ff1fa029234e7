"""What `tidegate replay` through a bridge with default allow makes of captures. Used by captures.py.

Every frame must come out as it went in, byte for byte and in its order, but for those that EXPECTED names, with what became
of each and the rule that made it so. Commands and replies in the events must be as many as tshark's `ftp.request` and
`ftp.response` say. Where they differ, the difference is told by its reasons: what is sent again, segments of several lines
or of none that ends (the fields are one for each segment), and what EXPECTED says; a rest without a reason is a failure.
Captures that were taken where a card would have filled in checksums (the frames
never were on a wire) are played as they are, and once more with their checksums filled in.
"""

import json
import re
import struct
import subprocess
from collections import Counter

import explain_counts
from captures_expected import EXPECTED, damage

CONFIG = """version = 1
[deployment]
kind = "bridge"
[[interface]]
name = "in0"
role = "inside"
[[interface]]
name = "out0"
role = "outside"
[firewall]
default = "allow"
[[service]]
name = "ftp"
ports = [21, 2200]
handling = "inspect"
# What was captured is to pass at its own pace.
commands_per_second = 10000
[timers]
first_command = "24h"
login = "24h"
"""
# Link types of pcap files, and the bytes before the packet.
ETHERNET, HEADS = 1, {0: 4, 1: 14, 101: 0, 108: 4, 113: 16}
MENDED = " (checksums filled in)"
FIELD = {"commands": "ftp.request", "replies": "ftp.response"}


def records(capture, scratch):
    """(link type, [(seconds, fraction, length on the wire, bytes)]) of any capture; None if tshark cannot read it."""
    plain = scratch / "plain.pcap"
    plain.unlink(missing_ok=True)
    subprocess.run(["tshark", "-r", capture, "-F", "pcap", "-w", plain], capture_output=True, check=False)
    data = plain.read_bytes() if plain.exists() else b""
    if len(data) < 24:
        return None
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link = struct.unpack_from(order + "I", data, 20)[0]
    at, found = 24, []
    while at + 16 <= len(data):
        seconds, fraction, kept, wire = struct.unpack_from(order + "IIII", data, at)
        found.append((seconds, fraction, wire, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return link, found


def total(data):
    if len(data) % 2:
        data += b"\0"
    value = sum(struct.unpack(f">{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


def filled(link, frame):
    """The frame with the right checksums, if it is a whole TCP segment without them."""
    at = HEADS[link]
    if link == ETHERNET:
        while frame[at - 2 : at] in (b"\x81\0", b"\x88\xa8"):
            at += 4
    packet = frame[at:]
    if len(packet) >= 40 and packet[0] >> 4 == 4 and packet[9] == 6:
        head, end = (packet[0] & 15) * 4, struct.unpack(">H", packet[2:4])[0]
        if struct.unpack(">H", packet[6:8])[0] & 0x3FFF:
            return frame
        if total(packet[:head]) != 0xFFFF:
            right = ~total(packet[:10] + b"\0\0" + packet[12:head]) & 0xFFFF
            packet = packet[:10] + struct.pack(">H", right) + packet[12:]
            frame = frame[:at] + packet
        pseudo = packet[12:20]
    elif len(packet) >= 60 and packet[0] >> 4 == 6 and packet[6] == 6:
        head, end, pseudo = 40, 40 + struct.unpack(">H", packet[4:6])[0], packet[8:40]
    else:
        return frame
    segment = packet[head:end]
    if end > len(packet) or len(segment) < 20:
        return frame
    pseudo += struct.pack(">II", len(segment), 6)
    if total(pseudo + segment) == 0xFFFF:
        return frame
    bare = segment[:16] + b"\0\0" + segment[18:]
    right = ~total(pseudo + bare) & 0xFFFF
    place = at + head + 16
    return frame[:place] + struct.pack(">H", right) + frame[place + 2 :]


def mend(link, found, path):
    """Writes the capture with its checksums filled in; how many were not."""
    mended = [(s, f, wire, filled(link, data)) for s, f, wire, data in found]
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link))
        for s, f, wire, data in mended:
            out.write(struct.pack("<IIII", s, f, len(data), wire) + data)
    return sum(a[3] != b[3] for a, b in zip(found, mended))


def ranges(frames):
    """[("3-5", "taken", "bad_acks"), ...] of the report's list."""
    rows = []
    for f in frames:
        what = (f["became"], "+".join(f["why"]))
        if rows and rows[-1][2] == what and rows[-1][1] + 1 == f["frame"]:
            rows[-1][1] = f["frame"]
        else:
            rows.append([f["frame"], f["frame"], what])
    return [(str(a) if a == b else f"{a}-{b}", *what) for a, b, what in rows]


def counted(rows):
    """The rows of EXPECTED as a report has them, with the counters alone; and what is wrong with the causes they name."""
    plain, ruled, wrong = [], set(), []
    for frames, became, rule in rows:
        counters, _, after = rule.rpartition("after ")
        counters = counters.removesuffix(", ")
        if not after.isdigit() or not rule.endswith(f"after {after}"):
            counters, after = rule, None
            ruled.update(frames.split("-"))
        if after is not None and after not in ruled:
            wrong.append(f"frame {frames}: no rule is named for frame {after} before it")
        if not rule:
            wrong.append(f"frame {frames}: no rule is named")
        plain.append((frames, became, "" if counters == "an empty line" else counters))
    return plain, wrong


def told(events):
    """(commands, replies of servers) in a file of events."""
    kinds = Counter()
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "command" or (event["event"] == "reply" and event["source"] != "gateway"):
            kinds[event["event"]] += 1
    return kinds["command"], kinds["reply"]


def fields(capture):
    """By frame: how many requests, and responses, tshark's two fields say that it has."""
    wanted = ["-e", "frame.number", "-e", "ftp.request", "-e", "ftp.response"]
    out = explain_counts.tshark(capture, "-Y", "ftp", "-T", "fields", "-E", "occurrence=a", *wanted)
    rows = [line.split("\t") for line in out.decode(errors="replace").splitlines()]
    true = {"1", "True"}
    return {int(n): tuple(sum(v in true for v in f.split(",")) for f in both) for n, *both in rows}


def seen(capture):
    """For commands and replies: (what the field says, {reason: by how much it says too little}). With its reasons, that is
    lines, those that are sent again not counted. Lines of a response whose code is followed by `-` are not its last."""
    again = {
        int(p["frame.number"])
        for p in explain_counts.packets(capture)
        if any(p[f] for f in explain_counts.FIELDS if f.startswith("tcp.analysis"))
    }
    lines = Counter()
    for frame, server, text in explain_counts.lines(capture):
        if re.match(rb"\d{3}(?:[ \r\n]|$)", text) if server else text.strip():
            lines[frame, server] += 1
    both = []
    for server, few in ((False, "empty lines"), (True, "segments without the end of a reply")):
        said, reasons = 0, Counter()
        for frame, counts in fields(capture).items():
            field, here = counts[server], lines[frame, server]
            said += field
            if frame in again:
                reasons["sent again"] -= field
            elif here != field:
                reasons["several in one segment" if here > field else few] += here - field
        both.append((said, {why: n for why, n in reasons.items() if n}))
    return both


def play(tidegate, config, capture, scratch):
    out, events = scratch / "bridge.pcap", scratch / "bridge.jsonl"
    for old in (out, events):
        old.unlink(missing_ok=True)
    command = [tidegate, "replay", "--json", "--log", "error", "--config", config, capture, "--out", out, "--events", events]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    report = json.loads(done.stdout) if done.stdout else None
    return done, report, out, events


def compare(tidegate, config, capture, name, scratch):
    """(what is wrong, differences that are meant to be, report) of a capture, as it is."""
    done, report, out, events = play(tidegate, config, capture, scratch)
    error = done.stderr.decode(errors="replace")
    wrong = damage(name, done.returncode, error)
    if done.returncode not in (0, 1, 2) or report is None:
        return wrong or [f"exit status {done.returncode}: {error.strip()}"], [], report
    known = EXPECTED.get(name, {})
    rows = ranges(report["frames"])
    expected, faults = counted(known.get("frames", []))
    wrong += faults
    if rows != expected:
        wrong.append(f"not as they were: {rows}")
    whole = records(capture, scratch)
    if whole is None:
        return wrong + ["tshark cannot read it"], [], report
    link, sent = whole
    other = {f["frame"] for f in report["frames"]}
    head = 14 if link == ETHERNET else HEADS[link]
    want = [r[3] if link == ETHERNET else r[3][head:] for n, r in enumerate(sent, 1) if n not in other]
    got = [r[3] if link == ETHERNET else r[3][14:] for r in (records(out, scratch) or (1, []))[1]]
    rest = iter(got)
    if not all(frame in rest for frame in want) or (not other and not report["made"] and len(got) != len(want)):
        wrong.append(f"{len(want)} frames should have come out as they were, byte for byte, and did not")
    why = [known["why"]] if "why" in known else []
    for what, ours, (field, reasons) in zip(("commands", "replies"), told(events), seen(capture)):
        theirs = field + sum(reasons.values())
        meant = known.get(what)
        if ours != theirs and (meant is None or tuple(meant[:2]) != (ours, theirs)):
            wrong.append(f"{what}: {ours}, tshark's lines {theirs}")
        elif ours == theirs and what in known:
            wrong.append(f"{what}: {ours}, as tshark: EXPECTED is to be mended")
        if ours != theirs and meant is not None:
            reasons[meant[2]] = ours - theirs
        if reasons:
            parts = ", ".join(f"{n:+} {reason}" for reason, n in reasons.items())
            why.append(f"{what}: {ours} for {field} of {FIELD[what]}: {parts}")
    return wrong, why, report


def run(tidegate, captures, scratch, quiet):
    """Results of all captures."""
    config = scratch / "bridge.toml"
    config.write_text(CONFIG)
    results = []
    if not quiet:
        print(f"{'form':<9}{'frames':>8}{'same':>8}{'other':>7}{'made':>6}  capture")
    for name, capture in captures:
        plays = [(name, capture)]
        whole = records(capture, scratch)
        if whole and whole[0] in HEADS:
            mended = scratch / "mended.pcap"
            if mend(*whole, mended):
                plays.append((name + MENDED, str(mended)))
        for title, file in plays:
            try:
                wrong, why, report = compare(tidegate, config, file, title, scratch)
            except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
                wrong, why, report = [repr(error)], [], None
            results.append({"form": "bridge", "capture": title, "failed": wrong, "differences": why, "report": report})
            if quiet:
                continue
            r = report or {}
            other = len(r.get("frames", []))
            print(f"{'bridge':<9}{r.get('records', 0):>8}{r.get('same', 0):>8}{other:>7}{r.get('made', 0):>6}  {title}")
            for text in why:
                print(f"{'':<40}differs: {text}")
            for text in wrong:
                print(f"{'':<40}FAILED: {text}")
    return results
