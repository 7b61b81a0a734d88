"""Calls Frigate's handlers very often and reports their results and their cost.

    python hook_calls.py CALLS REPORT

It prints digests of what every call returned or raised, in order. They are the same with and
without the hook. It writes JSON to REPORT: `grown` is the growth of memory in bytes after the first
tenth of the calls, `armed` says whether the hook was there. The stand-in must be on the path of
modules.
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
    """A false positive with a picture. The hook sends its id, and Frigate writes no row."""
    return {"id": event_id, "has_clip": False, "has_snapshot": True, "false_positive": True,
            "camera": "garage", "label": "car", "start_time": 1.0, "end_time": 2.0, "score": 1.0,
            "type": "api"}  # fmt: skip


def call(processor: Any, rng: random.Random, number: int) -> object:
    """Lets Frigate handle one event of any kind. Returns the result or what was raised."""
    kind = rng.choice(KINDS)
    template = rng.choice(IDS) if kind == "strange" else IDS[0]
    event = data(template.format(number))
    try:
        if kind == "external":  # Frigate knows no such event and writes no row
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
