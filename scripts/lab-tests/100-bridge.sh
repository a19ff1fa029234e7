#!/usr/bin/env bash
# deployment.kind = "bridge": default deny, FTP of both families, what else is allowed; frames leave as they came, with
# their VLAN tags; pieces of packets; and it goes away in order.
source "$(dirname "$0")/inline.sh"
LAB_DEPLOYMENT=bridge LAB_INNER=yes
i_begin
ICMP='[[firewall.rule]]
name = "ping"
action = "allow"
from = "inside"
protocol = "icmp"'
check "the gateway begins" inline_gateway
i_capture
i_modes PORT PASV EPRT EPSV EPSV6 EPRT6
captures_stop
check "frames leave as they came, byte for byte" python3 "$TG_ROOT/scripts/same_frames.py" "$i_dir"/legs-{inside,outside}.pcapng
check "the captures of both lines have a PORT" i_spoken PORT
check "no frame is damaged" i_sound
i_doors
check "a ping is refused" eval '! i_pings "$LAB_SERVER"'
i_ends

LAB_TABLES=$ICMP check "the gateway begins, with a rule for ICMP" inline_gateway
check "a ping passes" i_pings "$LAB_SERVER"
check "a ping of IPv6 passes" i_pings -6 "$LAB_SERVER6"
check "a ping in three pieces passes" i_pings -s 4000 "$LAB_SERVER"
check "a ping of IPv6 in three pieces passes" i_pings -6 -s 4000 "$LAB_SERVER6"

# One tag beside a full packet, and two, for which packets must be eight bytes shorter.
for tags in 7 "7, 100"; do
    lab_stop tidegate
    LAB_LINE_VLAN=$tags LAB_LINE_MTU=$([ "$tags" = 7 ] && echo 1500 || echo 1492) inline_routers_again || die "no router"
    check "tags $tags: the gateway begins" inline_gateway
    i_capture
    for mode in PORT EPSV EPSV6; do check "tags $tags: $mode upload" transfer "$mode" curl upload 1MiB; done
    captures_stop
    check "tags $tags: frames leave as they came" python3 "$TG_ROOT/scripts/same_frames.py" "$i_dir"/legs-{inside,outside}.pcapng
    check "tags $tags: all have their tags" i_none outside '!vlan'
done
