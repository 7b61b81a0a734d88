"""python -m lab.bench: measures rows of figures and writes a report of them.

A row that is measured replaces its own section of the report, so each can be run alone. The report
is written after each row. Exit codes: 0 every row was measured, whatever the figures say; 1 a row
could not be measured or reported; 64 a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lab import tree
from lab.bench import report, rivals, rows
from lab.bench.figures import Figure
from lab.bench.lab import FULL, QUICK, USUAL, Lab, open_lab
from lab.bench.processes import BenchError

EX_FAILED, EX_USAGE = 1, 64


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down
    if arguments.list:
        print(*(f"{name:12} {rows.about(name).splitlines()[0]}" for name in rows.NAMES), sep="\n")
        return 0
    chosen = arguments.only.split(",") if arguments.only else list(rows.NAMES)
    if wrong := set(chosen) - set(rows.NAMES):
        print(f"no row {', '.join(sorted(wrong))}; --list names them", file=sys.stderr)
        return EX_USAGE
    if lacking := rivals.missing():
        print(f"no {', '.join(lacking)}: `make bench` installs the rivals", file=sys.stderr)
        return EX_USAGE
    if arguments.report and (why := tree.refusal(arguments.report)):
        print(why, file=sys.stderr)
        return EX_FAILED
    effort = QUICK if arguments.quick else FULL if arguments.full else USUAL
    with open_lab(effort) as lab:
        measured = [_row(lab, name, arguments) for name in chosen]
    return 0 if all(measured) else EX_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument("--only", metavar="ROW,ROW", help="these rows")
    parser.add_argument("--list", action="store_true", help="name every row")
    parser.add_argument("--quick", action="store_true", help="one small round: does it run?")
    parser.add_argument("--full", action="store_true", help="1,000 events for the latency")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results there, too")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the tables there")
    return parser


def _row(lab: Lab, name: str, arguments: argparse.Namespace) -> bool:
    """Measures one row and writes it down where it is wanted. False where one of these failed."""
    found = _measured(lab, name, arguments.report)
    if arguments.json:
        path: Path = arguments.json
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | {name: found}, indent=1))
    if not arguments.report:
        return not found["fault"]
    if why := tree.refusal(arguments.report):  # somebody has changed a file meanwhile
        print(why, file=sys.stderr)
        return False
    report.write(arguments.report, {name: found})
    return not found["fault"]


def _measured(lab: Lab, name: str, page: Path | None) -> dict[str, Any]:
    """What one row found. `fault` says why it was not measured to its end, and is else empty."""
    began, machine = time.time(), report.machine(page or report.PAGE)
    figures: list[Figure] = []
    fault = ""
    try:
        for figure in rows.row(name)(lab):
            figures.append(figure)
            print(f"{name:12} {report.line(figure)}", file=sys.stderr, flush=True)
    except (BenchError, OSError) as error:
        fault = str(error)
        print(f"{name:12} FAILED: {fault}", file=sys.stderr, flush=True)
    return {
        "at": began, "took": time.time() - began, "effort": lab.effort, "machine": machine,
        "load_after": report.load(), "fault": fault,
        "figures": [one.document() for one in figures],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
