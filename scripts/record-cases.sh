#!/usr/bin/env bash
# Records the cases under pcaps/ anew: small sessions in the lab, each with the gateway started for it by
# `run --record`. A case takes the place of the old one only when its replay gives the same.
#
#   scripts/record-cases.sh [CASE...]     all cases, or only these
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -z "${TG_OWNER:-}" ]; then
    need_rust
    (cd "$TG_ROOT" && cargo build --release --locked --bins) || die "it does not build"
    # Who the cases shall belong to.
    TG_OWNER=$(id -u):$(id -g)
    export TG_OWNER
fi
TG_LAB=${TG_LAB:-tgr}
wanted=("$@")
# shellcheck source=scripts/lab-tests/harness.sh
source "$TG_ROOT/scripts/lab-tests/harness.sh"

PORTS='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'

# in_line: whether the gateway stands between client and server.
in_line() { case $LAB_DEPLOYMENT in bridge | route) ;; *) false ;; esac }

# start_recording: the gateway, recording, until it is assigned, or in line, until it works.
start_recording() {
    rm -rf "$LAB_STATE/case"
    if in_line; then inline_config; else lab_gateway_config af_xdp "$PORTS"; fi >"$LAB_STATE/tidegate.toml"
    rm -f "$LAB_STATE/events.jsonl"
    lab_spawn tidegate gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml" \
        --record "$LAB_STATE/case" --record-limit 4MiB
    if in_line; then lab_wait 15 inline_works_or_ended && inline_works; else lab_joined 15; fi
}

# keep CASE PINS: ends the recording, and puts it where it belongs if its replay passes.
keep() {
    local name=$1 pins=$2 size
    lab_stop tidegate
    sed -i "s|^pins = .*|pins = \"$pins\"|" "$LAB_STATE/case/manifest.toml" || return 1
    grep -q '^ended = "stop"' "$LAB_STATE/case/manifest.toml" || return 1
    "$LAB_TIDEGATE_BIN" replay --verify "$LAB_STATE/case" >"$LAB_STATE/replay.out" || {
        cat "$LAB_STATE/replay.out"
        return 1
    }
    size=$(du -sb "$LAB_STATE/case" | cut -f1)
    if [ "$size" -gt 307200 ]; then
        say "$name has $size bytes; 300 KiB at most"
        return 1
    fi
    rm -rf "${TG_ROOT:?}/pcaps/$name"
    mkdir -p "$TG_ROOT/pcaps"
    cp -r "$LAB_STATE/case" "$TG_ROOT/pcaps/$name"
    # Nothing in the lab is a secret.
    chmod -R u=rwX,go=rX "$TG_ROOT/pcaps/$name"
    chown -R "$TG_OWNER" "$TG_ROOT/pcaps"
}

# record CASE PINS: what standard input says (Python) is the session.
record() {
    local name=$1 pins=$2
    cat >"$LAB_STATE/session.py"
    [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]] && return
    say "== $name"
    if check "$name: the gateway joins" start_recording; then
        check "$name: the session" session
        check "$name: its replay" keep "$name" "$pins"
    fi
    lab_stop tidegate
}
session() { script <"$LAB_STATE/session.py"; }

make_files() {
    head -c 16384 /dev/urandom >"$LAB_STATE/ftproot/pub/16KiB"
    head -c 3000 /dev/urandom >"$LAB_STATE/ftproot/pub/3000"
    truncate -s 64M "$LAB_STATE/ftproot/pub/big"
}

T_IPV6=yes
t_begin
t_router
make_files

record passive "PASV and EPSV downloads and a list: steering, translation, 227 and 229 as the server's" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
address, port = f.pasv()
need(len(f.retrieve("RETR pub/16KiB", f.connect(port, address))) == 16384, "other bytes")
need(len(f.retrieve("RETR pub/3000", f.connect(f.epsv()))) == 3000, "other bytes")
need(b"16KiB" in f.retrieve("LIST pub", f.connect(f.epsv())), "the list")
f.expect(221, command="QUIT")
PY

record active "PORT and EPRT downloads: data SYNs as the server, relay, PORT turned into EPSV" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
got, peer = f.active("RETR pub/16KiB")
need(len(got) == 16384 and peer[0] == SERVER, f"{len(got)} bytes from {peer}")
listen = socket.socket()
listen.bind((CLIENT, 0))
listen.listen(1)
f.expect(200, command=f"EPRT |1|{CLIENT}|{listen.getsockname()[1]}|")
f.send("RETR pub/3000")
data, peer = listen.accept()
f.expect(150, 125)
need(len(f.finish(data)) == 3000, "other bytes")
f.expect(221, command="QUIT")
PY

record upload "EPSV and PORT uploads, then a delete: the client's bytes in both data paths" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
data = f.connect(f.epsv())
f.expect(150, 125, command="STOR pub/up")
data.sendall(bytes(range(256)) * 40)
data.close()
f.expect(226)
listen = f.port()
f.send("APPE pub/up")
data, _ = listen.accept()
f.expect(150, 125)
data.sendall(b"tail" * 100)
data.close()
f.expect(226)
need(f.cmd("SIZE pub/up")[1].endswith(" 10640"), "the size")
f.expect(250, command="DELE pub/up")
f.expect(221, command="QUIT")
PY

record refused-login "a refused login: 530 passes, the password shows in no event" <<'PY'
from ftp import *
f = Ftp(login=False)
f.expect(530, command="USER nobody")
f.cmd("PASS not-a-secret")
f.cmd("PWD")
f.expect(221, command="QUIT")
PY

record abort "ABOR with urgent data in a passive download: 426 and 226 pass, the session lives on" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
data = socket.socket()
# A small window, so that little is under way when the client gives up.
data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
data.bind((CLIENT, 0))
data.settimeout(10)
data.connect((SERVER, f.epsv()))
f.expect(150, 125, command="RETR pub/big")
data.recv(1024)
f.sock.sendall(b"\xff\xf4")
f.sock.send(b"\xff\xf2", socket.MSG_OOB)
f.send("ABOR")
data.close()
codes = [f.reply()[0], f.reply()[0]]
need(codes[0] in (426, 225, 226) and codes[1] in (225, 226), f"replies {codes}")
need(len(f.retrieve("RETR pub/3000", f.connect(f.epsv()))) == 3000, "other bytes")
f.expect(221, command="QUIT")
PY

record two-sessions "two sessions of one client at once: two steered ports, no byte of one in the other" <<'PY'
from ftp import *
a, b = Ftp(), Ftp()
for f in (a, b):
    f.expect(200, command="TYPE I")
ports = a.epsv(), b.epsv()
need(ports[0] != ports[1], f"both {ports[0]}")
data = a.connect(ports[0]), b.connect(ports[1])
a.send("RETR pub/16KiB")
b.send("RETR pub/3000")
for f in (a, b):
    f.expect(150, 125)
need(len(b.finish(data[1])) == 3000, "other bytes")
need(len(a.finish(data[0])) == 16384, "other bytes")
for f in (b, a):
    f.expect(221, command="QUIT")
PY

record refused-tls "AUTH TLS is refused by policy with 534, FEAT does not offer it" <<'PY'
from ftp import *
f = Ftp(login=False)
need("AUTH" not in f.cmd("FEAT")[1], "FEAT offers AUTH")
f.expect(534, command="AUTH TLS")
f.expect(331, 230, command="USER anonymous")
f.expect(221, command="QUIT")
PY

# A session that began before the gateway joined: the router redirects its packets, the gateway returns them.
not_ours() {
    t_held 'f.expect(200, 250, command="NOOP")
address, port = f.pasv()
need(len(f.retrieve("RETR pub/3000", f.connect(port))) == 3000, "other bytes")
f.expect(221, command="QUIT")
print("done")' && start_recording && t_go
    t_held_says 'done'
}
if [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" not-ours "* ]]; then
    say "== not-ours"
    check "not-ours: the session" not_ours
    check "not-ours: its replay" keep not-ours \
        "packets of a session that began without us are returned, redirect header echoed"
fi
lab_stop tidegate

# Other ways in. Each has the router for it.
LAB_DEPLOYMENT=static
t_router
T_SERVER=$LAB_SERVER6 T_CLIENT=$LAB_CLIENT6
record static-ipv6 "a router's policy, IPv6: EPSV and EPRT downloads, an upload; neighbour discovery" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
need(len(f.retrieve("RETR pub/16KiB", f.connect(f.epsv()))) == 16384, "other bytes")
listen = f.port()
f.send("RETR pub/3000")
data, peer = listen.accept()
need(peer[0] == SERVER, f"data from {peer}")
f.expect(150, 125)
need(len(f.finish(data)) == 3000, "other bytes")
data = f.connect(f.epsv())
f.expect(150, 125, command="STOR pub/up6")
data.sendall(bytes(range(256)) * 20)
data.close()
f.expect(226)
f.expect(250, command="DELE pub/up6")
f.expect(221, command="QUIT")
PY
unset T_SERVER T_CLIENT
cat >"$LAB_STATE/both.py" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
need(len(f.retrieve("RETR pub/16KiB", f.connect(f.epsv()))) == 16384, "other bytes")
listen = f.port()
f.send("RETR pub/3000")
data, peer = listen.accept()
f.expect(150, 125)
need(len(f.finish(data)) == 3000, "other bytes")
f.expect(221, command="QUIT")
PY
record static-ipv4 "a router's policy, IPv4: passive and active downloads by MAC address" <"$LAB_STATE/both.py"
LAB_DEPLOYMENT=wccp

LAB_REDIRECT=l2
t_router
record l2 "L2 redirection agreed by WCCP: passive and active downloads by MAC address" <"$LAB_STATE/both.py"
LAB_REDIRECT=gre

LAB_UPSTREAM=client
for LAB_REVERSE in all ports; do
    [ "$LAB_REVERSE" = all ] && data="the server listens for data" || data="the server opens data connections"
    t_router
    record "client-source-$LAB_REVERSE" \
        "the server sees the client's address, and answers by a reverse group ($LAB_REVERSE); $data" \
        <"$LAB_STATE/both.py"
done
LAB_UPSTREAM=own

# The gateway in line, in a lab of that kind: nothing but FTP is allowed.
LAB_DEPLOYMENT=bridge
# shellcheck source=scripts/lab-inline.sh
source "$TG_ROOT/scripts/lab-inline.sh"
inline_up || die "the lab cannot be made here"
lab_vsftpd || die "no FTP server"
make_files
cat >"$LAB_STATE/in-line.py" <<'PY'
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
address, port = f.pasv()
need(address == SERVER, f"the 227 names {address}")
need(len(f.retrieve("RETR pub/3000", f.connect(port))) == 3000, "other bytes")
need(len(f.retrieve("RETR pub/16KiB", f.connect(f.epsv()))) == 16384, "other bytes")
got, peer = f.active("RETR pub/3000")
need(len(got) == 3000 and peer == (SERVER, 20), f"{len(got)} bytes from {peer}")
listen = f.port()
f.send("STOR pub/up")
data, _ = listen.accept()
f.expect(150, 125)
data.sendall(bytes(range(256)) * 20)
data.close()
f.expect(226)
f.expect(250, command="DELE pub/up")
need(b"3000" in f.retrieve("LIST pub", f.connect(f.epsv())), "the list")
f.expect(221, command="QUIT")
PY
for LAB_DEPLOYMENT in bridge route; do
    inline_routers_again || die "no router"
    [ "$LAB_DEPLOYMENT" = bridge ] && what="nothing is changed" || what="PORT is edited, addresses are translated"
    record "$LAB_DEPLOYMENT" "in line as $LAB_DEPLOYMENT, default deny: passive and active transfers; $what" \
        <"$LAB_STATE/in-line.py"
done
lab_proftpd || die "no FTP server with TLS"
record route-ccc "in line as route: AUTH TLS, a login that is not seen, CCC, and a passive and an active download behind it" <<'PY'
from ftp import *
import ftplib, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
f = ftplib.FTP_TLS(context=context)
f.connect(SERVER, 21, 20, (CLIENT, 0))
f.login("anonymous", "nobody@example.org")
f.prot_c()
f.ccc()
for passive in (True, False):
    f.set_pasv(passive)
    got = bytearray()
    f.retrbinary("RETR pub/3000", got.extend)
    need(len(got) == 3000, "other bytes")
f.quit()
PY
