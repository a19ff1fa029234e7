"""Sessions that fail on purpose, each of a client address of its own, all at once; then each one's packets out of the
captures.

    causes.py run CLIENT-NAMESPACE SERVER-NAMESPACE          plays them
    causes.py rules                                          nftables rules, for the gateway, that make them fail
    causes.py split STATE                                    one capture for each, and expected.tsv
    causes.py count                                          how many there are

The servers are 198.51.100.7 (as usual), .8 (names a wrong address, soon tired of waiting), .10 (neither PORT nor PASV), all
vsftpd, .11 (ProFTPD, TLS), and .9, whose 227 is made here.
"""

import ftplib
import socket
import struct
import subprocess
import sys
import threading
import time

OUTSIDE = "203.0.113.9"
PUBLIC = "192.0.2.5"
NORMAL, WRONG, NEITHER, TLS, ODD = (f"198.51.100.{n}" for n in (7, 8, 10, 11, 9))


def curl(server, *options, path="pub/file", seconds=5):
    """A client that is curl."""

    def play(address):
        command = ["ip", "netns", "exec", sys.argv[1], "curl", "-sS", "-m", str(seconds), "--interface", address]
        command += [*options, f"ftp://{server}/{path}", "-o", "/dev/null"]
        subprocess.run(command, check=False, capture_output=True)

    return play


def lftp(what):
    """A client that is lftp."""

    def play(address):
        script = f"set net:socket-bind-ipv4 {address}; set net:max-retries 1; open ftp://{NORMAL}; {what}"
        command = ["ip", "netns", "exec", sys.argv[1], "timeout", "8", "lftp", "-c", script]
        subprocess.run(command, check=False, capture_output=True)

    return play


def slow(rate, seconds):
    """A download that takes its time."""
    return curl(NORMAL, "--limit-rate", rate, path="pub/large", seconds=seconds)


class Client(ftplib.FTP):
    """A client whose steps are chosen here; it must be made in the client's namespace."""

    def __init__(self, server, address):
        self.address = address
        super().__init__(server, "anonymous", "nobody@", timeout=15, source_address=(address, 0))
        self.voidcmd("TYPE I")


def without_announcement(address):
    """RETR, and neither PORT nor PASV before it."""
    ftp = Client(NORMAL, address)
    try:
        ftp.sendcmd("RETR pub/file")
    except ftplib.Error:
        ftp.quit()


def says_outside(address):
    """PORT with the address in front of the translator, from behind it, as an ALG leaves it."""
    ftp = Client(NORMAL, address)
    try:
        ftp.sendport(OUTSIDE, 50100)
    except ftplib.Error:
        ftp.quit()


def stops_reading(address):
    """A download whose client reads a little and then nothing, until the server is tired of it."""
    ftp = Client(WRONG, address)
    port = ftplib.parse227(ftp.sendcmd("PASV"))[1]
    data = socket.socket()
    data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
    data.bind((address, 0))
    data.connect((WRONG, port))
    ftp.sendcmd("RETR pub/large")
    data.recv(1000)
    try:
        ftp.getresp()
    except (ftplib.Error, EOFError, OSError):
        pass
    time.sleep(0.5)
    data.close()


def never_connects(address):
    """PASV and RETR, and no connection for longer than anybody waits."""
    ftp = Client(NORMAL, address)
    ftp.sendcmd("PASV")
    ftp.putcmd("RETR pub/file")
    time.sleep(11)
    ftp.putcmd("NOOP")
    time.sleep(0.5)
    ftp.close()


# Name, expected code ("" is none), how it is played, rules of the gateway with ADDRESS in them, where it is captured,
# and what is left of the capture.
DATA = "tcp dport 30000-39999 ip saddr ADDRESS"
BACK = "tcp sport 30000-39999 ip daddr ADDRESS"
LINE = "ip daddr ADDRESS tcp sport 21 @th,256,32"
CAUSES = [
    ("healthy download by EPSV", "", curl(NORMAL), [], "inside", None),
    ("healthy download by PORT", "", curl(NORMAL, "-P", "-", "--disable-eprt"), [], "inside", None),
    ("healthy download in TLS", "", curl(TLS, "--ssl-reqd", "-k"), [], "inside", None),
    ("SYN dropped", "syn_dropped", curl(NORMAL, "--disable-epsv"), [f"{DATA} drop"], "inside", None),
    ("SYN-ACK dropped", "syn_ack_lost", curl(NORMAL, "--disable-epsv"), [f"{BACK} drop"], "outside", None),
    ("SYN answered by the host with RST", "syn_reset", curl(NORMAL, "--disable-epsv"), ["DNAT"], "inside", None),
    (
        "SYN refused by a filter with ICMP", "data_unreachable", curl(NORMAL, "--disable-epsv"),
        [f"{DATA} reject with icmp type admin-prohibited"], "inside", None,
    ),
    (
        "wrong address in 227", "passive_wrong_address", curl(WRONG, "--disable-epsv", "--no-ftp-skip-pasv-ip"),
        ["ip saddr ADDRESS ip daddr 10.99.99.99 drop"], "inside", None,
    ),
    ("227 without a tuple", "passive_no_address", curl(ODD, "--disable-epsv"), [], "inside", None),
    ("PASV refused", "passive_refused", curl(NEITHER, "--disable-epsv"), [], "inside", None),
    # Whose address everybody can reach, or the cause were that.
    ("PORT refused", "port_refused", curl(NEITHER, "-P", "-", "--disable-eprt"), [], "inside", "public"),
    ("PORT from behind NAT", "port_behind_nat", curl(NORMAL, "-P", "-", "--disable-eprt"), ["SNAT"], "outside", None),
    ("PORT rewritten before", "alg_rewrote", says_outside, [], "inside", None),
    ("425", "reply_425", without_announcement, [], "inside", None),
    # To the server alone: the client sees silence and then the reply.
    ("426", "reply_426", slow("200k", 4), [f"{BACK} ct bytes > 300000 reject with tcp reset"], "inside", None),
    ("RST in the middle of the file", "data_reset", slow("200k", 4), [f"{BACK} ct bytes > 300000 reject with tcp reset"], "outside", None),
    # curl asks for the size first, and then no more.
    ("550", "reply_550", lftp("get pub/missing -o /dev/null"), [], "inside", None),
    ("AUTH TLS", "auth_tls", curl(TLS, "--ssl-reqd", "-k"), [f"{DATA} drop"], "inside", None),
    ("final reply lost", "final_reply_lost", curl(NORMAL), [f"{LINE} 0x32323620 drop"], "outside", None),
    ("control connection reset", "control_reset", curl(NORMAL), ["ip saddr ADDRESS tcp dport 21 @th,256,32 0x52455452 reject with tcp reset"], "inside", None),
    ("data dropped in the middle", "data_stalled", curl(NORMAL, path="pub/large", seconds=6), [f"{BACK} ct bytes > 300000 drop"], "outside", None),
    ("window closed", "zero_window", stops_reading, [], "inside", None),
    ("MTU black hole", "mtu_black_hole", curl(NORMAL, path="pub/large", seconds=6), [f"{BACK} ip length > 1000 drop"], "outside", None),
    ("no data connection", "no_data_connection", never_connects, [], "inside", "before the end"),
    ("capture too short", "capture_too_short", slow("200k", 2), [], "inside", "first"),
    ("one side only", "one_side_only", curl(NORMAL), [], "inside", "client"),
]


def address_of(number):
    """Each cause's client."""
    return PUBLIC if CAUSES[number][5] == "public" else f"10.0.0.{100 + number}"


def rules():
    """nftables, for the gateway."""
    forward, before, behind = [], [], []
    for number, (_, _, _, own, _, _) in enumerate(CAUSES):
        address = address_of(number)
        for rule in own:
            if rule == "DNAT":
                before.append(f"ip saddr {address} tcp dport 30000-39999 dnat to {NORMAL}:9")
            elif rule == "SNAT":
                behind.append(f"ip saddr {address} masquerade")
            else:
                forward.append(rule.replace("ADDRESS", address))
    print("table ip causes {")
    for name, hook, lines in (
        ("through", "filter hook forward priority filter", forward),
        ("before", "nat hook prerouting priority dstnat", before),
        ("behind", "nat hook postrouting priority srcnat", behind),
    ):
        print(f"chain {name} {{\ntype {hook};")
        print("\n".join(lines))
        print("}")
    print("}")


def odd_server(listener):
    """Answers PASV with a 227 and nothing in it."""
    sock, _ = listener.accept()
    answers = {"USER": "331 who", "PASS": "230 in", "PWD": '257 "/" is here', "PASV": "227 Entering Passive Mode (", "QUIT": "221 bye"}
    file = sock.makefile("rwb")
    file.write(b"220 odd\r\n")
    file.flush()
    for line in file:
        file.write(answers.get(line.split()[0].decode(), "250 done").encode() + b"\r\n")
        file.flush()


def run():
    """All at once; each thread moves to the client's namespace."""
    from ends import spaces

    with spaces.server:
        listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ODD, 21))
    listener.listen(1)
    threading.Thread(target=odd_server, args=(listener,), daemon=True).start()

    def one(play, address):
        # For good: a thread has a namespace of its own.
        spaces.client.enter(spaces.client.file.fileno())
        try:
            play(address)
        except (ftplib.Error, EOFError, OSError) as error:
            print(address, error, flush=True)

    threads = [threading.Thread(target=one, args=(cause[2], address_of(n))) for n, cause in enumerate(CAUSES)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()


def packets(path):
    """Header and records of a pcap file (not pcapng): (record header, frame)."""
    with open(path, "rb") as f:
        head, records = f.read(24), []
        while len(record := f.read(16)) == 16:
            records.append((record, f.read(struct.unpack("<I", record[8:12])[0])))
    return head, records


def seconds(packet):
    """When it was captured."""
    whole, micro = struct.unpack("<II", packet[0][:8])
    return whole + micro / 1e6


def split(state):
    """A capture for each cause: what its client's address, or the one it is translated to, sends and gets."""
    legs = {leg: packets(f"{state}/captures/{leg}.pcap") for leg in ("inside", "outside")}
    with open(f"{state}/expected.tsv", "w") as table:
        for number, (name, code, _, own, leg, cut) in enumerate(CAUSES):
            address = socket.inet_aton(OUTSIDE if "SNAT" in own else address_of(number))
            head, records = legs[leg]
            mine = [r for r in records if r[1][12:14] == b"\x08\0" and address in (r[1][26:30], r[1][30:34])]
            if cut == "first":
                mine = mine[: len(mine) // 3]
            elif cut == "before the end":
                mine = [r for r in mine if seconds(r) < seconds(mine[-1]) - 0.3]
            elif cut == "client":
                mine = [r for r in mine if r[1][26:30] == address]
            with open(f"{state}/cause-{number}.pcap", "wb") as f:
                f.write(head + b"".join(a + b for a, b in mine))
            table.write(f"{number}\t{name}\t{code}\n")


{"run": run, "rules": rules, "split": lambda: split(sys.argv[1]), "count": lambda: print(len(CAUSES))}[sys.argv.pop(1)]()
