#!/usr/bin/env bash
# ABOR during a download, with the urgent data that RFC 959 asks for, against a server that listens for it
# (async_abor_enable) and one that does not; the session lives on.
source "$(dirname "$0")/harness.sh"
abort_of() {
    script "$1" <<'PY'
from ftp import *
mode = sys.argv[1]
f = Ftp(timeout=40)
f.expect(200, command="TYPE I")
if mode == "passive":
    data = f.connect(f.epsv())
    f.expect(150, 125, command="RETR pub/big")
else:
    listen = f.port()
    f.send("RETR pub/big")
    data, _ = listen.accept()
    f.expect(150, 125)
data.recv(4096)
# Telnet interrupt, then the data mark as the urgent byte.
f.sock.sendall(b"\xff\xf4")
f.sock.send(b"\xff\xf2", socket.MSG_OOB)
f.send("ABOR")
data.settimeout(5)
try:
    while data.recv(1 << 20):
        pass
except OSError:
    pass
data.close()
codes = []
# 426 and 226; or, from a server that noticed only by the closed connection, 426 and 225 or the like.
while len(codes) < 2:
    codes.append(f.reply()[0])
need(codes[0] in (426, 225, 226, 551) and codes[1] in (225, 226), f"replies {codes}")
f.expect(200, command="NOOP")
port = f.epsv()
need(b"small" in f.retrieve("RETR pub/small", f.connect(port)), "the next transfer")
PY
}
for async in NO YES; do
    if [ "$async" = NO ]; then t_begin; else
        lab_stop vsftpd
        lab_vsftpd async_abor_enable=YES || die "no FTP server"
    fi
    truncate -s 700M "$LAB_STATE/ftproot/pub/big"
    echo small >"$LAB_STATE/ftproot/pub/small"
    t_router
    check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
    t_capture server
    check "ABOR of passive data, async_abor_enable=$async" abort_of passive
    check "ABOR of active data, async_abor_enable=$async" abort_of active
    t_capture_stop
    check "the server got urgent data" [ -n "$(t_captured 'tcp.flags.urg == 1 && tcp.dstport == 21' frame.number)" ]
done
