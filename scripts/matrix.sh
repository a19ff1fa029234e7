#!/usr/bin/env bash
# Transfers over bad lines: every way in, with every mode, family and source, while the router loses 2 % of the
# packets on each line, doubles 2 %, holds back 5 % and cuts TCP segments. Prints a table; the last line is
# "N passed, N failed". Build first: cargo build --release.
#
#   scripts/matrix.sh [--full] [--only REGEX]
#
#   --full         everything; without it a few of each
#   --only REGEX   only the lines that match, as 'l2 own .* EPSV download 64KiB'
#
# A line begins with the way in (gre, l2, static), whose address the server sees (own, client), and what the reverse
# group lists (all, ports). Root is needed: another user is asked by sudo.
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

full=no only=.
while [ $# -gt 0 ]; do
    case $1 in
        --full) full=yes ;;
        --only)
            [ $# -ge 2 ] || { warn "matrix.sh: --only needs a value" && exit 2; }
            only=$2
            shift
            ;;
        -h | --help)
            sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *)
            warn "matrix.sh: what is \"$1\"? (--help tells what there is)"
            exit 2
            ;;
    esac
    shift
done
if [ "$(id -u)" != 0 ]; then
    arguments=(--only "$only")
    [ "$full" = no ] || arguments+=(--full)
    as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" bash "$0" "${arguments[@]}"
    exit
fi
# shellcheck source=scripts/lab-tests/harness.sh
source "$TG_ROOT/scripts/lab-tests/harness.sh"

# Way, source, reverse group: what the lab's variables of these names say.
WAYS=(
    "gre own all"
    "gre client all"
    "gre client ports"
    "l2 own all"
    "l2 client ports"
    "static own all"
    "static client all"
)
[ "$full" = no ] || WAYS+=("l2 client all" "static client ports")
# Transfers at a time; most of the time each waits for something that was lost.
AT_A_TIME=6
LAB_LIMIT=60

# list WAY SOURCE REVERSE: its transfers as "MODE OPERATION SIZE".
list() {
    local modes=(PASV EPSV PORT EPRT) mode operation size sizes large passive server_passive
    [ "$1" != static ] || modes+=(EPSV6 EPRT6)
    for mode in "${modes[@]}"; do
        # Where both ends listen, or both connect, each byte passes through two TCPs of the gateway.
        large=4MiB
        [[ $mode == *S* ]] && passive=yes || passive=no
        [ "$2 $3" = "client ports" ] && server_passive=no || server_passive=yes
        [ "$passive" = "$server_passive" ] || large=1MiB
        sizes=(0 1 64KiB "$large")
        for operation in download upload; do
            [ "$full" = yes ] || { [ "$operation" = download ] && sizes=(64KiB) || sizes=("$large"); }
            for size in "${sizes[@]}"; do say "$mode $operation $size"; done
        done
    done
}

# one NUMBER MODE OPERATION SIZE: in a subshell, as transfers run beside each other.
one() (
    run_transfer "$1" "$2" curl "$3" "$4"
)

# told_of N: whether the gateway has told of so many whole transfers.
told_of() { [ "$(grep -c '"event":"transfer".*"verdict":"complete"' "$LAB_STATE/events.jsonl")" -ge "$1" ]; }

t_bad='drop = 0.02, duplicate = 0.02, reorder = 0.05, reorder_ms = 8, segment = 700'
export LAB_IMPAIR_CLIENT="$t_bad, seed = 11" LAB_IMPAIR_SERVER="$t_bad, seed = 12" LAB_IMPAIR_GW="$t_bad, seed = 13"
T_IPV6=yes t_begin
lab_lossy
# Made before, as transfers run beside each other.
mkdir -p "$LAB_STATE/files"
for size in 0 1 64KiB 1MiB 4MiB; do
    head -c "$(size_in_bytes "$size")" /dev/urandom >"$LAB_STATE/files/$size"
done
number=0
printf '%-28s %-22s %8s  %s\n' way transfer seconds result >"$LAB_STATE/table"
for way in "${WAYS[@]}"; do
    read -r kind LAB_UPSTREAM LAB_REVERSE <<<"$way"
    LAB_DEPLOYMENT=wccp LAB_REDIRECT=gre
    case $kind in static) LAB_DEPLOYMENT=static ;; *) LAB_REDIRECT=$kind ;; esac
    mapfile -t lines < <(list "$kind" "$LAB_UPSTREAM" "$LAB_REVERSE" | sed "s/^/$way /" | grep -E -- "$only" |
        sed "s/^$way //")
    [ ${#lines[@]} -gt 0 ] || continue
    # While the router is there: what was lost last is said again, or the gateway waits for it to the end of its time.
    lab_stop tidegate || say "the gateway was stopped while it waited for the last words of a session"
    t_router
    T_JOIN=30 check "$way: the gateway joins" t_gateway || continue
    rm -f "$LAB_STATE/transfers.tsv"
    running=()
    for line in "${lines[@]}"; do
        number=$((number + 1))
        # shellcheck disable=SC2086 # three words
        one "$number" $line &
        running+=($!)
        if [ ${#running[@]} -ge "$AT_A_TIME" ]; then
            wait -n -p ended "${running[@]}"
            mapfile -t running < <(printf '%s\n' "${running[@]}" | grep -vx "$ended")
        fi
    done
    wait "${running[@]}"
    while IFS=$'\t' read -r _ mode _ operation size _ _ seconds _ _ result; do
        printf '%-28s %-22s %8s  %s\n' "$way" "$mode $operation $size" "$seconds" "$result" >>"$LAB_STATE/table"
        if [ "$result" = identical ]; then t_passed=$((t_passed + 1)); else t_failed=$((t_failed + 1)); fi
    done < <(sort -n "$LAB_STATE/transfers.tsv")
    check "$way: all ${#lines[@]} transfers were made" [ "$(wc -l <"$LAB_STATE/transfers.tsv")" = "${#lines[@]}" ]
    check "$way: all went through the gateway" lab_wait 5 told_of "${#lines[@]}"
    lab_refresh
    say "$way: $(lab_redirected) packets redirected; $(lab_counters /legs/{0,1,2}/impaired/dropped) lost," \
        "$(lab_counters /legs/{0,1,2}/impaired/duplicated) doubled, $(lab_counters /legs/{0,1,2}/impaired/reordered)" \
        "held back, $(lab_counters /legs/{0,1,2}/impaired/cut) cut on purpose"
done
cat "$LAB_STATE/table"
[ "$number" -gt 0 ] || warn "matrix.sh: no transfer matches \"$only\"$([ "$full" = yes ] || echo '; some are there with --full only')"
