"""Calls Frigate's handlers very often, and tells what came back and what it cost.

    python hook_calls.py CALLS REPORT

On stdout: what every call returned or raised, in order, as digests; it does not depend on the hook.
In REPORT, as JSON: `grown`, bytes of memory from the first tenth of the calls to the last.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import random
import sys
import threading
from pathlib import Path
from typing import Any

from frigate.config import FrigateConfig  # type: ignore[import-not-found]
from frigate.events.maintainer import EventProcessor  # type: ignore[import-not-found]

TELL_EVERY = 10_000
IDS = ("{}.5-abcdef", "{}.5-abc\ndef", "{}.5-abc\0def", "{}" + "x" * 5_000, "{}.5-📷")
KINDS = ("tracked",) * 8 + ("unknown", "strange", "external")


def data(event_id: Any) -> dict[str, Any]:
    """A false positive with a picture: its id goes down the pipe, and no row is written."""
    return {"id": event_id, "has_clip": False, "has_snapshot": True, "false_positive": True,
            "camera": "garage", "label": "car", "start_time": 1.0, "end_time": 2.0, "score": 1.0,
            "type": "api"}  # fmt: skip


def call(processor: Any, rng: random.Random, number: int) -> object:
    """One event, of any kind; its result, or what it raised."""
    kind = rng.choice(KINDS)
    template = rng.choice(IDS) if kind == "strange" else IDS[0]
    event = data(template.format(number))
    try:
        if kind == "external":  # also of no row, as an event that is not known
            return processor.handle_external_detection("update", event)
        if kind != "unknown":
            processor.handle_object_detection("start", "garage", event)
        return processor.handle_object_detection("end", "garage", event)
    except Exception as error:
        return repr(error)


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def main() -> None:
    calls, report = int(sys.argv[1]), Path(sys.argv[2])
    stop, rng, digest = threading.Event(), random.Random(1), hashlib.sha256()
    processor = EventProcessor(FrigateConfig(), queue.Queue(), stop)
    processor.start()
    began = 0
    for number in range(calls):
        digest.update(f"{call(processor, rng, number)!r}\n".encode())
        if number % TELL_EVERY == 0:
            print(number, digest.hexdigest(), flush=True)
        if number == calls // 10:
            began = memory()
    grown = memory() - began
    print(digest.hexdigest(), flush=True)
    stop.set()
    processor.join()
    armed = "frigate_s3_patcher" in sys.modules
    report.write_text(json.dumps({"grown": grown, "armed": armed}))


if __name__ == "__main__":
    main()
