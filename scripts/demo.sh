#!/usr/bin/env bash
# Shows the whole thing: builds, makes the lab, takes a client's FTP through tidegate, redirected by WCCP or by a router's
# policy, or with tidegate in line, and compares every byte of every transfer. Prints the table, and
# "demo: N transfers, N identical, 0 failed" as its last line; only then its exit status is 0.
#
#   scripts/demo.sh [--deployment wccp|static|bridge|route] [--redirect gre|l2] [--upstream own|client]
#                   [--reverse all|ports] [--keep DIR] [--only REGEX] [--driver af_xdp|pnet] [--direct] [--transfers] [--wrong-password]
#
#   --deployment KIND   wccp (default): the router and the gateway negotiate; static: the router's policy gives FTP
#                       to the gateway, in IPv4 and in IPv6; bridge, route: tidegate stands between client and server
#                       and inspects, as a bridge, or as a router that translates addresses; nothing is allowed but
#                       FTP. These two also show what is opened and what is not, and what is changed on the way
#   --redirect HOW      wccp only: gre (default), or l2: by MAC address, forward and return
#   --upstream SOURCE   own (default): the server sees the gateway's address; client: the client's
#   --reverse WHAT      client only: all (default): what the server answers comes back through a reverse group without
#                       ports, and the gateway's data connections to it are passive; ports: through one with the ports
#                       21 and 20, and the server opens them
#   --keep DIR          keep captures of every leg, events, the router's counters and all logs there
#   --only REGEX        only the transfers of scripts/transfers.txt that match, as 'EPSV .* 1MiB'
#   --driver DRIVER     af_xdp (default) or pnet
#   --direct            the same transfers without redirection and without tidegate: the baseline
#   --transfers         bridge and route: the transfers only
#   --wrong-password    give the router another WCCP password; the demo must fail then
#
# Root is needed for the lab only: another user is asked by sudo.
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() { sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"; }
bad_usage() {
    warn "demo.sh: $1"
    exit 2
}

deployment=wccp redirect=gre upstream=own reverse=
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        --deployment | --redirect | --upstream | --reverse | --keep | --only | --driver)
            [ $# -ge 2 ] || bad_usage "$1 needs a value"
            case $1 in
                --deployment) deployment=$2 ;;
                --redirect) redirect=$2 ;;
                --upstream) upstream=$2 ;;
                --reverse) reverse=$2 ;;
                --driver)
                    case $2 in af_xdp | pnet) ;; *) bad_usage "there is no driver \"$2\"; use af_xdp or pnet" ;; esac
                    ;;
            esac
            shift 2
            ;;
        --direct | --transfers | --wrong-password) shift ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) bad_usage "what is \"$1\"? (--help tells what there is)" ;;
    esac
done
case $deployment in
    wccp | static | bridge | route) ;;
    host) bad_usage "the deployment \"host\" is not built yet; use --deployment wccp, static, bridge or route" ;;
    *) bad_usage "there is no deployment \"$deployment\"; use --deployment wccp, static, bridge or route" ;;
esac
case $deployment in
    bridge | route)
        [[ " ${arguments[*]} " =~ \ (--redirect|--upstream|--reverse|--wrong-password)\  ]] &&
            bad_usage "${BASH_REMATCH[1]} does not go with --deployment $deployment: nothing is redirected"
        ;;
esac
case $redirect in gre | l2) ;; *) bad_usage "there is no redirection \"$redirect\"; use --redirect gre or l2" ;; esac
case $upstream in own | client) ;; *) bad_usage "there is no source \"$upstream\"; use --upstream own or client" ;; esac
case $reverse in '' | all | ports) ;; *) bad_usage "--reverse is all or ports, not \"$reverse\"" ;; esac
[ "$deployment $redirect" != "static l2" ] ||
    bad_usage "a policy gives frames to the gateway as L2 redirection does; leave --redirect out"
[ -z "$reverse" ] || [ "$upstream" = client ] || bad_usage "--reverse goes with --upstream client"
export LAB_DEPLOYMENT=$deployment LAB_REDIRECT=$redirect LAB_UPSTREAM=$upstream LAB_REVERSE=${reverse:-all}

inline=no
case $deployment in bridge | route) inline=yes ;; esac
[ "$inline" = no ] || say "tidegate demo: deployment $deployment, default deny, clients' FTP allowed"
[ "$inline" = yes ] || say "tidegate demo: deployment $deployment, redirection $([ "$deployment" = static ] && echo 'by policy' || echo "$redirect")," \
    "the server sees $([ "$upstream" = own ] && echo "the gateway's address" || echo "the client's address")"
need_commands curl lftp ip ethtool sysctl dumpcap clang cc
[ "$inline" = no ] || need_commands tshark python3
need_rust

say "building (cargo build --release)"
(cd "$TG_ROOT" && cargo build --release --locked --bins) || die "the build failed"

as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" "TG_OWNER=$(id -u):$(id -g)" \
    "LAB_DEPLOYMENT=$LAB_DEPLOYMENT" "LAB_REDIRECT=$LAB_REDIRECT" "LAB_UPSTREAM=$LAB_UPSTREAM" "LAB_REVERSE=$LAB_REVERSE" \
    bash "$TG_ROOT/scripts/demo-lab.sh" "${arguments[@]}"
