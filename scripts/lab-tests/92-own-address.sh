#!/usr/bin/env bash
# The gateway answers ping for its own address, which the kernel does not have.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
check "the kernel has no address there" [ -z "$(lab_exec gw ip -4 -br addr show dev gw0 | awk '{print $3}')" ]
check "it answers ping, small and large" script <<'PY'
from ftp import *
import struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(3)
for n, size in enumerate((0, 1, 56, 1472)):
    body = bytes(i & 255 for i in range(size))
    def packet(checksum):
        return struct.pack("!BBHHH", 8, 0, checksum, 0x7467, n) + body
    total = packet(0) + b"\0" * (size & 1)
    total = sum(struct.unpack(f"!{len(total) // 2}H", total))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    s.sendto(packet(~total & 0xFFFF), (GATEWAY, 0))
    while True:
        answer, peer = s.recvfrom(4096)
        answer = answer[20:]
        if peer[0] == GATEWAY and answer[0] == 0 and answer[4:8] == struct.pack("!HH", 0x7467, n):
            break
    need(answer[8:] == body, f"{size} bytes came back changed")
PY
