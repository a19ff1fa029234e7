#!/usr/bin/env bash
# run --record: what was recorded replays the same, is for its owner only, and is warned of; a limit ends the
# recording and not the gateway.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
recording() {
    lab_gateway_config "$1" >"$LAB_STATE/tidegate.toml"
    rm -rf "$LAB_STATE/events.jsonl" "$LAB_STATE/case"
    lab_spawn tidegate gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml" \
        --record "$LAB_STATE/case" --record-limit "$2"
    lab_joined 15
}
replays() { "$LAB_TIDEGATE_BIN" replay --verify "$LAB_STATE/case" >"$LAB_STATE/replay.out" || ! cat "$LAB_STATE/replay.out"; }
refused() {
    ! lab_exec gw "$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml" --record "$LAB_STATE/case" \
        2>"$LAB_STATE/refused" && grep -q -- '--record .*: the directory is not empty; ' "$LAB_STATE/refused"
}
ended() { grep -q "^ended = \"$1\"" "$LAB_STATE/case/manifest.toml"; }
for driver in af_xdp pnet; do
    check "the gateway joins by $driver, recording" recording "$driver" 64MiB
    check "a passive download of 1 MiB" transfer EPSV curl download 1MiB
    check "an active upload of 1 MiB" transfer PORT curl upload 1MiB
    check "the recording is warned of" event '"kind":"recording"'
    lab_stop tidegate
    check "it ended with the gateway" ended stop
    check "only its owner may read it" [ -z "$(find "$LAB_STATE/case" -perm /077)" ]
    check "it replays the same" replays
done
check "the gateway joins again" recording af_xdp 256KiB
check "a download larger than the limit" transfer EPSV curl download 1MiB
check "the end of the recording is told" event '"kind":"recording_ended"'
check "the gateway goes on" transfer PASV curl download 1
lab_stop tidegate
check "the recording says why it ended" ended limit
check "what was recorded replays the same" replays
check "a directory in use is refused" refused
