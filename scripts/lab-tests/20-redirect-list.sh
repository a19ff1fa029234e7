#!/usr/bin/env bash
# R000.7: a data port that no group lists is refused by check; one that the router's redirect list leaves out
# makes the transfer fail with 425 in time, with the port's number in the log.
source "$(dirname "$0")/harness.sh"
t_begin
unlisted() {
    lab_gateway_config af_xdp "$1" >"$LAB_STATE/bad.toml"
    "$LAB_TIDEGATE_BIN" check --config "$LAB_STATE/bad.toml" >"$LAB_STATE/check.out" 2>"$LAB_STATE/check.err"
    [ $? = 2 ] && grep -q "$2" "$LAB_STATE/check.err"
}
check "check refuses an active port that no group lists" \
    unlisted $'client_mode = "active"\nactive_source_port = 2999' 2999
check "check refuses a data port that no group lists" unlisted 'data_ports = [2020, 2998]' 2998

t_router 'deny_ports = [20]'
check "the gateway joins a router whose redirect list leaves out port 20" t_gateway \
    $'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]\n[timers]\nconnect = "5s"'
check "PORT fails with 425 within the time limit, naming port 20, and the session lives on" script <<'PY'
from ftp import *
f = Ftp(timeout=30)
listen = f.port()
start = time.monotonic()
f.send("LIST pub")
codes = []
while True:
    code, text = f.reply()
    codes.append(code)
    if code >= 200:
        break
need(code == 425, f"{codes}: {text}")
need(4 < time.monotonic() - start < 10, "too late")
need("20" in text.split("425", 1)[1], f"no port in {text!r}")
port = f.epsv()
f.retrieve("LIST pub", f.connect(port))
PY
check "the log names the port" grep -qE '\b20\b' "$LAB_STATE/events.jsonl" "$LAB_STATE/tidegate.log"
