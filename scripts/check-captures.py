#!/usr/bin/env python3
"""Judges what `demo.sh --keep DIR` kept.

    scripts/check-captures.py [--inline] DIR [BASELINE]

--inline: the gateway stood in line (deployment bridge or route). BASELINE is what `demo.sh --direct --keep BASELINE` kept: the same transfers without tidegate. With it, the
counts of tshark's TCP analysis are compared, transfer by transfer. Prints one line for each check and
"N passed, N failed" at the end.
"""

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

CLIENT, SERVER, GATEWAY, ROUTER = "10.0.0.10", "10.1.0.10", "10.9.0.2", "10.9.0.1"
DATA_PORTS = {2020, 2021, 2022, 2023, 2024, 2025}
LEGS = ("client", "gw", "server")
ANALYSIS = (
    "retransmission fast_retransmission spurious_retransmission out_of_order lost_segment ack_lost_segment "
    "duplicate_ack keep_alive reused_ports zero_window window_full window_update"
).split()
# Where two stacks meet, windows are each stack's own business.
WINDOWS = {"zero_window", "window_full", "window_update"}
FIELDS = [
    "frame.time_epoch", "ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.seq_raw",
    "gre.proto", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status",
    "_ws.malformed", "ftp.response.code", "ftp.response.arg", "tcp.stream",
] + ["tcp.analysis." + a for a in ANALYSIS]

passed = failed = 0


def check(what, good, detail=""):
    """One line of the verdict."""
    global passed, failed
    print(("ok      " if good else "FAILED  ") + what + (f": {detail}" if detail and not good else ""))
    if good:
        passed += 1
    else:
        failed += 1
    return good


def frames(path):
    """All frames of a capture, a dictionary of fields each."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=\t", "-E", "occurrence=a"]
    command += ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    for field in FIELDS:
        command += ["-e", field]
    text = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout
    out = []
    for line in text.splitlines():
        frame = dict(zip(FIELDS, line.split("\t")))
        frame["time"] = float(frame["frame.time_epoch"])
        frame["src"] = frame["ip.src"].split(",")
        frame["dst"] = frame["ip.dst"].split(",")
        out.append(frame)
    return out


class Kept:
    """What one demo kept."""

    def __init__(self, directory):
        self.dir = Path(directory)
        with open(self.dir / "transfers.tsv", newline="") as f:
            names = "n mode tool operation size bytes start seconds sum moved result".split()
            rows = [dict(zip(names, row)) for row in csv.reader(f, delimiter="\t")]
        self.all = rows
        self.rows = [r for r in rows if r["n"] != "0" and r["size"] != "256MiB"]
        self.legs = {}

    def load(self):
        """Reads the captures of the transfers up to 1 MiB; false if one is missing."""
        for leg in LEGS:
            path = self.dir / f"small-{leg}.pcapng"
            if not check(f"{self.dir}: the {leg} leg was captured", path.is_file(), f"{path} is missing"):
                return False
            self.legs[leg] = frames(path)
        return True

    def losses(self):
        """Frames lost by dumpcap's own count, for each leg."""
        path = self.dir / "captures.tsv"
        rows = [line.split("\t") for line in path.read_text().splitlines()] if path.is_file() else []
        lost = {leg: dropped for which, leg, _, dropped in rows if which == "small"}
        for leg in LEGS:
            count = lost.get(leg, "unknown")
            check(f"{self.dir}: the capture of the {leg} leg lost nothing", count == "0", f"{count} frames")

    def windows(self, leg):
        """For each transfer, its frames: from its start to the start of the next."""
        starts = [float(r["start"]) for r in self.rows] + [float("inf")]
        groups, at = [[] for _ in self.rows], 0
        for frame in self.legs[leg]:
            while at < len(self.rows) and frame["time"] >= starts[at + 1]:
                at += 1
            if at < len(self.rows) and frame["time"] >= starts[at]:
                groups[at].append(frame)
        return groups


def name(row):
    """A transfer as a person says it."""
    return f"{row['n']} {row['mode']} {row['tool']} {row['operation']} {row['size']}"


def ports_announced(group):
    """The ports in 227 and 229 replies."""
    ports = []
    for f in group:
        if f["ftp.response.code"] == "227":
            m = re.search(r"(\d+),(\d+)\)?\.?\s*$", f["ftp.response.arg"])
            ports += [int(m[1]) * 256 + int(m[2])] if m else [0]
        elif f["ftp.response.code"] == "229":
            m = re.search(r"\|\|\|(\d+)\|", f["ftp.response.arg"])
            ports += [int(m[1])] if m else [0]
    return ports


def opened(group, acknowledged):
    """SYNs (or SYN-ACKs) of control connections: (source, destination, initial sequence number)."""
    flags, side = ("0x0012", "tcp.srcport") if acknowledged else ("0x0002", "tcp.dstport")
    return {
        (f["src"][-1], f["dst"][-1], f["tcp.seq_raw"])
        for f in group
        if f["tcp.flags"] == flags and f[side] == "21"
    }


def judge_frames(kept):
    """Malformed frames and checksums."""
    for leg, all_frames in kept.legs.items():
        bad = sum(1 for f in all_frames if f["_ws.malformed"])
        check(f"{leg} leg: no malformed frame", bad == 0, f"{bad} frames")
        sums = [k for k in FIELDS if k.endswith("checksum.status")]
        bad = sum(1 for f in all_frames if any("0" in f[k].split(",") for k in sums))
        check(f"{leg} leg: no bad checksum", bad == 0, f"{bad} frames")


def judge_redirection(kept):
    """Where packets went."""
    gre = [f for f in kept.legs["gw"] if f["gre.proto"] == "0x883e"]
    check("gateway leg: packets redirected in GRE 0x883E", len(gre) > 0)
    back = [f for f in gre if f["src"][0] == GATEWAY]
    check("gateway leg: nothing returned", not back, f"{len(back)} frames")
    seen = [f for f in kept.legs["client"] if GATEWAY in f["src"] + f["dst"]]
    check("client leg: the gateway's address is nowhere", not seen, f"{len(seen)} frames")
    seen = [f for f in kept.legs["server"] if CLIENT in f["src"] + f["dst"]]
    check("server leg: the client's address is nowhere", not seen, f"{len(seen)} frames")
    router = json.loads((kept.dir / "router.json").read_text())
    count = router["counters"]["returned"]
    check("the router counted no returned packet", count == 0, str(count))


def judge_sessions(kept):
    """Control connections and announced ports, transfer by transfer."""
    clients, servers = kept.windows("client"), kept.windows("server")
    sessions, wrong_isn, wrong_peer, wrong_port = 0, [], [], []
    for row, near, far in zip(kept.rows, clients, servers):
        near_isn, far_isn = opened(near, False) | opened(near, True), opened(far, False) | opened(far, True)
        sessions += len(opened(near, False))
        if not near_isn or not far_isn or {i[2] for i in near_isn} & {i[2] for i in far_isn}:
            wrong_isn.append(name(row))
        if any(src != GATEWAY or dst != SERVER for src, dst, _ in opened(far, False)):
            wrong_peer.append(name(row))
        if row["mode"] in ("PASV", "EPSV"):
            told, real = ports_announced(near), ports_announced(far)
            if not told or not real or not set(told) <= DATA_PORTS or set(told) & set(real):
                wrong_port.append(f"{name(row)} (client {told}, server {real})")
    check("control connections have other initial sequence numbers on each leg", not wrong_isn, "; ".join(wrong_isn[:5]))
    check("the server sees the gateway's address", not wrong_peer, "; ".join(wrong_peer[:5]))
    check("passive ports: the client's is a data port and not the server's", not wrong_port, "; ".join(wrong_port[:5]))
    return sessions


def judge_in_line(kept):
    """One TCP from end to end: each session begins with the same numbers on both sides of the gateway."""
    insides, outsides = kept.windows("inside"), kept.windows("outside")
    sessions, wrong = 0, []
    for row, near, far in zip(kept.rows, insides, outsides):
        for acknowledged in (False, True):
            a, b = ({isn for _, _, isn in opened(g, acknowledged)} for g in (near, far))
            if not a or a != b:
                wrong.append(name(row))
        sessions += len(opened(near, False))
    check("control connections have the same initial sequence numbers on each leg", not wrong, "; ".join(wrong[:5]))
    return sessions


def judge_events(kept, sessions):
    """The gateway's own account against the transfers made."""
    path = kept.dir / "events.jsonl"
    if not check("the gateway kept its events", path.is_file()):
        return
    events = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    transfers = [e for e in events if e.get("event") == "transfer"]
    made = kept.all
    check("as many transfers in the events as were made", len(transfers) == len(made), f"{len(transfers)}, not {len(made)}")
    wrong = []
    for row, event in zip(made, transfers):
        upload = row["operation"] in ("upload", "append", "resume-up")
        expected = (int(row["moved"]), "upload" if upload else "download", "complete")
        got = (event["bytes"], event["direction"], event["verdict"])
        if got != expected:
            wrong.append(f"{name(row)}: {got}, not {expected}")
    check("the events have the same bytes, direction and verdict", not wrong, "; ".join(wrong[:5]))
    # Sessions of transfers whose capture was not judged here are not in it.
    extra = len(made) - len(kept.rows)
    listed = sum(1 for e in events if e.get("event") == "session" and e.get("state") == "open") - extra
    check("the leg next to the clients holds every session of the events", sessions >= listed, f"{sessions} of {listed}")


def analysis(group, skip):
    """Counts of TCP analysis flags in the frames of one transfer."""
    counts = Counter()
    for f in group:
        for a in ANALYSIS:
            if not f["tcp.analysis." + a] or a in skip:
                continue
            # Which port an end host opens a connection from is its kernel's choice, by chance: only the
            # gateway's own connections are its own doing.
            if a == "reused_ports" and f["src"][-1] != GATEWAY:
                continue
            counts[a] += 1
    return counts


def judge_analysis(kept, base):
    """TCP analysis counts, each transfer against the same without tidegate."""
    def key(row):
        return (row["mode"], row["tool"], row["operation"], row["size"])

    without = {}
    for leg in base.legs.keys() - {"gw"}:
        for row, group in zip(base.rows, base.windows(leg)):
            without.setdefault(key(row), Counter()).update(analysis(group, ()))
    for leg in LEGS:
        above = []
        for row, group in zip(kept.rows, kept.windows(leg)):
            if key(row) not in without:
                above.append(f"{name(row)} is not in the baseline")
                continue
            # Control connections are terminated always, data connections of active mode are relayed.
            active = row["mode"] in ("PORT", "EPRT")
            relayed = WINDOWS if active and "gw" in kept.legs else ()
            for flag, count in analysis([f for f in group if not is_control(f)], relayed).items():
                if count > without[key(row)][flag]:
                    above.append(f"{name(row)}: {flag} {count} > {without[key(row)][flag]}")
            for flag, count in analysis([f for f in group if is_control(f)], WINDOWS).items():
                if count > without[key(row)][flag]:
                    above.append(f"{name(row)}: control {flag} {count} > {without[key(row)][flag]}")
        detail = f"{len(above)} above, as {'; '.join(above[:5])}"
        check(f"{leg} leg: no TCP analysis count above the baseline's", not above, detail)


def is_control(frame):
    """Whether a frame belongs to a control connection."""
    return "21" in (frame["tcp.srcport"], frame["tcp.dstport"])


def main():
    global LEGS
    arguments = sys.argv[1:]
    inline = arguments[:1] == ["--inline"]
    if inline:
        LEGS = ("inside", "outside")
        arguments.pop(0)
    if len(arguments) not in (1, 2):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    kept = Kept(arguments[0])
    kept.losses()
    if kept.load():
        judge_frames(kept)
        if inline:
            sessions = judge_in_line(kept)
        else:
            judge_redirection(kept)
            sessions = judge_sessions(kept)
        judge_events(kept, sessions)
        if len(arguments) == 2:
            base = Kept(arguments[1])
            base.losses()
            if base.load():
                judge_analysis(kept, base)
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


sys.exit(main())
