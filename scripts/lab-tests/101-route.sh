#!/usr/bin/env bash
# deployment.kind = "route": default deny, masquerading, one-to-one translation, port forwards, IPv6 routed, ICMP errors that
# find back, pieces of packets.
source "$(dirname "$0")/inline.sh"
LAB_DEPLOYMENT=route
i_begin
TABLES='[[firewall.rule]]
name = "ping"
action = "allow"
from = "inside"
protocol = "icmp"
[[firewall.rule]]
name = "ftp-inward"
action = "allow"
from = "outside"
protocol = "tcp"
destination = ["203.0.113.9"]
ports = [2121]
[[nat.static]]
inside = "10.0.0.66"
outside = "203.0.113.66"
[[nat.forward]]
protocol = "tcp"
outside = "203.0.113.9:2121"
inside = "10.0.0.6:21"'
LAB_TABLES=$TABLES check "the gateway begins" inline_gateway
check "the kernel has no address there" eval '! lab_exec gw ip -br addr | grep -q "203.0.113\|10.0.0"'
i_capture
i_modes PORT PASV EPRT EPSV EPSV6 EPRT6
check "a client behind a neighbour, whose address is longer, transfers" \
    lab_exec client curl -sS -m 10 --interface "$LAB_LONG_CLIENT" -P "$LAB_LONG_CLIENT" --disable-eprt "ftp://$LAB_SERVER/pub/" -o /dev/null
check "ping passes" i_pings "$LAB_SERVER"
check "ping of IPv6 passes" i_pings -6 "$LAB_SERVER6"
check "ping in three pieces passes" i_pings -s 4000 "$LAB_SERVER"
check "ping of IPv6 in three pieces passes" i_pings -6 -s 4000 "$LAB_SERVER6"
captures_stop
check "the captures of both lines have a PORT" i_spoken PORT
check "no frame is damaged" i_sound
check "inside addresses are nowhere outside" i_none outside 'ip.addr == 10.0.0.0/16 || ip.addr == 192.168.0.0/16'
check "no inside address is in a text outside" i_none outside 'ftp.request.arg contains "10,0,0,5" || ftp.request.arg contains "10.0.0.5"'
i_doors

# What comes one by one: the client is 203.0.113.66 outside.
seen_as() { lab_exec server ss -Hnt state established "sport = :21" | grep -q "$1"; }
slow_from() {
    head -c 1500000 /dev/urandom >"$LAB_STATE/ftproot/pub/slow"
    lab_exec client curl -sS -m 15 --interface "$1" -P "$1" --disable-eprt --limit-rate 1M "ftp://$LAB_SERVER/pub/slow" -o "$LAB_STATE/slow" &
    local job=$!
    sleep 0.5
    seen_as "$2" && wait "$job" && cmp "$LAB_STATE/slow" "$LAB_STATE/ftproot/pub/slow"
}
check "one-to-one: the server sees 203.0.113.66, and an active download is whole" slow_from "$LAB_THIRD_INSIDE" 203.0.113.66
check "masquerading: the server sees 203.0.113.9" slow_from "$LAB_CLIENT_TWO" 203.0.113.9

# A server inside, reached at 203.0.113.9:2121 and by 203.0.113.66's neighbour only through the forward.
LAB_SERVER=10.0.0.6 LAB_VSFTPD=vsftpd-inside LAB_VSFTPD_AT=client:c0 lab_vsftpd || die "no FTP server inside"
head -c 300000 /dev/urandom >"$LAB_STATE/ftproot/pub/within"
inward() {
    rm -f "$LAB_STATE/within"
    lab_exec server curl -sS -m 8 --no-ftp-skip-pasv-ip "$@" ftp://203.0.113.9:2121/pub/within -o "$LAB_STATE/within" &&
        cmp "$LAB_STATE/within" "$LAB_STATE/ftproot/pub/within"
}
check "forward: a client outside downloads by PASV" inward --disable-epsv
check "forward: by EPSV" inward
check "forward: by PORT" inward -P - --disable-eprt
check "forward: by EPRT" inward -P -
check "and port 21 itself is closed" eval '! inline_connects server "$LAB_SERVER" 203.0.113.9 21'
i_ends

# A narrow network behind the router: what says so is quoted back to whom it is about, or transfers stop.
lab_exec client ip route flush cache
LAB_SERVER_MTU=1300 inline_routers_again || die "no router"
LAB_TABLES=$TABLES check "the gateway begins again" inline_gateway
check "an upload finds out that only 1300 bytes pass" transfer PASV curl upload 1MiB
check "and the router has told it" [ "$(LAB_ROUTER_NAME=router lab_refresh && lab_get /counters/drop_too_big)" -gt 0 ]
check "an upload of IPv6 as well" transfer EPSV6 curl upload 1MiB
hops() { lab_exec client ping -c 1 -W 2 -t "$1" "$LAB_SERVER" | grep -c "From $2 .*Time to live exceeded"; }
check "the gateway tells who asks too far, by its inside address" [ "$(hops 1 10.0.0.1)" = 1 ]
check "the router behind it is heard" [ "$(hops 2 203.0.113.1)" = 1 ]
