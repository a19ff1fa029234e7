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

# One with another password is refused, and the other goes on.
cp "$LAB_STATE/router.key" "$LAB_STATE/right.key"
second lab_stop router2
echo wrong01 >"$LAB_STATE/router.key"
second t_router
check "a router with another password gets nobody" second eval 'sleep 4; ! lab_assigned'
check "the first one's client downloads" fetch "$LAB_CLIENT"
check "the first one has all buckets" lab_assigned
