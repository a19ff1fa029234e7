#!/usr/bin/env bash
# What `tidegate explain` says of sessions that fail on purpose: real clients and servers, a router between them that drops,
# refuses and translates, captures on both its sides. Each has one cause, and the code of that one is given.
source "$(dirname "$0")/harness.sh"
LAB_DEPLOYMENT=kernel
# shellcheck source=scripts/lab-inline.sh
source "$TG_ROOT/scripts/lab-inline.sh"
LAB_LONG_CLIENT=192.0.2.5
need_commands ip ethtool sysctl curl dumpcap python3 ss nft openssl
lab_lock || die "this lab is in use"
trap t_finish EXIT
trap 'exit 130' INT TERM
inline_up || die "the lab cannot be made here"
lab_lossy
for n in $(seq 100 140); do lab_exec client ip addr add "10.0.0.$n/24" dev c0; done
for n in 9 10 11; do lab_exec server ip addr add "198.51.100.$n/24" dev s0; done
inline_routers || die "no router"
inline_forwarding || die "the kernel cannot be a router here"
causes() { env "PYTHONPATH=$TG_ROOT/scripts" PYTHONDONTWRITEBYTECODE=1 python3 "$T_DIR/causes.py" "$@"; }
causes rules | lab_exec gw nft -f - || die "no rules"
LAB_SERVER=$LAB_SERVER_TWO LAB_VSFTPD=vsftpd-two lab_vsftpd pasv_address=10.99.99.99 data_connection_timeout=3 || die "no second"
LAB_SERVER=198.51.100.10 LAB_VSFTPD=vsftpd-three lab_vsftpd pasv_enable=NO port_enable=NO || die "no third"
LAB_SERVER=198.51.100.11 lab_proftpd || die "no FTP server with TLS"
lab_vsftpd || die "no FTP server"
head -c 100000 /dev/urandom >"$LAB_STATE/ftproot/pub/file"
head -c 3000000 /dev/urandom >"$LAB_STATE/ftproot/pub/large"
mkdir -p "$LAB_STATE/captures"
for leg in "${LAB_LEGS[@]}"; do
    IFS=: read -r leg space device <<<"$leg"
    lab_spawn "capture-$leg" "$space" dumpcap -q -P -i "$device" -B 64 -w "$LAB_STATE/captures/$leg.pcap"
done
for leg in inside outside; do lab_wait 10 grep -q '^File:' "$LAB_STATE/capture-$leg.log" || die "dumpcap does not begin"; done
causes run "$(lab_ns client)" "$(lab_ns server)"
sleep 0.5
for leg in inside outside; do lab_stop "capture-$leg" INT || die "dumpcap does not end"; done
causes split "$LAB_STATE"

# codes FILE: the codes that explain gives, all of them. Where there is none the file must have been seen to arrive.
codes() {
    "$LAB_TIDEGATE_BIN" explain --json "$1" | python3 -c '
import json, sys
transfers = [t for s in json.load(sys.stdin)["sessions"] for t in s["transfers"]]
whole = any((t.get("data") or {"to_client": 0})["to_client"] >= 100_000 for t in transfers)
codes = [t["cause"]["code"] for t in transfers if t["cause"]]
print(",".join(codes) if codes or whole else "no cause, and no transfer")'
}
looked=0
while IFS=$'\t' read -r n name code; do
    looked=$((looked + 1))
    found=$(codes "$LAB_STATE/cause-$n.pcap")
    check "$name: ${code:-no cause, and the file arrived}" [ "$found" = "$code" ] || say "  but $found"
done <"$LAB_STATE/expected.tsv"
check "every cause was looked at" [ "$looked" = "$(causes count)" ]
