#!/usr/bin/env bash
# R000.9: packets of connections that the gateway does not know go back to the router in GRE and reach the
# server: a session that began before the gateway joined lives on.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
t_held "goes_on(f)"
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
t_go
check "the old session transfers and ends in order" t_held_says 'done'
check "its packets were returned" more_than /counters/returned 3
before=$(lab_get /counters/returned)
check "a new session transfers" transfer EPSV curl download 1MiB
check "nothing of a new session is returned" seen /counters/returned "$before"
