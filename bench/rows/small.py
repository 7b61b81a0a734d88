"""Small objects: how many snapshots a second the mirror uploads, and what they cost.

The snapshots have 30 to 300 KB. They are pending in the ledger and held in the spool. The child
drains them as Frigate starts it, with catalog, spool, ledger and state files. A round of the mirror
lasts from the start of its process until its last object is complete at the sink or, on SeaweedFS,
until the state file has the last object. A round of a rival lasts from its start until its last
object is complete at the sink or, on SeaweedFS, until the rival ends.

All run at nice 10, as the mirror does, with eight threads or workers (on two cores, s5cmd is slower
with more). CPU is the user and system time of the whole process, with imports and exit, but without
that of SeaweedFS or the sink. Like S3 and SeaweedFS, the sink confirms the SHA-256 that a PUT asks
it to check, so the mirror computes no MD5 here (decision 0007). With a service that does not
confirm it, an upload costs the mirror half as much CPU again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import rivals
from bench.figures import Figure, Goal, at_least, at_most, interleaved
from bench.house import House
from bench.lab import Lab
from bench.processes import BenchError, Cost, Mirror, measured
from bench.servers import NullSink, Server, place

GOALS: dict[str, Goal | None] = {
    "s5cmd": at_least(1), "rclone": at_least(3), "aws": at_least(3),
    "boto3_upload_file": at_least(3), "boto3_put_object": None, "obstore": None,
}  # fmt: skip
DELAY, THREADS = 0.05, 8


@dataclass(frozen=True, slots=True)
class Drain:
    """One round: objects per second, CPU seconds per 1,000, peak megabytes."""

    rate: float
    cpu: float
    peak_mb: float


def run(lab: Lab) -> Iterator[Figure]:
    few, many = lab.size(300, 4_000), lab.size(300, 20_000)
    yield from _against(lab, lab.sink, many, ["s5cmd", "obstore"])
    slow = ["rclone", "aws", "boto3_upload_file", "boto3_put_object"]
    yield from _against(lab, lab.sink, few // 2, slow, tell_cost=False)
    yield from _against(lab, lab.weed, few // 2, ["s5cmd", *slow, "obstore"], tell_cost=False)
    yield from _delayed(lab)


def _against(
    lab: Lab, server: Server, count: int, names: list[str], tell_cost: bool = True
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
    yield from _figures(f"{server.name}, {count:,} a round", found, tell_cost)


def _figures(where: str, found: dict[str, list[Drain]], tell_cost: bool) -> Iterator[Figure]:
    ours = found.pop("ours")
    for name, rival in found.items():
        yield Figure(f"objects/s, {where}", "1/s", [one.rate for one in ours], name,
                     [one.rate for one in rival], GOALS[name])  # fmt: skip
    for name, rival in found.items() if tell_cost else []:
        goal = at_most(1) if name == "s5cmd" else None
        yield Figure(f"CPU per 1,000 snapshots, {where}", "s", [one.cpu for one in ours], name,
                     [one.cpu for one in rival], goal)  # fmt: skip


def drain(house: House, server: Server, count: int, within: float = 300) -> Drain:
    """Restore the house, let the child drain it, and see that all is there."""
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
    """On a sink whose every answer takes 50 ms more, threads / delay is all that can be had."""
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
