#!/usr/bin/env bash
# A router that redirects also what the gateway sends (no "exclude in"): the gateway sees its packets come again,
# counts them and lets them go, and nothing goes around for ever. By L2, GRE and policy, with either address toward
# servers.
source "$(dirname "$0")/harness.sh"
t_begin
export LAB_EXCLUDE_IN=false
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
[timers]
drain_timeout = "1s"'
looped() { event '"event":"drop".*loop'; }
quiet() {
    local before after
    lab_refresh && before=$(lab_redirected)
    sleep 1
    lab_refresh && after=$(lab_redirected)
    [ $((after - before)) -lt 20 ]
}
# A session that began without the gateway, and speaks when it has joined.
SPEAKS='f.sock.settimeout(3)
try:
    f.cmd("NOOP")
    print("answered")
except (TimeoutError, ConnectionResetError):
    print("broken")'
for way in "wccp l2 own" "wccp l2 client" "wccp gre client" "static - own" "static - client"; do
    read -r LAB_DEPLOYMENT LAB_REDIRECT LAB_UPSTREAM <<<"$way"
    lab_stop router
    # Redirected where it leaves the router, or by policy on whatever leg.
    lab_router "$(lab_redirecting | sed '/^in = /d; s/^redirect_in = \["to-client"\]/redirect_out = ["to-server"]/
        s/^redirect_in = \["to-server"\]/redirect_out = ["to-client"]/')" || die "no router"
    t_held "$SPEAKS"
    check "$way: the gateway joins" t_gateway "$DATA"
    t_go
    # A new session, whose own packets to the server come again: it cannot be, and must not hurt.
    lab_exec client curl -sS --connect-timeout 2 -m 4 "ftp://$LAB_SERVER/pub/before" -o /dev/null 2>/dev/null
    check "$way: the loop is noticed" lab_wait 8 looped
    check "$way: a session from before goes on or breaks, and does not hang" t_held_says 'answered|broken'
    check "$way: nothing goes around any more" quiet
    t_tell
    check "$way: the gateway ends in order" t_ended
done
