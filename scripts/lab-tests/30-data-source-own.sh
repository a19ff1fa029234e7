#!/usr/bin/env bash
# R000.3, R000.8: with data_source = "own" the 227 names the gateway. A client that compares it with the control
# connection's peer refuses, one that does not gets its file; EPSV is refused; active data comes from the gateway.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway 'data_source = "own"'
echo own >"$LAB_STATE/ftproot/pub/own"
check "the 227 names the gateway, which a careful client refuses; EPSV is refused; the session lives on" script <<'PY'
from ftp import *
f = Ftp()
address, port = f.pasv()
need(address == GATEWAY, f"227 names {address}")
need(address != f.sock.getpeername()[0], "a careful client would not refuse")
code, text = f.cmd("EPSV")
need(500 <= code <= 599, text)
f.expect(200, 250, command="NOOP")
PY
by_curl() {
    lab_exec client curl -sS --disable-epsv --no-ftp-skip-pasv-ip "ftp://$LAB_SERVER/pub/own" -o "$LAB_STATE/own" &&
        cmp -s "$LAB_STATE/own" "$LAB_STATE/ftproot/pub/own"
}
check "curl that takes the 227 at its word gets the file" by_curl
check "active data comes from the gateway's address" script <<'PY'
from ftp import *
f = Ftp()
got, peer = f.active("RETR pub/own")
need(peer[0] == GATEWAY and got == b"own\n", f"{peer} {got!r}")
PY
