#!/usr/bin/env bash
# R000.12: a gateway that is stopped says so, and the router forwards at once; one that dies is missed after
# three intervals. Either way the next session works, and the interface has no XDP program left.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
check "a transfer goes through it" transfer EPSV curl download 1MiB
# Told to stop in mid-transfer, it lets the transfer end, sends new sessions past itself, and then leaves.
t_drain "$LAB_SERVER" EPSV
check "new packets of the drain were returned" more_than /counters/returned 0
check "having said that it drains, and that it stopped" event '"state":"stopped"'
check "the gateway joins again" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
queries() { lab_get /groups/0/counters/removal_query; }
lab_refresh
before=$(queries)
t_tell
check "after SIGTERM the router has nobody within two seconds" lab_wait 2 t_nobody
# Silence would have been as quick here; but a cache that is silent is queried before it is given up.
check "as it was told, not for silence" [ "$(queries)" = "$before" ]
check "the gateway ends, with exit status 0" t_ended 15
check "no XDP program is left" t_no_xdp
check "a transfer goes directly" transfer EPSV curl download 1MiB
check "the gateway joins again" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
t_kill t_nobody PASV
check "the router queried it before" [ "$(queries)" -gt "$before" ]
