#!/usr/bin/env bash
# An idle gateway uses less than two percent of a processor.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$(lab_pid tidegate)/stat"; }
sleep 2
before=$(ticks)
sleep 10
used=$(($(ticks) - before))
say "  $used ticks of $(($(getconf CLK_TCK) * 10))"
check "under 2 % in ten seconds" [ "$used" -lt $(($(getconf CLK_TCK) / 5)) ]
