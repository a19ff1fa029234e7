"""Both ends of FTP sessions through the lab's gateway in line, in one program: sockets of the client's and of the
server's namespace, and a TCP made by hand."""

import ctypes
import os
import re
import select
import socket
import struct
import sys
import time

CLIENT, LONG_CLIENT, THIRD_INSIDE = "10.0.0.5", "192.168.100.200", "10.0.0.66"
SERVER, THIRD_OUTSIDE, MINI = "198.51.100.7", "198.51.100.66", "198.51.100.17"
OUTSIDE = os.environ.get("OUTSIDE", "203.0.113.9")
# Longer than any end waits before it sends something again.
PATIENCE = 6


class Wrong(Exception):
    """A case has failed; says how."""


def need(good, why):
    """Fails the case."""
    if not good:
        raise Wrong(why)


class Space:
    """A network namespace: sockets that are made inside `with` are its own."""

    def __init__(self, name):
        self.file = open(f"/run/netns/{name}", "rb")
        self.libc = ctypes.CDLL(None, use_errno=True)

    def enter(self, fd):
        """Moves this thread."""
        if self.libc.setns(fd, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")

    def __enter__(self):
        self.home = open("/proc/thread-self/ns/net", "rb")
        self.enter(self.file.fileno())

    def __exit__(self, *_):
        self.enter(self.home.fileno())
        self.home.close()


class spaces:
    """Both ends'."""

    client, server = Space(sys.argv[1]), Space(sys.argv[2])


def comma(address, port):
    """As PORT and 227 write it."""
    return f"{address.replace('.', ',')},{port >> 8},{port & 255}"


def announced(line):
    """(address, port) of a line, or None."""
    m = re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", line)
    if not m:
        return None
    n = [int(x) for x in m.groups()]
    return (".".join(map(str, n[:4])), n[4] * 256 + n[5])


def listening(space, address, port):
    """A listening socket there."""
    with space:
        s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.listen(4)
    s.settimeout(PATIENCE)
    Session.open.append(s)
    return s


def connected(space, source, to, patience=PATIENCE):
    """A connection, or None if it is refused or not answered."""
    with space:
        s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(patience)
    Session.open.append(s)
    try:
        s.bind(source)
        s.connect(to)
    except OSError:
        s.close()
        return None
    s.settimeout(PATIENCE)
    return s


def reaches(space, source, to, listener):
    """Whether a connection from `source` to `to` comes to `listener`."""
    # A way that is open takes a millisecond.
    with_source = connected(space, source, to, 0.8)
    came = bool(select.select([listener], [], [], 0.2)[0])
    if with_source:
        with_source.close()
    return came


class Lines:
    """One end of a control connection."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def send(self, line):
        """A line, or several."""
        self.sock.sendall(line.encode() + b"\r\n")

    def line(self, patience=PATIENCE):
        """The next line; fails the case if none comes."""
        line = self.line_or_none(patience)
        need(line is not None, "a line does not arrive")
        return line

    def line_or_none(self, patience):
        """The next line, if one comes."""
        until = time.monotonic() + patience
        while b"\n" not in self.rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            more = self.sock.recv(65536)
            if not more:
                raise EOFError("the control connection ended")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r").decode("latin-1")


class Session:
    """A control connection with both its ends, logged in."""

    open = []

    def __init__(self, login=True, client=CLIENT, server=SERVER):
        self.address, self.at = client, server
        listener = listening(spaces.server, server, 21)
        sock = connected(spaces.client, (client, 0), (server, 21))
        need(sock is not None, "the control connection is refused")
        self.client = Lines(sock)
        other, _ = listener.accept()
        other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Session.open.append(other)
        listener.close()
        self.server = Lines(other)
        if login:
            self.server.send("220 lab")
            need(self.client.line() == "220 lab", "no greeting")
            log_in(self.client, self.server)

    def listen(self, port=0):
        """A port of the client's, and its number."""
        s = listening(spaces.client, self.address, port)
        return s, s.getsockname()[1]

    def server_listens(self):
        """A port of the server's, and its number."""
        s = listening(spaces.server, self.at, 0)
        return s, s.getsockname()[1]

    def server_connects(self, where):
        """A data connection that the server opens."""
        return connected(spaces.server, (self.at, 20), where, 3)

    def client_connects(self, where):
        """A data connection that the client opens."""
        return connected(spaces.client, (self.address, 0), where, 3)

    @staticmethod
    def accepted(listener):
        """All that comes over the connection that was made to it."""
        data, _ = listener.accept()
        data.settimeout(PATIENCE)
        out = bytearray()
        while chunk := data.recv(65536):
            out += chunk
        data.close()
        return bytes(out)

    @classmethod
    def close_all(cls):
        """Ends a case, with RST so that nothing of it is left."""
        for s in cls.open:
            if s.fileno() >= 0 and s.family == socket.AF_INET and s.type == socket.SOCK_STREAM:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        cls.open.clear()


def log_in(client, server):
    """USER and PASS."""
    for command, reply in (("USER me", "331 who"), ("PASS me", "230 in")):
        client.send(command)
        need(server.line() == command, "the login arrives otherwise")
        server.send(reply)
        need(client.line() == reply, "the login's reply arrives otherwise")


class MiniServer:
    """The server's end of one control connection, in TCP made by hand: it takes as much as the case says, and
    acknowledges that much."""

    def __init__(self):
        with spaces.server:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind(("s0", 3))
        self.sock.settimeout(0.05)
        Session.open.append(self.sock)
        self.mac = self.sock.getsockname()[4]
        self.peer = None
        self.sent, self.next, self.taken = 7000, None, b""
        self.limit, self.losing = 1 << 30, 0
        self.ports = None

    def connected(self, source):
        """Connects a client of the kernel's to it; returns the client's end, logged in."""
        with spaces.client:
            sock = socket.socket()
        Session.open.append(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((source, 0))
        sock.setblocking(False)
        sock.connect_ex((MINI, 21))
        until = time.monotonic() + PATIENCE
        while self.next is None or not select.select([], [sock], [], 0)[1]:
            need(time.monotonic() < until, "the control connection is not made")
            self.turn()
        sock.settimeout(PATIENCE)
        client = MiniPeer(sock, self)
        self.send("220 lab")
        need(client.line() == "220 lab", "no greeting")
        log_in(client, self)
        return client

    def read(self, count):
        """Takes so many bytes of what comes next, acknowledges them, and nothing behind them until more is asked for."""
        self.limit = len(self.taken) + count
        until = time.monotonic() + PATIENCE
        while len(self.taken) < self.limit:
            need(time.monotonic() < until, "nothing arrives")
            self.turn()
        self.limit = 1 << 30

    def lose(self, count):
        """Does as if the next so many segments with data never came."""
        self.losing = count

    def line(self, patience=PATIENCE):
        """The next line."""
        until = time.monotonic() + patience
        while b"\n" not in self.taken:
            need(time.monotonic() < until, "a line does not arrive")
            self.turn()
        line, self.taken = self.taken.split(b"\n", 1)
        return line.rstrip(b"\r").decode("latin-1")

    def send(self, line):
        """A line."""
        data = line.encode() + b"\r\n"
        self.emit(0x18, data)
        self.sent += len(data)

    def turn(self):
        """Handles one frame, if one comes."""
        try:
            frame = self.sock.recv(2048)
        except TimeoutError:
            return
        kind = frame[12:14]
        if kind == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == socket.inet_aton(MINI):
            reply = b"\0\1\x08\0\6\4\0\2" + self.mac + socket.inet_aton(MINI) + frame[22:32]
            self.sock.send(frame[6:12] + self.mac + b"\x08\x06" + reply)
        elif kind == b"\x08\0" and frame[23] == 6 and frame[30:34] == socket.inet_aton(MINI):
            self.segment(frame)

    def segment(self, frame):
        """Takes what is in order, as far as it may."""
        self.peer = (frame[6:12], frame[26:30])
        ip = frame[14 : 14 + struct.unpack("!H", frame[16:18])[0]]
        tcp = ip[(ip[0] & 15) * 4 :]
        source, _, seq = struct.unpack("!HHI", tcp[:8])
        flags, data = tcp[13], tcp[(tcp[12] >> 4) * 4 :]
        if not flags & 2 and source != self.ports:
            # Of a case before this one.
            return
        if flags & 2:
            self.ports, self.next = source, (seq + 1) & 0xFFFFFFFF
            self.emit(0x12, b"", b"\2\4\5\xb4")
            self.sent += 1
            return
        if data and self.losing:
            self.losing -= 1
            return
        # Only bytes that continue what is there; a part of them that is there already is the same, as it came first.
        skip = (self.next - seq) & 0xFFFFFFFF
        if data and skip < len(data):
            more = data[skip:][: max(0, self.limit - len(self.taken))]
            self.taken += more
            self.next = (self.next + len(more)) & 0xFFFFFFFF
        if data:
            self.emit(0x10, b"")

    def emit(self, flags, data, options=b""):
        """Sends a segment."""
        mac, address = self.peer
        head = struct.pack("!HHIIBBHHH", 21, self.ports, self.sent, self.next or 0, (5 + len(options) // 4) << 4, flags, 8000, 0, 0)
        tcp = head + options + data
        pseudo = socket.inet_aton(MINI) + address + struct.pack("!HH", 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0) + socket.inet_aton(MINI) + address
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        self.sock.send(mac + self.mac + b"\x08\0" + ip + tcp)


class MiniPeer(Lines):
    """The client's end; while it waits, the other end's TCP must go on."""

    def __init__(self, sock, mini):
        super().__init__(sock)
        self.mini = mini

    def line_or_none(self, patience):
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if (line := super().line_or_none(0.01)) is not None:
                return line
            self.mini.turn()
        return None


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
