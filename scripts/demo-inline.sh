# Sourced by demo-lab.sh: what the demos with the gateway in line show besides the transfers. Each line of it is
# required: one that does not hold is a failure more.
# shellcheck shell=bash

# shellcheck source=scripts/lab-inline.sh
source "$TG_ROOT/scripts/lab-inline.sh"

# What is set by those that source this.
# shellcheck disable=SC2154
start_in_line() {
    LAB_DRIVER=$driver inline_gateway || return 1
    say "tidegate is a $([ "$LAB_DEPLOYMENT" = bridge ] && echo bridge || echo "router that translates") between in0 and out0"
}

# shown WHAT COMMAND...: what COMMAND shows; its output, if any, in brackets behind it.
shown() {
    local what=$1 detail
    shift
    if detail=$("$@"); then
        say "shown: $what${detail:+ ($detail)}"
    else
        say "NOT SHOWN: $what${detail:+ ($detail)}"
        failed=$((failed + 1))
    fi
}

# show_the_gateway TRANSFERS: after so many transfers.
show_the_gateway() {
    shown "every transfer was followed by the inspection" lab_wait 5 followed "$1"
    local step lines
    for step in "${LAB_DOORS[@]}"; do
        lines=0
        # Both ends by hand, as no client tries to use a connection twice.
        while IFS=$'\t' read -r verdict what; do
            shown "$what" [ "$verdict" = yes ]
            lines=$((lines + 1))
        done < <(doors "$step")
        shown "$step: all of it was looked at" [ "$lines" = "$(inline_doors_lines "$step")" ]
    done
    legs
    without_alg
}
followed() { [ "$(grep -c '"event":"transfer".*"verdict":"complete"' "$LAB_STATE/events.jsonl")" -ge "$1" ]; }

# doors STEP: "yes" or "no", and what it is about, from doors.py.
doors() {
    OUTSIDE=$([ "$LAB_DEPLOYMENT" = bridge ] && echo "$LAB_CLIENT" || echo "$LAB_OUTSIDE") PYTHONDONTWRITEBYTECODE=1 \
        python3 "$TG_ROOT/scripts/doors.py" "$(lab_ns client)" "$(lab_ns server)" "$1" || printf 'no\t%s\n' "$1 came to an end"
}

# legs: one transfer in each mode, captured on both sides of the gateway.
legs() {
    local mode dir
    dir=$(mktemp -d /var/tmp/tidegate-legs.XXXXXX) || return 1
    captures_start "$dir" legs || return 1
    for mode in PORT PASV EPRT EPSV EPRT6 EPSV6; do
        run_transfer 0 "$mode" curl download 0
        run_transfer 0 "$mode" curl upload 64KiB
    done
    captures_stop
    if [ "$LAB_DEPLOYMENT" = bridge ]; then
        shown "frames leave as they came, byte for byte" python3 "$TG_ROOT/scripts/same_frames.py" \
            "$dir/legs-inside.pcapng" "$dir/legs-outside.pcapng"
    else
        shown "PORT is another on each leg" other_text "$dir"
        shown "and the sequence numbers behind it differ by what the text has grown" delta "$dir"
    fi
    rm -rf "$dir"
}
field_of() { tshark -n -r "$1" -Y "$2" -T fields -e "$3" 2>/dev/null | head -n 1; }
other_text() {
    local inside outside
    inside=$(field_of "$1/legs-inside.pcapng" 'ftp.request.command == "PORT"' ftp.request.arg)
    outside=$(field_of "$1/legs-outside.pcapng" 'ftp.request.command == "PORT"' ftp.request.arg)
    echo "inside PORT $inside, outside PORT $outside"
    [[ $inside == ${LAB_CLIENT//./,},* ]] && [[ $outside == ${LAB_OUTSIDE//./,},* ]]
}
# Numbers are relative to each leg's own beginning: they are the same but for what is inserted.
delta() {
    local stream inside outside before after
    stream=$(field_of "$1/legs-inside.pcapng" 'ftp.request.command == "PORT"' tcp.stream)
    inside=$(field_of "$1/legs-inside.pcapng" "tcp.stream == $stream && ftp.request.command == \"QUIT\"" tcp.seq)
    before=$(field_of "$1/legs-inside.pcapng" "tcp.stream == $stream && ftp.request.command == \"PORT\"" tcp.len)
    stream=$(field_of "$1/legs-outside.pcapng" 'ftp.request.command == "PORT"' tcp.stream)
    outside=$(field_of "$1/legs-outside.pcapng" "tcp.stream == $stream && ftp.request.command == \"QUIT\"" tcp.seq)
    after=$(field_of "$1/legs-outside.pcapng" "tcp.stream == $stream && ftp.request.command == \"PORT\"" tcp.len)
    echo "delta $((outside - inside)): QUIT is at $inside inside and at $outside outside"
    [ -n "$inside" ] && [ -n "$outside" ] && [ "$outside" != "$inside" ] && [ $((outside - inside)) = $((after - before)) ]
}

# without_alg: the same transfers fail when the inspection is switched off, though the control connection lives.
without_alg() {
    local mode way status number=0 running=() what=()
    LAB_ALG=false LAB_DRIVER=$driver inline_gateway || { shown "tidegate runs with alg = false" false && return; }
    shown "with alg = false a session logs in" logs_in
    # Beside each other, as each is waited for in vain.
    for mode in PORT PASV EPRT EPSV EPRT6 EPSV6; do
        for way in "curl download" "curl upload" "lftp list"; do
            # lftp uses EPRT over IPv6 only.
            [[ "$mode $way" == EPRT\ lftp* ]] && continue
            number=$((number + 1))
            # shellcheck disable=SC2086 # two words
            (fails "$number" "$mode" $way) &
            running+=($!) what+=("$mode $way")
        done
    done
    for number in "${!running[@]}"; do
        if wait "${running[number]}"; then status=true; else status=false; fi
        shown "with alg = false this fails: ${what[number]}" $status
    done
}
logs_in() { lab_exec client timeout 5 python3 -c "
import ftplib
f = ftplib.FTP('$LAB_SERVER', 'anonymous', 'me@', timeout=4)
f.voidcmd('NOOP')
f.quit()"; }
# shellcheck disable=SC2154
fails() {
    LAB_LIMIT=3 run_transfer "$1" "$2" "$3" "$4" 64KiB
    [ "$result" != identical ]
}
