#!/usr/bin/env bash
# mode = "shared", on every way in and with each driver: the kernel's own addresses on the gateway's interface keep
# working beside the gateway, and the kernel says nothing to what is the gateway's.
source "$(dirname "$0")/harness.sh"
need_commands ping
T_IPV6=yes
t_begin
export LAB_MODE=shared
KERNEL=10.9.0.5 KERNEL6=fd00:0:0:9::5
lab_exec gw sysctl -qw net.ipv6.conf.gw0.addr_gen_mode=1 net.ipv6.conf.gw0.accept_ra=0 \
    net.ipv6.conf.gw0.router_solicitations=0 net.ipv6.conf.gw0.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0
lab_exec gw ip addr add "$KERNEL/24" dev gw0
lab_exec gw ip addr add "$KERNEL6/64" dev gw0 nodad
lab_exec gw ip route add default via "$LAB_ROUTER"
lab_exec gw ip -6 route add default via "$LAB_ROUTER6"
cat >"$LAB_STATE/service.py" <<'PY'
import socket, sys, threading
def serve(peer):
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data)
def listen(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
families = (socket.AF_INET, socket.AF_INET6)
threads = [threading.Thread(target=listen, args=(socket.create_server((host, 7), family=family),))
           for host, family in zip(sys.argv[1:], families)]
for t in threads:
    t.start()
PY
lab_spawn service gw python3 "$LAB_STATE/service.py" "$KERNEL" "$KERNEL6"
# A real SSH server beside it. What "ip netns exec" runs has mounts of its own: only there is this the list of users, with a
# home for root under the lab's state.
unpack_program usr/sbin/dropbear dropbear-bin || die "no SSH server"
SSH=$LAB_STATE/ssh
with_ssh=(env "LD_LIBRARY_PATH=$(unpacked_libraries)" "PATH=$TG_LAB_DIR/root/usr/sbin:$TG_LAB_DIR/root/usr/bin:$PATH")
mkdir -p "$SSH/.ssh"
for key in host-key key; do
    "${with_ssh[@]}" dropbearkey -t ed25519 -f "$SSH/$key" >"$SSH/$key.says" 2>&1 || die "dropbearkey: $(<"$SSH/$key.says")"
done
grep '^ssh-ed25519 ' "$SSH/key.says" >"$SSH/.ssh/authorized_keys"
echo "root:x:0:0:root:$SSH:/bin/sh" >"$SSH/passwd"
chmod -R go= "$SSH"
chmod 644 "$SSH/passwd"
lab_spawn sshd gw "${with_ssh[@]}" sh -c 'mount --bind "$0/passwd" /etc/passwd && exec dropbear -F -E -s -r "$0/host-key" \
    -P "$0/pid" -p "$1:22" -p "[$2]:22"' "$SSH" "$KERNEL" "$KERNEL6"
lab_wait 5 lab_listens -4 gw 22 || die "no SSH server: $(<"$LAB_STATE/sshd.log")"
# ssh_works HOST...: a command by SSH.
ssh_works() {
    local host
    for host in "$@"; do
        [ "$(lab_exec client "${with_ssh[@]}" timeout 15 dbclient -y -y -T -i "$SSH/key" "root@$host" \
            "echo \$SSH_CONNECTION" 2>"$SSH/client.log" </dev/null | cut -d' ' -f3,4)" = "$host 22" ] && continue
        tail -n 3 "$SSH/client.log" "$LAB_STATE/sshd.log"
        return 1
    done
}
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
# echoes HOST...: half a megabyte there and back.
echoes() {
    script "$@" <<'PY'
from ftp import *
import threading
sent = bytes(range(256)) * 2000
for host in sys.argv[1:]:
    s = socket.create_connection((host, 7), 10)
    threading.Thread(target=s.sendall, args=(sent,), daemon=True).start()
    got = b""
    while len(got) < len(sent):
        more = s.recv(65536)
        need(more, "the connection ended")
        got += more
    need(got == sent, "other bytes")
    s.close()
PY
}
ping_of() { lab_exec client ping -c 2 -i 0.2 -W 2 "$1" >/dev/null; }
kernel_mac=$(lab_exec gw cat /sys/class/net/gw0/address)
# What left the gateway's interface as it is: "N", then what may not be there, resets and errors of ICMP and ICMPv6. What
# is in a tunnel is a client's; what quotes a tunnel is an answer to it, and its first field the answer's own.
said() {
    t_captured "eth.src == $kernel_mac && (!gre || ip.proto#1 == 1)" tcp.flags.reset icmp.type icmpv6.type | awk -F'\t' '
        $1 ~ /1|True/ { bad["reset"] = " reset" }
        $2 != "" && $2 !~ /^[08]$/ { bad["icmp"] = " ICMP type " $2 }
        $3 != "" && $3 < 128 { bad["icmpv6"] = " ICMPv6 type " $3 }
        $1 != "" { tcp++ }
        END { printf "%d", tcp; for (i in bad) printf "%s", bad[i]; print "" }'
}
for way in "wccp gre own af_xdp" "wccp l2 own af_xdp" "wccp l2 client af_xdp" "static - own af_xdp" \
    "wccp gre own pnet"; do
    read -r LAB_DEPLOYMENT LAB_REDIRECT LAB_UPSTREAM driver <<<"$way"
    t_router
    t_capture gw
    check "$way: the gateway joins beside the kernel" t_gateway "$DATA" "$driver" || continue
    modes=(PASV EPSV PORT EPRT) hosts=("$KERNEL")
    [ "$LAB_DEPLOYMENT" = wccp ] || { modes+=(EPSV6 EPRT6) && hosts+=("$KERNEL6"); }
    both_ways "$way: " "${modes[@]}"
    check "$way: nothing went past the gateway" eval 'lab_refresh && [ "$(lab_passed_by)" = 0 ]'
    for host in "${hosts[@]}"; do check "$way: the kernel answers ping of $host" ping_of "$host"; done
    check "$way: the gateway answers ping" ping_of "$LAB_GATEWAY"
    [ "$LAB_DEPLOYMENT" = wccp ] || check "$way: and ping of IPv6" ping_of "$LAB_GATEWAY6"
    t_slow "$LAB_SERVER" 1200000
    check "$way: ssh to the kernel works during a transfer" ssh_works "${hosts[@]}"
    check "$way: which still went on then" kill -0 "$t_slow_job"
    check "$way: the kernel's TCP service works beside it" echoes "${hosts[@]}"
    check "$way: the transfer is whole" t_slow_whole
    t_tell
    check "$way: the gateway ends, with exit status 0" t_ended
    check "$way: the kernel's TCP service works without the gateway" echoes "${hosts[@]}"
    t_capture_stop
    read -r count bad <<<"$(said)"
    check "$way: the capture holds what the gateway sent ($count segments)" [ "$count" -gt 1000 ]
    check "$way: no reset and no ICMP error left its interface${bad:+, but $bad}" [ -z "$bad" ]
done
LAB_DEPLOYMENT=static
lab_gateway_config pnet "$DATA" >"$LAB_STATE/refused.toml"
told_apart() { ! lab_exec gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/refused.toml" 2>&1; }
check "static with pnet cannot share, and says why" grep -q 'not told apart' <<<"$(told_apart)"
