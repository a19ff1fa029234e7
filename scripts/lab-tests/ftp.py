"""A small FTP client whose every step is the test's own, for what curl and lftp never do."""

import os
import re
import socket
import sys
import time

SERVER, CLIENT = os.environ["SERVER"], os.environ["CLIENT"]
GATEWAY, STATE = os.environ["GATEWAY"], os.environ["STATE"]


class Ftp:
    """One control connection."""

    def __init__(self, login=True, timeout=20, source=CLIENT):
        self.sock = socket.create_connection((SERVER, 21), timeout, (source, 0))
        self.source = source
        self.rest = b""
        self.greeting = self.reply()
        if login:
            self.expect(331, 230, command="USER anonymous")
            if self.last[0] == 331:
                self.expect(230, command="PASS nobody@example.org")

    def line(self):
        while b"\n" not in self.rest:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError("the control connection ended")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r").decode("latin-1")

    def reply(self):
        """The next reply: (code, all its text)."""
        lines = [self.line()]
        code = lines[0][:3]
        while lines[0][3:4] == "-" and not lines[-1].startswith(code + " "):
            lines.append(self.line())
        self.last = (int(code), "\n".join(lines))
        return self.last

    def send(self, command):
        self.sock.sendall(command.encode("latin-1") + b"\r\n")

    def cmd(self, command):
        self.send(command)
        return self.reply()

    def expect(self, *codes, command=None):
        code, text = self.cmd(command) if command else self.reply()
        if code not in codes:
            fail(f"{command or 'reply'}: {text!r}, expected {codes}")
        return text

    def pasv(self):
        """(address, port) of a 227."""
        text = self.expect(227, command="PASV")
        n = [int(x) for x in re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", text).groups()]
        return ".".join(map(str, n[:4])), n[4] * 256 + n[5]

    def epsv(self):
        """The port of a 229."""
        return int(re.search(r"\|\|\|(\d+)\|", self.expect(229, command="EPSV"))[1])

    def port(self):
        """A listening socket, announced by PORT, or over IPv6 by EPRT."""
        s = socket.socket(self.sock.family)
        s.bind((self.source, 0))
        s.listen(1)
        s.settimeout(20)
        p = s.getsockname()[1]
        if self.sock.family == socket.AF_INET6:
            self.expect(200, command=f"EPRT |2|{self.source}|{p}|")
        else:
            self.expect(200, command=f"PORT {self.source.replace('.', ',')},{p >> 8},{p & 255}")
        return s

    def connect(self, port, address=SERVER):
        """A passive data connection."""
        return socket.create_connection((address, port), 20, (self.source, 0))

    def retrieve(self, command, data):
        """Sends a command and reads the data connection to its end; returns bytes."""
        self.expect(150, 125, command=command)
        return self.finish(data)

    def active(self, command):
        """The same over a connection that the server opens; returns (bytes, address and port it came from)."""
        listen = self.port()
        self.send(command)
        data, peer = listen.accept()
        self.expect(150, 125)
        return self.finish(data), peer

    def finish(self, data):
        out = b""
        while chunk := data.recv(65536):
            out += chunk
        data.close()
        self.expect(226, 250)
        return out


def held():
    """A session that is logged in, says so, and waits for the test's word."""
    f = Ftp()
    tell("logged-in-" + f.source)
    wait_for("go")
    return f


def goes_on(f):
    """A session works and ends in order; says so."""
    f.expect(200, 250, command="NOOP")
    need(f.retrieve("RETR pub/before", f.connect(f.pasv()[1])) == b"before\n", "other bytes")
    f.expect(221, command="QUIT")
    print("done")


def fail(why):
    """Ends the script; the check that ran it fails."""
    print("  " + why)
    sys.exit(1)


def need(good, why):
    if not good:
        fail(why)


def wait_for(path, limit=30):
    """Until a file appears in the lab's state directory."""
    end = time.monotonic() + limit
    while not os.path.exists(f"{STATE}/{path}"):
        need(time.monotonic() < end, f"{path} did not appear")
        time.sleep(0.05)


def tell(path):
    """Makes a file appear."""
    open(f"{STATE}/{path}", "w").close()
