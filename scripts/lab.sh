#!/usr/bin/env bash
# The lab: client, router, server and gateway as network namespaces, joined by veth pairs.
#
#      client 10.0.0.10 ── 10.0.0.1 router 10.1.0.1 ── 10.1.0.10 server
#                                10.9.0.1
#                                   │
#                                gateway 10.9.0.2 (never the kernel's address)
#
# With LAB_SECOND=yes there is a second router beside the first one, 10.0.0.3, 10.1.0.3 and 10.9.0.3, and each network is
# a bridge in the namespace "lan".
#
# In IPv6 the networks are fd00::/64, fd00:0:0:1::/64 and fd00:0:0:9::/64, with the same last numbers.
#
#   scripts/lab.sh up | down | status
#   scripts/lab.sh exec client|router|server|gw COMMAND...
#
# Other scripts source this file and use the lab_* functions. TG_LAB names the lab (default tg): two labs
# with different names do not meet. Nothing is ever done to an interface of the host.
# shellcheck shell=bash

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

TG_LAB=${TG_LAB:-tg}
LAB_STATE=$TG_LAB_DIR/state-$TG_LAB
LAB_SPACES=(client router server gw router2 lan inner)
LAB_CLIENT=10.0.0.10
LAB_SERVER=10.1.0.10
LAB_GATEWAY=10.9.0.2
LAB_ROUTER=10.9.0.1
LAB_CLIENT6=fd00::10
LAB_SERVER6=fd00:0:0:1::10
LAB_GATEWAY6=fd00:0:0:9::2
LAB_ROUTER6=fd00:0:0:9::1
# More client addresses, on the same interface: one group's hash spreads over caches by these.
LAB_MORE_CLIENTS=(10.0.0.11 10.0.0.12 10.0.0.13)

# Where captures are taken: leg, namespace, interface.
# shellcheck disable=SC2034 # for those that source this
LAB_LEGS=(client:router:to-client gw:router:to-gw server:router:to-server)

# The kind of lab; what starts the router and the gateway goes by these.
LAB_DEPLOYMENT=${LAB_DEPLOYMENT:-wccp} # wccp or static
LAB_REDIRECT=${LAB_REDIRECT:-gre}      # gre or l2, forward and return
LAB_ASSIGNMENT=${LAB_ASSIGNMENT:-hash} # hash or mask
LAB_UPSTREAM=${LAB_UPSTREAM:-own}      # own or client: whose address the server sees
LAB_REVERSE=${LAB_REVERSE:-all}        # all or ports: what the reverse group of client lists

lab_ns() { echo "$TG_LAB-$1"; }

# lab_exec SPACE COMMAND...: runs COMMAND there.
lab_exec() {
    local space=$1
    shift
    ip netns exec "$(lab_ns "$space")" "$@"
}

# A process's start time tells it from a later one with the same number.
lab_start_time() { sed -n 's/.*) //p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

lab_record() { echo "$2 $(lab_start_time "$2")" >"$LAB_STATE/pid.$1"; }

lab_alive() {
    local pid start
    read -r pid start 2>/dev/null <"$LAB_STATE/pid.$1" || return 1
    [ -n "$start" ] && [ "$(lab_start_time "$pid")" = "$start" ]
}

# lab_spawn NAME SPACE COMMAND...: in the background, output to NAME.log; lab_stop NAME ends it. With
# LAB_WAITABLE=yes the shell can wait for it and learn its exit status.
lab_spawn() {
    local name=$1 space=$2
    shift 2
    ip netns exec "$(lab_ns "$space")" setsid "$@" >"$LAB_STATE/$name.log" 2>&1 </dev/null 9>&- &
    lab_record "$name" $!
    [ "${LAB_WAITABLE:-no}" = yes ] || disown $!
}

lab_pid() { cut -d' ' -f1 "$LAB_STATE/pid.$1"; }

# lab_stop NAME [SIGNAL]: TERM (or SIGNAL), then KILL after three seconds; fails when that was needed.
lab_stop() {
    local name=$1 signal=${2:-TERM} pid i status=0
    if lab_alive "$name"; then
        pid=$(lab_pid "$name")
        # Or the shell tells of the process that was killed.
        [ "$signal" != KILL ] || disown "$pid" 2>/dev/null
        kill -s "$signal" "$pid" 2>/dev/null
        for ((i = 0; i < 60; i++)); do
            lab_alive "$name" || break
            sleep 0.05
        done
        if lab_alive "$name"; then
            status=1
            disown "$pid" 2>/dev/null
            kill -s KILL "$pid" 2>/dev/null
        fi
    fi
    rm -f "$LAB_STATE/pid.$name"
    return $status
}

# lab_wait SECONDS COMMAND...: until COMMAND succeeds; fails when the time is up.
lab_wait() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -ge "$until" ] && return 1
        sleep 0.1
    done
}

lab_cpu=1
# lab_link SPACE-A NAME-A SPACE-B NAME-B: a veth pair, born inside the two namespaces.
lab_link() {
    local space dev
    ip link add dev "$2" netns "$(lab_ns "$1")" type veth peer name "$4" netns "$(lab_ns "$3")"
    for space in "$1:$2" "$3:$4"; do
        dev=${space#*:}
        space=${space%:*}
        # Offloads would show the tests frames that no wire carries: longer than the MTU, without checksum.
        # The first word changes what the last one depends on, so that one call for all fails in part.
        local offload
        for offload in tso gso tx rx txvlan rxvlan gro; do
            lab_exec "$space" ethtool -K "$dev" "$offload" off >/dev/null 2>&1 ||
                warn "$dev: offload $offload cannot be turned off"
        done
        # Frames that two processors send into a veth pair overtake each other. With one processor to take
        # them all, order is kept, and what the tests count as out of order was made so by somebody.
        lab_exec "$space" sh -c "echo $lab_cpu >/sys/class/net/$dev/queues/rx-0/rps_cpus" 2>/dev/null ||
            warn "$dev: receive steering cannot be set; frames may overtake each other"
        [ "$(nproc)" = 1 ] || lab_cpu=$((3 - lab_cpu))
        lab_exec "$space" ip link set dev "$dev" mtu 1500 up
    done
}

# lab_lan BRIDGE SPACE:NAME...: one network for several, by a bridge.
lab_lan() {
    local bridge=$1 end n=0
    shift
    lab_exec lan ip link add dev "$bridge" type bridge || return 1
    for end in "$@"; do
        n=$((n + 1))
        lab_link "${end%:*}" "${end#*:}" lan "$bridge-$n" || return 1
        lab_exec lan ip link set dev "$bridge-$n" master "$bridge"
    done
    lab_exec lan ip link set dev "$bridge" up
}

# lab_lock: takes the lab for this process; fails if another live one has it.
lab_lock() {
    mkdir -p "$TG_LAB_DIR"
    exec 9>"$TG_LAB_DIR/$TG_LAB.lock"
    flock -n 9
}

# lab_space SPACE: a namespace of the lab.
lab_space() {
    ip netns add "$(lab_ns "$1")" || return 1
    # No neighbour discovery between the frames that the tests count, and no address of the kernel's
    # on the router and the gateway.
    lab_exec "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
        net.ipv4.ip_forward=0 2>/dev/null
    # Less in flight than the kernel holds for one device (1000 packets), or it drops; and less than a
    # receiver's first window, so that how busy this machine is does not show in the captures as full windows.
    lab_exec "$1" sysctl -qw net.ipv4.tcp_rmem='4096 524288 524288' net.ipv4.tcp_wmem='4096 49152 49152'
    # Without tail loss probes: they are sent after a few milliseconds' silence, which on a busy machine
    # is nobody's loss.
    lab_exec "$1" sysctl -qw net.ipv4.tcp_early_retrans=0
    lab_exec "$1" ip link set dev lo up
}

lab_up() {
    lab_down
    mkdir -p "$LAB_STATE"
    local space addr
    for space in client router server gw router2 lan; do
        case $space in router2 | lan) [ "${LAB_SECOND:-no}" = yes ] || continue ;; esac
        lab_space "$space" || return 1
    done
    if [ "${LAB_SECOND:-no}" = yes ]; then
        lab_lan clients client:c0 router:to-client router2:to-client || return 1
        lab_lan servers server:s0 router:to-server router2:to-server || return 1
        lab_lan gateway gw:gw0 router:to-gw router2:to-gw || return 1
    else
        lab_link client c0 router to-client || return 1
        lab_link server s0 router to-server || return 1
        lab_link gw gw0 router to-gw || return 1
    fi
    lab_exec client ip addr add "$LAB_CLIENT/24" dev c0
    for addr in "${LAB_MORE_CLIENTS[@]}"; do lab_exec client ip addr add "$addr/24" dev c0; done
    # Retransmission only after 2 s (200 ms is the kernel's own least): a machine that builds something beside
    # the lab can keep a process waiting that long, and nothing was lost.
    lab_exec client ip route add default via 10.0.0.1 src "$LAB_CLIENT" rto_min 2s
    lab_exec server ip addr add "$LAB_SERVER/24" dev s0
    lab_exec server ip route add default via 10.1.0.1 rto_min 2s
}

# lab_host6 SPACE DEVICE ADDRESS ROUTER: an end host's IPv6. Nothing of it is its own to find out: no router
# advertisements, no check for duplicates, no link-local address.
lab_host6() {
    lab_exec "$1" sysctl -qw "net.ipv6.conf.lo.disable_ipv6=0" "net.ipv6.conf.$2.addr_gen_mode=1" \
        "net.ipv6.conf.$2.accept_ra=0" "net.ipv6.conf.$2.accept_dad=0" \
        "net.ipv6.conf.$2.router_solicitations=0" "net.ipv6.conf.$2.disable_ipv6=0"
    lab_exec "$1" ip addr add "$3/64" dev "$2" nodad
    lab_exec "$1" ip -6 route add default via "$4" rto_min 2s
}

# lab_ipv6: gives the end hosts IPv6 addresses.
lab_ipv6() {
    lab_host6 client c0 "$LAB_CLIENT6" fd00::1
    lab_host6 server s0 "$LAB_SERVER6" fd00:0:0:1::1
}

# lab_lossy: end hosts as they usually are, which recover from loss soon; the lab's own are patient, as nothing is
# lost there.
lab_lossy() {
    local space
    for space in client server; do
        lab_exec "$space" sysctl -qw net.ipv4.tcp_early_retrans=3
        lab_exec "$space" ip route show default | sed 's/rto_min \(lock \)*[^ ]*//' | while read -r route; do
            # shellcheck disable=SC2086 # words
            lab_exec "$space" ip route replace $route
        done
        lab_exec "$space" ip -6 route show default | sed 's/rto_min \(lock \)*[^ ]*//' | while read -r route; do
            # shellcheck disable=SC2086
            lab_exec "$space" ip -6 route replace $route
        done
    done
}

# Ends everything that a lab of this name left, also one whose script was killed.
lab_down() {
    local file name space pid
    for file in "$LAB_STATE"/pid.*; do
        [ -e "$file" ] || continue
        name=${file##*/pid.}
        lab_stop "$name"
    done
    for space in "${LAB_SPACES[@]}"; do
        ip netns pids "$(lab_ns "$space")" >/dev/null 2>&1 || continue
        # What runs inside was started by this lab; each by its own number.
        for pid in $(ip netns pids "$(lab_ns "$space")"); do kill -s KILL "$pid" 2>/dev/null; done
        ip netns del "$(lab_ns "$space")" 2>/dev/null
    done
    return 0
}

lab_status() {
    local space file name
    for space in "${LAB_SPACES[@]}"; do
        if [ -e "/run/netns/$(lab_ns "$space")" ]; then
            say "$(lab_ns "$space"): $(lab_exec "$space" ip -br addr show | awk '$1 != "lo" {print $1, $2, $3}' | paste -sd, -)"
        else
            say "$(lab_ns "$space"): down"
        fi
    done
    for file in "$LAB_STATE"/pid.*; do
        [ -e "$file" ] || continue
        name=${file##*/pid.}
        lab_alive "$name" && say "$name: running, process $(lab_pid "$name")"
    done
    return 0
}

lab_impair() { [ -z "$1" ] || echo "impair = { $1 }"; }

# lab_router [GROUP-TOML]: starts the router; without an argument it redirects nothing.
# LAB_IMPAIR_CLIENT, _SERVER, _GW: how bad the line into that leg is, as "drop = 0.01, segment = 100, seed = 7".
# LAB_OVERSIZE=icmp makes it answer what GRE makes too long instead of cutting it. LAB_EXCLUDE_IN=false makes it
# redirect what the gateway sends, too. LAB_ROUTER_NAME=router2 LAB_ROUTER_NUMBER=3 is the second one, here and for what
# asks for its state. LAB_VLAN="7" or "7, 100": the tags on the gateway's leg, the outer one first. LAB_SERVER_LEG:
# more lines of that leg.
lab_router() {
    local name=${LAB_ROUTER_NAME:-router} number=${LAB_ROUTER_NUMBER:-1}
    cat >"$LAB_STATE/$name.toml" <<TOML
oversize = "${LAB_OVERSIZE:-fragment}"
[[leg]]
name = "to-client"
address = "10.0.0.$number/24"
address6 = "fd00::$number/64"
$(lab_impair "${LAB_IMPAIR_CLIENT:-}")
[[leg]]
name = "to-server"
address = "10.1.0.$number/24"
address6 = "fd00:0:0:1::$number/64"
${LAB_SERVER_LEG:-}
$(lab_impair "${LAB_IMPAIR_SERVER:-}")
[[leg]]
name = "to-gw"
address = "10.9.0.$number/24"
address6 = "fd00:0:0:9::$number/64"
exclude_in = ${LAB_EXCLUDE_IN:-true}
vlan = [${LAB_VLAN:-}]
$(lab_impair "${LAB_IMPAIR_GW:-}")
[wccp]
here_i_am = "${LAB_HERE_I_AM:-500ms}"
router_id = "10.9.0.$number"
${1:-}
TOML
    rm -f "$LAB_STATE/$name.json"
    lab_spawn "$name" "$name" "$LAB_ROUTER_BIN" --config "$LAB_STATE/$name.toml" --status "$LAB_STATE/$name.json"
    lab_wait 5 test -s "$LAB_STATE/$name.json" || {
        warn "the router did not start:"
        cat "$LAB_STATE/$name.log" >&2
        return 1
    }
}
LAB_ALL_PORTS='21, 20, 2020, 2021, 2022, 2023, 2024, 2025'
LAB_ROUTER_BIN=${LAB_ROUTER_BIN:-$TG_TARGET/release/wccp-router}
LAB_TIDEGATE_BIN=${LAB_TIDEGATE_BIN:-$TG_TARGET/release/tidegate}

# lab_lost: frames that the lab itself has lost so far: at the sockets of its router (and of captures there), at
# its interfaces, and, as the kernel counts no finer, between any two interfaces of this machine. What the gateway
# loses is not among them, nor what its interface could not hand to it.
lab_lost() {
    local sum=0 n space
    for n in $(lab_exec router ss -0 -n -m | grep -o ',d[0-9]*)' | tr -dc '0-9\n'); do sum=$((sum + n)); done
    for space in client router server; do
        for n in $(lab_exec "$space" cat /proc/net/dev | awk 'NR > 2 { print $5 + $13 }'); do sum=$((sum + n)); done
    done
    while read -r _ n _; do sum=$((sum + 16#$n)); done </proc/net/softnet_stat
    echo "$sum"
}

# lab_group [KEY = VALUE...]: the TOML of the lab's forward group, and of its reverse group if there is one; the
# lines given are in both.
lab_group() {
    lab_one_group 61 'redirect_in = ["to-client"]' "$@"
    [ "$LAB_UPSTREAM" = own ] ||
        lab_one_group 62 'redirect_in = ["to-server"]' 'permit_to = ["10.0.0.0/24"]' "$@"
}
lab_one_group() {
    cat <<TOML
[[wccp.group]]
id = $1
password_file = "$LAB_STATE/router.key"
forward = ["$LAB_REDIRECT"]
return = ["$LAB_REDIRECT"]
TOML
    [ "$LAB_ASSIGNMENT" = hash ] || say "assignment = [\"$LAB_ASSIGNMENT\"]"
    shift
    printf '%s\n' "$@"
}

# lab_policy: the TOML of the lab's rules: clients' FTP, and with the client's address as source what the server
# answers, go to the gateway.
lab_policy() {
    local hop
    for hop in "$LAB_GATEWAY" "$LAB_GATEWAY6"; do
        cat <<TOML
[[policy]]
in = ["to-client"]
ports = [${LAB_PORTS:-$LAB_ALL_PORTS}]
next_hop = "$hop"
TOML
        [ "$LAB_UPSTREAM" = own ] && continue
        cat <<TOML
[[policy]]
in = ["to-server"]
to = "$([ "$hop" = "$LAB_GATEWAY" ] && echo 10.0.0.0/24 || echo fd00::/64)"
$([ "$LAB_REVERSE" = all ] || echo 'source_ports = [21, 20]')
next_hop = "$hop"
TOML
    done
}

# lab_redirecting: what the router is told so that it redirects in this kind of lab.
lab_redirecting() {
    if [ "$LAB_DEPLOYMENT" = static ]; then lab_policy; else lab_group "$@"; fi
}

# lab_keys [yes]: the WCCP password files of both ends; with yes they differ.
lab_keys() {
    local key
    key=$(od -An -N4 -tx4 /dev/urandom | tr -d ' \n' | cut -c1-7)
    (umask 077 && echo "$key" >"$LAB_STATE/router.key" && echo "$key" >"$LAB_STATE/gateway.key")
    if [ "${1:-no}" = yes ]; then echo wrong01 >"$LAB_STATE/router.key"; fi
}

# lab_gateway_config [DRIVER [SERVICE-TOML]]: tidegate's configuration, to standard output. SERVICE-TOML may
# name other tables behind the service's own keys. LAB_INTERFACE_KEYS are lines of the interface's. LAB_HANDLING=inspect:
# control connections are edited in flight.
lab_gateway_config() {
    cat <<TOML
version = 1
[deployment]
kind = "$LAB_DEPLOYMENT"
[[interface]]
name = "gw0"
driver = "${1:-af_xdp}"
mode = "${LAB_MODE:-dedicated}"
$(lab_gateway_addresses)
${LAB_INTERFACE_KEYS:-}
$([ "$LAB_DEPLOYMENT" != wccp ] || lab_gateway_wccp)
[[service]]
name = "ftp"
ports = [21]
handling = "${LAB_HANDLING:-proxy}"
$([ "${LAB_HANDLING:-proxy}" != proxy ] || lab_proxy_keys "${2:-}")
${2:-data_ports = [2020, 2021, 2022, 2023, 2024, 2025]}
[events]
path = "$LAB_STATE/events.jsonl"
TOML
}
lab_proxy_keys() {
    say "upstream_source = \"$LAB_UPSTREAM\""
    [ "$LAB_UPSTREAM/$LAB_REVERSE" != client/ports ] || say 'server_mode = "active"'
    [[ $1 == *active_source_port* ]] || say 'active_source_port = 20'
}
# WCCP speaks IPv4 only.
lab_gateway_addresses() {
    if [ "$LAB_DEPLOYMENT" = static ]; then
        say "address = [\"$LAB_GATEWAY/24\", \"$LAB_GATEWAY6/64\"]"
        say "next_hop = [\"$LAB_ROUTER\", \"$LAB_ROUTER6\"]"
    else
        say "address = [\"$LAB_GATEWAY/24\"]"
        say "next_hop = \"$LAB_ROUTER\""
    fi
}
lab_gateway_wccp() {
    cat <<TOML
[wccp]
routers = [${LAB_ROUTERS:-"\"$LAB_ROUTER\""}]
password_file = "$LAB_STATE/gateway.key"
forward = ["$LAB_REDIRECT"]
return = ["$LAB_REDIRECT"]
assignment = ["$LAB_ASSIGNMENT"]
here_i_am = "${LAB_HERE_I_AM:-500ms}"
[[wccp.group]]
id = 61
role = "forward"
ports = [${LAB_PORTS:-$LAB_ALL_PORTS}]
TOML
    [ "$LAB_UPSTREAM" = own ] || cat <<TOML
[[wccp.group]]
id = 62
role = "reverse"
ports = $([ "$LAB_REVERSE" = all ] && echo '"all"' || echo '[21, 20]')
TOML
}

# lab_assigned: whether the router gives the gateway everything: by each group all buckets, or by policy.
lab_assigned() {
    local group=0
    lab_refresh || return 1
    if [ "$LAB_DEPLOYMENT" = static ]; then
        [ "$(lab_get /policies | grep -o '"alive":true' | wc -l)" = "$(lab_policy | grep -c next_hop)" ]
        return
    fi
    for group in $([ "$LAB_UPSTREAM" = own ] && echo 0 || echo 0 1); do
        [ "$(lab_get "/groups/$group/caches/0/state")" = usable ] &&
            [ "$(lab_get "/groups/$group/caches/0/buckets")" = "${LAB_BUCKETS:-256}" ] || return 1
    done
}

# lab_joined SECONDS: waits until the gateway is assigned; fails early when it has ended.
lab_joined() {
    lab_wait "$1" lab_assigned_or_ended && lab_alive tidegate
}
lab_assigned_or_ended() { ! lab_alive tidegate || lab_assigned; }

# lab_get POINTER: one value of the router's state, made fresh by a signal.
lab_get() { "$LAB_ROUTER_BIN" --status "$LAB_STATE/${LAB_ROUTER_NAME:-router}.json" --get "$1" 2>/dev/null; }

# lab_refresh: has the router write its state now.
lab_refresh() {
    local before
    before=$(lab_get /uptime_ms)
    kill -s USR1 "$(lab_pid "${LAB_ROUTER_NAME:-router}")" 2>/dev/null || return 1
    lab_wait 3 lab_fresher "${before:-0}"
}
lab_fresher() { [ "$(lab_get /uptime_ms)" != "$1" ]; }

# lab_counters POINTER...: the sum of these values of the router's state.
lab_counters() {
    local sum=0 pointer value
    for pointer in "$@"; do
        value=$(lab_get "$pointer")
        sum=$((sum + ${value:-0}))
    done
    echo "$sum"
}
# lab_redirected, lab_passed_by: packets that the router gave the gateway, and those that it should have.
lab_redirected() { lab_counters /counters/redirected /counters/policy_routed; }
lab_passed_by() {
    lab_counters /groups/0/counters/unassigned /groups/1/counters/unassigned /policies/0/counters/straight \
        /policies/1/counters/straight /policies/2/counters/straight /policies/3/counters/straight
}

# lab_listens -4|-6 SPACE PORT: whether something listens on the TCP port there.
lab_listens() { lab_exec "$2" ss "$1" -Hltn "sport = :$3" | grep -q .; }

# shellcheck source=scripts/lab-servers.sh
source "$TG_ROOT/scripts/lab-servers.sh"

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    case ${1:-} in
        up | down | status)
            [ "$(id -u)" = 0 ] || exec sudo -E env "PATH=$PATH" "$0" "$@"
            need_commands ip ethtool sysctl
            "lab_$1"
            ;;
        exec)
            shift
            lab_exec "$@"
            ;;
        *)
            warn "usage: ${0##*/} up | down | status | exec client|router|server|gw COMMAND..."
            exit 2
            ;;
    esac
fi
