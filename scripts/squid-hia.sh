#!/usr/bin/env bash
# Has Debian's Squid 5.7 introduce itself to wccp-router and sees its HERE_I_AM accepted: standard and
# dynamic service, with and without password, hash and mask; and refused where it must be.
#
# Squid's own parser refuses every I_SEE_YOU (it steps by the size of a pointer), so it never gets further
# than "pending": its messages are the test here.
set -u

TG_LAB=${TG_LAB:-tg}-squid
# shellcheck source=scripts/lab.sh
source "$(dirname "$0")/lab.sh"

passed=0 failed=0
check() {
    local what=$1
    shift
    if "$@"; then
        say "ok: $what"
        passed=$((passed + 1))
    else
        warn "FAILED: $what"
        warn "  router: $(tr -d ' \n' <"$LAB_STATE/router.json")"
        tail -n 5 "$LAB_STATE/squid.log" >&2
        failed=$((failed + 1))
    fi
}

finish() {
    local status=$?
    trap - EXIT
    # The lab is taken down whole, whoever is in a hurry.
    trap '' INT TERM
    lab_down
    rm -rf "$LAB_STATE"
    exit "$status"
}

# squid LINE...: starts Squid in the gateway's namespace with these lines about WCCP.
squid() {
    local dir=$LAB_STATE/squid
    rm -rf "$dir" && mkdir -p "$dir" && chmod 777 "$dir"
    # An empty list of MIME types and no error pages are enough for a Squid that serves nobody.
    : >"$dir/mime.conf"
    cat >"$dir/squid.conf" <<CONF
http_port 3128
pid_filename none
cache_log $dir/cache.log
access_log none
cache deny all
coredump_dir $dir
mime_table $dir/mime.conf
icon_directory $TG_LAB_DIR/root/usr/share/squid/icons
error_directory $dir
netdb_filename none
pinger_enable off
unlinkd_program /bin/true
logfile_daemon /bin/true
visible_hostname lab
debug_options ALL,1 80,6
wccp2_router $LAB_ROUTER
wccp2_address $LAB_GATEWAY
wccp2_rebuild_wait off
$(printf '%s\n' "$@")
CONF
    lab_spawn squid gw env "LD_LIBRARY_PATH=$(unpacked_libraries)" \
        "$TG_LAB_DIR/root/usr/sbin/squid" -N -f "$dir/squid.conf"
}

seen() { lab_refresh && [ "$(lab_get "$1")" = "$2" ]; }
more_than() { lab_refresh && [ "$(lab_get "$1")" -gt "$2" ]; }

# try NAME GROUP-TOML SQUID-LINE...: starts both; the next checks ask the router.
try() {
    local name=$1 group=$2
    shift 2
    say "-- $name"
    lab_stop squid KILL
    lab_stop router
    lab_router "$group" || return 1
    squid "$@"
}

[ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"
need_commands ip ethtool sysctl
[ -x "$LAB_ROUTER_BIN" ] || die "$LAB_ROUTER_BIN is not built (cargo build --release)"
unpack_program usr/sbin/squid squid squid-common
lab_lock || die "this lab is in use"
trap finish EXIT
trap 'exit 130' INT TERM
LAB_HERE_I_AM=10s
lab_up || die "the lab cannot be made here"
# Squid is an ordinary program of the kernel's: here, and only here, the gateway's address is the kernel's.
lab_exec gw ip addr add "$LAB_GATEWAY/24" dev gw0
lab_exec gw ip route add default via "$LAB_ROUTER"
echo secret12 >"$LAB_STATE/router.key"
hash=(wccp2_forwarding_method\ gre wccp2_return_method\ gre wccp2_assignment_method\ hash)
info='wccp2_service_info 80 protocol=tcp flags=src_ip_hash priority=240 ports=21,20'

try "standard service 0, no password" $'[[wccp.group]]\nid = 0\nstandard = true' \
    "${hash[@]}" "wccp2_service standard 0"
check "HERE_I_AM accepted" lab_wait 20 seen /groups/0/caches/0/address "$LAB_GATEWAY"
check "as first contact, answered" seen /groups/0/caches/0/state pending
check "described as port 80" seen /groups/0/ports '[80]'

try "dynamic service 80, MD5" $'[[wccp.group]]\nid = 80\npassword_file = "'"$LAB_STATE/router.key"'"' \
    "${hash[@]}" "wccp2_service dynamic 80 password=secret12" "$info"
check "HERE_I_AM accepted" lab_wait 20 seen /groups/0/caches/0/address "$LAB_GATEWAY"
check "its ports" seen /groups/0/ports '[21,20]'
check "its flags: source hash, ports defined" seen /groups/0/flags 17
check "its priority" seen /groups/0/priority 240
check "a second one ten seconds later" lab_wait 20 more_than /groups/0/counters/here_i_am 1
check "nothing refused" seen /groups/0/counters/bad_security 0

try "dynamic service 80, other password" $'[[wccp.group]]\nid = 80\npassword_file = "'"$LAB_STATE/router.key"'"' \
    "${hash[@]}" "wccp2_service dynamic 80 password=secret1" "$info"
check "HERE_I_AM refused" lab_wait 20 more_than /groups/0/counters/bad_security 0
check "nobody is in the group" seen /groups/0/caches '[]'

try "mask assignment, which the router does not offer" $'[[wccp.group]]\nid = 80' \
    wccp2_forwarding_method\ gre wccp2_return_method\ gre wccp2_assignment_method\ mask \
    "wccp2_service dynamic 80" "$info"
check "understood and refused by its method" lab_wait 20 more_than /groups/0/counters/unsupported 0
check "no message was malformed" seen /wccp_malformed 0

try "L2 forwarding" $'[[wccp.group]]\nid = 80' \
    wccp2_forwarding_method\ l2 wccp2_return_method\ l2 wccp2_assignment_method\ hash \
    "wccp2_service dynamic 80" "$info"
check "HERE_I_AM accepted with its method" lab_wait 20 seen /groups/0/caches/0/forward l2

say "$passed passed, $failed failed"
[ "$failed" = 0 ]
