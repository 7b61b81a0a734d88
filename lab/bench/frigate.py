"""Frigate's HTTP API as a process: python -m lab.bench.frigate DATABASE MEDIA.

It prints its port, and serves until the end of stdin. It is the stand-in of the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.rig.api import FrigateStandin


def main() -> None:
    database, media = map(Path, sys.argv[1:])
    standin = FrigateStandin(database, media)
    print(standin.port, flush=True)
    sys.stdin.read()
    standin.stop()


if __name__ == "__main__":
    main()
