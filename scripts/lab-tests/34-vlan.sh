#!/usr/bin/env bash
# VLAN tags on the gateway's leg, one (802.1Q) and two (802.1ad around 802.1Q): what the gateway answers, forwards
# and begins carries them.
source "$(dirname "$0")/harness.sh"
need_commands ping
T_IPV6=yes
t_begin
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
answers() { lab_exec client ping -c 1 -W 2 "$LAB_GATEWAY" >/dev/null; }
# Two tags are more than a link of 1500 bytes lets through beside a full packet.
for space in client:c0 server:s0; do lab_exec "${space%:*}" ip link set dev "${space#*:}" mtu 1400; done
for tags in 7 "7, 100"; do
    for LAB_DEPLOYMENT in wccp static; do
        for driver in af_xdp pnet; do
            [ "$driver $LAB_DEPLOYMENT" = "pnet static" ] && continue
            name="$LAB_DEPLOYMENT, $driver, tags $tags"
            LAB_VLAN=$tags t_router
            t_capture gw
            export LAB_INTERFACE_KEYS="vlan = [$tags]"
            check "$name: the gateway joins" t_gateway "$DATA" "$driver" || continue
            check "$name: passive download" transfer EPSV curl download 1MiB
            check "$name: active upload" transfer PORT curl upload 1MiB
            if [ "$LAB_DEPLOYMENT" = static ]; then
                check "$name: IPv6 passive upload" transfer EPSV6 curl upload 1MiB
                check "$name: IPv6 active download" transfer EPRT6 curl download 1MiB
            fi
            check "$name: it answers ping" answers
            check "$name: as redirected packets" eval 'lab_refresh && [ "$(lab_redirected)" -gt 500 ]'
            t_capture_stop
            tagged="vlan.id == 7"
            [ "$tags" = 7 ] || tagged="ieee8021ad.id == 7 && vlan.id == 100"
            check "$name: frames carry the tags" [ "$(t_captured "$tagged" frame.number | wc -l)" -gt 1000 ]
            check "$name: and all do" [ -z "$(t_captured "!($tagged)" frame.number | head -1)" ]
            lab_stop tidegate
        done
    done
done
