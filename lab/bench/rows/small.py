"""Small objects: rate and cost.

The child, started as Frigate starts it, drains snapshots of 30 to 300 KB that are pending in the
ledger and held in the spool. Catalog, spool, ledger and state files all take part. Our time runs
from the start of the process to the moment when the sink has the whole last object, or on SeaweedFS
until the state file notes it. A rival's time runs from its start to its last object at the sink, or
to its end. All run at nice 10, which the mirror gives itself, with eight threads or workers (s5cmd
is slower with more on two cores). CPU is the user and system time of the whole process with its
imports and its end; that of SeaweedFS and of the sink is not counted. Both servers confirm
that they check a SHA-256, so the mirror computes no MD5 (decision 0007). Where a service does not
confirm it, an upload costs about half as much CPU again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.bench import rivals
from lab.bench.figures import Figure, Goal, at_least, at_most, interleaved
from lab.bench.house import House
from lab.bench.lab import Lab
from lab.bench.processes import BenchError, Cost, Mirror, measured
from lab.bench.servers import NullSink, Server, place

NULL_GOAL, WEED_GOAL = at_least(0.8), at_least(0.95)  # of the rate of s5cmd
DELAY, THREADS = 0.05, 8


@dataclass(frozen=True, slots=True)
class Drain:
    """One round: objects per second, CPU seconds per 1,000 objects, peak megabytes."""

    rate: float
    cpu: float
    peak_mb: float


def run(lab: Lab) -> Iterator[Figure]:
    few, many = lab.size(300, 4_000), lab.size(300, 20_000)
    yield from _against(lab, lab.sink, many, ["s5cmd", "obstore"], NULL_GOAL)
    slow = ["rclone", "aws", "boto3_upload_file", "boto3_put_object"]
    yield from _against(lab, lab.sink, few // 2, slow)
    yield from _against(lab, lab.weed, 2 * few, ["s5cmd", "obstore"], WEED_GOAL)
    yield from _against(lab, lab.weed, few // 2, slow)
    yield from _delayed(lab)


def _against(
    lab: Lab, server: Server, count: int, names: list[str], goal: Goal | None = None
) -> Iterator[Figure]:
    files = lab.pictures(count)
    house, bare = lab.house(files), lab.bare(files)
    found: dict[str, list[Drain]] = {name: [] for name in ["ours", *names]}

    def ours() -> float:
        found["ours"].append(drain(house, server, count))
        return found["ours"][-1].rate

    def rival(name: str) -> Callable[[], float]:
        def measure() -> float:
            found[name].append(copy(name, bare, server, count))
            return found[name][-1].rate

        return measure

    interleaved(lab.rounds, ours=ours, **{name: rival(name) for name in names})
    house.close()
    where = f"{server.name}, {count:,} a round"
    yield from _rates(where, found, goal)
    if server is lab.sink and "s5cmd" in names:
        yield from _costs(where, found)


def _rates(where: str, found: dict[str, list[Drain]], goal: Goal | None) -> Iterator[Figure]:
    ours = [one.rate for one in found["ours"]]
    for name in [name for name in found if name != "ours"]:
        yield Figure(f"objects/s, {where}", "1/s", ours, name, [one.rate for one in found[name]],
                     goal if name == "s5cmd" else None)  # fmt: skip


def _costs(where: str, found: dict[str, list[Drain]]) -> Iterator[Figure]:
    ours = found["ours"]
    for name in [name for name in found if name != "ours"]:
        rival, goal = found[name], at_most(1) if name == "s5cmd" else None
        yield Figure(f"CPU per 1,000 snapshots, {where}", "s", [one.cpu for one in ours], name,
                     [one.cpu for one in rival], goal)  # fmt: skip


def drain(house: House, server: Server, count: int, within: float = 300) -> Drain:
    """Restores the house, lets the child drain it, and checks that every object has arrived."""
    house.restore()
    bucket, before = server.bucket(), house.lines()
    with Mirror(house, place(server, bucket)) as mirror:
        noted = mirror.wait_for_lines(before + count, within)
        cost = mirror.stop()
    return _drained(server, bucket, count, cost, noted)


def copy(name: str, bare: Path, server: Server, count: int) -> Drain:
    command = getattr(rivals, name)
    bucket = server.bucket()
    cost = measured(command(server.endpoint, bucket, bare), bare.parent)
    return _drained(server, bucket, count, cost, cost.ended)


def _drained(server: Server, bucket: str, count: int, cost: Cost, ended: float) -> Drain:
    if (there := server.count(bucket)) != count:
        raise BenchError(f"{there} of {count} objects are in the bucket")
    if isinstance(server, NullSink):
        ended = server.ask("stats")["last"]
    server.drop(bucket)
    return Drain(count / (ended - cost.began), 1000 * cost.cpu / count, cost.peak_mb)


def _delayed(lab: Lab) -> Iterator[Figure]:
    """On a sink that answers 50 ms later, threads / delay is the highest possible rate."""
    count, sink = lab.size(200, 1_200), lab.sink
    sink.slow_down(DELAY)
    house, rates = lab.house(lab.pictures(count)), []
    for _ in range(lab.rounds):
        house.restore()
        with Mirror(house, place(sink, sink.bucket())) as mirror:
            mirror.wait_for_lines(count)
            stats = sink.ask("stats")
            mirror.stop()
        rates.append((count - THREADS) / (stats["last"] - stats["first"] - DELAY))
    house.close()
    sink.slow_down(0)
    yield Figure(f"objects/s, sink with {1000 * DELAY:g} ms, first to last of {count:,}", "1/s",
                 rates, "threads / delay", [THREADS / DELAY] * len(rates),
                 at_least(0.95))  # fmt: skip
