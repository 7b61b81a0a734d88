"""Large objects: files of 20 to 200 MB, as clips and recordings will be.

They lie where snapshots lie and are pending in the ledger, so the child drains them like snapshots.
Each of five rounds takes ten of the fifty files. The rate runs from the start of the process to the
last object, as in `small`. rclone and aws upload in parts, as they do by default. Memory is the
peak of the child. Its bound follows from eight threads of 1 MiB each: larger bodies are digested
and sent in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lab.bench.figures import Figure, below
from lab.bench.house import House
from lab.bench.lab import Lab
from lab.bench.rows.small import Drain, copy, drain
from lab.bench.servers import Server

RIVALS = ("rclone", "aws", "s5cmd", "obstore")  # obstore, in Rust, shows the limit
BOUND_MB = 8 * 1 + 60  # threads x 1 MiB, plus the interpreter with boto3


def run(lab: Lab) -> Iterator[Figure]:
    each = lab.size(2, 10)
    files = lab.clips(each * lab.rounds)
    rounds = [files[at : at + each] for at in range(0, len(files), each)]
    for server in (lab.sink, lab.weed):
        found: dict[str, list[tuple[Drain, float]]] = {name: [] for name in ("ours", *RIVALS)}
        for number, some in enumerate(rounds):
            measures = _measures(lab.house(some), lab.bare(some), server, each)
            for name in list(measures) if number % 2 else reversed(measures):
                size = sum(path.stat().st_size for path in some) / 1e6
                found[name].append((measures[name](), size / each))
        yield from _figures(server, found)
    lab.drop_pictures()


def _measures(
    house: House, bare: Path, server: Server, count: int
) -> dict[str, Callable[[], Drain]]:
    def rival(name: str) -> Callable[[], Drain]:
        return lambda: copy(name, bare, server, count)

    return {"ours": lambda: drain(house, server, count), **{name: rival(name) for name in RIVALS}}


def _figures(server: Server, found: dict[str, list[tuple[Drain, float]]]) -> Iterator[Figure]:
    rates = {name: [one.rate * mb for one, mb in rounds] for name, rounds in found.items()}
    for name in RIVALS:
        yield Figure(f"MB/s, {server.name}", "MB/s", rates["ours"], name, rates[name])
    peaks = {name: [one.peak_mb for one, _ in rounds] for name, rounds in found.items()}
    yield Figure(f"peak memory, {server.name}", "MB", peaks["ours"], "rclone", peaks["rclone"],
                 below(BOUND_MB))  # fmt: skip
