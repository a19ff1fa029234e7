#!/usr/bin/env bash
# Sets up and runs every test there is, and prints the time of each stage. What waits most of its time runs two at a time,
# each in a lab of its own. The last line is "N passed, N failed", and the exit status 0 only if nothing failed.
#
#   scripts/test.sh [STAGE...]     all stages, or only these (see the list at the end of this file)
#
# What a stage says is in target/test-logs, for the stage "lab" in a file for each of its tests.
set -u

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
cd "$TG_ROOT" || exit 1

LOGS=$TG_TARGET/test-logs
passed=0 failed=0
summary=()
wanted=("$@")

wanted() { [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

# A stage is a function of its name with "stage_" before it. Counts as one test if nothing is said here; by cargo's and
# nextest's summaries; or by a last line "N passed, N failed", or the demo's.
declare -A COUNTED_BY=([unit]=cargo [loom]=cargo [replay]=lines [captures]=lines [squid]=lines [compare]=lines
    [matrix]=lines [demo]=demo [static]=demo [l2]=demo [client]=demo [reverse]=demo [bridge]=demo [route]=demo)

# run NAME: one stage, or one of the lab's tests as "lab/TEST", with its output and its seconds in files.
run() {
    local start=$SECONDS status log=$LOGS/${1/\//-}
    case $1 in
        lab/*) lab_test "${1#lab/}" ;;
        *) "stage_$1" ;;
    esac >"$log.log" 2>&1 </dev/null
    status=$?
    echo $((SECONDS - start)) >"$log.seconds"
    return $status
}

# ended NAME STATUS: counts and shows what has ended.
ended() {
    local name=$1 log=$LOGS/${1/\//-} good=0 bad=0 seconds line counter=${COUNTED_BY[$1]:-one}
    [[ $name != lab/* ]] || counter=lines
    seconds=$(<"$log.seconds")
    rm -f "$log.seconds"
    read -r good bad <<<"$("count_$counter" "$log.log")"
    # What fails without a test that failed (it did not compile, it was killed) is one failure.
    [ "$2" != 0 ] && [ "${bad:-0}" = 0 ] && bad=1
    [ "$2" = 0 ] && [ "${good:-0}" = 0 ] && [ "${bad:-0}" = 0 ] && good=1
    passed=$((passed + good)) failed=$((failed + bad))
    line=$(printf '%-26s %4d s  %d passed, %d failed' "$name" "$seconds" "$good" "$bad")
    say "$line"
    summary+=("$line")
    if [ "$bad" != 0 ]; then
        warn "---- the end of ${log#"$TG_ROOT"/}.log ----"
        tail -n 40 "$log.log" >&2
        warn "----"
    fi
    [ "$name" != unit ] || show_figures
}

# alone NAME...: one after another, what leaves no time to others, or whose measure others would spoil.
alone() {
    local name
    for name in "$@"; do
        run "$name"
        ended "$name" $?
    done
}

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

stage_format() { cargo fmt --all --check; }
stage_clippy() { cargo clippy --locked --all-targets -- -D warnings; }
stage_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items; }

# Figures that tests take: they write a line each, for a test that passes is not heard.
FIGURES=$TG_TARGET/tmp/figures
stage_unit() {
    rm -rf "$FIGURES"
    export TG_ALG_CASES=${TG_ALG_CASES:-100000} TG_DIFF_CASES=${TG_DIFF_CASES:-20000} TG_P48_CASES=${TG_P48_CASES:-3000}
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
stage_loom() {
    local models=() file
    for file in tests/*loom*.rs; do
        [ -e "$file" ] && models+=(--test "$(basename "$file" .rs)")
    done
    [ ${#models[@]} = 0 ] && return 0
    RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}" cargo test --locked --release --target-dir "$TG_TARGET/loom" "${models[@]}"
}

stage_deny() { cargo deny check; }
stage_scripts() {
    python3 scripts/mutations.py --check || return 1
    printf '%s\0' scripts/*.sh scripts/lab-tests/*.sh | xargs -0 -n 5 -P "$(nproc)" shellcheck -x -S warning
}
stage_build() { cargo build --release --locked --bins; }
stage_replay() { "$TG_TARGET/release/tidegate" replay --verify "$TG_ROOT"/pcaps/*/; }
stage_captures() { bash scripts/captures.sh; }
in_the_lab() { as_root env "TG_LAB_DIR=$TG_LAB_DIR" "CARGO_TARGET_DIR=$TG_TARGET" "TG_LAB=${TG_LAB:-tg}" bash "$@"; }
stage_squid() { in_the_lab scripts/squid-hia.sh; }
stage_demo() { scripts/demo.sh --only '(0|1|1MiB)$'; }
stage_static() { scripts/demo.sh --deployment static --only '(0|1|1MiB)$'; }
stage_l2() { scripts/demo.sh --redirect l2 --only '(0|1MiB)$'; }
stage_client() { scripts/demo.sh --upstream client --only '(0|1MiB)$'; }
stage_reverse() { scripts/demo.sh --upstream client --reverse ports --only '(0|1MiB)$'; }
stage_bridge() { scripts/demo.sh --deployment bridge --only '(0|1MiB)$'; }
stage_route() { scripts/demo.sh --deployment route --only '(0|1MiB)$'; }
stage_compare() { bash scripts/compare.sh --quick --only tidegate; }
stage_matrix() { bash scripts/matrix.sh; }
lab_test() { in_the_lab "$TG_ROOT/scripts/lab-tests/$1.sh"; }

# descendants PID: whom it has started, and who they have.
descendants() {
    local pid
    for pid in $(ps -o pid= --ppid "$1"); do
        descendants "$pid"
        say "$pid"
    done
}
interrupted() {
    local lane
    # What runs has been interrupted as well, and takes its lab down. But a shell goes on if the command that it waited for
    # did: it is told once more.
    for lane in "${!beside_lane[@]}"; do
        # shellcheck disable=SC2046 # words
        kill -s TERM $(descendants "$lane") 2>/dev/null
    done
    wait
    warn "test.sh: interrupted"
    exit 130
}
trap interrupted INT

say "tidegate: all tests, on $(nproc) processors"
need_commands cc clang curl lftp ip ethtool sysctl dumpcap tshark nft ss python3
need_rust
mkdir -p "$LOGS"

# The stages that keep all processors busy by themselves.
for name in format clippy docs unit loom deny scripts build replay; do
    wanted "$name" || continue
    case $name in
        deny) command -v cargo-deny >/dev/null || { say "deny: not run, as cargo-deny is not installed" && continue; } ;;
        scripts) need_commands shellcheck python3 ;;
    esac
    alone "$name"
done

# The others, and those of the lab's tests that others would disturb: they flood it, or compare what was lost on the way.
# What takes longest comes first.
ALONE=(75-flood 97-captures 104-inline-captures)
queue=() last=()
for name in captures matrix squid compare route bridge static demo reverse client l2; do
    wanted "$name" || continue
    if [ "$name" = captures ] && [ ! -d "${TIDEGATE_CAPTURES:-../shared/captures}" ]; then
        say "captures: not run, as TIDEGATE_CAPTURES names no directory with captures"
        continue
    fi
    queue+=("$name")
done
if wanted lab; then
    for name in scripts/lab-tests/[0-9]*.sh; do
        name=$(basename "$name" .sh)
        if [[ " ${ALONE[*]} " == *" $name "* ]]; then last+=("lab/$name"); else queue+=("lab/$name"); fi
    done
fi
beside run ended "${queue[@]}"
alone "${last[@]}"

say
printf '%s\n' "${summary[@]}"
say "all stages: $((SECONDS / 60)) min $((SECONDS % 60)) s"
say
say "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
