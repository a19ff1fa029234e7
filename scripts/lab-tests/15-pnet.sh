#!/usr/bin/env bash
# The same gateway on AF_PACKET (driver = "pnet"), on every way in.
source "$(dirname "$0")/harness.sh"
T_IPV6=yes
t_begin
for way in "wccp gre own" "wccp l2 client" "static - own" "static - client"; do
    read -r LAB_DEPLOYMENT LAB_REDIRECT LAB_UPSTREAM <<<"$way"
    t_router
    check "$way: the gateway joins" t_gateway "data_ports = [2020, 2021, 2022, 2023, 2024, 2025]" pnet
    modes=(PASV EPSV PORT EPRT)
    [ "$LAB_DEPLOYMENT" = wccp ] || modes+=(EPSV6 EPRT6)
    both_ways "$way: " "${modes[@]}"
    check "$way: nothing went past the gateway" eval 'lab_refresh && [ "$(lab_passed_by)" = 0 ]'
done
