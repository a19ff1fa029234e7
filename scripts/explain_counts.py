"""What `tidegate explain` counts in a capture, against what tshark does. Used by captures.py.

For every session: commands and lines of replies with a code, as lines that tshark's FTP dissector shows of its
`tcp.stream` (`ftp.request` and `ftp.response` tell the first line of each segment only; so it is lines that are
counted, each side's as the field says); for every data connection: different bytes of payload, from `tcp.seq` and
`tcp.len`. And no stream that tshark takes for FTP, or for its data, may be missing. Where the two differ and should, DIFFERENCES says why;
any other difference is a failure, and so is one of these that is no longer there.
"""

import collections
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree

from captures_expected import damage

FIELDS = [
    "frame.number",
    "tcp.stream",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "tcp.seq",
    "tcp.len",
    "tcp.analysis.retransmission",
    "tcp.analysis.spurious_retransmission",
    "tcp.analysis.fast_retransmission",
]

# (capture, what): (by tidegate, by tshark, why)
DIFFERENCES = {
    ("suricata-verify--ftp-too-long-command-first--ftp-too-long-command.pcap", "session 1 commands"): (
        7,
        8,
        "a command over two segments is one command, and two lines to tshark, which reads each segment by itself",
    ),
}


def tshark(capture, *more):
    options = ["-n", "-o", "tcp.relative_sequence_numbers:FALSE", "-d", "tcp.port==2200,ftp"]
    return subprocess.run(["tshark", "-r", capture, *options, *more], capture_output=True, check=False).stdout


def packets(capture):
    """One dict of FIELDS for each TCP segment; the innermost one of a tunnel."""
    fields = [word for field in FIELDS for word in ("-e", field)]
    out = tshark(capture, "-Y", "tcp", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|", *fields)
    for line in out.decode(errors="replace").splitlines():
        yield dict(zip(FIELDS, line.split("\t")))


def lines(capture):
    """(frame, whether it is the server's, text) of each line that tshark shows as FTP."""
    out = tshark(capture, "-Y", "ftp", "-T", "pdml")
    if not out.strip():
        return
    for packet in ElementTree.fromstring(out).iter("packet"):
        frame = int(packet.find("./proto/field[@name='num']").get("show"))
        for ftp in packet.findall("./proto[@name='ftp']"):
            server = any(f.get("name") == "ftp.response" and f.get("show") in ("1", "True") for f in ftp)
            for field in ftp:
                if field.get("name") == "" and field.get("value"):
                    yield frame, server, bytes.fromhex(field.get("value"))


def union(spans):
    """How many numbers a list of half-open spans covers."""
    total, end = 0, None
    for a, b in sorted(spans):
        if end is None or a > end:
            total, end = total + b - a, b
        elif b > end:
            total, end = total + b - end, b
    return total


class Seen:
    """tshark's view of a capture."""

    def __init__(self, capture):
        self.stream_of = {}
        self.commands, self.codes = collections.Counter(), collections.Counter()
        spans = collections.defaultdict(list)
        last, again = {}, set()
        for p in packets(capture):
            stream = p["tcp.stream"].split("|")[-1]
            self.stream_of[int(p["frame.number"])] = stream
            if any(p[f] for f in FIELDS if f.startswith("tcp.analysis")):
                again.add(int(p["frame.number"]))
            length = int(p["tcp.len"].split("|")[-1] or 0)
            if length:
                source = (p["ip.src"] or p["ipv6.src"]).split("|")[-1], p["tcp.srcport"].split("|")[-1]
                seq = int(p["tcp.seq"].split("|")[-1])
                # Near the last one: numbers go around every 4 GiB.
                near = last.get((stream, source), seq)
                at = near + (seq - near + 2**31) % 2**32 - 2**31
                last[stream, source] = at
                spans[stream, source].append((at, at + length))
        out = tshark(capture, "-Y", "ftp-data", "-T", "fields", "-e", "tcp.stream").decode()
        self.data = {line.split(",")[-1] for line in out.split()}
        for frame, server, text in lines(capture):
            if frame in again:
                continue
            if server:
                self.codes[self.stream_of[frame]] += bool(re.match(rb"\d{3}", text))
            else:
                self.commands[self.stream_of[frame]] += bool(text.strip())
        self.bytes = {key: union(s) for key, s in spans.items()}


def end(text):
    """("10.0.0.1", "21") of "10.0.0.1:21" or "[::1]:21"."""
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), port


def compare(tidegate, capture, name):
    """(what is wrong, differences with reasons, exit status, counts)"""
    done = subprocess.run(
        [tidegate, "explain", "--json", "--port", "21", capture], capture_output=True, timeout=60, check=False
    )
    error = done.stderr.decode(errors="replace")
    wrong = damage(name, done.returncode, error)
    if done.returncode not in (0, 1, 2) or not done.stdout:
        return wrong or [f"exit status {done.returncode}: {error}"], [], done.returncode, (0, 0, 0, 0)
    report = json.loads(done.stdout)
    seen = Seen(capture)
    found, missing = [], {s for s in seen.commands if seen.commands[s] + seen.codes[s] > 0}
    counts = [len(report["sessions"]), 0, 0, 0]
    for session in report["sessions"]:
        stream = seen.stream_of.get(session["first"]["frame"])
        missing.discard(stream)
        n = session["session"]
        found.append((f"session {n} commands", session["commands"], seen.commands[stream]))
        found.append((f"session {n} reply lines", session["reply_lines"], seen.codes[stream]))
        counts[1] += session["commands"]
        counts[2] += session["replies"]
        for transfer in session["transfers"]:
            data = transfer["data"]
            if data is None:
                continue
            stream = seen.stream_of.get(data["first"]["frame"])
            seen.data.discard(stream)
            ours = data["to_client"] + data["to_server"]
            theirs = sum(seen.bytes.get((stream, end(data[e])), 0) for e in ("from", "to"))
            found.append((f"session {n} transfer {transfer['transfer']} bytes", ours, theirs))
            counts[3] += ours
    found.append(("streams of FTP that are no session", 0, len(missing)))
    found.append(("streams of data that are no transfer's", 0, len(seen.data)))
    told = []
    known = {what: rest for (file, what), rest in DIFFERENCES.items() if file == name}
    for what, ours, theirs in found:
        reason = known.pop(what, None)
        if reason and reason[:2] == (ours, theirs):
            told.append(f"{what}: {ours}, tshark {theirs}: {reason[2]}")
        elif reason or ours != theirs:
            wrong.append(f"{what}: {ours}, tshark {theirs}")
    wrong += [f"{what}: is no longer there" for what in known]
    return wrong, told, done.returncode, counts
