"""Checks: whether the destination answers, and whether it still holds what was uploaded.

The check makes an outage visible before the next event. A put proves more than the check: while
puts succeed, a key that may not list is only a remark.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from frigate_mirror.faults import Troubles
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.part import Part, Task
from frigate_mirror.sinks.sink import Misconfigured, Sink, SinkError
from frigate_mirror.upload import presence
from frigate_mirror.upload.outage import CircuitBreaker
from frigate_mirror.upload.uploader import Uploader

log = logging.getLogger("frigate_s3")
DAY = 86_400.0
LOOK_EVERY = 1.0  # seconds between two looks whether it is time to verify or to check again
AGAIN = 10.0  # seconds after which a first failed check is repeated, because one proves no outage


class Checks(Part):
    """Checks `sink` every `interval` seconds; `clock` gives Unix seconds."""

    def __init__(
        self,
        sink: Sink,
        ledger: Ledger,
        breaker: CircuitBreaker,
        uploader: Uploader,
        *,
        interval: float,
        troubles: Troubles,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._breaker = breaker
        self._uploader = uploader
        self._interval = interval
        self._troubles = troubles
        self._clock = clock
        self._verify_at = 0.0
        self._again_at = math.inf

    def tasks(self) -> list[Task]:
        return [
            Task("check", self._interval, self.check),
            Task("check", LOOK_EVERY, self.check_again),
            Task("check", LOOK_EVERY, self.verify),
        ]

    def check(self) -> None:
        """Asks the destination for a sign of life."""
        breaker, remark = self._breaker, ""
        self._again_at = math.inf
        try:
            self._sink.check()
            due = [self._ledger.next_due(bulk=bulk) for bulk in (False, True)]
            idle = due == [None, None] and self._ledger.claimed == 0
            if breaker.check_succeeded(idle=idle):
                self._uploader.resume()
            self._uploader.wake()
        except SinkError as error:
            if isinstance(error, Misconfigured) and breaker.proven and not breaker.doubted:
                remark = str(error)
                breaker.heard()
            else:
                breaker.check_failed(error)
                if not breaker.down:
                    self._again_at = time.monotonic() + AGAIN
        except LedgerError as error:
            self._troubles.note_error(error)
        self._troubles.note("check", remark)

    def check_again(self) -> None:
        """Repeats a first failed check soon, so that an outage is known within the interval."""
        if time.monotonic() >= self._again_at:
            self.check()

    def verify(self) -> None:
        """Looks, once after the start and then daily, whether the newest uploads are still in the
        bucket. While some are missing, it looks at every check."""
        now = time.monotonic()
        if not self._breaker.answered or now < self._verify_at:
            return
        try:
            looked, missing = presence.missing(
                self._ledger, self._sink, self._clock() - DAY, math.inf, presence.SOME
            )
        except SinkError as error:  # without an answer the last result still holds
            log.debug("S3 bucket not listed: %s", error)
            self._verify_at = now + self._interval
            return
        except LedgerError as error:
            self._troubles.note_error(error)
            return
        self._verify_at = now + (self._interval if missing else DAY)
        trouble = (
            f"{len(missing)} of the newest {looked} uploaded files are missing at the destination: "
            "was it emptied or replaced? `backfill --verify --since 7d` uploads them again"
        )
        self._troubles.note("bucket", trouble if missing else "")
