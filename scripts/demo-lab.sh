#!/usr/bin/env bash
# The part of demo.sh that needs root: the lab, the transfers, the table. Options as demo.sh's.
set -u

# shellcheck source=scripts/lab.sh
source "$(dirname "$0")/lab.sh"
# shellcheck source=scripts/transfer.sh
source "$(dirname "$0")/transfer.sh"

inline=no
case $LAB_DEPLOYMENT in
    bridge | route)
        inline=yes
        # shellcheck source=scripts/demo-inline.sh
        source "$TG_ROOT/scripts/demo-inline.sh"
        ;;
esac
keep=
captures=
only=.
driver=af_xdp
direct=no
transfers_only=no
wrong_password=no
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=$2 && shift ;;
        --only) only=$2 && shift ;;
        --driver) driver=$2 && shift ;;
        --deployment | --redirect | --upstream | --reverse) shift ;;
        --direct) direct=yes ;;
        --transfers) transfers_only=yes ;;
        --wrong-password) wrong_password=yes ;;
        -h | --help) exec bash "$TG_ROOT/scripts/demo.sh" --help ;;
        *) die "what is \"$1\"? (demo.sh --help tells what there is)" ;;
    esac
    shift
done

# Files that clients send and get, one of each size.
make_files() {
    mkdir -p "$LAB_STATE/files"
    local size
    for size in $(printf '%s\n' "${transfers[@]}" | awk '{print $4}' | sort -u); do
        head -c "$(size_in_bytes "$size")" /dev/urandom >"$LAB_STATE/files/$size"
    done
}

keep_results() {
    [ -n "$keep" ] || return 0
    mkdir -p "$keep"
    local file
    for file in events.jsonl router.json router.toml tidegate.toml router.log tidegate.log vsftpd.log \
        vsftpd-transfers.log transfers.tsv lab-lost; do
        [ -e "$LAB_STATE/$file" ] && cp "$LAB_STATE/$file" "$keep/"
    done
    if [ -n "$captures" ]; then
        mv -f "$captures"/* "$keep/" 2>/dev/null
        rmdir "$captures"
    fi
    chown -R "${TG_OWNER:-0:0}" "$keep"
}

finish() {
    local status=$?
    trap - EXIT
    # The lab is taken down whole, whoever is in a hurry.
    trap '' INT TERM HUP
    [ -t 1 ] && printf '\r\033[K'
    captures_stop
    keep_results
    lab_down
    rm -rf "$LAB_STATE"
    chown "${TG_OWNER:-0:0}" "$TG_LAB_DIR" 2>/dev/null
    exit "$status"
}

interrupted() {
    warn "demo.sh: interrupted; taking the lab down"
    exit 130
}

# Fails the demo before any transfer is made, with the same last line.
give_up() {
    warn "demo.sh: $1"
    say "demo: 0 transfers, 0 identical, 1 failed"
    exit 1
}

start_gateway() {
    lab_gateway_config "$driver" >"$LAB_STATE/tidegate.toml"
    lab_spawn tidegate gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml"
    if lab_joined 15; then
        if [ "$LAB_DEPLOYMENT" = static ]; then
            say "policy: the router's next hops $LAB_GATEWAY and $LAB_GATEWAY6 answer"
        else
            say "WCCP: the router has $LAB_GATEWAY usable in group 61, all 256 buckets assigned"
            [ "$LAB_UPSTREAM" = own ] || say "WCCP: and in group 62, for what the server answers"
        fi
        return 0
    fi
    lab_refresh
    if ! lab_alive tidegate; then
        warn "tidegate ended:"
        tail -n 5 "$LAB_STATE/tidegate.log" >&2
    elif [ "$LAB_DEPLOYMENT" = static ]; then
        warn "the router's next hops do not answer: $(lab_get /policies | tr -d ' \n')"
        tail -n 5 "$LAB_STATE/tidegate.log" >&2
    elif [ "$(lab_get /groups/0/counters/bad_security)" != 0 ]; then
        warn "the router refuses the gateway's messages: WCCP passwords differ ($(lab_get /groups/0/counters/bad_security) messages)"
    else
        warn "the router has not assigned anything to the gateway: $(lab_get /groups/0/caches | tr -d ' \n')"
        tail -n 5 "$LAB_STATE/tidegate.log" >&2
    fi
    return 1
}

# The lines of transfers.txt; over IPv6 there is no PASV and no PORT, and lftp uses EPRT.
list_transfers() {
    grep -v '^#' "$TG_ROOT/scripts/transfers.txt"
    [ "$LAB_DEPLOYMENT" = wccp ] || awk '
        $1 ~ /^EP/ { $1 = $1 "6"; print }
        $1 == "PORT" && $2 == "lftp" { $1 = "EPRT6"; print }' "$TG_ROOT/scripts/transfers.txt"
}

# One transfer, and the router's word for where it went.
probe() {
    local before after
    lab_refresh
    before=$(lab_redirected)
    run_transfer 0 EPSV curl download 0
    lab_refresh
    after=$(lab_redirected)
    say "probe: one download, $((after - before)) packets redirected"
    [ "$after" -gt "$before" ]
}

progress() {
    if [ -t 1 ]; then
        printf '\r\033[K[%d/%d] %s' "$1" "${#transfers[@]}" "$2"
    elif [ $((($1 - 1) % 10)) = 0 ] || [ "$1" = "${#transfers[@]}" ]; then
        say "[$1/${#transfers[@]}] $2"
    fi
}

run_all() {
    local n=0 made mode tool operation size set=small wanted line
    local identical=0 failed=0 lost
    lost=$(lab_lost)
    for line in "${transfers[@]}"; do
        read -r mode tool operation size <<<"$line"
        n=$((n + 1))
        wanted=small
        [ "$size" = 256MiB ] && wanted=big
        # Each family has captures of its own.
        [[ $mode == *6 ]] && wanted=${wanted}6
        if [ -n "$keep" ] && [ "$wanted" != "$set" ]; then
            captures_stop
            captures_start "$captures" "$wanted" || return 1
            set=$wanted
        fi
        progress "$n" "$line"
        if [ "$failed" -ge 10 ]; then
            # Something is broken for good: do not spend the time limit of each of the others.
            result="failed: not tried, ten have failed before" seconds=0 bytes=0 sum=- moved=0
            record_transfer "$n" "$mode" "$tool" "$operation" "$size"
        else
            run_transfer "$n" "$mode" "$tool" "$operation" "$size"
        fi
        if [ "$result" = identical ]; then identical=$((identical + 1)); else failed=$((failed + 1)); fi
    done
    [ -t 1 ] && printf '\r\033[K'
    table
    echo $(($(lab_lost) - lost)) >"$LAB_STATE/lab-lost"
    captures_stop || failed=$((failed + 1))
    # Other transfers come behind these.
    made=$n
    if [ "$inline" = yes ]; then
        [ "$direct/$transfers_only" != no/no ] || show_the_gateway "$made"
    elif [ "$direct" = no ]; then
        verdict_of_the_router
    fi
    say "demo: $made transfers, $identical identical, $failed failed"
    [ "$failed" = 0 ] && [ "$made" -gt 0 ] && [ "$identical" = "$made" ]
}

# What must be so when all transfers went through the gateway; a failure more if it is not.
verdict_of_the_router() {
    lab_refresh
    local passed_by
    passed_by=$(lab_passed_by)
    say "router: $(lab_redirected) packets redirected, $(lab_get /counters/returned) returned, $passed_by matched without a gateway"
    if [ "$passed_by" != 0 ]; then
        warn "demo.sh: packets that are the gateway's went past it"
        failed=$((failed + 1))
    fi
}

lab_lock || give_up "another lab named $TG_LAB is in use (TG_LAB=other gives this one another name)"
trap finish EXIT
trap interrupted INT TERM HUP
mapfile -t transfers < <(list_transfers | grep -E -- "$only")
[ ${#transfers[@]} -gt 0 ] || give_up "no transfer in scripts/transfers.txt matches \"$only\""

say "making the lab ($TG_LAB-client, -router, -server, -gw)"
if [ "$inline" = yes ]; then inline_up; else lab_up; fi || give_up "the lab cannot be made here"
lab_keys "$wrong_password"
make_files
lab_vsftpd || give_up "no FTP server"
if [ "$inline" = yes ]; then
    lab_vsftpd 6 || give_up "no FTP server of IPv6"
    inline_routers || give_up "no router"
    if [ "$direct" = yes ]; then
        say "no gateway: the kernel forwards in its place"
        inline_forwarding || give_up "the kernel does not forward"
    else
        start_in_line || give_up "no gateway"
    fi
else
    if [ "$LAB_DEPLOYMENT" = static ]; then { lab_ipv6 && lab_vsftpd 6; } || give_up "no FTP server of IPv6"; fi
    if [ "$direct" = yes ]; then
        lab_router || give_up "no router"
        say "no redirection: the router forwards directly"
    else
        lab_router "$(lab_redirecting)" || give_up "no router"
        start_gateway || joined=no
        probe || give_up "nothing was redirected: the transfer went directly from client to server"
        [ "$result" = identical ] || give_up "the first transfer failed: $result"
        [ "${joined:-yes}" = yes ] || give_up "the gateway is not in the service group"
    fi
fi
if [ -n "$keep" ]; then
    keep=$(mkdir -p "$keep" && cd "$keep" && pwd)
    rm -f "$keep"/{small,big}{,6}-*.pcapng "$keep"/captures.tsv
    # dumpcap gives up root's right to write anywhere, so it writes to a place of root's own.
    captures=$(mktemp -d /var/tmp/tidegate-captures.XXXXXX) || give_up "no room for captures"
    captures_start "$captures" small || give_up "no captures"
fi
run_all
