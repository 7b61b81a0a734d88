"""Start: the time from the child's start until its first object is complete at the sink, and the
sweep.

One snapshot is pending. The limit is an interpreter that imports boto3, makes a client and puts one
object, because no program with boto3 can take less. With 1,000,000 rows in the ledger, Frigate's
window has the same 1,000,000 events, so the first sweep runs at the same time. The figure for the
sweep of 100,000 known events is a difference: how much later the child finds one last unknown event
with this window than with an empty one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench import rivals
from bench.figures import Figure, below, interleaved
from bench.house import House, recent
from bench.lab import Lab
from bench.processes import Mirror, measured, wait_until
from bench.servers import NullSink, place

BEYOND, SWEEP = 0.5, 0.3


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
    """Seconds from the start of the child until something is whole at the sink."""
    house.restore()
    with Mirror(house, place(sink, sink.bucket()), S3_DRAIN_SECONDS="0") as mirror:
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
