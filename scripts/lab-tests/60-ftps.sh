#!/usr/bin/env bash
# ftps = "refuse": AUTH gets 534 with the policy's name, FEAT loses AUTH, PBSZ and PROT; a client that can do
# without goes on, one that cannot fails and shows why.
source "$(dirname "$0")/harness.sh"
need_commands openssl
mkdir -p "$LAB_STATE" && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout "$TG_LAB_DIR/ftps.pem" \
    -out "$TG_LAB_DIR/ftps.crt" 2>/dev/null && cat "$TG_LAB_DIR/ftps.crt" >>"$TG_LAB_DIR/ftps.pem"
t_begin ssl_enable=YES "rsa_cert_file=$TG_LAB_DIR/ftps.pem" allow_anon_ssl=YES force_anon_logins_ssl=NO \
    force_anon_data_ssl=NO
t_router
feat() {
    script <<'PY'
from ftp import *
print(Ftp().cmd("FEAT")[1])
PY
}
direct=$(feat)
check "directly the server offers AUTH" grep -q AUTH <<<"$direct"
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
through=$(feat)
check "through the gateway FEAT has no AUTH, PBSZ, PROT, CCC" eval '! grep -qE "AUTH|PBSZ|PROT|CCC" <<<"$through"'
check "the other features are all there" [ "$(grep -vE 'AUTH|PBSZ|PROT|CCC' <<<"$direct")" = "$through" ]
check "AUTH TLS gets 534, and the session lives on" script <<'PY'
from ftp import *
f = Ftp(login=False)
for verb in ("AUTH TLS", "AUTH SSL", "PBSZ 0", "PROT P"):
    f.expect(534, command=verb)
f.expect(230, 331, command="USER anonymous")
PY
echo plain >"$LAB_STATE/ftproot/pub/plain"
optional() { [ "$(lab_exec client curl -sS --ssl -k "ftp://$LAB_SERVER/pub/plain")" = plain ]; }
required() {
    ! lab_exec client curl -vsS --ssl-reqd -k "ftp://$LAB_SERVER/pub/plain" >"$LAB_STATE/reqd" 2>&1 &&
        grep -q '^< 534' "$LAB_STATE/reqd"
}
check "curl --ssl falls back and transfers" optional
check "curl --ssl-reqd fails and shows the 534" required
rm -f "$TG_LAB_DIR/ftps.pem" "$TG_LAB_DIR/ftps.crt"
