#!/usr/bin/env bash
# Sets up and runs every test there is, and prints the time of each stage. The last line is
# "N passed, N failed", and the exit status 0 only if nothing failed.
#
#   scripts/test.sh [STAGE...]     all stages, or only these (see the list at the end of this file)
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
cd "$TG_ROOT" || exit 1

LOGS=$TG_TARGET/test-logs
passed=0 failed=0
summary=()
wanted=("$@")

# stage NAME COUNTER COMMAND...: runs COMMAND with its output in a log; COUNTER says how it counts its tests. False if
# this stage is not wanted.
stage() {
    local name=$1 counter=$2 start=$SECONDS good=0 bad=0 status counts
    shift 2
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return 1; fi
    printf '%-10s ' "$name"
    "$@" >"$LOGS/$name.log" 2>&1 </dev/null
    status=$?
    counts=$("$counter" "$LOGS/$name.log")
    read -r good bad <<<"$counts"
    # A stage that fails without a test that failed (it did not compile, it was killed) is one failure.
    [ $status != 0 ] && [ "${bad:-0}" = 0 ] && bad=1
    [ $status = 0 ] && [ "${good:-0}" = 0 ] && [ "${bad:-0}" = 0 ] && good=1
    passed=$((passed + good)) failed=$((failed + bad))
    printf '%4d s  %d passed, %d failed\n' $((SECONDS - start)) "$good" "$bad"
    summary+=("$(printf '%-10s %4d s  %d passed, %d failed' "$name" $((SECONDS - start)) "$good" "$bad")")
    if [ "$bad" != 0 ]; then
        warn "---- the end of ${LOGS#"$TG_ROOT"/}/$name.log ----"
        tail -n 40 "$LOGS/$name.log" >&2
        warn "----"
    fi
    return 0
}

# How stages count: as one test, by cargo's and nextest's summaries, or by a last line "N passed, N failed".
count_one() { echo 0 0; }
count_cargo() {
    awk '
        /^test result:/ { p += $4; f += $6 }
        /^ *Summary \[/ {
            for (i = 1; i <= NF; i++) { if ($(i + 1) ~ /^passed/) p += $i; if ($(i + 1) ~ /^failed/) f += $i }
        }
        END { print p + 0, f + 0 }' "$1"
}
count_lines() { awk '/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 } END { print p + 0, f + 0 }' "$1"; }
count_demo() {
    awk '/^demo: [0-9]+ transfers, [0-9]+ identical, [0-9]+ failed$/ { p = $4; f = $6 } END { print p + 0, f + 0 }' "$1"
}

# Figures that tests take: they write a line each, for a test that passes is not heard.
FIGURES=$TG_TARGET/tmp/figures
run_tests() {
    rm -rf "$FIGURES"
    export TG_ALG_CASES=${TG_ALG_CASES:-100000} TG_DIFF_CASES=${TG_DIFF_CASES:-20000}
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --locked --no-fail-fast && cargo test --locked --doc
    else
        cargo test --locked --no-fail-fast
    fi
}

show_figures() {
    local figure
    for figure in "$FIGURES"/*; do
        [ -e "$figure" ] && say "           $(<"$figure")"
    done
}

# The models of the lock-free parts; a build of its own, as every atomic is another one there.
run_loom() {
    local models=() file
    for file in tests/*loom*.rs; do
        [ -e "$file" ] && models+=(--test "$(basename "$file" .rs)")
    done
    [ ${#models[@]} = 0 ] && return 0
    RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}" cargo test --locked --release --target-dir "$TG_TARGET/loom" "${models[@]}"
}

run_shellcheck() {
    printf '%s\0' scripts/*.sh scripts/lab-tests/*.sh | xargs -0 -n 5 -P "$(nproc)" shellcheck -x -S warning
}

run_replay() { "$TG_TARGET/release/tidegate" replay --verify "$TG_ROOT"/pcaps/*/; }

run_lab_tests() {
    local test status=0
    for test in "$TG_ROOT"/scripts/lab-tests/[0-9]*.sh; do
        [ -e "$test" ] || continue
        say "== ${test##*/}"
        as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" bash "$test" || status=1
    done
    return $status
}

run_squid() { as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" bash scripts/squid-hia.sh; }

say "tidegate: all tests, on $(nproc) processors"
need_commands cc clang curl lftp ip ethtool sysctl dumpcap tshark nft ss
need_rust
mkdir -p "$LOGS"

stage format count_one cargo fmt --all --check
stage clippy count_one cargo clippy --locked --all-targets -- -D warnings
stage docs count_one env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
stage unit count_cargo run_tests && show_figures
stage loom count_cargo run_loom
if command -v cargo-deny >/dev/null; then stage deny count_one cargo deny check; else say "deny          not run: cargo-deny is not installed"; fi
need_commands shellcheck
stage scripts count_one run_shellcheck
stage build count_one cargo build --release --locked --bins
stage replay count_lines run_replay
if [ -d "${TIDEGATE_CAPTURES:-../shared/captures}" ]; then
    stage captures count_lines bash scripts/captures.sh
else
    say "captures      not run: TIDEGATE_CAPTURES names no directory with captures"
fi
stage squid count_lines run_squid
stage demo count_demo "$TG_ROOT/scripts/demo.sh" --only '(0|1|1MiB)$'
stage static count_demo "$TG_ROOT/scripts/demo.sh" --deployment static --only '(0|1|1MiB)$'
stage l2 count_demo "$TG_ROOT/scripts/demo.sh" --redirect l2 --only '(0|1MiB)$'
stage client count_demo "$TG_ROOT/scripts/demo.sh" --upstream client --only '(0|1MiB)$'
stage reverse count_demo "$TG_ROOT/scripts/demo.sh" --upstream client --reverse ports --only '(0|1MiB)$'
stage bridge count_demo "$TG_ROOT/scripts/demo.sh" --deployment bridge --only '(0|1MiB)$'
stage route count_demo "$TG_ROOT/scripts/demo.sh" --deployment route --only '(0|1MiB)$'
stage compare count_lines bash scripts/compare.sh --quick --only tidegate
stage matrix count_lines bash scripts/matrix.sh
stage lab count_lines run_lab_tests

say
printf '%s\n' "${summary[@]}"
say "all stages: $((SECONDS / 60)) min $((SECONDS % 60)) s"
say
say "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
