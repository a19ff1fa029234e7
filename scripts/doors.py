#!/usr/bin/env python3
"""What the gateway of the lab in line opens, and for how long: `doors.py CLIENT-NAMESPACE SERVER-NAMESPACE STEP` prints a
line for each thing, "yes" or "no" and what it is. OUTSIDE is the clients' address as servers see it."""

import os
import sys

from ends import CLIENT, OUTSIDE, THIRD_OUTSIDE, Session, announced, comma, listening, need, reaches, spaces

# Where no other server listens.
OWN = "198.51.100.8"


def tell(good, what):
    """One line."""
    print(f"{'yes' if good else 'no'}\t{what}", flush=True)


def unannounced():
    """Nothing is open before anything is announced."""
    port = 51234
    listener = listening(spaces.client, CLIENT, port)
    for address in sorted({CLIENT, OUTSIDE}):
        came = reaches(spaces.server, (OWN, 20), (address, port), listener)
        tell(not came, f"an unannounced SYN from the server to {address}:{port} is refused")
    listener = listening(spaces.server, OWN, port)
    came = reaches(spaces.client, (CLIENT, 0), (OWN, port), listener)
    tell(not came, f"an unannounced SYN from the client to {OWN}:{port} is refused")


def announced_active():
    """PORT: once, and for the server only."""
    s = Session(server=OWN)
    listener, port = s.listen()
    s.client.send(f"PORT {comma(CLIENT, port)}")
    where = announced(s.server.line())
    s.server.send("200 ok")
    need(s.client.line() == "200 ok", "no reply")
    came = reaches(spaces.server, (THIRD_OUTSIDE, 20), where, listener)
    tell(not came, f"active: a SYN from another host to the announced {where[0]}:{where[1]} is refused")
    payload = os.urandom(100_000)
    data = s.server_connects(where)
    if data is not None:
        data.sendall(payload)
        data.close()
    tell(data is not None and s.accepted(listener) == payload, "active: the announced connection passes")
    tell(not reaches(spaces.server, (OWN, 0), where, listener), "active: a second use is refused")


def announced_passive():
    """227: once."""
    s = Session(server=OWN)
    listener, port = s.server_listens()
    s.client.send("PASV")
    s.server.line()
    s.server.send(f"227 Entering Passive Mode ({comma(OWN, port)}).")
    where = announced(s.client.line())
    payload = os.urandom(100_000)
    data = s.client_connects(where)
    if data is not None:
        data.sendall(payload)
        data.close()
    tell(data is not None and s.accepted(listener) == payload, "passive: the announced connection passes")
    came = reaches(spaces.client, (CLIENT, 0), where, listener)
    tell(not came, "passive: a second use is refused")


{"unannounced": unannounced, "announced-active": announced_active, "announced-passive": announced_passive}[sys.argv[3]]()
