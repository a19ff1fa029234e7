#!/usr/bin/env bash
# Shows the whole thing: builds, makes the lab, redirects a client's FTP through tidegate by WCCP, and
# compares every byte of every transfer. Prints the table, and "demo: N transfers, N identical, 0 failed"
# as its last line; only then its exit status is 0.
#
#   scripts/demo.sh [--deployment wccp] [--keep DIR] [--only REGEX]
#
#   --deployment KIND   which deployment; wccp is the one that is built
#   --keep DIR          keep captures of every leg, events, the router's counters and all logs there
#   --only REGEX        only the transfers of scripts/transfers.txt that match, as 'EPSV .* 1MiB'
#   --driver DRIVER     af_xdp (default) or pnet
#   --direct            the same transfers without redirection and without tidegate: the baseline
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

deployment=wccp
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        --deployment | --keep | --only | --driver)
            [ $# -ge 2 ] || bad_usage "$1 needs a value"
            case $1 in
                --deployment) deployment=$2 ;;
                --driver)
                    case $2 in af_xdp | pnet) ;; *) bad_usage "there is no driver \"$2\"; use af_xdp or pnet" ;; esac
                    ;;
            esac
            shift 2
            ;;
        --direct | --wrong-password) shift ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) bad_usage "what is \"$1\"? (--help tells what there is)" ;;
    esac
done
case $deployment in
    wccp) ;;
    static | bridge | route | host)
        bad_usage "the deployment \"$deployment\" is not built yet; use --deployment wccp"
        ;;
    *) bad_usage "there is no deployment \"$deployment\"; use --deployment wccp" ;;
esac

say "tidegate demo: deployment $deployment, $(grep -vc '^#' "$TG_ROOT/scripts/transfers.txt") transfers in scripts/transfers.txt"
need_commands curl lftp ip ethtool sysctl dumpcap clang cc
need_rust

say "building (cargo build --release)"
(cd "$TG_ROOT" && cargo build --release --locked --bins) || die "the build failed"

as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" "TG_OWNER=$(id -u):$(id -g)" \
    bash "$TG_ROOT/scripts/demo-lab.sh" "${arguments[@]}"
