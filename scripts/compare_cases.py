#!/usr/bin/env python3
"""What FTP clients and servers seldom do, through the gateway of the lab in line, with both ends in this one program.

    compare_cases.py CLIENT-NAMESPACE SERVER-NAMESPACE [--list | CASE...]

Prints a line for each case: its name, "passes" or "fails", and what happened, separated by tabs; with --list only the names.
No FTP server may run: this is the server. `ends.py` has the two ends.
"""

import hashlib
import os
import sys
import time

from ends import CLIENT, LONG_CLIENT, OUTSIDE, SERVER, THIRD_INSIDE, THIRD_OUTSIDE, MiniServer, Session, Wrong, need
from ends import announced, comma, reaches, spaces

cases = {}


def case(what):
    """Names a case as the table has it."""

    def keep(function):
        cases[function.__name__] = (what, function)
        return function

    return keep


def payload_arrives(s, listener, where):
    """The server opens what was announced and sends a file; the client must get it whole."""
    payload = os.urandom(200_000)
    data = s.server_connects(where)
    need(data is not None, "the server's data connection is refused")
    data.sendall(payload)
    data.close()
    got = s.accepted(listener)
    need(hashlib.sha256(got).digest() == hashlib.sha256(payload).digest(), "the file differs")


def goes_on(s):
    """The session is alive, and both streams still fit together."""
    for n in range(3):
        s.client.send(f"NOOP {n}")
        need(s.server.line() == f"NOOP {n}", "a later command arrives otherwise")
        s.server.send(f"200 noop {n}")
        need(s.client.line() == f"200 noop {n}", "a later reply arrives otherwise")


def translated(line, verb="PORT"):
    """The address and port that a command of the client names at the server; it must be the outside address."""
    need(line.startswith(verb + " "), f"the server got {line!r}")
    where = announced(line)
    need(where and where[0] == OUTSIDE, f"the server got {line!r}")
    return where


@case("PORT, one byte per segment")
def one_byte_per_segment():
    s = Session()
    listener, port = s.listen()
    for byte in f"PORT {comma(CLIENT, port)}\r\n".encode():
        s.client.sock.sendall(bytes([byte]))
        time.sleep(0.004)
    where = translated(s.server.line())
    s.server.send("200 ok")
    need(s.client.line() == "200 ok", "the reply does not arrive")
    payload_arrives(s, listener, where)
    goes_on(s)


def two_ports(apart):
    s = Session()
    (first, a), (second, b) = s.listen(), s.listen()
    lines = [f"PORT {comma(CLIENT, a)}\r\n", f"PORT {comma(CLIENT, b)}\r\n"]
    for text in lines if apart else ["".join(lines)]:
        s.client.sock.sendall(text.encode())
    translated(s.server.line())
    s.server.send("200 first")
    where = translated(s.server.line())
    s.server.send("200 second")
    need((s.client.line(), s.client.line()) == ("200 first", "200 second"), "the replies do not arrive")
    payload_arrives(s, second, where)
    goes_on(s)


@case("two PORTs pipelined, in one segment")
def two_ports_in_one_segment():
    two_ports(False)


@case("two PORTs pipelined, a segment each")
def two_ports_in_two_segments():
    two_ports(True)


@case("a server line that begins `227 ` and has no tuple")
def without_a_tuple():
    s = Session()
    s.client.send("SITE BYE")
    s.server.line()
    s.server.send("227 Logout.")
    need(s.client.line() == "227 Logout.", "the line arrives otherwise")
    goes_on(s)


def passive_reply(text):
    """A 227 as some server writes it: the client must get it, and what it names must be open."""
    s = Session()
    listener, port = s.server_listens()
    s.client.send("PASV")
    s.server.line()
    s.server.send(text.format(comma(SERVER, port)))
    line = s.client.line()
    need(announced(line) == (SERVER, port), f"the client got {line!r}")
    payload = os.urandom(200_000)
    data = s.client_connects((SERVER, port))
    need(data is not None, "the client's data connection is refused")
    data.sendall(payload)
    data.close()
    need(s.accepted(listener) == payload, "the file differs")
    goes_on(s)


@case("227 without parentheses")
def no_parentheses():
    passive_reply("227 Entering passive mode. {}")


@case("227 with `=` before the tuple")
def equals_sign():
    passive_reply("227 Entering Passive Mode ={}")


@case("227 with a digit before the tuple")
def digits_first():
    passive_reply("227 IPv4 passive ({})")


@case("227 of two lines, the tuple in the second")
def two_lines():
    s = Session()
    listener, port = s.server_listens()
    s.client.send("PASV")
    s.server.line()
    s.server.send(f"227-listen socket created\r\n227 ({comma(SERVER, port)})")
    # In two lines, or put into one.
    while not announced(line := s.client.line()):
        need(line.startswith("227-"), f"the client got {line!r}")
    need(line.startswith("227 ") and announced(line) == (SERVER, port), f"the client got {line!r}")
    data = s.client_connects((SERVER, port))
    need(data is not None, "the client's data connection is refused")
    data.sendall(b"here")
    data.close()
    need(s.accepted(listener) == b"here", "the file differs")


@case("a rewrite that shrinks the line, and an acknowledgement of a part of it")
def partial_ack():
    mini = MiniServer()
    client = mini.connected(LONG_CLIENT)
    client.send(f"PORT {comma(LONG_CLIENT, 51300)}")
    # The first ten bytes of the line and no more: the rest comes when it is sent again.
    mini.read(10)
    line = mini.line()
    need((announced(line) or [None])[0] == OUTSIDE, f"the server got {line!r}")
    mini.send("200 ok")
    need(client.line() == "200 ok", "the reply does not arrive")
    client.send("NOOP again")
    line = mini.line()
    need(line == "NOOP again", f"a later command arrives as {line!r}")
    mini.send("200 again")
    need(client.line() == "200 again", "a later reply arrives otherwise")


@case("two rewrites in flight, and the first is lost")
def first_lost():
    mini = MiniServer()
    client = mini.connected(LONG_CLIENT)
    mini.lose(1)
    for port in (51300, 51301):
        client.send(f"PORT {comma(LONG_CLIENT, port)}")
    for reply in ("200 first", "200 second"):
        line = mini.line()
        need((announced(line) or [None])[0] == OUTSIDE, f"the server got {line!r}")
        mini.send(reply)
        need(client.line() == reply, "the reply does not arrive")
    client.send("NOOP again")
    line = mini.line()
    need(line == "NOOP again", f"a later command arrives as {line!r}")


@case("`PORT␍␊NOOP 10,…`: an address in another line than its verb")
def newline():
    s = Session()
    listener, port = s.listen()
    s.client.sock.sendall(f"PORT\r\nNOOP {comma(CLIENT, port)}\r\n".encode())
    for code in ("501 PORT needs an address", "200 ok"):
        if line := s.server.line_or_none(1.5):
            # A gateway may have answered the first itself.
            s.server.send("200 ok" if line.startswith("NOOP") else code)
    time.sleep(0.3)
    need(not reaches(spaces.server, (SERVER, 20), (OUTSIDE, port), listener), "the client's port was opened")


def bounce(third):
    s = Session()
    s.client.send(f"PORT {comma(third, 5001)}")
    line = s.server.line_or_none(2)
    if line is None or not line.startswith("PORT"):
        reply = s.client.line()
        need(reply[0] == "5", f"the client got {reply!r}")
        if line is not None:
            s.server.send("200 ok")
        return
    s.server.send("200 ok")
    where = announced(line)
    need(where is None or where[0] != third, f"the server got {line!r}")
    need(False, f"the server got {line!r}")


@case("bounce: PORT names a third host outside")
def bounce_outside():
    bounce(THIRD_OUTSIDE)


@case("bounce: PORT names a third host inside")
def bounce_inside():
    bounce(THIRD_INSIDE)


@case("PORT with a privileged port, 22")
def privileged():
    s = Session()
    listener, port = s.listen(22)
    s.client.send(f"PORT {comma(CLIENT, port)}")
    line = s.server.line_or_none(2)
    if line is None:
        need(s.client.line()[0] == "5", "the client was told otherwise")
    else:
        s.server.send("200 ok")
        where = announced(line) or (OUTSIDE, port)
        need(not reaches(spaces.server, (SERVER, 20), where, listener), "the client's port 22 was opened")


@case("a 227 that nobody asked for")
def unasked():
    s = Session()
    listener, port = s.server_listens()
    s.client.send("STAT")
    s.server.line()
    for line in ("211-status", f"227 Entering Passive Mode ({comma(SERVER, port)}).", "211 end"):
        s.server.send(line)
        time.sleep(0.1)
    s.client.line()
    time.sleep(0.3)
    need(not reaches(spaces.client, (CLIENT, 0), (SERVER, port), listener), "the server's port was opened")


@case("PORT in the body of a web request to port 21")
def slipstream():
    s = Session(login=False)
    listener, port = s.listen()
    s.server.send("220 welcome")
    s.client.line()
    s.client.sock.sendall(b"POST / HTTP/1.1\r\nHost: trap\r\nContent-Length: 4000\r\n\r\n")
    time.sleep(0.2)
    try:
        s.client.sock.sendall(f"PORT {comma(CLIENT, port)}\r\n".encode())
        time.sleep(0.2)
        s.server.send("500 what\r\n500 what\r\n500 what\r\n500 what\r\n200 PORT ok")
    except OSError:
        # Somebody has ended it, and may.
        pass
    time.sleep(0.3)
    need(not reaches(spaces.server, (SERVER, 20), (OUTSIDE, port), listener), "the client's port was opened")


@case("the announced connection, from another host")
def other_host():
    s = Session()
    listener, port = s.listen()
    s.client.send(f"PORT {comma(CLIENT, port)}")
    where = translated(s.server.line())
    s.server.send("200 ok")
    s.client.line()
    need(not reaches(spaces.server, (THIRD_OUTSIDE, 0), where, listener), "another host came through")
    payload_arrives(s, listener, where)


@case("the announced connection, a second time")
def second_use():
    s = Session()
    listener, port = s.listen()
    s.client.send(f"PORT {comma(CLIENT, port)}")
    where = translated(s.server.line())
    s.server.send("200 ok")
    s.client.line()
    payload_arrives(s, listener, where)
    need(not reaches(spaces.server, (SERVER, 0), where, listener), "a second connection came through")


def main():
    """Runs the cases."""
    if sys.argv[3:] == ["--list"]:
        for what, _ in cases.values():
            print(what)
        return
    wanted = sys.argv[3:] or list(cases)
    for name in wanted:
        what, function = cases[name]
        try:
            function()
            verdict = "passes\t"
        except (Wrong, OSError) as error:
            verdict = f"fails\t{error or type(error).__name__}"
        except Exception as error:  # pylint: disable=broad-except
            # What a gateway says may break a case anywhere; the cases behind it are looked at all the same.
            verdict = f"fails\t{type(error).__name__}: {error}"
        finally:
            Session.close_all()
        print(f"{what}\t{verdict}".replace("\n", " "), flush=True)


main()
