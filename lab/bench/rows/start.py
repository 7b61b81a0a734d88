"""Start: from the child's start to the first whole object at the sink, and the time of a sweep.

One snapshot is pending. The limit is the work that nobody can save: an interpreter that imports
boto3, makes a client and puts one object. With 1,000,000 rows in the ledger Frigate's window holds
those 1,000,000 events too, so that the first sweep runs at the same time. The time of a sweep of
100,000 known events is a difference: so much later than with an empty window the child finds one
last event that its ledger does not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from lab.bench import rivals
from lab.bench.figures import Figure, below, interleaved
from lab.bench.house import House, recent
from lab.bench.lab import Lab
from lab.bench.processes import Mirror, measured, wait_until
from lab.bench.servers import NullSink, place

BEYOND = SWEEP = 0.5


def run(lab: Lab) -> Iterator[Figure]:
    large, window = lab.size(10_000, 1_000_000), lab.size(10_000, 100_000)
    [file] = lab.pictures(1)
    bare, sink = lab.bare([file]), lab.sink
    houses = {0: lab.house([file]), large: lab.house([file], known=large, window=large)}

    def limit() -> float:
        command = rivals.boto3_put_object(sink.endpoint, sink.bucket(), bare)
        began = measured(command, bare.parent).began
        return float(sink.ask("stats")["last"]) - began

    def ours(house: House) -> Callable[[], float]:
        return lambda: first_object(house, sink)

    found = interleaved(lab.rounds, limit=limit, **{f"{k}": ours(v) for k, v in houses.items()})
    for rows in houses:
        beyond = [a - b for a, b in zip(found[str(rows)], found["limit"], strict=True)]
        yield Figure(f"start to first object, {rows:,} other rows", "s", found[str(rows)],
                     "python + boto3 + one put", found["limit"])  # fmt: skip
        name = f"start to first object minus the limit, {rows:,} other rows"
        yield Figure(name, "s", beyond, goal=below(BEYOND))
    for house in houses.values():
        house.close()
    yield from _sweep(lab, window)


def first_object(house: House, sink: NullSink) -> float:
    """Seconds from the start of the child until the sink has the first whole object."""
    house.restore()
    with Mirror(house, place(sink, sink.bucket()), MIRROR_DRAIN_SECONDS="0") as mirror:
        wait_until(lambda: sink.count("bench"), 120, "the first object", 0.01)
        [at, *_] = sorted(sink.when().values())
        return at - mirror.stop().began


def _sweep(lab: Lab, window: int) -> Iterator[Figure]:
    [file] = lab.pictures(1)
    houses = {}
    for rows in (0, window):
        houses[rows] = lab.house([], known=rows, window=rows)
        [last] = recent(1, time.time(), 10_000_000)
        houses[rows].picture(last, file)
        houses[rows].rows([last])
    found = interleaved(
        lab.rounds, **{str(k): (lambda h=v: first_object(h, lab.sink)) for k, v in houses.items()}
    )
    later = [a - b for a, b in zip(found[str(window)], found["0"], strict=True)]
    yield Figure(f"sweep of {window:,} events that are all known", "s", later, goal=below(SWEEP))
    for house in houses.values():
        house.close()
