#!/usr/bin/env bash
# deployment.kind = "static": a router's policy gives FTP to the gateway, in IPv4 and in IPv6; a gateway that is
# gone is passed by after its dead interval, whichever way it went (R000.12).
source "$(dirname "$0")/harness.sh"
need_commands ping
LAB_DEPLOYMENT=static T_IPV6=yes
t_begin
t_router
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
passed_by() { lab_refresh && ! lab_get /policies | grep -q '"alive":true'; }
ping_gateway() { lab_exec client ping "$1" -c 2 -i 0.2 -W 2 "$2" >/dev/null; }

check "the router's next hops answer ARP and neighbour discovery" t_gateway "$DATA"
both_ways "" PASV EPSV PORT EPRT EPSV6 EPRT6
check "lftp lists by EPSV6" transfer EPSV6 lftp list 0
check "lftp lists by EPRT6" transfer EPRT6 lftp list 0
check "the gateway took all of it" eval 'lab_refresh && [ "$(lab_redirected)" -gt 1000 ] && [ "$(lab_passed_by)" = 0 ]'
check "it names IPv6 addresses in events" event '"event":"session".*"server":"\[fd00:0:0:1::10\]:21"'
check "it answers ping" ping_gateway -4 "$LAB_GATEWAY"
check "it answers ping of IPv6" ping_gateway -6 "$LAB_GATEWAY6"
check "the kernel has no address there" [ -z "$(lab_exec gw ip -br addr show dev gw0 | awk '{print $3}')" ]

t_drain "[$LAB_SERVER6]" EPSV6 EPSV
check "no XDP program is left" t_no_xdp
check "the policy passes by" lab_wait 4 passed_by
check "a transfer goes directly" transfer EPSV curl download 1MiB

check "the gateway is back" t_gateway "$DATA"
t_kill passed_by PASV EPRT6

# A session that began past the gateway lives on when the gateway is back: what is not its own goes on.
t_held "goes_on(f)"
check "the gateway is back once more" t_gateway "$DATA"
t_go
check "the session from before transfers and ends in order" t_held_says 'done'
