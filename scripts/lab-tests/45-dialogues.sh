#!/usr/bin/env bash
# Dialogues of clients that do not wait, give up, or go silent: every one ends in order, and none touches another.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
echo one >"$LAB_STATE/ftproot/pub/one"
echo two >"$LAB_STATE/ftproot/pub/two"
truncate -s 64M "$LAB_STATE/ftproot/pub/big"
check "the gateway joins" t_gateway $'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
[timers]
login = "2s"
data_stall = "3s"
time_wait = "2s"'
check "a client that does not log in is told why the connection ends" script <<'PY'
from ftp import *
f = Ftp(login=False)
code, text = f.reply()
need(code == 421, text)
need(f.sock.recv(10) == b"", "no orderly end")
PY
check "a quiet session outlives data_stall" script <<'PY'
from ftp import *
f = Ftp()
time.sleep(4)
f.expect(200, 250, command="NOOP")
PY
check "PORT, RETR, PORT, RETR in one segment give both files" script <<'PY'
from ftp import *
f = Ftp()
a, b = socket.create_server((CLIENT, 0)), socket.create_server((CLIENT, 0))
port = lambda s: "PORT " + CLIENT.replace(".", ",") + ",%d,%d" % divmod(s.getsockname()[1], 256)
f.sock.sendall("\r\n".join([port(a), "RETR pub/one", port(b), "RETR pub/two", ""]).encode())
got = []
for listen in (a, b):
    listen.settimeout(5)
    data, _ = listen.accept()
    f.expect(200)
    f.expect(150, 125)
    got.append(f.finish(data))
need(got == [b"one\n", b"two\n"], f"{got}")
PY
check "ABOR straight behind an active RETR ends it" script <<'PY'
from ftp import *
f = Ftp(timeout=10)
listen = socket.create_server((CLIENT, 0))
port = "PORT " + CLIENT.replace(".", ",") + ",%d,%d" % divmod(listen.getsockname()[1], 256)
f.sock.sendall((port + "\r\nRETR pub/big\r\nABOR\r\n").encode())
codes = []
while not codes or codes[-1] not in (225, 226):
    codes.append(f.reply()[0])
f.expect(200, 250, command="NOOP")
PY
check "an unknown first command is the server's to answer" script <<'PY'
from ftp import *
f = Ftp(login=False)
code, text = f.cmd("BYE")
need(500 <= code <= 599 or code == 530, text)
f.expect(331, 230, command="USER anonymous")
PY
check "a session that ends does not take another's transfer with it" script <<'PY'
from ftp import *
a = Ftp()
a.retrieve("RETR pub/one", a.connect(a.epsv()))
time.sleep(3)
b = Ftp()
data = b.connect(b.epsv())
a.expect(221, command="QUIT")
a.sock.close()
b.expect(150, 125, command="RETR pub/two")
need(b.finish(data) == b"two\n", "other bytes")
PY
check "the events tell whose it was" event '"event":"transfer".*"name":"pub/two".*"bytes":4,.*"verdict":"complete","code":226'
check "and none is complete that the server refused" \
    bash -c "! grep -E '\"event\":\"transfer\".*\"verdict\":\"complete\",\"code\":[45]' '$LAB_STATE/events.jsonl'"
