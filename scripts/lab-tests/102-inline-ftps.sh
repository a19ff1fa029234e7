#!/usr/bin/env bash
# FTPS through an inspecting gateway: after AUTH TLS data passes by static rules only; behind CCC commands are read again, or
# that is forbidden, or demanded. The server is ProFTPD, the client curl.
source "$(dirname "$0")/inline.sh"
need_commands openssl
LAB_DEPLOYMENT=bridge
i_begin
lab_proftpd 6 || die "no FTP server with TLS"
head -c 300000 /dev/urandom >"$LAB_STATE/ftproot/pub/secret"
head -c 200000 /dev/urandom >"$LAB_STATE/upload"
tls=(--ssl-reqd -k)
get() {
    rm -f "$LAB_STATE/got"
    lab_exec client curl -sS -m "${T_LIMIT:-10}" "$@" "ftp://$LAB_SERVER/pub/secret" -o "$LAB_STATE/got" &&
        cmp "$LAB_STATE/got" "$LAB_STATE/ftproot/pub/secret"
}
put() {
    rm -f "$LAB_STATE/ftproot/pub/put"
    lab_exec client curl -sS -m 10 "$@" -T "$LAB_STATE/upload" "ftp://$LAB_SERVER/pub/put" &&
        cmp "$LAB_STATE/upload" "$LAB_STATE/ftproot/pub/put"
}
RULE='[[firewall.data]]
name = "ftps"
servers = ["198.51.100.7"]
ports = ["30000-39999"]'

unneeded() {
    lab_exec server timeout 5 python3 -c "
import socket
s = socket.create_server(('$LAB_SERVER', 30007))
s.settimeout(4)
s.accept()" 2>/dev/null &
    sleep 0.5
    inline_connects client "$LAB_CLIENT_TWO" "$LAB_SERVER" 30007
}

# The server is one that refuses CCC: curl goes on in TLS.
commands() { grep -c "^$1" "$LAB_STATE/proftpd-commands.log"; }
more_commands() { [ "$(commands "$1")" -gt "$2" ]; }
refused() {
    local ccc epsv
    ccc=$(commands CCC) epsv=$(commands EPSV)
    get "$@" && lab_wait 2 more_commands CCC "$ccc" && lab_wait 2 more_commands EPSV "$epsv"
}

denials() { grep -c 'ccc denied' "$LAB_STATE/events.jsonl"; }
denied_since() { [ "$(denials)" -gt "$1" ]; }

for LAB_DEPLOYMENT in bridge route; do
    lab_stop tidegate
    inline_routers_again || die "no router"
    check "$LAB_DEPLOYMENT: the gateway begins" inline_gateway
    check "$LAB_DEPLOYMENT: without a rule for it, data of an encrypted session is refused" eval '! T_LIMIT=3 get "${tls[@]}"'
    check "$LAB_DEPLOYMENT: the event says that the session is encrypted" event '"state":"encrypted"'
    check "$LAB_DEPLOYMENT: clear sessions go on" get --disable-epsv
    for mode in active passive; do
        ccc=("${tls[@]}" --ftp-ssl-ccc --ftp-ssl-ccc-mode "$mode")
        check "$LAB_DEPLOYMENT: CCC, $mode: a download by EPSV" get "${ccc[@]}"
        check "$LAB_DEPLOYMENT: CCC, $mode: a download by PASV" get "${ccc[@]}" --disable-epsv
        check "$LAB_DEPLOYMENT: CCC, $mode: an upload" put "${ccc[@]}"
    done
    # curl closes TLS before the server says anything, or waits for the server.
    check "$LAB_DEPLOYMENT: commands behind CCC are read" event '"verb":"EPSV".*"action"'
    check "$LAB_DEPLOYMENT: and passwords before it are not" eval '! grep -q "\"verb\":\"PASS\".*nobody" "$LAB_STATE/events.jsonl"'

    LAB_TABLES=$RULE check "$LAB_DEPLOYMENT: the gateway begins, with a static rule" inline_gateway
    check "$LAB_DEPLOYMENT: a download by EPSV in TLS" get "${tls[@]}"
    check "$LAB_DEPLOYMENT: a download by PASV in TLS" get "${tls[@]}" --disable-epsv
    check "$LAB_DEPLOYMENT: an upload in TLS" put "${tls[@]}"
    check "$LAB_DEPLOYMENT: the rule holds only for clients that have an encrypted session" eval '! unneeded'

    LAB_SERVICE_KEYS='ccc = "deny"' LAB_TABLES=$RULE check "$LAB_DEPLOYMENT: the gateway begins, ccc = deny" inline_gateway
    check "$LAB_DEPLOYMENT: in TLS to the end all is well" get "${tls[@]}"
    for mode in active passive; do
        before=$(denials)
        check "$LAB_DEPLOYMENT: CCC, $mode, ends the session" eval '! T_LIMIT=4 get "${tls[@]}" --ftp-ssl-ccc --ftp-ssl-ccc-mode "$mode"'
        check "$LAB_DEPLOYMENT: the event says why" lab_wait 2 denied_since "$before"
    done

    LAB_SERVICE_KEYS='ccc = "require"' LAB_TABLES=$RULE check "$LAB_DEPLOYMENT: the gateway begins, ccc = require" inline_gateway
    check "$LAB_DEPLOYMENT: in TLS no data passes, whatever the rule" eval '! T_LIMIT=3 get "${tls[@]}"'
    check "$LAB_DEPLOYMENT: the event says why" event 'ccc required'
    for mode in active passive; do
        check "$LAB_DEPLOYMENT: behind CCC, $mode, it passes" get "${tls[@]}" --ftp-ssl-ccc --ftp-ssl-ccc-mode "$mode"
    done

    lab_stop proftpd
    LAB_TLS_REQUIRED=ctrl lab_proftpd 6 || die "no FTP server that insists on TLS"
    LAB_TABLES=$RULE check "$LAB_DEPLOYMENT: the gateway begins, before a server that refuses CCC" inline_gateway
    for mode in active passive; do
        check "$LAB_DEPLOYMENT: CCC, $mode, is refused, and a download goes on in TLS" refused "${tls[@]}" --ftp-ssl-ccc --ftp-ssl-ccc-mode "$mode"
    done
    check "$LAB_DEPLOYMENT: the session counts as encrypted" event '"state":"encrypted"'
    check "$LAB_DEPLOYMENT: and never as clear again" eval '! event "\"state\":\"clear\""'
    check "$LAB_DEPLOYMENT: nothing is read after AUTH" eval '! grep -Eq "\"verb\":\"(USER|PASS|PBSZ|PROT|CCC|PWD|CWD|EPSV|PASV|TYPE|SIZE|RETR|QUIT)\"" "$LAB_STATE/events.jsonl"'
    LAB_SERVICE_KEYS='ccc = "require"' LAB_TABLES=$RULE check "$LAB_DEPLOYMENT: the gateway begins, ccc = require" inline_gateway
    check "$LAB_DEPLOYMENT: no data passes, since it is never clear" eval '! T_LIMIT=3 get "${tls[@]}" --ftp-ssl-ccc --ftp-ssl-ccc-mode passive'
    check "$LAB_DEPLOYMENT: the event says why" event 'ccc required'
    lab_stop proftpd
    lab_proftpd 6 || die "no FTP server with TLS"
done
