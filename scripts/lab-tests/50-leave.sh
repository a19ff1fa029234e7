#!/usr/bin/env bash
# R000.12: a gateway that is stopped says so, and the router forwards at once; one that dies is missed after
# three intervals. Either way the next session works, and the interface has no XDP program left.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
no_xdp() { ! lab_exec gw ip -d link show dev gw0 | grep -qi xdp; }
gone() { ! lab_alive tidegate; }
nobody() { seen /groups/0/caches '[]'; }
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
check "a transfer goes through it" transfer EPSV curl download 1MiB
# Told to stop in mid-transfer, it lets the transfer end, sends new sessions past itself, and then leaves.
head -c 3000000 /dev/urandom >"$LAB_STATE/ftproot/pub/slow"
slow() { cmp -s "$LAB_STATE/slow" "$LAB_STATE/ftproot/pub/slow"; }
lab_exec client curl -sS --limit-rate 1M "ftp://$LAB_SERVER/pub/slow" -o "$LAB_STATE/slow" &
curl=$!
sleep 1
kill -s TERM "$(lab_pid tidegate)"
sleep 0.3
check "a new session during the drain goes directly" transfer EPSV curl download 1MiB
check "as a returned packet" more_than /counters/returned 0
wait "$curl"
check "the transfer under way ends whole" slow
check "the gateway ends then" lab_wait 5 gone
check "having said that it drains, and that it stopped" event '"state":"stopped"'
check "the gateway joins again" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
kill -s TERM "$(lab_pid tidegate)"
check "after SIGTERM the router has nobody within two seconds" lab_wait 2 nobody
check "the gateway ends" lab_wait 15 gone
check "no XDP program is left" no_xdp
check "a transfer goes directly" transfer EPSV curl download 1MiB
check "the gateway joins again" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
kill -s KILL "$(lab_pid tidegate)"
check "after SIGKILL no XDP program is left" lab_wait 2 no_xdp
check "the router queries and removes it" lab_wait 4 nobody
check "it queried first" more_than /groups/0/counters/removal_query 0
check "a transfer goes directly" transfer PASV curl upload 1MiB
