#!/usr/bin/env bash
# Mistakes at start: one line that names the remedy, exit status 2.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
lab_gateway_config af_xdp 'data_ports = [2020]' >"$LAB_STATE/good.toml"

# refused WORDS COMMAND...: ends with 2 and says WORDS.
refused() {
    local words=$1 status
    shift
    timeout 10 ip netns exec "$(lab_ns gw)" "$@" >"$LAB_STATE/out" 2>"$LAB_STATE/err"
    status=$?
    [ "$status" = 2 ] && grep -qiE -- "$words" "$LAB_STATE/err" && return
    say "  exit status $status: $(head -n 3 "$LAB_STATE/err")"
    return 1
}
run() { refused "$1" "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/good.toml"; }

sed 's/"gw0"/"gw7"/' "$LAB_STATE/good.toml" >"$LAB_STATE/missing.toml"
check "no such interface" refused "gw7.*ip link" "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/missing.toml"
lab_exec gw ip link set dev gw0 down
check "interface down" run "down.*ip link set dev gw0 up"
lab_exec gw ip link set dev gw0 up
lab_exec gw ip link set dev gw0 mtu 9000
check "MTU too large" run "9000.*mtu 1500"
lab_exec gw ip link set dev gw0 mtu 1500
lab_exec gw ip addr add "$LAB_GATEWAY/24" dev gw0
check "the kernel has our address" run "ip address delete"
lab_exec gw ip addr del "$LAB_GATEWAY/24" dev gw0
# A copy that the other user may read, with a password that is his.
cp "$LAB_STATE/gateway.key" "$LAB_STATE/nobody.key" && chown nobody "$LAB_STATE/nobody.key"
sed 's/gateway\.key/nobody.key/' "$LAB_STATE/good.toml" >"$LAB_STATE/nobody.toml"
check "missing capability" refused "CAP_" setpriv --reuid nobody --regid nogroup --clear-groups \
    --bounding-set=-all --inh-caps=-all "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/nobody.toml"

cat >"$LAB_STATE/pass.c" <<'C'
__attribute__((section("xdp"), used)) int pass(void *ctx) { return 2; }
char _license[] __attribute__((section("license"), used)) = "GPL";
C
clang -O2 -g -target bpf -c "$LAB_STATE/pass.c" -o "$LAB_STATE/pass.o" &&
    lab_exec gw ip link set dev gw0 xdp obj "$LAB_STATE/pass.o" sec xdp
check "another XDP program is attached" run "xdp.*(off|detach)"
lab_exec gw ip link set dev gw0 xdp off
check "after all that it starts" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'

in_line() {
    sed 's/^kind = "wccp"/kind = "bridge"/' "$LAB_STATE/good.toml" >"$LAB_STATE/bridge.toml"
    "$LAB_TIDEGATE_BIN" check --config "$LAB_STATE/bridge.toml" >/dev/null 2>"$LAB_STATE/err"
    [ $? = 2 ] && grep -qi wccp "$LAB_STATE/err"
}
check "R000.11: WCCP with a bridge is refused" in_line
