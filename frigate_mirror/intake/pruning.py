"""Pruning: forgets what is older than the window, in the ledger, its state files and the spool."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from frigate_mirror.faults import Troubles
from frigate_mirror.intake.window import Window
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.statefiles import StateFiles
from frigate_mirror.part import Part, Task
from frigate_mirror.spool import Spool

log = logging.getLogger("frigate_s3")
DAY = 86_400.0
MARGIN = 1 * DAY  # a row that a sweep can still see must not be forgotten
KEEP_DEAD = 90 * DAY
EVERY, LOOK_EVERY = 3_600.0, 10.0  # seconds


class Pruning(Part):
    """Prunes every hour, the first time as soon as no backlog has to wait for it. `is_busy` tells
    whether uploads are under way or due; `clock` gives Unix seconds."""

    def __init__(
        self,
        ledger: Ledger,
        files: StateFiles,
        spool: Spool,
        window: Window,
        *,
        is_busy: Callable[[], bool],
        troubles: Troubles,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._spool = spool
        self._window = window
        self._is_busy = is_busy
        self._troubles = troubles
        self._clock = clock
        self._latest = time.monotonic() + EVERY
        self._pruned = False

    def tasks(self) -> list[Task]:
        return [Task("sweep", LOOK_EVERY, self.tidy)]

    def status(self) -> dict[str, Any]:
        return {"kept_for": self._window.length + MARGIN}

    def tidy(self) -> None:
        """Prunes if an hour has passed, or at the first moment without a backlog."""
        if time.monotonic() >= self._latest or not (self._pruned or self._is_busy()):
            self._latest, self._pruned = time.monotonic() + EVERY, True
            self.prune()

    def prune(self) -> None:
        now = self._clock()
        try:
            oldest = min(span[0] for span in self._window.spans(now))
            forgotten, unacknowledged = self._ledger.prune(oldest - MARGIN, now - KEEP_DEAD)
            if unacknowledged:
                log.warning("S3 ledger: %d failed file(s) older than %d days are forgotten, and no "
                            "longer keep health from OK",
                            unacknowledged, KEEP_DEAD / DAY)  # fmt: skip
            self._spool.sweep(self._keep_held)
            self._files.rewrite(forgotten=bool(forgotten))
        except LedgerError as error:
            self._troubles.note_error(error)

    def _keep_held(self, artifact_id: str) -> float:
        """Returns the age in seconds up to which the spool keeps an orphan."""
        if self._ledger.unknown([artifact_id]):
            return self._window.length + MARGIN
        return math.inf if self._ledger.wants_file(artifact_id) else 0.0
