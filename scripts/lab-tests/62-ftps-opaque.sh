#!/usr/bin/env bash
# ftps = "opaque": AUTH TLS is passed on and nothing behind it is read; the data connections of encrypted sessions
# are the client's and the server's own, whichever of them opens.
source "$(dirname "$0")/harness.sh"
need_commands openssl
LAB_UPSTREAM=client LAB_REVERSE=ports
t_begin
lab_proftpd || die "no FTP server with TLS"
t_router
check "the gateway joins both groups" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
ftps = "opaque"'
head -c 3000000 /dev/urandom >"$LAB_STATE/ftproot/pub/secret"
head -c 1000000 /dev/urandom >"$LAB_STATE/upload"
url=ftp://$LAB_SERVER/pub
get() {
    rm -f "$LAB_STATE/got"
    lab_exec client curl -sS -m 60 "$@" "$url/secret" -o "$LAB_STATE/got" && cmp "$LAB_STATE/got" "$LAB_STATE/ftproot/pub/secret"
}
put() {
    rm -f "$LAB_STATE/ftproot/pub/put"
    lab_exec client curl -sS -m 60 "$@" -T "$LAB_STATE/upload" "$url/put" && cmp "$LAB_STATE/upload" "$LAB_STATE/ftproot/pub/put"
}
tls=(--ssl-reqd -k)
check "a download by EPSV in TLS" get "${tls[@]}"
check "an upload by EPSV in TLS" put "${tls[@]}"
check "a download by PASV in TLS" get "${tls[@]}" --disable-epsv
# This curl waits for ever for an active server that speaks TLS, directly as well.
check "a download and an upload by PORT in TLS" script <<'PY'
from ftp import *
import ftplib, ssl
f = ftplib.FTP_TLS(SERVER, context=ssl._create_unverified_context(), timeout=30)
f.login()
f.prot_p()
f.set_pasv(False)
got = bytearray()
f.retrbinary("RETR pub/secret", got.extend)
want = open(STATE + "/ftproot/pub/secret", "rb").read()
f.storbinary("STOR pub/put", open(STATE + "/upload", "rb"))
f.quit()
same = open(STATE + "/upload", "rb").read() == open(STATE + "/ftproot/pub/put", "rb").read()
sys.exit(0 if got == want and same else 1)
PY
check "what came by the groups' ports was returned" more_than /groups/1/counters/returned 5
check "each session said that it is encrypted" [ "$(grep -c '"state":"encrypted".*control channel encrypted' "$LAB_STATE/events.jsonl")" = 4 ]
check "and nothing was expected or seen of the transfers" eval '! grep -qE "\"event\":\"(expectation|transfer)\"" "$LAB_STATE/events.jsonl"'
check "no user name was read" eval '! grep -q "\"verb\":\"USER\"" "$LAB_STATE/events.jsonl"'
check "clear sessions go on as ever" get
check "and their transfers are seen" event '"event":"transfer".*"verdict":"complete"'
check "a command behind AUTH ends the session with 421, unread" script <<'PY'
from ftp import *
f = Ftp(login=False)
f.sock.sendall(b"AUTH TLS\r\nUSER injected\r\n")
f.expect(421)
try:
    f.line()
except (EOFError, ConnectionError):
    sys.exit(0)
fail("the connection lives on")
PY
check "the server's log has the other commands" grep -q '^AUTH TLS' "$LAB_STATE/proftpd-commands.log"
check "the server never saw it" eval '! grep -q injected "$LAB_STATE"/proftpd*.log'
