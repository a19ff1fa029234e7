"""What `captures_bridge.py` expects of captures that do not pass as they were: `frames` lists them, with what became of each
and the rule that made it so; `commands` and `replies` are (in the events, by tshark, why). A capture that is not here passes
as it was, and counts as tshark does.

A rule is named by the counters that it moves; `an empty line` moves none. `after 23` means that the rule of frame 23 made
it so: the captured ends know nothing of what the gateway said or held back there, and go on as if nothing had been."""

ACKS = "what follows acknowledges what did not pass, and is not read"
UNREAD = "nothing is read"

# Captures that end in the middle of a record, and at which byte that record begins. None of the public ones does: this is
# a recording that captures.py cuts short. Whatever else is refused as damaged is a failure.
CUT = ("pcaps/bridge/worker0-in.pcapng", 20_000)
CUT_NAME = f"{CUT[0]} (cut short)"
DAMAGED = {CUT_NAME: 19_576}


def damage(name, status, error):
    """What is wrong with how a command ended, as far as damaged captures go."""
    place = DAMAGED.get(name)
    if place is None:
        return [f"exit status 2, and DAMAGED does not name it: {error.strip()}"] if status == 2 else []
    if status == 2 and f"at byte {place}:" in error:
        return []
    return [f"exit status {status}, and DAMAGED says that it ends within the record at byte {place}: {error.strip()}"]


def unbelieved(commands, replies):
    """A session whose SYN has no right checksum."""
    return {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [("1", "dropped", "drop_checksum+rule:default")],
        "commands": (0, commands, UNREAD),
        "replies": (0, replies, UNREAD),
    }


def in_turn(first, last, after):
    """A server acknowledges, line by line, what waits here and was never sent to it; the lines stand behind the first one."""
    return [
        (str(n), "taken", f"bad_acks, after {after}" if n % 2 == first % 2 else f"after {after}")
        for n in range(first, last + 1)
    ]


# Segments of bug-4877 that an offload put together.
OFFLOADED = [
    (frames, "left_out", "too_long")
    for frames in (
        "31 33 36 45 47-48 53 56 58 60 172 174 177 181 188 195 199 201 205 210 214 218 220 222 224 "
        "226 228"
    ).split()
]

# One client's refused logins: from the sixth on each refusal is held back for a while, and the captured client does not wait.
GUESSES = [
    row
    for frame in range(118, 599, 20)
    for row in (
        (f"{frame}", "taken", "failed_logins+late_refusals"),
        (f"{frame + 1}-{frame + 8}", "taken", f"bad_acks, after {frame}"),
    )
]


EXPECTED = {
    "profuzzbench--BFTPD--seed_1.pcap": unbelieved(12, 13),
    "profuzzbench--BFTPD--seed_3.pcap": unbelieved(7, 7),
    "profuzzbench--BFTPD--seed_3.pcap (checksums filled in)": {
        "why": "EPRT for the other protocol is refused by a 522 of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("23", "taken", "expectations_announced+expectations_refused+refused"),
            ("24", "taken", "bad_acks, after 23"),
            ("25-26", "changed", "after 23"),
            ("27-30", "taken", "bad_acks, after 23"),
            ("31", "changed", "after 23"),
        ],
        "commands": (6, 7, ACKS),
        "replies": (5, 7, ACKS),
    },
    "profuzzbench--BFTPD--seed_8.pcap": unbelieved(6, 8),
    "profuzzbench--BFTPD--seed_8.pcap (checksums filled in)": {
        "why": "an empty line behind QUIT asks nothing and is taken out",
        "frames": [
            ("34", "changed", "an empty line"),
        ],
    },
    "profuzzbench--BFTPD--seed_9.pcap": unbelieved(6, 8),
    "profuzzbench--BFTPD--seed_9.pcap (checksums filled in)": {
        "why": "an empty line behind QUIT asks nothing and is taken out",
        "frames": [
            ("34", "changed", "an empty line"),
        ],
    },
    "profuzzbench--LightFTP--ftp_requests_full_anonymous.pcap": unbelieved(7, 9),
    "profuzzbench--ProFTPD--seed_11.pcap": unbelieved(10, 12),
    "profuzzbench--ProFTPD--seed_11.pcap (checksums filled in)": {
        "why": "a transfer without PORT or PASV is refused by a reply of the gateway's; the captured ends know nothing of that",
        "frames": [
            ("18", "taken", "refused+no_setup"),
            ("19", "taken", "bad_acks, after 18"),
            ("20-21", "changed", "after 18"),
            ("22-49", "taken", "bad_acks, after 18"),
        ],
        "commands": (5, 10, ACKS),
        "replies": (4, 12, ACKS),
    },
    "profuzzbench--ProFTPD--seed_3.pcap": unbelieved(13, 14),
    "profuzzbench--ProFTPD--seed_3.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("14", "taken", "waited"),
            ("15-71", "taken", "bad_acks, after 14"),
        ],
        "commands": (4, 13, ACKS),
        "replies": (2, 14, ACKS),
    },
    "profuzzbench--ProFTPD--seed_8.pcap": unbelieved(6, 4),
    "profuzzbench--ProFTPD--seed_8.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("12", "taken", "waited"),
            ("13-27", "taken", "bad_acks, after 12"),
        ],
        "commands": (3, 6, ACKS),
        "replies": (2, 4, ACKS),
    },
    "profuzzbench--PureFTPD--seed_1.pcap": unbelieved(12, 13),
    "profuzzbench--PureFTPD--seed_1.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("12", "taken", "waited"),
            *in_turn(13, 23, 12),
            ("24", "taken", "after 12"),
            ("25-51", "taken", "bad_acks, after 12"),
        ],
        "commands": (6, 12, ACKS),
        "replies": (2, 13, ACKS),
    },
    "profuzzbench--PureFTPD--seed_8.pcap": unbelieved(6, 3),
    "profuzzbench--PureFTPD--seed_8.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("12", "taken", "waited"),
            *in_turn(13, 23, 12),
            ("24", "changed", "after 12"),
        ],
        "commands": (2, 6, ACKS),
        "replies": (2, 3, ACKS),
    },
    "suricata-verify--bug-4877--input.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread; segments that an offload put together are not played",
        "frames": [("1", "dropped", "drop_checksum+rule:default"), *OFFLOADED],
        "commands": (0, 14, UNREAD),
        "replies": (0, 19, UNREAD),
    },
    "suricata-verify--bug-4877--input.pcap (checksums filled in)": {
        "why": "segments that an offload put together, longer than any frame, are not played",
        "frames": OFFLOADED,
    },
    "suricata-verify--filestore-v2.7-stream-depth--input.pcap": unbelieved(7, 9),
    "suricata-verify--ftp-active-dynamic_port.pcap": {
        "why": "EPRT for the other protocol is refused by a 522 of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("14", "taken", "expectations_announced+expectations_refused+refused"),
            ("15-16", "taken", "bad_acks, after 14"),
            ("17", "changed", "after 14"),
            ("18", "taken", "bad_acks, after 14"),
            ("19", "changed", "after 14"),
            ("20-21", "taken", "bad_acks, after 14"),
        ],
        "replies": (3, 5, ACKS),
    },
    "suricata-verify--ftp-active-mode.pcap": unbelieved(7, 9),
    "suricata-verify--ftp-bounce--test.pcap": {
        "why": "PORT with the address of somebody else is refused by a reply of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("27", "taken", "expectations_announced+expectations_refused+refused+foreign_addresses"),
            ("28-29", "taken", "bad_acks, after 27"),
            ("30-31", "changed", "after 27"),
            ("32-33", "taken", "bad_acks, after 27"),
            ("34", "changed", "after 27"),
        ],
        "replies": (6, 8, ACKS),
    },
    "suricata-verify--ftp-mode-02--input.pcap": {
        "why": "the IP headers' checksums were never filled in, so nothing is read",
        "commands": (0, 6, UNREAD),
        "replies": (0, 6, UNREAD),
    },
    "suricata-verify--ftp-mode-02--input.pcap (checksums filled in)": {
        "why": "a 227 without an address becomes a 425, and PORT without one is refused; the captured ends know nothing of that",
        "frames": [
            ("11", "changed", "expectations_announced+expectations_refused+refused+unnamed"),
            ("12", "taken", "bad_acks, after 11"),
            ("13", "taken", "expectations_announced+expectations_refused+refused+unnamed"),
            ("14-15", "taken", "bad_acks, after 13"),
            ("16", "changed", "after 13"),
            ("17-18", "taken", "bad_acks, after 13"),
        ],
        "replies": (4, 6, ACKS),
    },
    "suricata-verify--ftp-passive-mode.pcap": unbelieved(7, 9),
    "suricata-verify--ftp-too-long-command--ftp-too-long-command.pcap": {
        "why": "segments that an offload put together, longer than any frame, are not played; what acknowledges them afterwards acknowledges what never came",
        "frames": [
            ("26", "left_out", "too_long"),
            ("27-33", "taken", "bad_acks, after 26"),
        ],
        "commands": (5, 7, ACKS),
        "replies": (6, 8, ACKS),
    },
    "suricata-verify--ftp-too-long-command-first--ftp-too-long-command.pcap": {
        "why": "segments that an offload put together, longer than any frame, are not played; what acknowledges them afterwards acknowledges what never came",
        "frames": [
            ("26", "left_out", "too_long"),
            ("27", "taken", "bad_acks, after 26"),
            ("28", "taken", "after 26"),
            ("29-35", "taken", "bad_acks, after 26"),
        ],
        "commands": (5, 8, ACKS),
        "replies": (6, 8, ACKS),
    },
    "zeek--bigtransfer.pcap": {
        "why": "segments that an offload put together, longer than any frame, are not played",
        "frames": [
            ("51", "left_out", "too_long"),
            ("63", "left_out", "too_long"),
        ],
    },
    "zeek--bruteforce.pcap": {
        "why": "who has been refused too often waits for the next refusal; the captured client does not, and acknowledges what was not sent yet",
        "frames": GUESSES,
        "commands": (65, 90, ACKS),
        "replies": (95, 120, ACKS),
    },
    "zeek--fake-long-commands.pcap": {
        "why": "a 227 without an address becomes a 425, and PORT without one is refused; the captured ends know nothing of that",
        "frames": [
            ("24", "changed", "expectations_announced+expectations_refused+unnamed"),
            ("25-28", "changed", "after 24"),
            ("29", "taken", "refused+no_setup"),
            ("30", "taken", "bad_acks, after 29"),
            ("31", "changed", "after 29"),
            ("32", "taken", "expectations_announced+expectations_refused+refused+unnamed"),
            ("33", "taken", "bad_acks, after 32"),
            ("34-35", "changed", "after 32"),
            ("36", "taken", "bad_acks, after 32"),
            ("37-38", "changed", "after 32"),
            ("39", "taken", "bad_acks, after 32"),
            ("40", "changed", "after 32"),
        ],
        "replies": (7, 10, ACKS),
    },
    "zeek--ftp-with-numbers-in-filename.pcap": {
        "why": "the capture begins within the session, which is not read then",
        "commands": (0, 13, UNREAD),
        "replies": (0, 17, UNREAD),
    },
    "zeek--ipv6-multiline-reply.pcap": {
        "why": "what an end says after the client's reset",
        "frames": [
            ("49-50", "dropped", "drop_no_connection"),
        ],
    },
    "zeek--pe.pcap": {
        "why": "the servers' checksums were never filled in; without a SYN-ACK nothing is read",
        "frames": [
            ("2", "dropped", "drop_checksum"),
            ("7", "dropped", "drop_checksum"),
            ("11", "dropped", "drop_checksum"),
            ("15", "dropped", "drop_checksum"),
            ("534", "dropped", "drop_checksum"),
        ],
        "commands": (0, 15, UNREAD),
        "replies": (0, 21, UNREAD),
    },
    "pcaps/client-source-all/worker0-out.pcapng": {
        "why": "a recording of one direction: a client's end that is answered by nobody",
        "frames": [
            ("14", "taken", "unreadable"),
        ],
    },
    "pcaps/client-source-ports/worker0-out.pcapng": {
        "why": "a recording of one direction: a client's end that is answered by nobody",
        "frames": [
            ("14", "taken", "unreadable"),
        ],
    },
}

# Recordings of pcaps/ that nobody reads here, as a port of them has one direction of each connection, or packets in GRE: how
# many commands and replies tshark sees in what came in, and in what went out. The others are read, and count as any capture.
RECORDING = "not read: of a recording of one port, where connections have one direction, or are in GRE"
RECORDINGS = {
    "abort": {"in": (10, 11), "out": (8, 11)},
    "active": {"in": (7, 10), "out": (7, 10)},
    "client-source-all": {"out": (7, 10)},
    "client-source-ports": {"out": (7, 10)},
    "l2": {"in": (7, 10), "out": (7, 10)},
    "not-ours": {"in": (4, 0), "out": (4, 0)},
    "passive": {"in": (9, 13), "out": (9, 13)},
    "refused-login": {"in": (4, 5), "out": (4, 5)},
    "refused-tls": {"in": (4, 4), "out": (3, 5)},
    "route": {"in": (14, 20), "out": (14, 20)},
    "route-ccc": {"in": (19, 11), "out": (19, 11)},
    "static-ipv4": {"in": (7, 10), "out": (7, 10)},
    "static-ipv6": {"in": (10, 14), "out": (10, 14)},
    "two-sessions": {"in": (10, 14), "out": (10, 14)},
    "upload": {"in": (9, 12), "out": (9, 12)},
}
for _name, _ports in RECORDINGS.items():
    for _port, _counts in _ports.items():
        _known = EXPECTED.setdefault(f"pcaps/{_name}/worker0-{_port}.pcapng", {})
        _known |= {what: (0, n, RECORDING) for what, n in zip(("commands", "replies"), _counts) if n}
