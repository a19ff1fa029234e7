#!/usr/bin/env bash
# ftps = "opaque": after AUTH TLS the control connection passes as bytes, and data goes past the gateway. ProFTPD
# with mod_tls.
source "$(dirname "$0")/harness.sh"
need_commands openssl
LAB_UPSTREAM=client LAB_REVERSE=all
t_begin
lab_stop vsftpd
lab_proftpd || die "no ProFTPD"
t_router
check "the gateway joins" t_gateway $'ftps = "opaque"\ndata_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
head -c 300000 /dev/urandom >"$LAB_STATE/ftproot/pub/file"
url=ftp://$LAB_SERVER/pub
same() { cmp "$LAB_STATE/got" "$LAB_STATE/ftproot/pub/file"; }
get() { rm -f "$LAB_STATE/got"; lab_exec client curl -sS -m 20 "$@" "$url/file" -o "$LAB_STATE/got" && same; }
put() { lab_exec client curl -sS -m 20 "$@" -T "$LAB_STATE/ftproot/pub/file" "$url/up" && cmp "$LAB_STATE/ftproot/pub/up" "$LAB_STATE/ftproot/pub/file"; }
check "in clear text, passive" get
check "in clear text, active" get -P -
check "FEAT offers AUTH" eval 'lab_exec client curl -v -sS "$url/" -Q FEAT 2>&1 | grep -q "AUTH TLS"'
check "encrypted, passive download" get --ssl-reqd -k
# curl forgets to encrypt the data connections that it accepts.
with_lftp_tls() {
    lab_exec client env "HOME=$LAB_STATE" timeout 30 lftp -c "set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes;
        set ssl:verify-certificate no; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:passive-mode no;
        open ftp://$LAB_SERVER; cd pub; $1"
}
rm -f "$LAB_STATE/got"
check "encrypted, active download" eval 'with_lftp_tls "get file -o $LAB_STATE/got" && same'
rm -f "$LAB_STATE/ftproot/pub/up"
check "encrypted, active upload" eval 'with_lftp_tls "put $LAB_STATE/got -o up" && cmp "$LAB_STATE/ftproot/pub/up" "$LAB_STATE/got"'
check "encrypted, passive upload" put --ssl-reqd -k
check "the event says so" event 'control channel encrypted'
check "in clear text again" get
