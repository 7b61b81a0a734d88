"""Commits: uploads that the bucket holds and the ledger does not know yet.

Under load, one commit and one write to the state file serve all uploads of a moment. Without load,
each upload has its own. A kill or a power cut repeats the uploads of that moment: the same bytes go
to the same keys.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.rows import Settled
from frigate_mirror.spool import Spool

WITHIN = 0.05  # seconds
AT_ONCE = 25  # a claim passes over the artifacts that wait for their commit
MOST = 10_000


class Commits:
    """Gathers uploads and commits them together. `on_commit` is called with every batch that the
    ledger took; `clock` gives monotonic seconds."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        on_commit: Callable[[list[Settled]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._on_commit = on_commit
        self._clock = clock
        self._uploaded: dict[str, Settled] = {}
        self._since = 0.0
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._uploaded)

    @property
    def due(self) -> bool:
        """Whether the next commit should not wait, although more is being uploaded."""
        return len(self._uploaded) >= AT_ONCE or (
            bool(self._uploaded) and self._clock() - self._since >= WITHIN
        )

    @property
    def overfull(self) -> bool:
        """Whether uploads should wait until the ledger can be written again."""
        return len(self._uploaded) >= MOST

    def add(self, upload: Settled) -> None:
        """Takes an upload, whose artifact stays claimed until the commit."""
        with self._turn:
            if not self._uploaded:
                self._since = self._clock()
            self._uploaded[upload.id] = upload

    def commit(self) -> None:
        """Commits all uploads of all threads. Raises LedgerError; then all of them stay claimed,
        and a later call commits them."""
        with self._turn:
            if not self._uploaded:
                return
            batch = list(self._uploaded.values())
            self._since = self._clock()  # after a failure, the next upload must not try at once
            wanted = self._ledger.settle(batch)
            self._uploaded.clear()
        for upload in batch:
            if upload.id not in wanted:
                self._spool.release(upload.id, upload.version)
        self._on_commit(batch)
