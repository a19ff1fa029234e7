"""What `captures_bridge.py` expects of captures that do not pass as they were: `frames` lists them, with what became of each
and the counters that it moved; `commands` and `replies` are (in the events, by tshark, why). A capture that is not here passes
as it was, and counts as tshark does."""

ACKS = "what follows acknowledges what did not pass, and is not read"

EXPECTED = {
    "profuzzbench--BFTPD--seed_1.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 12, "nothing is read"),
        "replies": (0, 13, "nothing is read"),
    },
    "profuzzbench--BFTPD--seed_3.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 7, "nothing is read"),
        "replies": (0, 7, "nothing is read"),
    },
    "profuzzbench--BFTPD--seed_3.pcap (checksums filled in)": {
        "why": "a command is refused by a reply of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("23", "taken", "refused"),
            ("24", "taken", "bad_acks"),
            ("25-26", "changed", ""),
            ("27-30", "taken", "bad_acks"),
            ("31", "changed", ""),
        ],
        "commands": (6, 7, ACKS),
        "replies": (5, 7, ACKS),
    },
    "profuzzbench--BFTPD--seed_8.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 6, "nothing is read"),
        "replies": (0, 8, "nothing is read"),
    },
    "profuzzbench--BFTPD--seed_8.pcap (checksums filled in)": {
        "why": "an empty line behind QUIT asks nothing and is taken out",
        "frames": [
            ("34", "changed", ""),
        ],
    },
    "profuzzbench--BFTPD--seed_9.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 6, "nothing is read"),
        "replies": (0, 8, "nothing is read"),
    },
    "profuzzbench--BFTPD--seed_9.pcap (checksums filled in)": {
        "why": "an empty line behind QUIT asks nothing and is taken out",
        "frames": [
            ("34", "changed", ""),
        ],
    },
    "profuzzbench--LightFTP--ftp_requests_full_anonymous.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 7, "nothing is read"),
        "replies": (0, 9, "nothing is read"),
    },
    "profuzzbench--ProFTPD--seed_11.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 10, "nothing is read"),
        "replies": (0, 12, "nothing is read"),
    },
    "profuzzbench--ProFTPD--seed_11.pcap (checksums filled in)": {
        "why": "a transfer without PORT or PASV is refused by a reply of the gateway's; the captured ends know nothing of that",
        "frames": [
            ("18", "taken", "refused+no_setup"),
            ("19-49", "taken", "bad_acks"),
        ],
        "commands": (4, 10, ACKS),
        "replies": (4, 12, ACKS),
    },
    "profuzzbench--ProFTPD--seed_3.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 13, "nothing is read"),
        "replies": (0, 14, "nothing is read"),
    },
    "profuzzbench--ProFTPD--seed_3.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("14", "taken", "waited"),
            ("15-71", "taken", "bad_acks"),
        ],
        "commands": (4, 13, ACKS),
        "replies": (2, 14, ACKS),
    },
    "profuzzbench--ProFTPD--seed_8.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 6, "nothing is read"),
        "replies": (0, 4, "nothing is read"),
    },
    "profuzzbench--ProFTPD--seed_8.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("12", "taken", "waited"),
            ("13-27", "taken", "bad_acks"),
        ],
        "commands": (3, 6, ACKS),
        "replies": (2, 4, ACKS),
    },
    "profuzzbench--PureFTPD--seed_1.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 12, "nothing is read"),
        "replies": (0, 13, "nothing is read"),
    },
    "profuzzbench--PureFTPD--seed_1.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("12", "taken", "waited"),
            ("13", "taken", "bad_acks"),
            ("14", "taken", ""),
            ("15", "taken", "bad_acks"),
            ("16", "taken", ""),
            ("17", "taken", "bad_acks"),
            ("18", "taken", ""),
            ("19", "taken", "bad_acks"),
            ("20", "taken", ""),
            ("21", "taken", "bad_acks"),
            ("22", "taken", ""),
            ("23", "taken", "bad_acks"),
            ("24", "taken", ""),
            ("25-51", "taken", "bad_acks"),
        ],
        "commands": (6, 12, ACKS),
        "replies": (2, 13, ACKS),
    },
    "profuzzbench--PureFTPD--seed_8.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 6, "nothing is read"),
        "replies": (0, 3, "nothing is read"),
    },
    "profuzzbench--PureFTPD--seed_8.pcap (checksums filled in)": {
        "why": "a command waits for the answer to the one before it; the captured server answers it without having got it",
        "frames": [
            ("12", "taken", "waited"),
            ("13", "taken", "bad_acks"),
            ("14", "taken", ""),
            ("15", "taken", "bad_acks"),
            ("16", "taken", ""),
            ("17", "taken", "bad_acks"),
            ("18", "taken", ""),
            ("19", "taken", "bad_acks"),
            ("20", "taken", ""),
            ("21", "taken", "bad_acks"),
            ("22", "taken", ""),
            ("23", "taken", "bad_acks"),
            ("24", "changed", ""),
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
        "commands": (0, 14, "nothing is read"),
        "replies": (0, 19, "nothing is read"),
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
    "suricata-verify--filestore-v2.7-stream-depth--input.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 7, "nothing is read"),
        "replies": (0, 9, "nothing is read"),
    },
    "suricata-verify--ftp-active-dynamic_port.pcap": {
        "why": "a command is refused by a reply of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("14", "taken", "refused"),
            ("15-21", "taken", "bad_acks"),
        ],
        "replies": (3, 5, ACKS),
    },
    "suricata-verify--ftp-active-mode.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 7, "nothing is read"),
        "replies": (0, 9, "nothing is read"),
    },
    "suricata-verify--ftp-bounce--test.pcap": {
        "why": "PORT with the address of somebody else is refused by a reply of the gateway's; the captured ends know nothing of that, and acknowledge what never was sent",
        "frames": [
            ("27", "taken", "refused+foreign_addresses"),
            ("28-29", "taken", "bad_acks"),
            ("30-31", "changed", ""),
            ("32-34", "taken", "bad_acks"),
        ],
        "replies": (6, 8, ACKS),
    },
    "suricata-verify--ftp-mode-02--input.pcap": {
        "why": "the IP headers' checksums were never filled in, so nothing is read",
        "commands": (0, 6, "nothing is read"),
        "replies": (0, 6, "nothing is read"),
    },
    "suricata-verify--ftp-mode-02--input.pcap (checksums filled in)": {
        "why": "a 227 without an address becomes a 425, and PORT without one is refused; the captured ends know nothing of that",
        "frames": [
            ("11", "changed", "refused+unnamed"),
            ("12", "taken", "bad_acks"),
            ("13", "taken", "refused+unnamed"),
            ("14-15", "taken", "bad_acks"),
            ("16", "changed", ""),
            ("17-18", "taken", "bad_acks"),
        ],
        "replies": (4, 6, ACKS),
    },
    "suricata-verify--ftp-passive-mode.pcap": {
        "why": "the SYN's checksum was never filled in, so it is not believed, and what follows it passes unread",
        "frames": [
            ("1", "dropped", "drop_checksum+rule:default"),
        ],
        "commands": (0, 7, "nothing is read"),
        "replies": (0, 9, "nothing is read"),
    },
    "suricata-verify--ftp-too-long-command--ftp-too-long-command.pcap": {
        "why": "segments that an offload put together, longer than any frame, are not played; what acknowledges them afterwards acknowledges what never came",
        "frames": [
            ("26", "left_out", "too_long"),
            ("27-33", "taken", "bad_acks"),
        ],
        "commands": (5, 7, ACKS),
        "replies": (6, 8, ACKS),
    },
    "suricata-verify--ftp-too-long-command-first--ftp-too-long-command.pcap": {
        "why": "segments that an offload put together, longer than any frame, are not played; what acknowledges them afterwards acknowledges what never came",
        "frames": [
            ("26", "left_out", "too_long"),
            ("27", "taken", "bad_acks"),
            ("28", "taken", ""),
            ("29-35", "taken", "bad_acks"),
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
            ("25-28", "changed", ""),
            ("29", "taken", "refused+no_setup"),
            ("30", "taken", "bad_acks"),
            ("31", "changed", ""),
            ("32", "taken", "refused+unnamed"),
            ("33", "taken", "bad_acks"),
            ("34-35", "changed", ""),
            ("36", "taken", "bad_acks"),
            ("37-38", "changed", ""),
            ("39", "taken", "bad_acks"),
            ("40", "changed", ""),
        ],
        "replies": (7, 10, ACKS),
    },
    "zeek--ftp-with-numbers-in-filename.pcap": {
        "why": "the capture begins within the session, which is not read then",
        "commands": (0, 13, "nothing is read"),
        "replies": (0, 17, "nothing is read"),
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
        "commands": (0, 15, "nothing is read"),
        "replies": (0, 21, "nothing is read"),
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
