#!/usr/bin/env bash
# upstream_source = "client": the server sees the client's own address. By a reverse group without ports, with
# passive data; by one with the ports 21 and 20, with data that the server opens; and by a router's policy.
source "$(dirname "$0")/harness.sh"
LAB_UPSTREAM=client T_IPV6=yes
t_begin
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
sees() { lab_exec server ss -Htn state established 'sport = :21' | awk '{print $NF}' | grep -q "$1"; }
held() {
    t_slow "$1" 600000 500K
    local good=1
    lab_wait 3 sees "$2" && good=0
    ! sees "$LAB_GATEWAY" && ! sees "$LAB_GATEWAY6" || good=1
    t_slow_whole && return "$good"
}
for form in "wccp all" "wccp ports" "static all"; do
    read -r LAB_DEPLOYMENT LAB_REVERSE <<<"$form"
    t_router
    check "$form: the gateway joins" t_gateway "$DATA"
    modes=(PASV EPSV PORT EPRT)
    [ "$LAB_DEPLOYMENT" = wccp ] || modes+=(EPSV6 EPRT6)
    both_ways "$form: " "${modes[@]}"
    check "$form: the server sees the client's address, and never the gateway's" held "$LAB_SERVER" "$LAB_CLIENT"
    [ "$LAB_DEPLOYMENT" = wccp ] || check "$form: also in IPv6" held "[$LAB_SERVER6]" "$LAB_CLIENT6"
    check "$form: nothing went past the gateway" eval 'lab_refresh && [ "$(lab_passed_by)" = 0 ]'
    lab_stop tidegate
done
