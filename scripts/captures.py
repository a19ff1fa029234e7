#!/usr/bin/env python3
"""Plays captures with `tidegate replay` and judges what comes of it, redirected and through a bridge; compares what
`tidegate explain` counts with tshark. Run by captures.sh.

    scripts/captures.py [--json] TIDEGATE FILE...
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import captures_bridge
import explain_counts
from captures_expected import CUT, CUT_NAME, damage

LIMIT_SECONDS = 60
LIMIT_BYTES = 256 << 20
INTERFACE = """version = 1
[deployment]
kind = "{kind}"
[[interface]]
name = "eth1"
address = ["10.9.0.2/24", "2001:db8:9::2/64"]
next_hop = ["10.9.0.1", "2001:db8:9::1"]
"""
WCCP = """[wccp]
routers = ["10.9.0.1"]
[[wccp.group]]
id = 61
ports = [21, 20, 2020, 2021, 2022, 2023, 2024, 2025]
"""
SERVICE = """[[service]]
name = "ftp"
ports = [21]
data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
"""
FORMS = {
    "gre": INTERFACE.format(kind="wccp") + WCCP + SERVICE,
    "static": INTERFACE.format(kind="static") + SERVICE,
}


def bounded():
    """In the child: no core files, and an end to memory that grows without bound."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (4 * LIMIT_BYTES, 4 * LIMIT_BYTES))


def play(tidegate, config, capture, out, events):
    """(exit status or None after a hang, report or None, standard error, seconds)"""
    command = [tidegate, "replay", "--config", config, capture, "--out", out, "--events", events]
    begin = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "--json", "--log", "error"], capture_output=True, timeout=LIMIT_SECONDS, preexec_fn=bounded
        )
    except subprocess.TimeoutExpired:
        return None, None, "", time.monotonic() - begin
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    return done.returncode, report, done.stderr.decode(errors="replace"), time.monotonic() - begin


def judge(name, status, report, error):
    """What is wrong, as texts; none if all is well."""
    if status is None:
        return [f"not done within {LIMIT_SECONDS} s"]
    wrong = damage(name, status, error)
    if status not in (0, 1, 2) or report is None:
        return wrong or [f"exit status {status}: {error.strip().splitlines()[-1:] or ''}"]
    dropped = sum(report["dropped"].values())
    if report["fed"] != report["kept"] + report["returned"] + dropped:
        wrong.append("packets that were neither kept, returned nor dropped")
    if report["unchanged"] != report["returned"]:
        wrong.append(f"{report['returned'] - report['unchanged']} packets came back changed")
    if report["peak_memory"] is None or report["peak_memory"] > LIMIT_BYTES:
        wrong.append(f"{report['peak_memory']} bytes of memory")
    return wrong


def explain_all(tidegate, captures, quiet):
    """`tidegate explain` of each, against tshark."""
    results = []
    if not quiet:
        print(f"{'form':<9}{'sessions':>9}{'commands':>9}{'replies':>8}{'bytes':>8}  capture")
    for name, capture in captures:
        try:
            wrong, told, status, counts = explain_counts.compare(tidegate, capture, name)
        except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
            wrong, told, status, counts = [repr(error)], [], None, [0] * 4
        results.append({"form": "explain", "capture": name, "failed": wrong, "differences": told, "status": status})
        if quiet:
            continue
        print(f"{'explain':<9}{counts[0]:>9}{counts[1]:>9}{counts[2]:>8}{counts[3]:>8}  {name}")
        for text in told:
            print(f"{'':<45}differs: {text}")
        for text in wrong:
            print(f"{'':<45}FAILED: {text}")
    return results


def main(arguments):
    as_json = arguments[:1] == ["--json"]
    tidegate, *captures = arguments[as_json:]
    results, failed = [], 0
    if not as_json:
        print(f"{'form':<7}{'fed':>6}{'kept':>6}{'back':>6}{'same':>6}{'drop':>6}{'else':>6}{'s':>7}{'MiB':>5}  capture")
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        cut = Path(scratch, "cut.pcapng")
        cut.write_bytes((root / CUT[0]).read_bytes()[: CUT[1]])
        named = [(os.path.basename(c), c) for c in captures] + [(CUT_NAME, str(cut))]
        for form, config in FORMS.items():
            file = Path(scratch, f"{form}.toml")
            file.write_text(config)
            for name, capture in named:
                seen = []
                for turn in "ab":
                    out, events = Path(scratch, f"{turn}.pcapng"), Path(scratch, f"{turn}.jsonl")
                    for old in (out, events):
                        old.unlink(missing_ok=True)
                    status, report, error, seconds = play(tidegate, str(file), capture, str(out), str(events))
                    seen.append([p.read_bytes() if p.exists() else b"" for p in (out, events)])
                    if status is None:
                        break
                wrong = judge(name, status, report, error)
                if len(seen) == 2 and seen[0] != seen[1]:
                    wrong.append("two plays gave different frames or events")
                failed += bool(wrong)
                results.append({"form": form, "capture": name, "failed": wrong, "error": error.strip(), "report": report})
                if as_json:
                    continue
                r = report or {}
                dropped = sum(r.get("dropped", {}).values())
                left = sum(r.get(k, 0) for k in ("not_ip", "too_long", "headless", "not_redirected"))
                row = [r.get(k, 0) for k in ("fed", "kept", "returned", "unchanged")] + [dropped, left]
                memory = (r.get("peak_memory") or 0) >> 20
                print(f"{form:<7}" + "".join(f"{n:>6}" for n in row) + f"{seconds:>7.2f}{memory:>5}  {name}")
                if r.get("dropped"):
                    print(f"{'':<57}dropped: " + ", ".join(f"{k} {v}" for k, v in r["dropped"].items()))
                if error and not wrong:
                    print(f"{'':<57}{error.strip().splitlines()[-1]}")
                for text in wrong:
                    print(f"{'':<57}FAILED: {text}")
        # The recordings' own frames as well: one direction each, most of it in GRE.
        own = [(f"pcaps/{p.parent.name}/{p.name}", str(p)) for p in sorted(root.glob("pcaps/*/*.pcapng"))]
        bridged = captures_bridge.run(tidegate, named + own, Path(scratch), as_json)
        failed += sum(bool(r["failed"]) for r in bridged)
        results += bridged
        explained = explain_all(tidegate, named, as_json)
    failed += sum(bool(r["failed"]) for r in explained)
    results += explained
    passed = len(results) - failed
    if as_json:
        print(json.dumps({"passed": passed, "failed": failed, "results": results}, indent=1))
    else:
        print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
