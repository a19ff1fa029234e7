#!/usr/bin/env bash
# Bridge and route between bad lines, before and behind the gateway: frames get lost, doubled and overtaken, and segments
# carry so little that no command and no reply is in one piece.
source "$(dirname "$0")/inline.sh"
LAB_INNER=yes LAB_LIMIT=50 LAB_PATIENCE=40
BAD='drop = 0.01, duplicate = 0.02, reorder = 0.05, reorder_ms = 8, segment = 9'
LAB_DEPLOYMENT=route
i_begin
lab_lossy
mkdir -p "$LAB_STATE/files"
head -c 32768 /dev/urandom >"$LAB_STATE/files/32KiB"
MODES=(PORT PASV EPRT EPSV EPSV6 EPRT6)
number=0
for LAB_DEPLOYMENT in bridge route; do
    lab_stop tidegate
    LAB_IMPAIR_IN="$BAD, seed = 31" LAB_IMPAIR_OUT="$BAD, seed = 32" inline_routers_again || die "no router"
    check "$LAB_DEPLOYMENT: the gateway begins" inline_gateway
    rm -f "$LAB_STATE/transfers.tsv"
    running=()
    for mode in "${MODES[@]}"; do
        for operation in download upload; do
            number=$((number + 1))
            (run_transfer "$number" "$mode" curl "$operation" 32KiB) &
            running+=($!)
        done
    done
    wait "${running[@]}"
    while IFS=$'\t' read -r _ mode _ operation _ _ _ seconds _ _ result; do
        check "$LAB_DEPLOYMENT: $mode $operation, $seconds s" [ "$result" = identical ] || say "  $result"
    done < <(sort -n "$LAB_STATE/transfers.tsv")
    check "$LAB_DEPLOYMENT: all were made" [ "$(wc -l <"$LAB_STATE/transfers.tsv")" = "${#running[@]}" ]
    check "$LAB_DEPLOYMENT: the lines were bad" eval 'lab_refresh && [ "$(lab_counters /legs/{0,1}/impaired/dropped)" -gt 50 ]'
done
