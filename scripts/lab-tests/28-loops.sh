#!/usr/bin/env bash
# A router that redirects also what the gateway sends (no "exclude in"): the gateway sees its packets come again,
# counts them and lets them go, and nothing goes around for ever. By L2, GRE and policy, with either address toward
# servers. What is returned in GRE, and what comes from a cache's own address, no router redirects again. Returned by MAC
# address a packet comes back and is dropped, so that session stands still, and goes on when the gateway has left.
source "$(dirname "$0")/harness.sh"
need_commands ping
t_begin
export LAB_EXCLUDE_IN=false
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
[timers]
drain_timeout = "1s"'
looped() { event '"event":"drop".*loop'; }
nothing_looped() { [ "$new" = 0 ] && ! looped; }
quiet() {
    local before after
    lab_refresh && before=$(lab_redirected)
    sleep 1
    lab_refresh && after=$(lab_redirected)
    [ $((after - before)) -lt 20 ]
}
answers() { lab_exec client ping -c 1 -W 2 "$LAB_GATEWAY" >/dev/null; }
# A session that began without the gateway, and speaks when it has joined; what gets lost is sent again at an even pace.
SPEAKS='f.sock.setsockopt(socket.IPPROTO_TCP, 16, 1)  # TCP_THIN_LINEAR_TIMEOUTS
f.send("NOOP")
f.sock.settimeout(3)
try:
    f.reply()
    print("answered", flush=True)
except TimeoutError:
    print("silent", flush=True)
    f.sock.settimeout(20)
    f.reply()
    print("answered late")'
spoke() { [ -s "$LAB_STATE/session-$LAB_CLIENT.out" ]; }
for way in "wccp l2 own" "wccp l2 client" "wccp gre own" "wccp gre client" "static - own" "static - client"; do
    read -r LAB_DEPLOYMENT LAB_REDIRECT LAB_UPSTREAM <<<"$way"
    lab_stop router
    # Redirected where it leaves the router, or by policy on whatever leg.
    lab_router "$(lab_redirecting | sed '/^in = /d; s/^redirect_in = \["to-client"\]/redirect_out = ["to-server"]/
        s/^redirect_in = \["to-server"\]/redirect_out = ["to-client"]/')" || die "no router"
    t_held "$SPEAKS"
    check "$way: the gateway joins" t_gateway "$DATA"
    t_go
    # A new session. Where its own packets to the server come again it cannot be, and must not hurt.
    lab_exec client curl -sS --connect-timeout 2 -m 4 "ftp://$LAB_SERVER/pub/before" -o /dev/null 2>/dev/null
    new=$?
    if [ "$way" = "wccp gre own" ]; then
        check "$way: nothing comes again, and a new session works" nothing_looped
    else
        check "$way: the loop is noticed" lab_wait 8 looped
    fi
    lab_wait 5 spoke
    [ "$LAB_REDIRECT" != gre ] || check "$way: a session from before goes on" t_held_says answered
    check "$way: nothing goes around any more" quiet
    check "$way: the gateway answers ping" answers
    t_tell
    check "$way: the gateway ends in order" t_ended
    [ "$LAB_REDIRECT" = gre ] || check "$way: a session from before goes on then" t_held_says 'answered( late)?'
    say "  it was $(head -n 1 "$LAB_STATE/session-$LAB_CLIENT.out") at first"
done
