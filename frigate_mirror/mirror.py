"""Mirror: Catalog, Intake, Spool, Ledger, Uploader and Service joined into one thing that runs.

Knows no process, pipe or signal; `child` drives it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

from frigate_mirror import health, rebuild
from frigate_mirror.backoff import Backoff
from frigate_mirror.events import Catalog, CatalogError
from frigate_mirror.health import Troubles
from frigate_mirror.intake import Intake
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger import LedgerError
from frigate_mirror.service import Service
from frigate_mirror.settings import Settings
from frigate_mirror.sink import Misconfigured, Sink, SinkError
from frigate_mirror.spool import Spool
from frigate_mirror.statefiles import StateFile
from frigate_mirror.uploader import Uploader

log = logging.getLogger("frigate_s3")
DAY = 86_400.0
PRUNE_MARGIN = 1 * DAY  # past the sweep window, lest a row is forgotten that a sweep still sees
KEEP_FAILED = 90 * DAY
ARTIFACT_BACKOFF = Backoff(base=2.0, cap=600.0)
SERVICE_BACKOFF = Backoff(base=1.0, cap=60.0)


class Mirror:
    """`clock` gives Unix seconds. Raises LedgerError when the ledger cannot be opened."""

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        *,
        clock: Callable[[], float] = time.time,
        versions: dict[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._clock = clock
        self._started_at = clock()
        self._troubles = Troubles()
        with suppress(OSError):
            settings.cache_dir.mkdir(parents=True, exist_ok=True)
        self._uploaded = StateFile(settings.uploaded_file, with_errors=False)
        self._failed = StateFile(settings.failed_file, with_errors=True)
        self.catalog = Catalog(settings.db_path, settings.batch_size)
        self.ledger = rebuild.open_ledger(settings.ledger_path, self._uploaded, self._failed)
        self.spool = Spool(settings.spool_dir, settings.spool_limit_mb * 1_000_000)
        self.service = Service(SERVICE_BACKOFF, clock)
        self.uploader = Uploader(
            self.ledger,
            self.spool,
            sink,
            self.service,
            backoff=ARTIFACT_BACKOFF,
            max_tries=settings.max_failed_retries,
            on_settled=self._uploaded.append,
            clock=clock,
        )
        self.intake = Intake(
            self.catalog,
            self.ledger,
            self.spool,
            clips_dir=settings.clips_dir,
            keys=KeyCodec(settings.prefix, settings.key_timezone),
            troubles=self._troubles,
            wake=self.uploader.wake,
            clock=clock,
        )
        self._summed_up = 0
        self._failed_told = -1
        self._versions = versions or {}

    def start(self) -> None:
        self.uploader.start(self._settings.upload_threads)

    def stop(self, drain: float) -> None:
        """Up to `drain` seconds for what is due now, then let go. The rest is in the ledger."""
        until = time.monotonic() + drain
        while time.monotonic() < until and self._drainable():
            time.sleep(0.05)
        self.uploader.stop()
        self.uploader.join(max(0.5, until - time.monotonic()))
        self.sum_up()
        self.write_status(stopped=True)

    def _drainable(self) -> bool:
        """Whether an upload is under way or could be."""
        if self.service.down:
            return False
        try:
            due = self.ledger.next_due()
        except LedgerError:
            return False
        return self.ledger.claimed > 0 or (due is not None and due <= self._clock())

    # -- what has to be done now and then

    def housekeep(self) -> None:
        """One round of the sweep thread: mend what a set clock did, and find what no hook told."""
        now = self._clock()
        try:
            self.ledger.mend_clock(now, now + ARTIFACT_BACKOFF.cap)
            found = self.intake.sweep(now - self._settings.sweep_days * DAY)
        except CatalogError as error:
            self._troubles.note("database", str(error))
        except LedgerError as error:
            self._troubles.note("ledger", str(error))
        else:
            self._troubles.note("database", "")
            self._troubles.note("ledger", "")
            if found:
                log.info("S3 sweep: %d event(s) queued that no hook had offered", found)

    def tend(self) -> None:
        """One look for the pictures that were not there."""
        try:
            self.intake.tend()
        except CatalogError as error:
            self._troubles.note("database", str(error))
        except LedgerError as error:
            self._troubles.note("ledger", str(error))

    def prune(self) -> None:
        """Forget what is older than the window plus a margin, in ledger, files and spool."""
        now = self._clock()
        before = now - self._settings.sweep_days * DAY - PRUNE_MARGIN
        try:
            forgotten = self.ledger.prune(before, now - KEEP_FAILED)
            self.spool.sweep(self.ledger.is_pending)
            if forgotten:
                self._uploaded.replace(self.ledger.settled("uploaded"))
        except LedgerError as error:
            self._troubles.note("ledger", str(error))

    def check(self) -> None:
        """Ask the bucket for a sign of life, so that an outage shows before the next event.

        A put is the better witness: while puts get through, a key that may not list is a remark.
        """
        try:
            self._sink.check()
            idle = self.ledger.next_due() is None and self.ledger.claimed == 0
        except Misconfigured as error:
            if self.uploader.tally.last_success is None or self.service.down:
                self.service.failed(error)
            else:
                self._troubles.note("check", str(error))
        except SinkError as error:
            self.service.failed(error)
        except LedgerError as error:
            self._troubles.note("ledger", str(error))
        else:
            self._troubles.note("check", "")
            if idle:
                self.service.worked()
            else:
                self.service.hurry()
            self.uploader.wake()

    def tell(self) -> None:
        """The statistics line."""
        try:
            log.info("%s", self.status().line())
        except LedgerError as error:
            self._troubles.note("ledger", str(error))

    def sum_up(self) -> None:
        """One line for the backlog and retries that were uploaded since the last one."""
        done = self.uploader.tally.success - self.uploader.tally.live
        new, self._summed_up = done - self._summed_up, done
        with suppress(LedgerError):
            if new:
                left = self.ledger.counts().pending
                log.info("S3 backlog: %d picture(s) uploaded, %d to go", new, left)

    def status(self) -> health.Status:
        """Raises LedgerError."""
        now, tally, settings = self._clock(), self.uploader.tally, self._settings
        oldest = self.ledger.oldest_pending()
        faults = [one for one in (tally.last_fault, self.service.last_fault) if one]
        return health.Status(
            written_at=now,
            started_at=self._started_at,
            pid=os.getpid(),
            success=tally.success,
            failed=tally.failed,
            counts=self.ledger.counts(),
            behind=0.0 if oldest is None else max(0.0, now - oldest),
            last_success=tally.last_success,
            last_error=max(faults, key=lambda fault: fault.at, default=None),
            service_down=self.service.down,
            service_since=self.service.since,
            spool_files=self.spool.files,
            spool_bytes=self.spool.bytes,
            troubles=self._every_trouble(),
            versions=self._versions,
            target={"bucket": settings.bucket, "endpoint": settings.endpoint_url or "AWS",
                    "prefix": settings.prefix},
            paths={"database": str(settings.db_path), "state": str(settings.state_dir)},
        )  # fmt: skip

    def write_status(self, *, stopped: bool = False) -> None:
        """Write the status file; a failure is noted, never raised."""
        try:
            status = self.status()
            self._tell_failed(status.counts.failed)
            health.write(status.document() | {"stopped": stopped}, self._settings.status_path)
            self._troubles.note("status", "")
        except (LedgerError, OSError) as error:
            self._troubles.note("status", f"status file cannot be written: {error}")

    def _tell_failed(self, count: int) -> None:
        """Bring the file of dead letters up to date when their number has changed."""
        if count != self._failed_told:
            self._failed.replace(self.ledger.settled("failed"))
            self._failed_told = count

    def _every_trouble(self) -> list[str]:
        files = [self._uploaded.trouble, self._failed.trouble]
        others = [self.uploader.tally.trouble, self.spool.trouble, *files]
        return list(dict.fromkeys([*self._troubles.all(), *filter(None, others)]))
