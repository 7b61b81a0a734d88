"""python -m lab.bench: measure, write the results as JSON, and the report from them.

Rows that are measured replace those in the JSON file, so that each can be run alone. Exit codes: 0
all was measured, whatever the figures say; 1 something could not be; 64 a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from lab.bench import report, rivals, rows
from lab.bench.figures import Figure
from lab.bench.lab import FULL, QUICK, USUAL, Lab, open_lab
from lab.bench.processes import BenchError
from tests.rig import ROOT

EX_USAGE = 64


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
    effort = QUICK if arguments.quick else FULL if arguments.full else USUAL
    with open_lab(effort) as lab:
        failed = [name for name in chosen if not _measure(lab, name, arguments.json)]
    if arguments.report:
        arguments.report.write_text(report.markdown(_read(arguments.json)))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    parser.add_argument("--only", metavar="ROW,ROW", help="these rows")
    parser.add_argument("--list", action="store_true", help="name every row")
    parser.add_argument("--quick", action="store_true", help="one small round: does it run?")
    parser.add_argument("--full", action="store_true", help="1,000 events for the latency")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results are kept",
                        default=ROOT / "docs" / "performance.json")  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there")
    return parser


def _measure(lab: Lab, name: str, results: Path) -> bool:
    """Measure one row and note it; False where that failed."""
    began, machine = time.time(), report.machine()
    figures: list[Figure] = []
    fault = ""
    try:
        for figure in rows.row(name)(lab):
            figures.append(figure)
            print(f"{name:12} {report.line(figure)}", file=sys.stderr, flush=True)
    except (BenchError, OSError) as error:
        fault = str(error)
        print(f"{name:12} FAILED: {fault}", file=sys.stderr, flush=True)
    found = _read(results)
    found[name] = {
        "at": began, "took": time.time() - began, "effort": lab.effort, "machine": machine,
        "load_after": report.load(), "fault": fault,
        "figures": [one.document() for one in figures],
    }  # fmt: skip
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=1))
    return not fault


def _read(results: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = (
        json.loads(results.read_text()) if results.exists() else {}
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
