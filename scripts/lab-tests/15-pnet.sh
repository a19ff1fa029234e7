#!/usr/bin/env bash
# The same gateway on AF_PACKET (driver = "pnet").
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway "data_ports = [2020, 2021, 2022, 2023, 2024, 2025]" pnet
for mode in PASV EPSV PORT EPRT; do
    check "$mode download" transfer "$mode" curl download 1MiB
    check "$mode upload" transfer "$mode" curl upload 1MiB
done
