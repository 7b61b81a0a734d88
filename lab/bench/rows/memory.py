"""Memory: the child's peak resident size, idle and draining, and its growth.

Idle is measured after the first sweep and a while without work. The peak is the kernel's (VmHWM).
The limit is an interpreter that imports boto3 and makes one client. Growth is the difference
between 1,000 and 1,000,000 events that are in Frigate's window and in the ledger, with one whole
sweep of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from lab.bench.figures import Figure, below, interleaved
from lab.bench.house import House
from lab.bench.lab import Lab
from lab.bench.processes import Mirror, measured
from lab.bench.rows import small
from lab.bench.servers import place

CLIENT = """
import boto3
boto3.client("s3", endpoint_url="http://127.0.0.1:9", region_name="us-east-1")
"""
IDLE, GROWTH = 45, 10


def run(lab: Lab) -> Iterator[Figure]:
    sink, count, large = lab.sink, lab.size(300, 3_000), lab.size(10_000, 1_000_000)
    houses = {rows: lab.house([], known=rows, window=rows) for rows in (1_000, large)}
    full = lab.house(lab.pictures(count))
    found = interleaved(
        lab.rounds,
        idle=lambda: idle(lab, houses[1_000]),
        draining=lambda: small.drain(full, sink, count).peak_mb,
        client=lambda: measured([sys.executable, "-c", CLIENT], lab.folder).peak_mb,
    )
    name = "import boto3, one client"
    yield Figure(
        "peak, idle, 1,000 events", "MB", found["idle"], name, found["client"], below(IDLE)
    )
    yield Figure(f"peak, draining {count:,}, 8 threads", "MB", found["draining"], name,
                 found["client"])  # fmt: skip
    grown = [idle(lab, houses[large]) for _ in range(lab.size(1, 2))]
    growth = [one - small_one for one, small_one in zip(grown, found["idle"], strict=False)]
    yield Figure(f"growth from 1,000 to {large:,} events", "MB", growth, goal=below(GROWTH),
                 note=f"peak {max(grown):.0f} MB; {len(grown)} rounds")  # fmt: skip
    for house in (*houses.values(), full):
        house.close()


def idle(lab: Lab, house: House) -> float:
    house.restore()
    with Mirror(house, place(lab.sink, lab.sink.bucket())) as mirror:
        mirror.wait_for_quiet()
        peak = mirror.memory()
        mirror.stop()
    return peak
