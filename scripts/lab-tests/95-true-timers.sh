#!/usr/bin/env bash
# The protocol's own times: T = 10 s at both ends.
source "$(dirname "$0")/harness.sh"
LAB_HERE_I_AM=10s T_JOIN=60
t_begin
t_router
start=$SECONDS
check "the gateway is assigned" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
joined=$((SECONDS - start))
say "  after $joined s"
check "not before a quiet time of one and a half intervals" [ "$joined" -ge 14 ]
check "a transfer goes through it" transfer EPSV curl download 1MiB
check "by redirection" more_than /groups/0/counters/redirected 3
lab_stop tidegate KILL
start=$SECONDS
check "a dead gateway is removed" lab_wait 40 t_nobody
removed=$((SECONDS - start))
say "  after $removed s"
check "between 20 and 31 s after its end, as its last message was up to 10 s old" eval \
    '[ "$removed" -ge 19 ] && [ "$removed" -le 31 ]'
check "a transfer goes directly" transfer EPSV curl download 1MiB
