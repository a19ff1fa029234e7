# Sourced by the lab's tests: a lab of their own, the server, the router, the gateway; checks that are counted.
# shellcheck shell=bash

TG_LAB=${TG_LAB:-tg}-test
# shellcheck source=scripts/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lab.sh"
# shellcheck source=scripts/transfer.sh
source "$(dirname "${BASH_SOURCE[0]}")/../transfer.sh"

T_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
t_passed=0 t_failed=0

[ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"

t_finish() {
    local status=$?
    trap - EXIT
    # The lab is taken down whole, whoever is in a hurry.
    trap '' INT TERM
    # A test that came to no end, and not because a check failed, has failed itself.
    [ "$status" != 0 ] && [ "$t_failed" = 0 ] && t_failed=1
    lab_down
    rm -rf "$LAB_STATE"
    say "$t_passed passed, $t_failed failed"
    [ "$t_failed" = 0 ] && [ "$t_passed" -gt 0 ]
    # Without a number it would be the status from before the trap.
    exit $?
}

# t_begin [VSFTPD-KEY=VALUE...]: the lab with its server; with T_IPV6=yes in both families.
t_begin() {
    need_commands ip ethtool sysctl curl lftp dumpcap tshark python3 ss
    [ -x "$LAB_ROUTER_BIN" ] && [ -x "$LAB_TIDEGATE_BIN" ] ||
        die "$LAB_ROUTER_BIN or $LAB_TIDEGATE_BIN is not built: cargo build --release"
    lab_lock || die "this lab is in use"
    trap t_finish EXIT
    trap 'exit 130' INT TERM
    lab_up || die "the lab cannot be made here"
    lab_keys
    lab_vsftpd "$@" || die "no FTP server"
    [ "${T_IPV6:-no}" = no ] || { lab_ipv6 && lab_vsftpd 6 "$@"; } || die "no FTP server of IPv6"
}

# check WHAT COMMAND...: counts and prints one check.
check() {
    local what=$1
    shift
    if "$@"; then
        say "ok: $what"
        t_passed=$((t_passed + 1))
    else
        say "FAILED: $what"
        t_failed=$((t_failed + 1))
        return 1
    fi
}

# t_router [KEY = VALUE...]: the router with the group 61 and these lines in it, or with its policies.
t_router() {
    lab_stop "${LAB_ROUTER_NAME:-router}"
    lab_router "$(lab_redirecting "$@")" || die "no router"
}

# t_gateway [SERVICE-TOML [DRIVER]]: tidegate, until it is assigned.
t_gateway() {
    lab_stop tidegate || check "the gateway before this one ends when it is told to" false
    lab_gateway_config "${2:-af_xdp}" "${1:-}" >"$LAB_STATE/tidegate.toml"
    rm -f "$LAB_STATE/events.jsonl"
    LAB_WAITABLE=yes lab_spawn tidegate gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml"
    lab_joined "${T_JOIN:-15}" && return
    say "the gateway is not assigned:"
    tail -n 5 "$LAB_STATE/tidegate.log"
    return 1
}

# t_tell: tells the gateway to stop. t_ended [SECONDS]: waits until it has ended; whether its exit
# status was 0.
t_tell() {
    t_told=$(lab_pid tidegate)
    kill -s TERM "$t_told"
}
t_gone() { ! lab_alive tidegate; }
t_ended() { lab_wait "${1:-5}" t_gone && wait "$t_told"; }

# t_no_xdp: whether the gateway's interface has no XDP program. t_nobody: whether the router has no cache.
t_no_xdp() { ! lab_exec gw ip -d link show dev gw0 | grep -qi xdp; }
t_nobody() { seen /groups/0/caches '[]'; }

# seen POINTER VALUE, more_than POINTER N: what the router's state says, made fresh.
seen() { lab_refresh && [ "$(lab_get "$1")" = "$2" ]; }
more_than() { lab_refresh && [ "$(lab_get "$1")" -gt "$2" ]; }

# event PATTERN: whether the gateway has written an event that matches.
event() { grep -qE -- "$1" "$LAB_STATE/events.jsonl" 2>/dev/null; }

# transfer MODE TOOL OPERATION SIZE: one checked transfer.
t_number=0
transfer() {
    t_number=$((t_number + 1))
    run_transfer "$t_number" "$@"
    [ "$result" = identical ] || say "  $*: $result"
    [ "$result" = identical ]
}

# both_ways PREFIX MODE...: a checked download and upload in each mode.
both_ways() {
    local prefix=$1 mode
    shift
    for mode in "$@"; do
        check "$prefix$mode download" transfer "$mode" curl download 1MiB
        check "$prefix$mode upload" transfer "$mode" curl upload 1MiB
    done
}

# script: a Python script on standard input, run by the client, with the FTP class of ftp.py; T_SERVER and T_CLIENT
# are other addresses for it.
# shellcheck disable=SC2120 # some tests give it arguments
script() {
    lab_exec client env "PYTHONPATH=$T_DIR" PYTHONDONTWRITEBYTECODE=1 "SERVER=${T_SERVER:-$LAB_SERVER}" \
        "CLIENT=${T_CLIENT:-$LAB_CLIENT}" "GATEWAY=$LAB_GATEWAY" "STATE=$LAB_STATE" timeout 90 python3 - "$@"
}

# t_held CODE: a session that logs in now and goes on with CODE (Python; f is its Ftp) after t_go, in the background.
# t_held_says PATTERN: that session has ended, and PATTERN was a line of its output. T_CLIENT as for script.
t_held() {
    local client=${T_CLIENT:-$LAB_CLIENT}
    rm -f "$LAB_STATE/logged-in-$client" "$LAB_STATE/go"
    echo before >"$LAB_STATE/ftproot/pub/before"
    printf 'from ftp import *\nf = held()\n%s\n' "$1" >"$LAB_STATE/session-$client.py"
    script <"$LAB_STATE/session-$client.py" >"$LAB_STATE/session-$client.out" 2>&1 &
    t_job=$!
    lab_wait 10 test -e "$LAB_STATE/logged-in-$client"
}
t_go() { touch "$LAB_STATE/go"; }
t_held_says() {
    local client=${T_CLIENT:-$LAB_CLIENT}
    wait "$t_job"
    grep -qE "^($1)$" "$LAB_STATE/session-$client.out" || { cat "$LAB_STATE/session-$client.out" && return 1; }
}

# t_slow [HOST [BYTES [RATE]]]: begins a download that takes its time. t_slow_whole: whether all of it came.
t_slow() {
    head -c "${2:-3000000}" /dev/urandom >"$LAB_STATE/ftproot/pub/slow"
    lab_exec client curl -sS --limit-rate "${3:-1M}" "ftp://${1:-$LAB_SERVER}/pub/slow" -o "$LAB_STATE/slow" &
    t_slow_job=$!
}
t_slow_whole() { wait "$t_slow_job" && cmp -s "$LAB_STATE/slow" "$LAB_STATE/ftproot/pub/slow"; }

# t_drain HOST MODE...: told to stop during a download from HOST, the gateway lets it end, sends new sessions (one in
# each MODE) past itself, and then ends in order.
t_drain() {
    local mode
    t_slow "$1"
    shift
    sleep 1
    t_tell
    sleep 0.3
    for mode in "$@"; do
        check "a new $mode session during the drain goes directly" transfer "$mode" curl download 1MiB
    done
    check "the transfer under way ends whole" t_slow_whole
    check "the gateway ends then, with exit status 0" t_ended
}

# t_kill GONE MODE...: killed, the gateway leaves no XDP program; when the router misses it (GONE says so), transfers in
# each MODE go directly.
t_kill() {
    local gone=$1 mode
    shift
    lab_stop tidegate KILL
    check "after SIGKILL no XDP program is left" lab_wait 2 t_no_xdp
    check "the router passes it by after its dead interval" lab_wait 4 "$gone"
    for mode in "$@"; do check "a $mode transfer goes directly" transfer "$mode" curl upload 1MiB; done
}

# t_capture LEG, t_captured FILTER [FIELD...]: frames on the router's leg, and what tshark makes of them.
t_capture() {
    captures_running=()
    mkdir -p "$LAB_STATE/captures"
    captures_dir=$LAB_STATE/captures captures_set=small
    t_leg=$1
    lab_spawn "capture-$1" router dumpcap -q -i "to-$1" -B 64 -w "$captures_dir/$1.pcapng"
    lab_wait 20 grep -q '^File:' "$LAB_STATE/capture-$1.log" || die "dumpcap does not begin"
}
t_capture_stop() {
    sleep 0.5
    lab_stop "capture-$t_leg" INT || die "dumpcap does not end, and what it has is lost"
}
t_captured() {
    local filter=$1 field fields=()
    shift
    for field in "$@"; do fields+=(-e "$field"); done
    tshark -n -r "$captures_dir/$t_leg.pcapng" -Y "$filter" -T fields "${fields[@]}" 2>/dev/null
}
