#!/usr/bin/env bash
# The lab with the gateway in line, for the deployments bridge and route, and for the kernel as the gateway.
#
#   client 10.0.0.5 ── 10.0.0.1 in0 [gateway] out0 203.0.113.9 ── 203.0.113.1 router 198.51.100.1 ── 198.51.100.7 server
#
# A bridge has no addresses: there the router is 10.0.0.1 itself. In IPv6 the networks are 2001:db8:a::/64,
# 2001:db8:b::/64 and 2001:db8:c::/64, with the same last numbers.
#
# With LAB_INNER=yes there is a router between the client and the gateway as well, so that both lines of the gateway can
# be bad ones; the network between the two is 10.2.0.0/24, and 2001:db8:2::/64.
#
# Sourced by other scripts, after lab.sh.
# shellcheck shell=bash

# shellcheck source=scripts/lab.sh
[ -n "${LAB_STATE:-}" ] || source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

LAB_CLIENT=10.0.0.5
LAB_SERVER=198.51.100.7
LAB_CLIENT6=2001:db8:a::5
LAB_SERVER6=2001:db8:c::7
# What the server sees of the clients when the gateway translates.
# shellcheck disable=SC2034 # for those that source this
LAB_OUTSIDE=203.0.113.9
# A client whose address is longer as text than the outside one, behind the first; another client, another server,
# and on each side somebody who has no part in it.
LAB_LONG_CLIENT=192.168.100.200
LAB_CLIENT_TWO=10.0.0.6
LAB_SERVER_TWO=198.51.100.8
LAB_THIRD_INSIDE=10.0.0.66
LAB_THIRD_OUTSIDE=198.51.100.66
# bridge, route, or kernel: a router that the kernel makes, to compare with.
LAB_DEPLOYMENT=${LAB_DEPLOYMENT:-route}
# Where captures are taken: the ends of the gateway's lines that are not its own, as AF_XDP takes frames before others
# can see them.
LAB_LEGS=(inside:client:c0 outside:router:to-gw)

# inline_up: namespaces, lines, addresses. The gateway's interfaces have none until it is known who it is.
inline_up() {
    local space inner=${LAB_INNER:-no}
    lab_down
    mkdir -p "$LAB_STATE"
    for space in client gw router server $([ "$inner" = no ] || echo inner); do lab_space "$space" || return 1; done
    if [ "$inner" = no ]; then
        lab_link client c0 gw in0 || return 1
    else
        lab_link client c0 inner to-client && lab_link inner to-gw gw in0 || return 1
        # shellcheck disable=SC2034
        LAB_LEGS=(inside:inner:to-gw outside:router:to-gw)
    fi
    lab_link gw out0 router to-gw && lab_link router to-server server s0 || return 1
    for space in "$LAB_CLIENT" "$LAB_CLIENT_TWO" "$LAB_THIRD_INSIDE"; do
        lab_exec client ip addr add "$space/24" dev c0
    done
    lab_exec client ip addr add "$LAB_LONG_CLIENT/32" dev c0
    lab_exec client ip route add default via 10.0.0.1 src "$LAB_CLIENT" rto_min 2s
    for space in "$LAB_SERVER" "$LAB_SERVER_TWO" "$LAB_THIRD_OUTSIDE"; do
        lab_exec server ip addr add "$space/24" dev s0
    done
    lab_exec server ip route add default via 198.51.100.1 src "$LAB_SERVER" rto_min 2s
    lab_host6 client c0 "$LAB_CLIENT6" 2001:db8:a::1
    lab_host6 server s0 "$LAB_SERVER6" 2001:db8:c::1
}

# inline_routers: the router behind the gateway, and with LAB_INNER the one before it. LAB_IMPAIR_OUT is how bad the lines
# between gateway and server are, both ways, LAB_IMPAIR_IN those between client and gateway. LAB_LINE_VLAN: tags on both lines of the gateway,
# LAB_LINE_MTU: what they carry beside the tags; LAB_SERVER_MTU: what the server's network carries.
inline_routers() {
    local leg=203.0.113.1/24 leg6=2001:db8:b::1/64 way=203.0.113.9 way6=2001:db8:b::9
    local first=10.0.0.1/24 first6=2001:db8:a::1/64
    [ "${LAB_INNER:-no}" = no ] || first=10.2.0.1/24 first6=2001:db8:2::1/64
    if [ "$LAB_DEPLOYMENT" = bridge ]; then
        leg=$first leg6=$first6 way=10.2.0.2 way6=2001:db8:2::2
        [ "${LAB_INNER:-no}" = yes ] || way=$LAB_CLIENT way6=$LAB_CLIENT6
    fi
    inline_router router "$(
        inline_leg to-gw "$leg" "$leg6" "${LAB_IMPAIR_OUT:-}" "${LAB_LINE_VLAN:-}" "${LAB_LINE_MTU:-}"
        inline_leg to-server 198.51.100.1/24 2001:db8:c::1/64 "${LAB_IMPAIR_OUT:-}" "" "${LAB_SERVER_MTU:-}"
        inline_route "$LAB_LONG_CLIENT/32" "$way"
        inline_route 10.0.0.0/24 "$way"
        inline_route 2001:db8:a::/64 "$way6"
    )" || return 1
    [ "${LAB_INNER:-no}" = no ] || inline_router inner "$(
        inline_leg to-client 10.0.0.1/24 2001:db8:a::1/64 "${LAB_IMPAIR_IN:-}"
        inline_leg to-gw 10.2.0.2/24 2001:db8:2::2/64 "${LAB_IMPAIR_IN:-}" "${LAB_LINE_VLAN:-}" "${LAB_LINE_MTU:-}"
        inline_route "$LAB_LONG_CLIENT/32" "$LAB_CLIENT"
        inline_route 0.0.0.0/0 10.2.0.1
        inline_route ::/0 2001:db8:2::1
    )"
}

# inline_leg NAME NETWORK NETWORK6 IMPAIRMENT [VLAN [MTU]]
inline_leg() {
    printf '[[leg]]\nname = "%s"\naddress = "%s"\naddress6 = "%s"\nvlan = [%s]\n' "$1" "$2" "$3" "${5:-}"
    [ -z "${6:-}" ] || printf 'mtu = %s\n' "$6"
    [ -z "$4" ] || printf 'impair = { %s }\n' "$4"
}
inline_routers_again() {
    lab_stop router
    [ "${LAB_INNER:-no}" = no ] || lab_stop inner
    inline_routers
}
inline_route() { printf '[[route]]\nnetwork = "%s"\nvia = "%s"\n' "$1" "$2"; }

# inline_router NAME TOML: the lab's router, in the namespace of the same name.
inline_router() {
    say "$2" >"$LAB_STATE/$1.toml"
    rm -f "$LAB_STATE/$1.json"
    lab_spawn "$1" "$1" "$LAB_ROUTER_BIN" --config "$LAB_STATE/$1.toml" --status "$LAB_STATE/$1.json"
    lab_wait 5 test -s "$LAB_STATE/$1.json" || {
        warn "the router $1 did not start:"
        cat "$LAB_STATE/$1.log" >&2
        return 1
    }
}

# inline_forwarding: the kernel as a router in the gateway's place, or in a bridge's, as a bridge.
inline_forwarding() {
    if [ "$LAB_DEPLOYMENT" = bridge ]; then
        lab_exec gw ip link add dev br0 type bridge && lab_exec gw ip link set dev in0 master br0 &&
            lab_exec gw ip link set dev out0 master br0 && lab_exec gw ip link set dev br0 up
        return
    fi
    local inside=10.0.0.1/24 inside6=2001:db8:a::1/64 way=$LAB_CLIENT
    [ "${LAB_INNER:-no}" = no ] || inside=10.2.0.1/24 inside6=2001:db8:2::1/64 way=10.2.0.2
    lab_exec gw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.lo.disable_ipv6=0 || return 1
    local dev
    # With link-local addresses: whoever forwards asks for neighbours from these.
    for dev in in0 out0; do
        lab_exec gw sysctl -qw "net.ipv6.conf.$dev.accept_dad=0" \
            "net.ipv6.conf.$dev.disable_ipv6=0" "net.ipv4.conf.$dev.send_redirects=0" || return 1
    done
    lab_exec gw ip addr add "$inside" dev in0
    lab_exec gw ip addr add "$inside6" dev in0 nodad
    lab_exec gw ip addr add 203.0.113.9/24 dev out0
    lab_exec gw ip addr add 2001:db8:b::9/64 dev out0 nodad
    lab_exec gw ip route add default via 203.0.113.1
    lab_exec gw ip -6 route add default via 2001:db8:b::1
    lab_exec gw ip route add "$LAB_LONG_CLIENT/32" via "$way"
    if [ "${LAB_INNER:-no}" = yes ]; then
        lab_exec gw ip route add 10.0.0.0/24 via 10.2.0.2
        lab_exec gw ip -6 route add 2001:db8:a::/64 via 2001:db8:2::2
    fi
    lab_exec gw sysctl -qw net.ipv6.conf.all.forwarding=1
}

# inline_kernel: the kernel as the gateway: forwarding, masquerading, default deny, and the FTP helper for what goes to
# port 21; it attaches to nothing by itself.
inline_kernel() {
    inline_forwarding || return 1
    lab_exec gw nft -f - <<'NFT'
table inet gate {
    ct helper ftp { type "ftp" protocol tcp; }
    chain before {
        type filter hook prerouting priority filter; policy accept;
        iifname "in0" tcp dport 21 ct helper set "ftp"
    }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "in0" tcp dport 21 accept
    }
}
table ip translate {
    chain behind {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "out0" masquerade
    }
}
NFT
}

# inline_config: tidegate's configuration, to standard output. LAB_ALG, LAB_DEFAULT, LAB_PROFILE and LAB_DRIVER are the keys
# of these names; LAB_SERVICE_KEYS are more lines of the service, LAB_TABLES more tables.
inline_config() {
    cat <<TOML
version = 1
[deployment]
kind = "$LAB_DEPLOYMENT"
[[interface]]
name = "in0"
role = "inside"
driver = "${LAB_DRIVER:-af_xdp}"
$([ "$LAB_DEPLOYMENT" = bridge ] || inline_inside)
[[interface]]
name = "out0"
role = "outside"
driver = "${LAB_DRIVER:-af_xdp}"
$([ "$LAB_DEPLOYMENT" = bridge ] || cat <<OUT
address = ["203.0.113.9/24", "2001:db8:b::9/64"]
next_hop = ["203.0.113.1", "2001:db8:b::1"]
OUT
)
$([ "$LAB_DEPLOYMENT" = bridge ] || inline_gateway_routes)
[firewall]
default = "${LAB_DEFAULT:-deny}"
[[firewall.rule]]
name = "ftp"
action = "allow"
from = "inside"
protocol = "tcp"
ports = [21]
$([ "$LAB_DEPLOYMENT" = bridge ] || printf '[nat]\nmasquerade = true\n')
[[service]]
name = "ftp"
ports = [21]
handling = "inspect"
alg = ${LAB_ALG:-true}
profile = "${LAB_PROFILE:-standard}"
${LAB_SERVICE_KEYS:-}
${LAB_TABLES:-}
[events]
path = "$LAB_STATE/events.jsonl"
TOML
}
inline_inside() {
    if [ "${LAB_INNER:-no}" = no ]; then
        say 'address = ["10.0.0.1/24", "2001:db8:a::1/64"]'
    else
        say 'address = ["10.2.0.1/24", "2001:db8:2::1/64"]'
    fi
}
inline_gateway_routes() {
    if [ "${LAB_INNER:-no}" = no ]; then
        inline_route "$LAB_LONG_CLIENT/32" "$LAB_CLIENT"
    else
        inline_route "$LAB_LONG_CLIENT/32" 10.2.0.2
        inline_route 10.0.0.0/24 10.2.0.2
        inline_route 2001:db8:a::/64 2001:db8:2::2
    fi
}

# inline_gateway: starts tidegate, and waits until it works; fails when it has ended.
inline_gateway() {
    lab_stop tidegate || warn "the gateway before this one had to be killed"
    rm -f "$LAB_STATE/events.jsonl"
    inline_config >"$LAB_STATE/tidegate.toml"
    LAB_WAITABLE=yes lab_spawn tidegate gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml"
    lab_wait 15 inline_works_or_ended
    lab_alive tidegate && inline_works && return
    warn "tidegate does not work:"
    tail -n 5 "$LAB_STATE/tidegate.log" >&2
    return 1
}
inline_works() { grep -q '"event":"gateway","state":"started"' "$LAB_STATE/events.jsonl" 2>/dev/null; }
inline_works_or_ended() { ! lab_alive tidegate || inline_works; }

# What doors.py looks at, and inline_doors_lines STEP: the lines that it has to print about that. Fewer are no success.
# shellcheck disable=SC2034 # for those that source this
LAB_DOORS=(unannounced announced-active announced-passive)
inline_doors_lines() {
    case $1 in
        # Of the client's address inside and, where it has another one, outside; of the server's.
        unannounced) [ "$LAB_DEPLOYMENT" = bridge ] && say 2 || say 3 ;;
        announced-active) say 3 ;;
        announced-passive) say 2 ;;
    esac
}

# inline_connects SPACE FROM TO PORT: whether a SYN gets an answer there within a second and a half.
inline_connects() {
    lab_exec "$1" timeout 3 python3 - "$2" "$3" "$4" <<'PY'
import socket, sys
_, source, to, port = sys.argv
try:
    socket.create_connection((to, int(port)), 1.5, (source, 0)).close()
except OSError:
    sys.exit(1)
PY
}
