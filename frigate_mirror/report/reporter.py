"""Reporter: writes the status file, the file of dead letters and the statistics line."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from frigate_mirror.faults import Troubles
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.ledger.statefiles import StateFiles
from frigate_mirror.part import Part, Task
from frigate_mirror.report import status
from frigate_mirror.report.status import STALE_AFTER, Status

log = logging.getLogger("frigate_s3")
WRITE_EVERY = 5.0  # seconds


class Reporter(Part):
    """Reports what `look` returns. The statistics line comes every `stats_interval` seconds, with
    the numbers of events that `count_events` returns (`Ledger.events`). `farewell` says why the
    mirror has ended, when it has."""

    def __init__(
        self,
        look: Callable[[], Status],
        path: Path,
        files: StateFiles,
        *,
        stats_interval: float,
        farewell: str,
        troubles: Troubles,
        count_events: Callable[[], tuple[int, int]],
    ) -> None:
        self._look = look
        self._count_events = count_events
        self._path = path
        self._files = files
        self._stats_interval = stats_interval
        self._farewell = farewell
        self._troubles = troubles
        self._turn = threading.Lock()
        self._stopped = ""
        self._newest: Status | None = None
        self._made_at = -math.inf  # on time.monotonic
        self.pulse = -math.inf
        """When the reporter worked last, on time.monotonic, even if it could not make a status."""

    def tasks(self) -> list[Task]:
        return [
            Task("pulse", WRITE_EVERY, self.write),
            Task("stats", self._stats_interval, self.log_line),
        ]

    def newest(self) -> Status | None:
        """Returns the status that was made last, for all who tell it in other ways. Only the
        reporter makes one, because counting a large ledger takes time."""
        return self._newest

    def current(self) -> Status:
        """Returns the newest status, or makes one if there is none yet. Raises LedgerError if the
        newest one is old, so that nobody takes it for the present one."""
        if self._newest is None:
            return self._look()
        age = time.monotonic() - self._made_at
        if age > STALE_AFTER:
            raise LedgerError(f"no status could be made for {status.span(age)}; see the log")
        return self._newest

    def log_line(self) -> None:
        """Logs the statistics line."""
        try:
            log.info("%s", self._look().line(*self._count_events()))
        except LedgerError as error:
            self._troubles.note_error(error)

    def write(self, *, stopped: str = "") -> None:
        """Writes the status file and, if dead letters have changed, their file. A failure is noted,
        never raised. `stopped` is a sentence that says why the mirror has ended; after it no other
        status is written."""
        with self._turn:
            if self._stopped:
                return
            self._stopped = stopped
            try:
                self._files.refresh()
                newest = self._look()
                self._newest, self._made_at = newest, time.monotonic()
                status.write(newest.document() | {"stopped": stopped}, self._path)
                self._troubles.note("status", "")
            except (LedgerError, OSError) as error:
                self._troubles.note("status", f"status file cannot be written: {error}")
            self.pulse = time.monotonic()

    def finish(self) -> None:
        self._troubles.close()
        self.write(stopped=self._farewell)
