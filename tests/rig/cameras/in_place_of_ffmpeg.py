"""Stands in place of ffmpeg for a recorder, and does what a plan says.

    in_place_of_ffmpeg.py PLAN ARGUMENT...

PLAN is a JSON file with a list of runs; the last one is repeated. A run says `says` on its standard
error, gives the bytes of the files `gives`, of which one may be a pipe that it waits for, and those
of `last` when it gets SIGTERM. Then it ends, or hangs if `hangs` is true. What it was given is
added to the file PLAN.started, a line a start.
"""

import contextlib
import json
import signal
import sys
from pathlib import Path


def main() -> None:
    plan = Path(sys.argv[1])
    runs = json.loads(plan.read_text())
    with plan.with_suffix(".started").open("a+") as starts:
        starts.seek(0)
        number = len(starts.readlines())
        starts.write(json.dumps({"words": sys.argv[2:], "list": sys.stdin.read()}) + "\n")
    run = runs[min(number, len(runs) - 1)]

    def end(*_: object) -> None:
        give(run.get("last", []))
        sys.exit(255)  # as ffmpeg does

    signal.signal(signal.SIGTERM, end)
    print(run.get("says", ""), file=sys.stderr, flush=True)
    give(run.get("gives", []))
    while run.get("hangs"):
        signal.pause()


def give(files: list[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        for file in files:
            sys.stdout.buffer.write(Path(file).read_bytes())
            sys.stdout.flush()


if __name__ == "__main__":
    main()
