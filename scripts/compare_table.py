#!/usr/bin/env python3
"""The tables of compare.sh: `compare_table.py RESULTS [DOCUMENT]` prints them and tidegate's count, and puts them into
the document between its marks.

RESULTS has transfers.tsv and cases.tsv, and transfers.wanted and cases.wanted: the first columns that those must have, each once.
What is missing, or nobody asked for, has failed."""

import platform
import sys
from collections import Counter, defaultdict
from pathlib import Path

CLIENTS = ("curl", "lftp", "ncftp", "tnftp")
MODES = ("PORT", "EPRT", "PASV", "EPSV", "EPRT6", "EPSV6")
SERVERS = ("vsftpd", "pureftpd", "proftpd")
NAMES = {"vsftpd": "vsftpd", "pureftpd": "Pure-FTPd", "proftpd": "ProFTPD", "EPRT6": "EPRT, IPv6", "EPSV6": "EPSV, IPv6"}
NAMES |= {"good": "good lines", "bad": "bad lines", "short": "short segments"}
# What a client has not: lftp has EPRT over IPv6 only, ncftp knows neither EPRT nor EPSV.
GAPS = {("lftp", "EPRT"), *(("ncftp", mode) for mode in ("EPRT", "EPSV", "EPRT6", "EPSV6"))}
BEGIN, END = "<!-- the tables: scripts/compare.sh --write -->", "<!-- end of the tables -->"


def rows(path):
    """The lines of a file, by tabs."""
    return [line.split("\t") for line in path.read_text().splitlines()] if path.is_file() else []


def differences(found, wanted):
    """(rows that are missing, rows that are too many) by the columns that the wanted ones have."""
    wanted = Counter(map(tuple, wanted))
    width = len(next(iter(wanted), ()))
    found = Counter(tuple(row[:width]) for row in found)
    return list((wanted - found).elements()), list((found - wanted).elements())


def table(head, body):
    """Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def transfers(found, whiches):
    """What was identical of how many, for each client, mode and server."""
    counts, kinds = defaultdict(lambda: [0, 0]), set()
    for which, lines, server, client, mode, _, result in found:
        cell = counts[which, lines, server, client, mode]
        cell[0] += result == "identical"
        cell[1] += 1
        kinds.add((which, lines))
    columns = [(w, line) for line in ("good", "bad", "short") for w in whiches if (w, line) in kinds]
    head = ["client", "mode"] + [f"{w}, {NAMES[line]}" for w, line in columns]
    body = []
    for client in CLIENTS:
        for mode in MODES:
            cells = []
            for w, line in columns:
                cell = [counts.get((w, line, s, client, mode)) for s in SERVERS]
                cells.append(", ".join(f"{c[0]} of {c[1]}" if c else "–" for c in cell))
            if any(c != "–, –, –" for c in cells):
                body.append([client, NAMES.get(mode, mode), *cells])
            elif (client, mode) in GAPS and any(r[3] == client for r in found):
                body.append([client, NAMES.get(mode, mode), *["not offered by the client"] * len(columns)])
    return table(head, body)


def cases(found, whiches):
    """What each did."""
    by_case = defaultdict(dict)
    for which, what, verdict, why in found:
        by_case[what][which] = verdict + (f": {why}" if why else "")
    return table(["case", *whiches], [[what, *[cell.get(w, "–").replace("|", "\\|") for w in whiches]] for what, cell in by_case.items()])


def main():
    """See above."""
    directory, document = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    moved, odd = rows(directory / "transfers.tsv"), rows(directory / "cases.tsv")
    wanted = [rows(directory / f"{kind}.wanted") for kind in ("transfers", "cases")]
    astray = 0
    for found, plan in zip((moved, odd), wanted):
        missing, extra = differences(found, plan)
        astray += len(missing) + len(extra) + (not plan)
        for row in missing:
            print("failed: no result:", *row)
        for row in extra:
            print("failed: nobody asked for:", *row)
        if not plan:
            print("failed: nothing was to be compared")
    whiches = [w for w in ("kernel", "tidegate") if any(r[0] == w for r in wanted[0])]
    for r in moved:
        if r[-1] != "identical":
            print("failed:", *r)
    text = f"Transfers\n\n{transfers(moved, whiches)}\nWhat is seldom\n\n{cases(odd, whiches)}"
    print(text)
    if document and not astray:
        path = Path(document)
        before, rest = path.read_text().split(BEGIN)
        text = (
            f"Kernel {platform.release()}.\n\n## Transfers\n\n{transfers(moved, whiches)}\n## What is seldom\n\n"
            f"{cases(odd, whiches)}"
        )
        path.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}")
    judged = "tidegate" if "tidegate" in whiches else "kernel"
    good = [r[-1] == "identical" for r in moved if r[0] == judged] + [r[2] == "passes" for r in odd if r[0] == judged]
    print(f"{sum(good)} passed, {len(good) - sum(good) + astray} failed")
    return 0 if good and all(good) and not astray else 1


sys.exit(main())
