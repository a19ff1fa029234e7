#!/usr/bin/env bash
# Two routers in one group: each is assigned and redirects, each gets back what it sent; one that dies or disagrees
# does not disturb the other.
source "$(dirname "$0")/harness.sh"
LAB_SECOND=yes
t_begin
second() { LAB_ROUTER_NAME=router2 LAB_ROUTER_NUMBER=3 "$@"; }
# The clients behind the second router.
FAR=10.0.0.12
lab_exec client ip rule add from "$FAR" lookup 12
lab_exec client ip route add default via 10.0.0.3 table 12
export LAB_ROUTERS='"10.9.0.1", "10.9.0.3"'
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
head -c 500000 /dev/urandom >"$LAB_STATE/ftproot/pub/file"
fetch() {
    lab_exec client curl -sS -m 20 --interface "$1" "${@:2}" "ftp://$LAB_SERVER/pub/file" -o "$LAB_STATE/got" &&
        cmp "$LAB_STATE/got" "$LAB_STATE/ftproot/pub/file"
}
t_router
second t_router
for source in "$LAB_CLIENT" "$FAR"; do T_CLIENT=$source t_held "goes_on(f)"; done
check "the gateway joins the first router" t_gateway "$DATA"
check "and the second" second lab_wait 15 lab_assigned
t_go
for source in "$LAB_CLIENT" "$FAR"; do
    check "a session from before, of $source, transfers and ends in order" \
        lab_wait 20 grep -q '^done$' "$LAB_STATE/session-$source.out"
done
check "the first router got its packets back" more_than /counters/returned 3
check "the second one, too" second more_than /counters/returned 3
for source in "$LAB_CLIENT" "$FAR"; do
    check "a passive download from $source" fetch "$source"
    check "an active download from $source" fetch "$source" -P -
done
check "the first router redirects" more_than /groups/0/counters/redirected 40
check "the second router redirects" second more_than /groups/0/counters/redirected 40

second lab_stop router2 KILL
check "with the second router dead, the first one's client downloads" fetch "$LAB_CLIENT"
silent() { event '"event":"warning".*"kind":"router_silent"'; }
check "the silence is noticed" lab_wait 15 silent
check "the first one's client downloads after that" fetch "$LAB_CLIENT" -P -
check "all buckets are still there" lab_assigned
second t_router
check "the second router is back in the group" second lab_wait 20 lab_assigned
check "and its client downloads" fetch "$FAR"
check "as redirected packets" second more_than /groups/0/counters/redirected 40

# One that disagrees is refused for a reason that is told, and the other goes on: by what it can do, by how it
# describes the service, and by its password.
refused() { event "\"kind\":\"$1\".*\"subject\":\"10.9.0.3\".*$2"; }
goes_on() {
    check "$1: it gets nobody" second eval 'lab_refresh; ! lab_assigned'
    check "$1: the first one's client downloads, passive" fetch "$LAB_CLIENT"
    check "$1: and active" fetch "$LAB_CLIENT" -P -
    check "$1: the first one has all buckets" lab_assigned
}
second lab_stop router2
LAB_REDIRECT=l2 second t_router
check "a router that can only do L2 is refused, and why is told" \
    lab_wait 8 refused router_rejected "forwarding: the router offers L2, we are set to GRE"
goes_on "other capabilities"
second lab_stop router2
second t_router 'fault_describe_otherwise = true'
check "a router that describes the service otherwise is refused, and why is told" \
    lab_wait 8 refused group_conflict "another description of it than we do"
goes_on "another service"
second lab_stop router2
echo wrong01 >"$LAB_STATE/router.key"
# One that answers all the same: the usual one is silent, as the dead one above.
second t_router 'fault_trust_all = true'
check "a router with another password is refused, and why is told" lab_wait 8 refused md5_mismatch password
goes_on "another password"
