"""Settling: what the bucket holds by now and the ledger does not know yet.

Under load one commit and one write to the state file serve all that was uploaded within a moment;
without load, each upload's own. A kill or a power cut costs that moment's uploads once more, of the
same bytes to the same keys.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.rows import Settled
from frigate_mirror.spool import Spool

WITHIN = 0.05  # seconds
AT_ONCE = 100
MOST = 10_000


class Settling:
    """`on_settled` hears of every batch that the ledger took; `clock` gives monotonic seconds."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        on_settled: Callable[[list[Settled]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._on_settled = on_settled
        self._clock = clock
        self._done: dict[str, Settled] = {}
        self._ours: set[str] = set()  # uploaded, and not let go by who uploaded it
        self._since = 0.0
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._done)

    @property
    def due(self) -> bool:
        """Whether it is time, though there is more to upload."""
        return len(self._done) >= AT_ONCE or (
            bool(self._done) and self._clock() - self._since >= WITHIN
        )

    @property
    def overfull(self) -> bool:
        """Whether no more should be uploaded until the ledger takes something again."""
        return len(self._done) >= MOST

    def add(self, one: Settled) -> None:
        with self._turn:
            if not self._done:
                self._since = self._clock()
            self._done[one.id] = one
            self._ours.add(one.id)

    def let_go(self, artifact_id: str) -> None:
        """Unclaim it, unless it is uploaded: then its settling does. That may be done by now, and
        somebody else may have claimed it again."""
        with self._turn:
            if artifact_id in self._ours:
                self._ours.discard(artifact_id)
            else:
                self._ledger.release(artifact_id)

    def settle(self) -> None:
        """Settle all, whoever uploaded it. Raises LedgerError; then all of it stays claimed, and
        is settled later."""
        with self._turn:
            if not self._done:
                return
            batch = list(self._done.values())
            self._since = self._clock()  # also where it fails: not at every upload again
            wanted = self._ledger.settle(batch)
            self._done.clear()
        for one in batch:
            if one.id not in wanted:
                self._spool.release(one.id, one.version)
        self._on_settled(batch)
