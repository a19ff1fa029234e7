#!/usr/bin/env bash
# The kernel's FTP helper and tidegate as the gateway, in the same place of the same lab: the same transfers of real
# clients with real servers, on good lines, on bad ones, and on lines that cut segments short; and what clients and servers seldom do. Prints both tables;
# the last line is "N passed, N failed" and counts tidegate's. Build first: cargo build --release.
#
#   scripts/compare.sh [--quick] [--only kernel|tidegate] [--write]
#
#   --quick       one server, one client, one file each way, good lines, and the seldom things
#   --only WHICH  only the kernel, or only tidegate
#   --write       write the tables to docs/comparison.md; needs all of both
#
# The kernel must be alive in its place, or nothing is compared: nf_conntrack_ftp, assigned by nft, and masquerading
# must let through a plain transfer by PORT, PASV, EPRT and EPSV. Root is needed: another user is asked by sudo.
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

arguments=("$@") quick=no only='kernel tidegate' write=no
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=yes ;;
        --only)
            case ${2:-} in kernel | tidegate) ;; *) warn "compare.sh: --only kernel or tidegate" && exit 2 ;; esac
            only=$2
            shift
            ;;
        --write) write=yes ;;
        -h | --help)
            sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *)
            warn "compare.sh: what is \"$1\"? (--help tells what there is)"
            exit 2
            ;;
    esac
    shift
done
[ "$write/$quick/$only" != "yes/no/kernel tidegate" ] && [ "$write" = yes ] &&
    { warn "compare.sh: --write needs all of both" && exit 2; }
if [ "$(id -u)" != 0 ]; then
    as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" "TG_OWNER=$(id -u):$(id -g)" bash "$0" "${arguments[@]}"
    exit
fi
TG_LAB=${TG_LAB:-tg}-compare
# shellcheck source=scripts/lab-inline.sh
source "$TG_ROOT/scripts/lab-inline.sh"
# shellcheck source=scripts/transfer.sh
source "$TG_ROOT/scripts/transfer.sh"

# Clients and the modes that each has.
CLIENTS=("curl PORT EPRT PASV EPSV EPRT6 EPSV6" "lftp PORT PASV EPSV EPRT6 EPSV6" "ncftp PORT PASV" "tnftp PORT EPRT PASV EPSV EPRT6 EPSV6")
SERVERS=(vsftpd pureftpd proftpd)
OPERATIONS=(download upload list)
BAD_OPERATIONS=(download upload)
SHORT_OPERATIONS=(download)
[ "$quick" = no ] || CLIENTS=("curl PORT EPRT PASV EPSV") SERVERS=(vsftpd) OPERATIONS=(download upload)
# Transfers at a time over bad lines: most of the time each waits for something that was lost.
AT_A_TIME=6
BAD='drop = 0.02, duplicate = 0.02, reorder = 0.05, reorder_ms = 8, segment = 700'
SHORT='segment = 9'

results=$(mktemp -d "$TG_LAB_DIR/compare.XXXXXX") || die "no room for results"
finish() {
    local status=$?
    trap - EXIT
    # The lab is taken down whole, whoever is in a hurry.
    trap '' INT TERM
    lab_down
    rm -rf "$LAB_STATE" "$results"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# place WHICH [HOW]: the lab with this gateway, or with nobody who translates and filters; HOW: how bad the lines on both its sides are.
place() {
    LAB_DEPLOYMENT=$([ "$1" = tidegate ] && echo route || echo kernel)
    LAB_INNER=no LAB_IMPAIR_IN='' LAB_IMPAIR_OUT=''
    [ -z "${2:-}" ] || LAB_INNER=yes LAB_IMPAIR_IN="$2, seed = 21" LAB_IMPAIR_OUT="$2, seed = 22"
    inline_up || die "the lab cannot be made here"
    lab_lossy
    inline_routers || die "no router"
    case $1 in
        nobody) inline_forwarding || die "the kernel cannot forward here" ;;
        kernel) inline_kernel || die "the kernel cannot be the gateway here" ;;
        *) inline_gateway || die "tidegate cannot be the gateway here" ;;
    esac
}

# lines_pass: where packets are only forwarded, short segments harm nobody.
lines_pass() {
    local mode
    place nobody "$SHORT"
    lab_server vsftpd 6 || die "no FTP server"
    for mode in PORT PASV EPRT EPSV EPRT6 EPSV6; do
        run_transfer 0 "$mode" curl download 64KiB
        [ "$result" = identical ] || die "the lines with short segments do not work: $mode: $result"
    done
    say "nobody, short lines: every mode passes"
}

# each OPERATION...: a line for each client, mode and operation.
each() {
    local row client modes mode operation
    for row in "${CLIENTS[@]}"; do
        read -r client modes <<<"$row"
        for mode in $modes; do
            for operation in "$@"; do printf '%s\t%s\t%s\n' "$client" "$mode" "$operation"; done
        done
    done
}

# wanted: what the tables must have, to transfers.wanted and cases.wanted: what is not tried has not passed.
wanted() {
    local which server
    for which in $only; do
        for server in "${SERVERS[@]}"; do
            each "${OPERATIONS[@]}" | sed "s/^/$which\tgood\t$server\t/"
            [ "$quick" = no ] || continue
            each "${BAD_OPERATIONS[@]}" | sed "s/^/$which\tbad\t$server\t/"
            each "${SHORT_OPERATIONS[@]}" | sed "s/^/$which\tshort\t$server\t/"
        done
    done >"$results/transfers.wanted"
    cases --list >"$results/cases.names" || die "compare_cases.py does not tell its cases"
    for which in $only; do sed "s/^/$which\t/" "$results/cases.names"; done >"$results/cases.wanted"
}

# transfers WHICH LINES AT-A-TIME SIZE OPERATION...: all clients with all servers; results to transfers.tsv.
transfers() {
    local which=$1 lines=$2 most=$3 size=$4 server client mode operation running ended number=0
    shift 4
    for server in "${SERVERS[@]}"; do
        lab_server "$server" 6 || die "no FTP server $server"
        rm -f "$LAB_STATE/transfers.tsv"
        running=()
        while IFS=$'\t' read -r client mode operation; do
            number=$((number + 1))
            (run_transfer "$number" "$mode" "$client" "$operation" "$size") </dev/null &
            running+=($!)
            if [ ${#running[@]} -ge "$most" ]; then
                wait -n -p ended "${running[@]}"
                mapfile -t running < <(printf '%s\n' "${running[@]}" | grep -vx "$ended" | grep .)
            fi
        done < <(each "$@")
        # Without a number it would wait for the gateway.
        [ ${#running[@]} = 0 ] || wait "${running[@]}"
        awk -F'\t' -v OFS='\t' -v w="$which" -v l="$lines" -v s="$server" '{ print w, l, s, $3, $2, $4, $11 }' \
            "$LAB_STATE/transfers.tsv" >>"$results/transfers.tsv"
        say "$which, $lines lines, $server: $(grep -c 'identical$' "$LAB_STATE/transfers.tsv") of" \
            "$(wc -l <"$LAB_STATE/transfers.tsv") transfers identical"
    done
}

# alive: the kernel's helper does what it is there for.
alive() {
    local mode
    lab_server vsftpd || die "no FTP server"
    for mode in PORT PASV EPRT EPSV; do
        run_transfer 0 "$mode" curl download 1MiB
        [ "$result" = identical ] || die "the kernel's FTP helper does not work here: $mode: $result"
    done
    say "kernel: plain PORT, PASV, EPRT and EPSV pass"
}

cases() {
    PYTHONDONTWRITEBYTECODE=1 OUTSIDE=$LAB_OUTSIDE python3 "$TG_ROOT/scripts/compare_cases.py" "$(lab_ns client)" \
        "$(lab_ns server)" "$@"
}

# seldom WHICH: the cases of compare_cases.py; results to cases.tsv.
seldom() {
    local name
    for name in vsftpd vsftpd6 pureftpd pureftpd6 proftpd; do lab_stop "$name"; done
    (set -o pipefail && cases | sed "s/^/$1\t/" | tee -a "$results/cases.tsv" | sed 's/\t/: /g') ||
        printf '%s\tall cases\tfails\tcompare_cases.py broke off\n' "$1" >>"$results/cases.tsv"
}

need_commands ip ethtool sysctl curl lftp nft python3 ss
[ -x "$LAB_ROUTER_BIN" ] && [ -x "$LAB_TIDEGATE_BIN" ] ||
    die "$LAB_ROUTER_BIN or $LAB_TIDEGATE_BIN is not built: cargo build --release"
[ "$quick" = yes ] || unpack ncftp tnftp
lab_lock || die "this lab is in use"
[ "$quick" = yes ] || lines_pass
for which in $only; do
    place "$which"
    [ -e "$results/cases.wanted" ] || wanted
    [ "$which" = tidegate ] || alive
    transfers "$which" good 1 1MiB "${OPERATIONS[@]}"
    seldom "$which"
    [ "$quick" = no ] || continue
    place "$which" "$BAD"
    LAB_PATIENCE=45 LAB_LIMIT=60 transfers "$which" bad "$AT_A_TIME" 1MiB "${BAD_OPERATIONS[@]}"
    place "$which" "$SHORT"
    LAB_LIMIT=20 transfers "$which" short "$AT_A_TIME" 64KiB "${SHORT_OPERATIONS[@]}"
done
python3 "$TG_ROOT/scripts/compare_table.py" "$results" "$([ "$write" = no ] || echo "$TG_ROOT/docs/comparison.md")"
status=$?
[ "$write" = no ] || chown "${TG_OWNER:-0:0}" "$TG_ROOT/docs/comparison.md"
exit "$status"
