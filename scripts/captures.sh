#!/usr/bin/env bash
# Plays captures to the gateway as redirected packets, in GRE and to its MAC address (static), and judges
# each: no panic, no hang, bounded memory, the same twice, every packet kept, dropped with a reason, or
# returned as it came. Plays them through a bridge that inspects FTP and lets all else pass: every frame comes
# out as it went in, but for those of a list (captures_expected.py), and the events tell as many commands and
# replies as tshark. And explains them: what `tidegate explain` counts must be what tshark counts. What is refused
# as damaged must be on a list, at its byte; a recording that is cut short for this is. The captures are those of
# a directory, not ours to give away.
#
#   scripts/captures.sh [--json] [FILE...]
#
# TIDEGATE_CAPTURES   the directory, ../shared/captures if it is not set; without it only recordings of pcaps/ are
#                     played, through the bridge, and the one cut short
# The last line is "N passed, N failed"; with --json one object, with a list of all results.
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
cd "$TG_ROOT" || exit 1

json=()
if [ "${1:-}" = --json ]; then
    json=(--json)
    shift
fi
dir=${TIDEGATE_CAPTURES:-../shared/captures}
files=("$@")
if [ $# = 0 ]; then
    if [ -d "$dir" ]; then
        mapfile -t files < <(find -L "$dir" -type f \( -name '*.pcap' -o -name '*.pcapng' -o -name '*.cap' \) | sort)
    else
        warn "no captures: there is no directory $dir; set TIDEGATE_CAPTURES to one with pcap files. Our own recordings are played"
    fi
fi
need_commands python3 tshark
need_rust
cargo build --release --locked --bin tidegate --quiet || die "the build failed"
exec python3 "$TG_ROOT/scripts/captures.py" "${json[@]}" "$TG_TARGET/release/tidegate" "${files[@]}"
