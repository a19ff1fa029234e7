#!/usr/bin/env bash
# deployment.kind = "static": a router's policy gives FTP to the gateway, in IPv4 and in IPv6; a gateway that is
# gone is passed by after its dead interval, whichever way it went (R000.12).
source "$(dirname "$0")/harness.sh"
need_commands ping
LAB_DEPLOYMENT=static T_IPV6=yes
t_begin
t_router
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
no_xdp() { ! lab_exec gw ip -d link show dev gw0 | grep -qi xdp; }
gone() { ! lab_alive tidegate; }
passed_by() { lab_refresh && ! lab_get /policies | grep -q '"alive":true'; }
ping_gateway() { lab_exec client ping "$1" -c 2 -i 0.2 -W 2 "$2" >/dev/null; }

check "the router's next hops answer ARP and neighbour discovery" t_gateway "$DATA"
for mode in PASV EPSV PORT EPRT EPSV6 EPRT6; do
    check "$mode download" transfer "$mode" curl download 1MiB
    check "$mode upload" transfer "$mode" curl upload 1MiB
done
check "lftp lists by EPSV6" transfer EPSV6 lftp list 0
check "lftp lists by EPRT6" transfer EPRT6 lftp list 0
check "the gateway took all of it" eval 'lab_refresh && [ "$(lab_redirected)" -gt 1000 ] && [ "$(lab_passed_by)" = 0 ]'
check "it names IPv6 addresses in events" event '"event":"session".*"server":"\[fd00:0:0:1::10\]:21"'
check "it answers ping" ping_gateway -4 "$LAB_GATEWAY"
check "it answers ping of IPv6" ping_gateway -6 "$LAB_GATEWAY6"
check "the kernel has no address there" [ -z "$(lab_exec gw ip -br addr show dev gw0 | awk '{print $3}')" ]

head -c 3000000 /dev/urandom >"$LAB_STATE/ftproot/pub/slow"
slow() { cmp -s "$LAB_STATE/slow" "$LAB_STATE/ftproot/pub/slow"; }
lab_exec client curl -sS --limit-rate 1M "ftp://[$LAB_SERVER6]/pub/slow" -o "$LAB_STATE/slow" &
curl=$!
sleep 1
kill -s TERM "$(lab_pid tidegate)"
sleep 0.3
check "a new session during the drain goes directly" transfer EPSV6 curl download 1MiB
check "and one of IPv4" transfer EPSV curl download 1MiB
wait "$curl"
check "the transfer under way ends whole" slow
check "the gateway ends then" lab_wait 5 gone
check "no XDP program is left" no_xdp
check "the policy passes by" lab_wait 4 passed_by
check "a transfer goes directly" transfer EPSV curl download 1MiB

check "the gateway is back" t_gateway "$DATA"
kill -s KILL "$(lab_pid tidegate)"
check "after SIGKILL no XDP program is left" lab_wait 2 no_xdp
check "the policy passes by" lab_wait 4 passed_by
check "transfers go directly, IPv4" transfer PASV curl upload 1MiB
check "and IPv6" transfer EPRT6 curl upload 1MiB

# A session that began past the gateway lives on when the gateway is back: what is not its own goes on.
rm -f "$LAB_STATE/logged-in" "$LAB_STATE/joined"
echo before >"$LAB_STATE/ftproot/pub/before"
script >"$LAB_STATE/session.out" 2>&1 <<'PY' &
from ftp import *
f = Ftp()
tell("logged-in")
wait_for("joined")
need(f.retrieve("RETR pub/before", f.connect(f.pasv()[1])) == b"before\n", "other bytes")
f.expect(221, command="QUIT")
print("done")
PY
job=$!
lab_wait 10 test -e "$LAB_STATE/logged-in"
check "the gateway is back once more" t_gateway "$DATA"
touch "$LAB_STATE/joined"
wait "$job"
check "the session from before transfers and ends in order" grep -q '^done$' "$LAB_STATE/session.out"
