#!/usr/bin/env bash
# ftps = "opaque" where all that servers send comes back: after AUTH TLS the control connection passes as bytes, and
# data goes past the gateway. By a reverse group without ports, and by policy in both families; ProFTPD with mod_tls.
source "$(dirname "$0")/harness.sh"
need_commands openssl
LAB_UPSTREAM=client LAB_REVERSE=all T_IPV6=yes
t_begin
lab_proftpd 6 || die "no ProFTPD"
head -c 300000 /dev/urandom >"$LAB_STATE/ftproot/pub/file"
same() { cmp "$1" "$LAB_STATE/ftproot/pub/file"; }
get() {
    rm -f "$LAB_STATE/got"
    lab_exec client curl -sS -m 20 "$@" "$url/file" -o "$LAB_STATE/got" && same "$LAB_STATE/got"
}
put() {
    rm -f "$LAB_STATE/ftproot/pub/up"
    lab_exec client curl -sS -m 20 "$@" -T "$LAB_STATE/ftproot/pub/file" "$url/up" && same "$LAB_STATE/ftproot/pub/up"
}
# curl forgets to encrypt the data connections that it accepts; lftp encrypts anonymous sessions only when it is told to.
with_lftp_tls() {
    rm -f "$LAB_STATE/got" "$LAB_STATE/ftproot/pub/up"
    lab_exec client env "HOME=$LAB_STATE" timeout 30 lftp -c "set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes;
        set ssl:verify-certificate no; set ftp:ssl-force yes; set ftp:ssl-allow-anonymous yes; set ftp:ssl-protect-data yes; set ftp:passive-mode no;
        open ${url%/pub}; cd pub; $1"
}
get_by_lftp() { with_lftp_tls "get file -o $LAB_STATE/got" && same "$LAB_STATE/got"; }
put_by_lftp() { with_lftp_tls "put $LAB_STATE/ftproot/pub/file -o up" && same "$LAB_STATE/ftproot/pub/up"; }
encrypted() { grep -c '"state":"encrypted".*control channel encrypted' "$LAB_STATE/events.jsonl"; }
transfers() { grep -c '"event":"transfer"' "$LAB_STATE/events.jsonl"; }
for way in "wccp $LAB_SERVER" "static $LAB_SERVER" "static [$LAB_SERVER6]"; do
    read -r LAB_DEPLOYMENT host <<<"$way"
    url=ftp://$host/pub
    t_router
    check "$way: the gateway joins" t_gateway $'ftps = "opaque"\ndata_ports = [2020, 2021, 2022, 2023, 2024, 2025]' || continue
    check "$way: in clear text, passive" get
    check "$way: in clear text, active" get -P -
    check "$way: FEAT offers AUTH" eval 'lab_exec client curl -v -sS "$url/" -Q FEAT 2>&1 | grep -q "AUTH TLS"'
    before=$(transfers)
    check "$way: encrypted, passive download" get --ssl-reqd -k
    check "$way: encrypted, passive upload" put --ssl-reqd -k
    check "$way: encrypted, active download" get_by_lftp
    check "$way: encrypted, active upload" put_by_lftp
    check "$way: each of the four sessions said that it is encrypted" [ "$(encrypted)" = 4 ]
    check "$way: and nothing was seen of their transfers" [ "$(transfers)" = "$before" ]
    check "$way: in clear text again" get
    check "$way: which is seen" [ "$(transfers)" = $((before + 1)) ]
    check "$way: nothing that is redirected went past the gateway" eval 'lab_refresh && [ "$(lab_passed_by)" = 0 ]'
done
