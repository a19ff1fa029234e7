#!/usr/bin/env bash
# mode = "shared": the kernel's own addresses on the gateway's interface keep working beside the gateway, and the
# kernel says nothing to what is the gateway's.
source "$(dirname "$0")/harness.sh"
need_commands ping
t_begin
t_router
export LAB_MODE=shared
KERNEL=10.9.0.5
lab_exec gw ip addr add "$KERNEL/24" dev gw0
lab_exec gw ip route add default via "$LAB_ROUTER"
cat >"$LAB_STATE/service.py" <<'PY'
import socket, threading
def serve(peer):
    while data := peer.recv(65536):
        peer.sendall(data)
listener = socket.create_server(("10.9.0.5", 22))
while True:
    peer, _ = listener.accept()
    threading.Thread(target=serve, args=(peer,), daemon=True).start()
PY
lab_spawn service gw python3 "$LAB_STATE/service.py"
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
echoes() {
    script <<'PY'
from ftp import *
s = socket.create_connection(("10.9.0.5", 22), 10)
sent = bytes(range(256)) * 2000
s.sendall(sent[:1000])
got = b""
while len(got) < 1000:
    got += s.recv(65536)
s.settimeout(10)
import threading
threading.Thread(target=s.sendall, args=(sent[1000:],), daemon=True).start()
while len(got) < len(sent):
    got += s.recv(65536)
need(got == sent, "other bytes")
PY
}
ping_of() { lab_exec client ping -c 3 -i 0.2 -W 2 "$1" >/dev/null; }
t_capture gw
check "the gateway joins beside the kernel" t_gateway "$DATA"
for mode in PASV EPSV PORT EPRT; do
    check "$mode download" transfer "$mode" curl download 1MiB
    check "$mode upload" transfer "$mode" curl upload 1MiB
done
check "the kernel's TCP service works" echoes
check "the kernel answers ping" ping_of "$KERNEL"
check "the gateway answers ping" ping_of "$LAB_GATEWAY"
head -c 2000000 /dev/urandom >"$LAB_STATE/ftproot/pub/slow"
lab_exec client curl -sS --limit-rate 1M "ftp://$LAB_SERVER/pub/slow" -o "$LAB_STATE/slow" &
curl=$!
check "the TCP service works during a transfer" echoes
wait "$curl"
check "the transfer is whole" cmp "$LAB_STATE/slow" "$LAB_STATE/ftproot/pub/slow"
t_capture_stop
kernel_mac=$(lab_exec gw cat /sys/class/net/gw0/address)
check "the capture holds what the gateway sent" \
    [ "$(t_captured "tcp && eth.src == $kernel_mac" frame.number | wc -l)" -gt 1000 ]
check "no ICMP of the kernel but its echo replies" \
    [ -z "$(t_captured "icmp && eth.src == $kernel_mac && !(icmp.type == 0) && !gre" frame.number)" ]
check "no reset on the gateway's leg" \
    [ -z "$(t_captured "tcp.flags.reset == 1 && eth.src == $kernel_mac" frame.number ip.src)" ]
