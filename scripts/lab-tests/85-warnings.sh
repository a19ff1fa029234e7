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

# Frames longer than the MTU that the gateway started with, as a card makes them that merges segments. (A
# veth whose other end runs XDP carries no merged segments, so the link is widened under the gateway instead.)
merged() {
    lab_exec gw ip link set dev gw0 mtu 3000 && lab_exec router ip link set dev to-gw mtu 3000 || return 1
    lab_exec router python3 - <<'PY'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("to-gw", 0))
for _ in range(3):
    s.send(b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x08\x00" + bytes(2900))
PY
}
check "frames of 2,914 bytes are sent to it" merged
check "offloads that are on are noticed" lab_wait 10 warned offload_on
check "the gateway still runs" lab_alive tidegate
