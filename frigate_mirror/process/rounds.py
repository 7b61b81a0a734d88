"""Rounds: threads that call the mirror's recurring tasks."""

from __future__ import annotations

import faulthandler
import logging
import threading
import time
from collections.abc import Callable, Iterable

from frigate_mirror.part import Task

log = logging.getLogger("frigate_s3")
START_WITHIN = 10.0  # seconds; threads start in milliseconds


def start_all(*starts: Callable[[], None]) -> None:
    """Calls each of `starts`, which start threads and do nothing else that could take long.

    Python waits without a limit for a new thread, even for one that ran out of memory before it
    could say that it runs. If the start takes more than START_WITHIN seconds, the process ends with
    exit code 1 and prints a traceback; this needs no memory. Its keeper starts a new one.
    """
    faulthandler.dump_traceback_later(START_WITHIN, exit=True)
    for start in starts:
        start()
    faulthandler.cancel_dump_traceback_later()


class Rounds(threading.Thread):
    """Calls each task at once and then every `task.every` seconds, one after the other, until
    `stop`.

    A task that fails is logged and called again. MemoryError ends the thread, and with it the
    process. `on_result` is called after each task with its name and how it failed, or with an empty
    text if it did not.
    """

    def __init__(
        self,
        name: str,
        *tasks: Task,
        on_result: Callable[[str, str], None] = lambda task, fault: None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._tasks = tasks
        self._on_result = on_result
        self._stopped = threading.Event()

    def run(self) -> None:
        due = [0.0 for _ in self._tasks]
        while not self._stopped.is_set():
            for number, task in enumerate(self._tasks):
                if time.monotonic() >= due[number]:
                    due[number] = time.monotonic() + task.every
                    self._call(task.run)
            self._stopped.wait(max(0.05, min(due) - time.monotonic()))

    def stop(self) -> None:
        self._stopped.set()

    def _call(self, run: Callable[[], None]) -> None:
        fault = ""
        try:
            run()
        except MemoryError:
            raise
        except Exception as error:
            log.exception(
                "S3 snapshot mirror: the task %s failed, and is called again", run.__name__
            )
            fault = f"{type(error).__name__}: {error}"
        self._on_result(run.__name__, fault)


def rounds_of(tasks: Iterable[Task], on_result: Callable[[str, str], None]) -> list[Rounds]:
    """Returns one Rounds for each thread that the tasks name."""
    by_thread: dict[str, list[Task]] = {}
    for task in tasks:
        by_thread.setdefault(task.thread, []).append(task)
    return [Rounds(name, *group, on_result=on_result) for name, group in by_thread.items()]
