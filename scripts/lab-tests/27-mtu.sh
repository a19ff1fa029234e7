#!/usr/bin/env bash
# What GRE makes too long. With the MSS clamp nothing is; without it a router that cuts makes the gateway put
# fragments together, and one that answers with ICMP 3/4 makes the sender's segments shrink.
source "$(dirname "$0")/harness.sh"
t_begin
reassembled() { sed -n 's/.*"state":"stopped".*[^a-z_]reassembled=\([0-9]*\).*/\1/p' "$LAB_STATE/events.jsonl"; }
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
# upload CLAMP ROUTER: one checked upload of each kind; sets pieces (reassembled packets), cut, told.
upload() {
    LAB_OVERSIZE=$2 t_router
    # What the client has learnt about the path so far is of no use here.
    lab_exec client ip route flush cache
    check "clamp $1, router $2: the gateway joins" t_gateway "mss_clamp = $1"$'\n'"$DATA"
    check "clamp $1, router $2: a passive upload" transfer EPSV curl upload 1MiB
    check "clamp $1, router $2: an active upload" transfer PORT curl upload 1MiB
    lab_refresh
    cut=$(lab_get /counters/fragmented) told=$(lab_get /counters/drop_too_big)
    lab_stop tidegate
    # It names what is not 0 only: without its last words, "nothing" would be what it did not say.
    check "clamp $1, router $2: the gateway told its counts" event '"state":"stopped".*rx_frames='
    pieces=$(reassembled)
}
upload '"auto"' fragment
check "nothing was cut or put together" [ "$cut ${pieces:-0}" = "0 0" ]
upload '"off"' fragment
check "cut ($cut) and put together (${pieces:-0})" [ "$cut" -gt 500 -a "${pieces:-0}" -gt 500 ]
upload '"auto"' icmp
check "the sender was told nothing" [ "$told ${pieces:-0}" = "0 0" ]
upload '"off"' icmp
check "the sender was told ($told times), and nothing was put together" [ "$told" -gt 0 -a "${pieces:-0}" = 0 ]
check "the client has learnt it" eval 'lab_exec client ip route get "$LAB_SERVER" | grep -q "mtu 1472"'

# A narrow line behind the router: what the gateway hears of it is told to the client whose segments they are.
LAB_SERVER_LEG='mtu = 1300' t_router
check "the gateway joins before a narrow line" t_gateway "mss_clamp = \"off\""$'\n'"$DATA"
lab_exec client ip route flush cache
check "a passive upload over the narrow line" transfer EPSV curl upload 1MiB
check "an active upload over the narrow line" transfer PORT curl upload 1MiB
