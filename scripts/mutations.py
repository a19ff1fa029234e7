#!/usr/bin/env python3
"""Breaks the gateway on purpose, one thing at a time, and requires that the tests notice: `mutations.py [--write|--check] [NAME...]`.

A copy of the tree is broken, never the tree itself. It takes about a minute for each mutation on two cores, most of it to build.
`--write` puts the rows into docs/mutations.md; `--check` only looks whether every mutation has its place in the source. The exit status is 0 only if the tests pass as the code stands and fail for
every mutation."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "mutations.md"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
COPY = TARGET / "mutations" / "tree"
TESTS = ("alg", "rules", "firewall", "catalogue")
# Longer than all tests take; a mutation may make one wait for ever.
LIMIT = 900
SHOWN = 4


class Mutation(NamedTuple):
    """What is broken, and the one place in the source that does it."""

    name: str
    what: str
    file: str
    old: str
    new: str


MUTATIONS = [
    Mutation(
        "ack-rounding", "an acknowledgement within an edit is rounded up", "src/alg/acked.rs",
        "let told = self.log.rev(ack, Round::Floor).max(self.own_ack);\n        self.acked",
        "let told = self.log.rev(ack, Round::Ceil).max(self.own_ack);\n        self.acked",
    ),
    Mutation(
        "sack-edges", "edges of SACK blocks are rounded outward", "src/alg/acked.rs",
        "(self.log.rev(left, Round::Ceil), self.log.rev(right, Round::Floor))",
        "(self.log.rev(left, Round::Floor), self.log.rev(right, Round::Ceil))",
    ),
    Mutation(
        "sack-mapping", "SACK blocks go on in the other end's numbers", "src/alg/mod.rs",
        "        back.map_sack(seg.ack, &mut head.options);\n",
        "",
    ),
    Mutation(
        "memoisation", "what is sent again goes on as it came", "src/alg/emit.rs",
        "let own_len = self.kept_at.min(range.to).saturating_sub(range.from.max(own.0)) as usize;",
        "let own_len = (own.1.len() as u64).min(range.to.saturating_sub(range.from.max(own.0))) as usize;",
    ),
    Mutation(
        "memoised-ends", "what is sent again begins in the middle of an edit", "src/alg/emit.rs",
        "let start = self.log.fwd(from, Round::Floor);",
        "let start = self.log.fwd(from, Round::Ceil);",
    ),
    Mutation(
        "conflicts", "what differs when it is sent again is not noticed", "src/alg/half.rs",
        "        if !same {",
        "        if !same && at == 0 {",
    ),
    Mutation(
        "fifo", "a reply answers the newest command", "src/ftp/pending.rs",
        "let Some(entry) = self.queue.remove(at) else",
        "let Some(entry) = self.queue.pop_back() else",
    ),
    Mutation(
        "hold", "the beginning of a line goes on before its end is there", "src/alg/parse.rs",
        "None if editor.wants(dir, rest) => {",
        "None if rest.is_empty() && editor.wants(dir, rest) => {",
    ),
    Mutation(
        "own", "what is held is not acknowledged", "src/alg/mod.rs",
        "            if holds {\n                half.own();\n            }\n",
        "",
    ),
    Mutation(
        "own-timer", "what is owned and lost is not sent again", "src/alg/mod.rs",
        "half.rto.set(now, outstanding);",
        "half.rto.set(now, outstanding && half.una > half.owned());",
    ),
    Mutation(
        "one-shot", "an expectation stays when it was used", "src/firewall/ftp/statics.rs",
        "        session.doors.door = Door::Used(data);\n"
        "        let (service, id) = (session.service, session.id);\n"
        "        self.shared.withdraw_offer(session.path.client.ip(), number, &mut session.doors.offered);\n"
        "        if self.shared.expected.remove_session(super::doors::name(number)) > 0 {\n",
        "        let (service, id) = (session.service, session.id);\n"
        "        if data == u32::MAX {\n",
    ),
    Mutation(
        "pinning", "a client may announce the address of another", "src/alg/rules/setup.rs",
        "if at.ip() != client.ip() && !exchange {",
        "if at.ip() != client.ip() && !exchange && at.port() == 0 {",
    ),
    Mutation(
        "ports", "any port may be announced", "src/alg/rules/setup.rs",
        "self.is_privileged(port) || hostport::check_port(port, &self.settings.denied_ports).is_err()",
        "self.is_privileged(port) || port == 0",
    ),
    Mutation(
        "first-line", "what speaks another protocol first is read as FTP", "src/alg/rules/command.rs",
        "        if foreign {\n            return Some",
        "        if foreign && self.is_strict() {\n            return Some",
    ),
    Mutation(
        "nat-ports", "two connections may have one outside port toward one remote end", "src/firewall/nat.rs",
        "            && !self.used.contains_key(&(proto, outside, remote))\n",
        "",
    ),
]


def prepare():
    """A copy of what git knows of, as it stands."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    shutil.rmtree(COPY, ignore_errors=True)
    for name in filter(None, names):
        source = ROOT / name
        if source.is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            # With the time of now: cargo would take a file that is older than the last build for what it built from.
            shutil.copy(source, COPY / name)


def run():
    """The tests that fail, as binary::test; None if it does not build."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(TARGET / "mutations" / "build"), RUST_BACKTRACE="0")
    failed = []
    for test in TESTS:
        command = ["cargo", "test", "--quiet", "--test", test, "--", "--test-threads=2"]
        try:
            done = subprocess.run(
                command, cwd=COPY, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            failed.append(f"{test}::(it did not come to an end)")
            continue
        if "test result:" not in done.stdout and "running" not in done.stdout:
            sys.stderr.write(done.stderr[-3000:])
            return None
        names = sorted(set(re.findall(r"^    ([a-z0-9_:]+)$", done.stdout, re.M)))
        if done.returncode and not names:
            names = ["(it ended by itself)"]
        failed += [f"{test}::{name}" for name in names]
    return failed


def row(mutation, failed):
    """A line of the table."""
    counts = ", ".join(
        f"{test} {n}" for test in TESTS if (n := sum(f.startswith(f"{test}::") for f in failed))
    )
    by_test = ([f for f in failed if f.startswith(f"{test}::")] for test in TESTS)
    first = [some[0] for some in by_test if some]
    shown = (first + [f for f in failed if f not in first])[:SHOWN]
    names = "<br>".join(f"`{name}`" for name in shown)
    return f"| {mutation.name} | {mutation.what} | `{mutation.file}` | {counts} | {names} |"


HEAD = """# What the tests notice

Each row is a mistake made on purpose in a copy of the tree, one at a time, by `scripts/mutations.py --write`, which made this
table; the tests are those of `tests/{alg,rules,firewall,catalogue}`. As the code stands they all pass. The last column has some of those that failed.

| Mutation | What is wrong then | Where | Tests that fail | Among them |
|---|---|---|---|---|
"""


def known():
    """The rows of the table as it is, by name."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}


def misplaced():
    """What is wrong with the list: a mutation is one place in the source."""
    counts = {m.name: (m.file, (ROOT / m.file).read_text().count(m.old)) for m in MUTATIONS}
    return [f"{name}: {file} has {n} such places, not 1; mend the list" for name, (file, n) in counts.items() if n != 1]


def main():
    options = {"--write", "--check"} & set(sys.argv[1:])
    write = "--write" in options
    wanted = [a for a in sys.argv[1:] if a not in options]
    unknown = set(wanted) - {m.name for m in MUTATIONS}
    if unknown or {"-h", "--help"} & set(wanted):
        sys.exit(f"{__doc__}\n\nmutations: {', '.join(m.name for m in MUTATIONS)}")
    if wrong := misplaced():
        sys.exit("\n".join(wrong))
    if "--check" in options:
        print(f"{len(MUTATIONS)} mutations, each with its place")
        return
    prepare()
    print("as it stands: ", end="", flush=True)
    failed = run()
    if failed is None or failed:
        sys.exit(f"not a ground to stand on: {failed or 'it does not build'}")
    print("all pass")
    rows, missed = {}, []
    for mutation in MUTATIONS:
        if wanted and mutation.name not in wanted:
            continue
        path = COPY / mutation.file
        source = path.read_text()
        path.write_text(source.replace(mutation.old, mutation.new))
        failed = run()
        path.write_text(source)
        if failed is None:
            sys.exit(f"{mutation.name}: the mutation does not build; mend the list")
        print(f"{mutation.name}: {len(failed)} fail: {', '.join(failed[:SHOWN])}", flush=True)
        rows[mutation.name] = row(mutation, failed)
        if not failed:
            missed.append(mutation.name)
    if write:
        kept = known() | rows
        TABLE.write_text(HEAD + "".join(f"{kept[m.name]}\n" for m in MUTATIONS if m.name in kept))
    if missed:
        sys.exit(f"not noticed: {', '.join(missed)}")
    print(f"{len(rows)} of {len(rows)} noticed")


if __name__ == "__main__":
    main()
