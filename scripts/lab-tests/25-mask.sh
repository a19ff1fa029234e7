#!/usr/bin/env bash
# Mask assignment: the router deals out addresses by bits, and the gateway gets all of them.
source "$(dirname "$0")/harness.sh"
LAB_ASSIGNMENT=mask LAB_BUCKETS=0
t_begin
t_router
all_by_mask() {
    lab_refresh && [ "$(lab_get /groups/0/caches/0/assignment)" = mask ] &&
        [ "$(lab_get /groups/0/caches/0/assigned)" -gt 0 ] &&
        [ "$(lab_get /groups/0/caches/0/assigned)" = "$(lab_get /groups/0/caches/0/of)" ]
}
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
check "all values of the mask are its own" lab_wait 10 all_by_mask
for mode in PASV EPSV PORT EPRT; do check "$mode download" transfer "$mode" curl download 1MiB; done
for address in "$LAB_CLIENT" "${LAB_MORE_CLIENTS[@]}"; do
    check "a listing from $address" lab_exec client curl -sS --interface "$address" "ftp://$LAB_SERVER/pub/" -o /dev/null
done
check "no packet of the group went past the gateway" seen /groups/0/counters/unassigned 0
