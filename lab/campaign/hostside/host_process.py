"""The campaign's host: the stand-in Frigate, whose scenario is what lines on its stdin say.

    {"do": "event", "kind": "tracked" | "manual" | "api", "data": {...}}
    {"do": "forks", "count": 5, "gap": 0.1, "seconds": 3}    forks of the main process
    {"do": "stumble"}                                        an exception in the event thread

Boot file, hook, event thread, event table and process model are the real ones, or the stand-in's.
The end of stdin stops it as SIGTERM does.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def event(app: Any, kind: str, data: dict[str, Any]) -> None:
    """The messages of an event whose picture is there already."""
    camera, over = data["camera"], {"end_time": data["end_time"]}
    begun = data | {"end_time": None}
    if kind == "tracked":
        app.send("tracked_object", "start", camera, begun | {"has_snapshot": False})
        app.send("tracked_object", "end", camera, begun | over)
    elif kind == "manual":
        app.send("api", "start", camera, begun | over)
    else:
        app.send("api", "start", camera, begun)
        app.send("api", "end", None, {"id": data["id"]} | over)


def stumble(app: Any) -> None:
    data = {"id": "0.5-nobody", "has_clip": True, "has_snapshot": True, "false_positive": False}
    app.send("tracked_object", "end", "garage", data)


def forks(
    app: Any, count: int, gap: float, seconds: float, seed: float = 0.0, busy: bool = False
) -> None:
    """Fork the main process again and again, from a thread of its own and at any moment. A thread
    that is `busy` in between has its turn as soon as another thread's call into C returns."""

    def fork() -> None:
        rng = random.Random(seed)
        for _ in range(count):
            until = time.monotonic() + rng.uniform(0, 2 * gap)
            while busy and time.monotonic() < until:
                pass
            time.sleep(max(0.0, until - time.monotonic()))
            if os.fork() == 0:
                time.sleep(seconds)
                os._exit(0)

    threading.Thread(target=fork, daemon=True).start()


def bind_children_by_rights() -> None:
    """Whatever is started from here may not pass over a file's rights any more, root or not."""
    import ctypes

    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


ORDERS: dict[str, Callable[..., None]] = {"event": event, "stumble": stumble, "forks": forks}


def obey(app: Any) -> None:
    """Stands where the stand-in plays its scenario."""
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        ORDERS[order.pop("do")](app, **order)


def main() -> None:
    import faulthandler
    import multiprocessing
    import signal

    faulthandler.register(signal.SIGUSR1)  # where it hangs, should it not end
    if os.environ.get("CAMPAIGN_BOUND_BY_RIGHTS"):
        bind_children_by_rights()

    from frigate import app, variant
    from frigate.config import load
    from frigate.log import setup_logging

    if pauses := os.environ.get("CAMPAIGN_PAUSES"):
        # Hundreds of kills would otherwise take a minute each.
        sys.modules["frigate_s3_patcher"].PAUSES = tuple(map(float, pauses.split()))  # type: ignore[attr-defined]
    multiprocessing.set_start_method("fork" if variant.FORKS else "forkserver", force=True)
    listener = setup_logging()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    app.FrigateApp.watch = obey  # type: ignore
    app.FrigateApp(load(), listener).start()


if __name__ == "__main__":  # a worker of the forkserver imports this file too
    main()
