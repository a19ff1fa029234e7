#!/usr/bin/env bash
# R000.4, R000.5, R000.6: with client_mode = "active" PASV and EPSV are refused and the session lives on;
# active data comes from the server's address and the configured port, its answers are redirected back.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
for port in 20 21 2020; do
    check "the gateway joins with active_source_port = $port" t_gateway "client_mode = \"active\"
active_source_port = $port" || continue
    echo "from port $port" >"$LAB_STATE/ftproot/pub/hello"
    t_capture client
    check "PASV and EPSV are refused, then PORT transfers" script <<'PY'
from ftp import *
f = Ftp()
for verb in ("PASV", "EPSV"):
    code, text = f.cmd(verb)
    need(500 <= code <= 599, f"{verb}: {text}")
got, peer = f.active("RETR pub/hello")
need(peer[0] == SERVER, f"data came from {peer}")
need(got == open(f"{STATE}/ftproot/pub/hello", "rb").read(), f"got {got!r}")
f.expect(221, command="QUIT")
PY
    check "curl gets 1 MiB by PORT" transfer PORT curl download 1MiB
    check "curl sends 1 MiB by EPRT" transfer EPRT curl upload 1MiB
    t_capture_stop
    syns=$(t_captured "tcp.flags == 2 && ip.dst == $LAB_CLIENT" ip.src tcp.srcport | sort -u)
    check "data connections come from $LAB_SERVER:$port" [ "$syns" = "$LAB_SERVER	$port" ]
    check "the gateway's address is not seen" [ -z "$(t_captured "ip.addr == $LAB_GATEWAY" frame.number)" ]
done
