"""What `captures_bridge.py` expects of captures that do not pass as they were: `frames` lists them, with what became of each
and the rule that made it so; `commands` and `replies` are (in the events, by tshark, why). A capture that is not here passes
as it was, and counts as tshark does.

A rule is named by the counters that it moves; `an empty line` moves none. `after 23` means that the rule of frame 23 made
it so: the captured ends know nothing of what the gateway said or held back there, and go on as if nothing had been."""

ACKS = "what follows acknowledges what did not pass, and is not read"
UNREAD = "nothing is read"


def unbelieved(commands, replies):
    """A session whose SYN has no right checksum."""
    return {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [("1", "dropped", "drop_checksum+rule:default")],
        "commands": (0, commands, UNREAD),
        "replies": (0, replies, UNREAD),
    }


EXPECTED = {
    "profuzzbench--BFTPD--seed_1.pcap": unbelieved(12, 13),
    "profuzzbench--BFTPD--seed_3.pcap": unbelieved(7, 7),
    "profuzzbench--BFTPD--seed_3.pcap (checksums filled in)": {
        "why": "EPRT for the other protocol is refused by a 522 of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("23", "taken", "refused"),
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
            ("19-49", "taken", "bad_acks, after 18"),
        ],
        "commands": (4, 10, ACKS),
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
            ("13", "taken", "bad_acks, after 12"),
            ("14", "taken", "after 12"),
            ("15", "taken", "bad_acks, after 12"),
            ("16", "taken", "after 12"),
            ("17", "taken", "bad_acks, after 12"),
            ("18", "taken", "after 12"),
            ("19", "taken", "bad_acks, after 12"),
            ("20", "taken", "after 12"),
            ("21", "taken", "bad_acks, after 12"),
            ("22", "taken", "after 12"),
            ("23", "taken", "bad_acks, after 12"),
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
            ("13", "taken", "bad_acks, after 12"),
            ("14", "taken", "after 12"),
            ("15", "taken", "bad_acks, after 12"),
            ("16", "taken", "after 12"),
            ("17", "taken", "bad_acks, after 12"),
            ("18", "taken", "after 12"),
            ("19", "taken", "bad_acks, after 12"),
            ("20", "taken", "after 12"),
            ("21", "taken", "bad_acks, after 12"),
            ("22", "taken", "after 12"),
            ("23", "taken", "bad_acks, after 12"),
            ("24", "changed", "after 12"),
        ],
        "commands": (2, 6, ACKS),
        "replies": (2, 3, ACKS),
    },
    "suricata-verify--bug-4877--input.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread; segments that an offload put together are not played",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
            ("31", "left_out", "too_long"),
            ("33", "left_out", "too_long"),
            ("36", "left_out", "too_long"),
            ("45", "left_out", "too_long"),
            ("47-48", "left_out", "too_long"),
            ("53", "left_out", "too_long"),
            ("56", "left_out", "too_long"),
            ("58", "left_out", "too_long"),
            ("60", "left_out", "too_long"),
            ("172", "left_out", "too_long"),
            ("174", "left_out", "too_long"),
            ("177", "left_out", "too_long"),
            ("181", "left_out", "too_long"),
            ("188", "left_out", "too_long"),
            ("195", "left_out", "too_long"),
            ("199", "left_out", "too_long"),
            ("201", "left_out", "too_long"),
            ("205", "left_out", "too_long"),
            ("210", "left_out", "too_long"),
            ("214", "left_out", "too_long"),
            ("218", "left_out", "too_long"),
            ("220", "left_out", "too_long"),
            ("222", "left_out", "too_long"),
            ("224", "left_out", "too_long"),
            ("226", "left_out", "too_long"),
            ("228", "left_out", "too_long"),
        ],
        "commands": (0, 14, UNREAD),
        "replies": (0, 19, UNREAD),
    },
    "suricata-verify--bug-4877--input.pcap (checksums filled in)": {
        "why": "segments that an offload put together, longer than any frame, are not played",
        "frames": [
            ("31", "left_out", "too_long"),
            ("33", "left_out", "too_long"),
            ("36", "left_out", "too_long"),
            ("45", "left_out", "too_long"),
            ("47-48", "left_out", "too_long"),
            ("53", "left_out", "too_long"),
            ("56", "left_out", "too_long"),
            ("58", "left_out", "too_long"),
            ("60", "left_out", "too_long"),
            ("172", "left_out", "too_long"),
            ("174", "left_out", "too_long"),
            ("177", "left_out", "too_long"),
            ("181", "left_out", "too_long"),
            ("188", "left_out", "too_long"),
            ("195", "left_out", "too_long"),
            ("199", "left_out", "too_long"),
            ("201", "left_out", "too_long"),
            ("205", "left_out", "too_long"),
            ("210", "left_out", "too_long"),
            ("214", "left_out", "too_long"),
            ("218", "left_out", "too_long"),
            ("220", "left_out", "too_long"),
            ("222", "left_out", "too_long"),
            ("224", "left_out", "too_long"),
            ("226", "left_out", "too_long"),
            ("228", "left_out", "too_long"),
        ],
    },
    "suricata-verify--filestore-v2.7-stream-depth--input.pcap": unbelieved(7, 9),
    "suricata-verify--ftp-active-dynamic_port.pcap": {
        "why": "EPRT for the other protocol is refused by a 522 of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("14", "taken", "refused"),
            ("15-21", "taken", "bad_acks, after 14"),
        ],
        "replies": (3, 5, ACKS),
    },
    "suricata-verify--ftp-active-mode.pcap": unbelieved(7, 9),
    "suricata-verify--ftp-bounce--test.pcap": {
        "why": "PORT with the address of somebody else is refused by a reply of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("27", "taken", "refused+foreign_addresses"),
            ("28-29", "taken", "bad_acks, after 27"),
            ("30-31", "changed", "after 27"),
            ("32-34", "taken", "bad_acks, after 27"),
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
            ("11", "changed", "refused+unnamed"),
            ("12", "taken", "bad_acks, after 11"),
            ("13", "taken", "refused+unnamed"),
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
    "zeek--fake-long-commands.pcap": {
        "why": "a 227 without an address becomes a 425, and PORT without one is refused; the captured ends know nothing of that",
        "frames": [
            ("24", "changed", "unnamed"),
            ("25-28", "changed", "after 24"),
            ("29", "taken", "refused+no_setup"),
            ("30", "taken", "bad_acks, after 29"),
            ("31", "changed", "after 29"),
            ("32", "taken", "refused+unnamed"),
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
