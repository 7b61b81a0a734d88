"""Frigate's other processes. They only wait, and are forked or spawned as the real ones are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from typing import Any

from frigate import variant


def idle(stop_event: Any) -> None:
    """Waits until the stop event is set. After the parent was killed, it lives on for a while."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forked_by, parent = os.getppid(), multiprocessing.parent_process()
    # The forkserver outlives the main process while we live. Another fork may hold a sentinel open.
    while os.getppid() == forked_by and parent.is_alive():
        if stop_event.wait(0.5):
            return
    time.sleep(variant.ORPHAN_SECONDS)


def start(name: str, stop_event: Any) -> BaseProcess:
    worker = multiprocessing.Process(target=idle, args=(stop_event,), name=name, daemon=True)
    worker.start()
    return worker
