#!/usr/bin/env bash
# The server's leg: active, passive or as the client's; with the gateway's address or the client's toward the server,
# and the server's packets by a reverse group of ports or of all.
source "$(dirname "$0")/harness.sh"
LAB_UPSTREAM=own
t_begin
transfers() {
    local mode
    for mode in "$@"; do
        check "  $mode download" transfer "$mode" curl download 1MiB
        check "  $mode upload" transfer "$mode" curl upload 64KiB
        check "  $mode list" transfer "$mode" lftp list 0
    done
}
# gateway SERVER-MODE: the router and the gateway of this kind.
gateway() {
    t_router
    check "$LAB_UPSTREAM $LAB_REVERSE, server_mode $1" t_gateway "data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
$([ "$LAB_UPSTREAM/$LAB_REVERSE" = client/ports ] || echo "server_mode = \"$1\"")"
}
for mode in active same; do
    gateway "$mode"
    transfers PASV EPSV PORT EPRT
done
LAB_UPSTREAM=client
for reverse in ports all; do
    LAB_REVERSE=$reverse
    for mode in active passive same; do
        # What a passive server sends is in no list.
        [ "$reverse/$mode" = ports/passive ] || [ "$reverse/$mode" = ports/same ] && continue
        gateway "$mode"
        t_capture server
        transfers PASV EPSV PORT EPRT
        t_capture_stop
        check "the server saw the client's address and no other" \
            [ "$(t_captured "tcp.dstport == 21 || tcp.srcport == 21" ip.src | sort -u | paste -sd,)" = "$LAB_CLIENT,$LAB_SERVER" ]
        check "nothing was dropped as a loop" eval '! grep -q "\"reason\":\"loop\"" "$LAB_STATE/events.jsonl"'
    done
done
