# Sourced by the lab's tests of the deployments bridge and route, as harness.sh is by the others.
# shellcheck shell=bash

# shellcheck source=scripts/lab-tests/harness.sh
source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"
# shellcheck source=scripts/lab-inline.sh
source "$TG_ROOT/scripts/lab-inline.sh"

# i_begin: the lab in line, with its servers of both families.
i_begin() {
    need_commands ip ethtool sysctl curl lftp dumpcap tshark python3 ss ping
    [ -x "$LAB_ROUTER_BIN" ] && [ -x "$LAB_TIDEGATE_BIN" ] ||
        die "$LAB_ROUTER_BIN or $LAB_TIDEGATE_BIN is not built: cargo build --release"
    lab_lock || die "this lab is in use"
    trap t_finish EXIT
    trap 'exit 130' INT TERM
    inline_up || die "the lab cannot be made here"
    lab_vsftpd && lab_vsftpd 6 || die "no FTP server"
    inline_routers || die "no router"
}

# i_ends: told to, the gateway ends in order, and leaves nothing in the kernel.
i_ends() {
    t_tell
    check "the gateway ends, with exit status 0" t_ended
    check "and leaves no XDP program" i_no_xdp
}
i_no_xdp() { ! lab_exec gw ip -d link show | grep -qi 'xdp/id\|prog/xdp'; }

# i_modes [MODE...]: a download and an upload in each.
i_modes() {
    local mode
    for mode in "${@:-PORT}"; do
        check "$mode download" transfer "$mode" curl download 1MiB
        check "$mode upload" transfer "$mode" curl upload 1MiB
    done
}

# i_fails WHAT MODE: a transfer that must not be.
i_fails() { check "$1" i_failed "$2"; }
i_failed() { ! LAB_LIMIT=2 transfer "$1" curl download 64KiB >/dev/null; }

# i_doors: what is open, and for how long, with both ends by hand.
i_doors() {
    local step verdict what lines
    for step in "${LAB_DOORS[@]}"; do
        lines=0
        while IFS=$'\t' read -r verdict what; do
            check "$what" [ "$verdict" = yes ]
            lines=$((lines + 1))
        done < <(
            OUTSIDE=$([ "$LAB_DEPLOYMENT" = bridge ] && echo "$LAB_CLIENT" || echo "$LAB_OUTSIDE") PYTHONDONTWRITEBYTECODE=1 \
                python3 "$TG_ROOT/scripts/doors.py" "$(lab_ns client)" "$(lab_ns server)" "$step" ||
                printf 'no\t%s\n' "$step came to an end"
        )
        check "$step: all of it was looked at" [ "$lines" = "$(inline_doors_lines "$step")" ]
    done
}

# i_capture, i_captured: both lines of the gateway, and where the files are.
i_capture() {
    i_dir=$LAB_STATE/captures
    mkdir -p "$i_dir"
    captures_start "$i_dir" legs || die "no captures"
}
# i_tshark LEG FILTER FIELD...: fails, and says so, if tshark does.
i_tshark() {
    local leg=$1 filter=$2 field fields=()
    shift 2
    for field in "$@"; do fields+=(-e "$field"); done
    tshark -n -r "$i_dir/legs-$leg.pcapng" -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -o udp.check_checksum:TRUE \
        -Y "$filter" -T fields "${fields[@]}" 2>"$LAB_STATE/tshark.log" || {
        cat "$LAB_STATE/tshark.log" >&2
        return 1
    }
}
# i_some LEG FILTER, i_none LEG FILTER: whether there is such a frame; in a capture that is not empty, there is none.
i_some() {
    local found
    found=$(i_tshark "$1" "$2" frame.number) && [ -n "$found" ]
}
i_none() {
    local found
    found=$(i_tshark "$1" "$2" frame.number) && [ -z "$found" ] && i_some "$1" frame
}
# i_spoken COMMAND: both captures have it, so that what was looked for in vain could have been there.
i_spoken() { i_some inside "ftp.request.command == \"$1\"" && i_some outside "ftp.request.command == \"$1\""; }
# i_sound: no frame on either line is malformed or has a wrong checksum.
i_sound() {
    local leg
    for leg in inside outside; do
        i_none "$leg" '_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0' || return 1
    done
}
i_pings() { lab_exec client ping -c 2 -i 0.2 -W 2 "$@" >/dev/null; }
