"""Runs the retention once a day, as a part of the companion or as a service of its own."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.part import Part, Task
from frigate_mirror.policy import DAY
from frigate_mirror.retention.errors import Refused, RetentionError, Stopped
from frigate_mirror.retention.run import Job, run
from frigate_mirror.sinks.sink import Archive, Misconfigured, SinkError
from frigate_mirror.untrusted import shaped

log = logging.getLogger("frigate_s3.retention")
RESULT = "retention.json"
LOOK_EVERY = 60.0  # seconds between two looks whether it is time
AGAIN = 3_600.0  # seconds after which a run is repeated that the service or this machine has ended
STALE = 2 * DAY  # seconds after which the last result proves nothing


@dataclass(frozen=True, slots=True)
class Result:
    """When the last run ended, in Unix seconds, why it failed or deleted nothing, or an empty text,
    and for how many seconds nothing is to be tried."""

    at: float
    fault: str
    rest: float


class Retention(Part):
    """Runs `job` once a day. `opened` gives the archive for one run. What became of the last run is
    kept in a file, so that a new start is no reason for another run. `clock` gives Unix seconds."""

    def __init__(
        self,
        job: Job,
        opened: Callable[[], AbstractContextManager[Archive]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._job = job
        self._opened = opened
        self._clock = clock
        self._last = last_result(job.folder)
        self._ends = False

    def tasks(self) -> list[Task]:
        return [Task("retention", LOOK_EVERY, self.look)]

    def troubles(self) -> list[str]:
        fault = self._last.fault if self._last else ""
        return [f"retention: {fault}"] if fault else []

    def finish(self) -> None:
        self._ends = True

    def look(self) -> None:
        """Makes a run if it is time."""
        by_hand = last_result(self._job.folder)
        if by_hand and self._last and by_hand.at > self._last.at:
            self._last = by_hand
        last = self._last
        if last and 0 <= self._clock() - last.at < last.rest:
            return
        fault, rest = "", float(DAY)
        try:
            with self._opened() as archive:
                deleted = run(
                    self._job,
                    archive,
                    lambda line: log.info("S3 retention: %s", line),
                    clock=self._clock,
                    stop=lambda: self._ends,
                )
            if deleted.left:
                fault = f"{len(deleted.left)} objects could not be deleted; the log has the reasons"
        except Stopped:
            return
        except (Refused, Misconfigured) as error:  # the same would happen in an hour
            fault = str(error)
        except (RetentionError, SinkError) as error:
            fault, rest = str(error), AGAIN
        self._note(Result(self._clock(), fault, rest))

    def _note(self, result: Result) -> None:
        if result.fault and not (self._last and self._last.fault == result.fault):
            log.warning("S3 retention: %s", result.fault)
        self._last = result
        with suppress(OSError):
            write_result(self._job.folder, result)


def write_result(folder: Path, result: Result) -> None:
    """Keeps the result for the next start of the process, and for `health`. Raises OSError."""
    told = {"at": result.at, "fault": result.fault, "rest": result.rest}
    with replacing(folder / RESULT) as file:
        file.write(json.dumps(told).encode())


def note_by_hand(folder: Path, now: float) -> None:
    """Notes that a run by hand has succeeded, where runs are daily. So the refusal of the last
    daily run, which has advised this one, is no trouble any more."""
    if last_result(folder):
        with suppress(OSError):
            write_result(folder, Result(now, "", float(DAY)))


def last_result(folder: Path) -> Result | None:
    """Returns the result of the last run, or None if there is none or it cannot be read."""
    try:
        with open_regular(folder / RESULT) as file:
            return Result(**shaped(json.loads(file.read(65_536)), Result))
    except (OSError, ValueError, RecursionError):
        return None


def health(folder: Path, now: float) -> str:
    """Returns why the daily runs are not well, or an empty text."""
    last = last_result(folder)
    if last is None:
        return f"no run has ended yet: there is no {folder / RESULT}"
    if not 0 <= now - last.at < STALE:
        return "the last run is more than two days old"
    return last.fault
