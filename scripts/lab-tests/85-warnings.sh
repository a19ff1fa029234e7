#!/usr/bin/env bash
# What goes wrong while running becomes an event with a remedy, and the gateway goes on.
source "$(dirname "$0")/harness.sh"
t_begin
started() {
    lab_stop tidegate
    lab_gateway_config af_xdp 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]' >"$LAB_STATE/tidegate.toml"
    rm -f "$LAB_STATE/events.jsonl"
    lab_spawn tidegate gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml"
}
warned() { event "\"event\":\"warning\".*\"kind\":\"$1\""; }

t_router 'fault_trust_all = true'
echo wrong01 >"$LAB_STATE/router.key"
t_router 'fault_trust_all = true'
started
check "MD5 mismatch is noticed" lab_wait 10 warned md5_mismatch
cp "$LAB_STATE/gateway.key" "$LAB_STATE/router.key"
t_router
check "and it joins when the passwords agree" lab_wait 15 lab_assigned

t_router 'fault_assign_nothing = true'
started
check "a router that assigns nothing is noticed" lab_wait 15 warned no_assignment
t_router
check "and it joins one that does" lab_wait 15 lab_assigned

lab_stop router KILL
check "a silent router is noticed" lab_wait 10 warned router_silent
t_router
check "and it joins when the router is back" lab_wait 15 lab_assigned

# Frames longer than the MTU: the router's end puts segments together, as a card with offloads does.
for offload in tx tso gso; do lab_exec client ethtool -K c0 "$offload" on >/dev/null 2>&1; done
for offload in tx tso gso; do lab_exec server ethtool -K s0 "$offload" on >/dev/null 2>&1; done
lab_exec gw ethtool -K gw0 gro on >/dev/null 2>&1
check "offloads that are on are noticed" lab_wait 10 warned offload_on
check "the gateway still runs" lab_alive tidegate
