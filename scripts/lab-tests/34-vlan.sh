#!/usr/bin/env bash
# VLAN tags on the gateway's leg, one (802.1Q) and two (802.1ad around 802.1Q), on every way in and every path of
# AF_XDP: what the gateway answers, forwards and begins carries them, and with one tag packets have all of 1500 bytes.
source "$(dirname "$0")/harness.sh"
need_commands ping
T_IPV6=yes
t_begin
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
answers() { lab_exec client ping -c 1 -W 2 "$1" >/dev/null; }
# Deployment, redirection, source, mode of the interface, path. A veth whose other end sends by more queues than it
# receives by refuses an XDP program, and the kernel's generic path runs it.
WAYS=(
    "wccp gre own dedicated native"
    "wccp gre client dedicated native"
    "wccp l2 own shared native"
    "wccp l2 client dedicated generic"
    "static - own dedicated generic"
    "static - client shared native"
    "wccp gre own dedicated pnet"
)
for tags in 7 "7, 100"; do
    # Two tags are more than a link of 1500 bytes lets through beside a full packet.
    [ "$tags" = 7 ] || for space in client:c0 server:s0; do
        lab_exec "${space%:*}" ip link set dev "${space#*:}" mtu 1400
    done
    for way in "${WAYS[@]}"; do
        read -r LAB_DEPLOYMENT LAB_REDIRECT LAB_UPSTREAM LAB_MODE path <<<"$way"
        name="$way, tags $tags"
        lab_exec router ethtool -L to-gw tx "$([ "$path" = generic ] && echo 2 || echo 1)" 2>/dev/null
        LAB_VLAN=$tags t_router
        t_capture gw
        export LAB_INTERFACE_KEYS="vlan = [$tags]"
        check "$name: the gateway joins" t_gateway "$DATA" "$([ "$path" = pnet ] && echo pnet || echo af_xdp)" || continue
        [ "$path" = pnet ] || check "$name: its path" grep -q "XDP $path" "$LAB_STATE/tidegate.log"
        check "$name: passive download" transfer EPSV curl download 1MiB
        check "$name: passive upload" transfer PASV curl upload 1MiB
        check "$name: active upload" transfer PORT curl upload 1MiB
        if [ "$LAB_DEPLOYMENT" = static ]; then
            check "$name: IPv6 passive upload" transfer EPSV6 curl upload 1MiB
            check "$name: IPv6 active download" transfer EPRT6 curl download 1MiB
            check "$name: it answers ping of IPv6" answers "$LAB_GATEWAY6"
        fi
        check "$name: it answers ping" answers "$LAB_GATEWAY"
        check "$name: as redirected packets" eval 'lab_refresh && [ "$(lab_redirected)" -gt 500 ]'
        check "$name: the router read the outer tag beside each frame" \
            eval '[ "$(lab_get /legs/2/rx_tagged)" = "$(lab_get /legs/2/rx_frames)" ]'
        t_capture_stop
        wanted=$([ "$tags" = 7 ] && echo "-7" || echo "7-100")
        t_captured frame frame.len ieee8021ad.id vlan.id | awk -F'\t' '
            { count[$2 "-" $3]++; if ($1 > longest) longest = $1 }
            END { for (tags in count) print tags, count[tags]; print "longest", longest }' >"$LAB_STATE/tags"
        check "$name: frames carry the tags, and all do" [ "$(grep -vc longest "$LAB_STATE/tags") $(awk -v w="$wanted" \
            '$1 == w { print ($2 > 1000) }' "$LAB_STATE/tags")" = "1 1" ]
        [ "$tags" != 7 ] ||
            check "$name: with one tag packets have 1500 bytes" grep -q '^longest 1518$' "$LAB_STATE/tags"
        lab_stop tidegate
    done
done
