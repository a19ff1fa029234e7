#!/usr/bin/env bash
# handling = "inspect" with redirected packets: both directions come by WCCP groups or by policy; passive data is steered
# where all of the server's packets come, and goes past where only ports do; active data is followed.
source "$(dirname "$0")/harness.sh"
LAB_HANDLING=inspect LAB_UPSTREAM=client LAB_REVERSE=all
T_IPV6=yes t_begin
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
# steered: the client was told one of the data ports, and connected to it, while the server listened at another.
steered() {
    local told
    t_capture client
    transfer "$1" curl download 64KiB
    t_capture_stop
    told=$(t_captured 'tcp.flags == 0x0002 && tcp.dstport != 21' tcp.dstport | sort -u)
    [ -n "$told" ] && [ -z "$(grep -v '^202[0-5]$' <<<"$told")" ]
}
for way in "wccp gre" "wccp l2" "static -"; do
    read -r LAB_DEPLOYMENT LAB_REDIRECT <<<"$way"
    LAB_REVERSE=all
    t_router
    check "$way: the gateway inspects" t_gateway "$DATA" || continue
    both_ways "$way: " PORT PASV EPRT EPSV
    [ "$LAB_DEPLOYMENT" = wccp ] || both_ways "$way: " EPSV6 EPRT6
    for mode in PASV EPSV; do check "$way: $mode data is steered through the gateway" steered "$mode"; done
    check "$way: the server saw the client itself" grep -q "Client \"$LAB_CLIENT\"" "$LAB_STATE/vsftpd-transfers.log"
    check "$way: sessions and transfers are in the events" event '"event":"transfer".*"verdict":"complete"'
    check "$way: nothing is dropped as a loop" eval '! grep -q "\"reason\":\"loop\"" "$LAB_STATE/events.jsonl"'
done

LAB_DEPLOYMENT=wccp LAB_REDIRECT=gre LAB_REVERSE=ports
t_router
check "a reverse group of ports: the gateway inspects" t_gateway '# no data ports'
both_ways "ports: " PORT PASV EPRT EPSV
check "passive data goes past, and the event says so" event 'data not redirected'
check "active data is followed" event '"event":"transfer".*"client_mode":"active".*"verdict":"complete"'

LAB_UPSTREAM=own
lab_gateway_config af_xdp "$DATA" >"$LAB_STATE/one-way.toml"
one_way() { "$LAB_TIDEGATE_BIN" check --config "$LAB_STATE/one-way.toml" 2>&1 | grep -q 'needs both directions of a connection, and no group of role "reverse"'; }
check "without a reverse group check refuses, and says why" one_way
