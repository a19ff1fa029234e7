#!/usr/bin/env bash
# 100,000 SYNs from sources that do not exist, with 20 real sessions beside them: the sessions' files are
# identical, the gateway's memory stays as it was, and the server accepts no connection of the flood.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway $'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]\n[timers]\ndrain_timeout = "2s"'
head -c 200000 /dev/urandom >"$LAB_STATE/ftproot/pub/file"
# memory VmRSS|VmHWM: what the gateway holds, or the most it held since peak_forgotten, in KiB.
memory() { awk -v what="$1:" '$1 == what { print $2 }' "/proc/$(lab_pid tidegate)/status"; }
peak_forgotten() { echo 5 >"/proc/$(lab_pid tidegate)/clear_refs"; }
accepted() { lab_exec server awk '/^Tcp:/ && $6 ~ /[0-9]/ { print $7 }' /proc/net/snmp; }
# flood COUNT: from all over 172.16.0.0/12, as fast as half a processor sends.
flood() {
    lab_exec client python3 - "$1" "$(lab_exec router cat /sys/class/net/to-client/address)" \
        "$(lab_exec client cat /sys/class/net/c0/address)" <<'PY'
import socket, struct, sys, time
count, router, own = int(sys.argv[1]), *(bytes.fromhex(m.replace(":", "")) for m in sys.argv[2:])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind(("c0", 0))
def folded(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
server = bytes([10, 1, 0, 10])
ethernet = router + own + b"\x08\0"
start = time.monotonic()
for n in range(count):
    source = struct.pack("!I", 0xAC100000 | (n * 2654435761 & 0xFFFFF))
    ip = b"\x45\0\0\x28" + struct.pack("!H", n & 0xFFFF) + b"\0\0\x40\x06"
    ip += struct.pack("!H", folded(ip + b"\0\0" + source + server)) + source + server
    tcp = struct.pack("!HHIIBB", 1024 + n % 60000, 21, n * 40503 & 0xFFFFFFFF, 0, 0x50, 2) + b"\x20\0"
    tcp += struct.pack("!HH", folded(source + server + b"\0\x06\0\x14" + tcp + b"\0\0\0\0"), 0)
    s.send(ethernet + ip + tcp)
    # No faster than 25,000 a second: what the lab's own sockets drop would be no test of the gateway.
    if n % 250 == 249:
        time.sleep(max(0, start + n / 25000 - time.monotonic()))
PY
}
session() {
    lab_exec client curl -sS --connect-timeout 20 -m 40 ${2:+-P -} -o "$LAB_STATE/got-$1" "ftp://$LAB_SERVER/pub/file"
}
all_identical() {
    local n
    for n in {1..20}; do cmp "$LAB_STATE/got-$n" "$LAB_STATE/ftproot/pub/file" || return 1; done
}
check "a first session" session 0
flood 20000
sleep 1
peak_forgotten
before=$(memory VmRSS) connections=$(accepted)
flood 100000 &
flood=$!
sleep 0.5
jobs=()
for n in {1..20}; do
    # Half of them passive, half active.
    if [ "$n" -le 10 ]; then session "$n" & else session "$n" active & fi
    jobs+=($!)
    sleep 0.1
done
ended=0
for job in "${jobs[@]}"; do wait "$job" && ended=$((ended + 1)); done
wait "$flood"
check "20 sessions end well ($ended)" [ "$ended" = 20 ]
check "their files are identical" all_identical
# Two of each session: data connections are passive on the server's side, whatever the client's are.
check "the server accepted theirs only ($(($(accepted) - connections)))" [ "$(($(accepted) - connections))" = 40 ]
sleep 1
after=$(memory VmRSS) most=$(memory VmHWM)
check "memory stays as it was ($before KiB, then $after KiB)" [ "$after" -le $((before + before / 20)) ]
check "also during the flood (at most $most KiB)" [ "$most" -le $((before + before / 20)) ]
check "a session after it" session 0
# What is half open still is waited for, as long as a drain may take.
kill -s TERM "$(lab_pid tidegate)"
ended() { ! lab_alive tidegate; }
check "the gateway ends" lab_wait 20 ended
# counted NAME: what the gateway counted, told at its end.
counted() { sed -n "s/.*\"state\":\"stopped\".*[^a-z_]$1=\([0-9]*\).*/\1/p" "$LAB_STATE/events.jsonl"; }
check "the flood reached the gateway ($(counted syns) SYNs)" [ "$(counted syns)" -ge 100000 ]
check "half-open connections were given up, and counted ($(counted half_open_evicted))" \
    [ "$(counted half_open_evicted)" -ge 50000 ]
