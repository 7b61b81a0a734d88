"""How cost grows with the ledger: objects/s and CPU per object at 10^3 to 10^6 rows.

The child drains the same snapshots to the null sink, while the ledger also holds so many rows of
uploaded artifacts. Each size is compared with the smallest, and the sizes take turns. The rate runs
from the first object to the last, because the row `start` shows a start that grows. The CPU time is
that of the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.bench.figures import Figure, at_least, at_most, interleaved
from lab.bench.house import House
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, Mirror
from lab.bench.servers import NullSink, place


def run(lab: Lab) -> Iterator[Figure]:
    count = lab.size(200, 3_000)
    sizes = [1_000, 10_000] if lab.effort == "quick" else [1_000, 10_000, 100_000, 1_000_000]
    files = lab.pictures(count)
    houses = {size: lab.house(files, known=size) for size in sizes}
    cpu: dict[int, list[float]] = {size: [] for size in sizes}

    def measure(size: int) -> Callable[[], float]:
        def one() -> float:
            rate, used = drained(houses[size], lab.sink, size, count)
            cpu[size].append(used)
            return rate

        return one

    rates = interleaved(lab.rounds, **{str(size): measure(size) for size in sizes})
    for house in houses.values():
        house.close()
    for size in sizes[1:]:
        yield Figure(f"objects/s, {size:,} rows", "1/s", rates[str(size)], f"{sizes[0]:,} rows",
                     rates[str(sizes[0])], at_least(0.9))  # fmt: skip
        yield Figure(f"CPU per 1,000 snapshots, {size:,} rows", "s", cpu[size],
                     f"{sizes[0]:,} rows", cpu[sizes[0]], at_most(1.1))  # fmt: skip


def drained(house: House, sink: NullSink, known: int, count: int) -> tuple[float, float]:
    """Objects per second and CPU seconds per 1,000 of one drain."""
    house.restore()
    with Mirror(house, place(sink, sink.bucket())) as mirror:
        mirror.wait_for_lines(count)
        cost = mirror.stop()
    stats = sink.ask("stats")
    if stats["objects"] != count:
        raise BenchError(f"{stats['objects']} of {count} objects at {known} rows")
    return (count - 1) / (stats["last"] - stats["first"]), 1000 * cost.cpu / count
