#!/usr/bin/env bash
# L2 redirection: the router writes our MAC address into the frame, and gets back by its own what is not ours.
source "$(dirname "$0")/harness.sh"
LAB_REDIRECT=l2
t_begin
t_router
t_held "goes_on(f)"
t_capture gw
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
check "L2 is agreed, both ways" eval \
    '[ "$(lab_get /groups/0/caches/0/forward) $(lab_get /groups/0/caches/0/return)" = "l2 l2" ]'
t_go
check "a session from before transfers and ends in order" t_held_says 'done'
both_ways "" PASV EPSV PORT EPRT
t_capture_stop
router_mac=$(lab_exec router cat /sys/class/net/to-gw/address)
# came_back [FILTER]: packets of the client's to the server, in frames to the router.
came_back() { t_captured "ip.src == $LAB_CLIENT && ip.dst == $LAB_SERVER && eth.dst == $router_mac ${1:-}" frame.number | wc -l; }
check "no GRE was on the gateway's leg" [ -z "$(t_captured gre frame.number)" ]
check "the router redirected by MAC address" [ "$(t_captured "ip.src == $LAB_CLIENT && ip.dst == $LAB_SERVER" frame.number | wc -l)" -gt 500 ]
check "the packets from before came back by MAC address" [ "$(came_back)" -gt 3 ]
check "no packet of the group went past the gateway" seen /groups/0/counters/unassigned 0

t_capture gw
t_drain "$LAB_SERVER" EPSV
t_capture_stop
check "the drain's new session came back by MAC address" [ "$(came_back '&& tcp.dstport == 21 && tcp.flags.syn == 1')" -gt 0 ]
check "the gateway joins again" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
t_kill t_nobody PASV
