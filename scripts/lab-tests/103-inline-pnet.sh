#!/usr/bin/env bash
# Bridge and route by the driver pnet: raw sockets beside the kernel, which must not take part.
source "$(dirname "$0")/inline.sh"
i_begin
for LAB_DEPLOYMENT in bridge route; do
    lab_stop tidegate
    inline_routers_again || die "no router"
    LAB_DRIVER=pnet check "$LAB_DEPLOYMENT: the gateway begins with pnet" inline_gateway
    i_modes PORT PASV EPSV EPRT6 EPSV6
    i_doors
done
