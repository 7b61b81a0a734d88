"""Mirror: Catalog, Intake, Spool, Ledger, Uploader and Service joined into one thing that runs.

Knows no process, pipe or signal; `child` drives it.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from frigate_mirror.faults import Troubles
from frigate_mirror.frigate.database import Catalog, CatalogError
from frigate_mirror.intake.intake import Intake
from frigate_mirror.intake.window import Window
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.ledger.places import State
from frigate_mirror.ledger.rows import Counts, Settled
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.report import health
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Misconfigured, Sink, SinkError
from frigate_mirror.spool import Spool
from frigate_mirror.upload import presence
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.bandwidth import Bandwidth
from frigate_mirror.upload.outage import Service
from frigate_mirror.upload.uploader import Uploader

log = logging.getLogger("frigate_s3")
DAY = 86_400.0
HOUR = 3_600.0
PRUNE_MARGIN = 1 * DAY  # past the sweep window, lest a row is forgotten that a sweep still sees
KEEP_DEAD = 90 * DAY
CHANGES_AT_ONCE = 10_000  # events of the last hour that one sweep looks at again
TIDY_EVERY = 3600.0
ARTIFACT_BACKOFF = Backoff(base=2.0, cap=600.0)
SERVICE_BACKOFF = Backoff(base=1.0, cap=60.0)


class Mirror:
    """`clock` gives Unix seconds."""

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        state: State,
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
            settings.state.cache_dir.mkdir(parents=True, exist_ok=True)
        self._uploaded = StateFile(settings.state.uploaded_file, with_errors=False)
        self._failed = StateFile(settings.state.failed_file, with_errors=True)
        self.catalog = Catalog(settings.frigate.db_path, settings.sweep.batch_size)
        self._state = state
        self.ledger = state.ledger
        self.spool = Spool(settings.state.spool_dir, settings.spool.limit_mb * 1_000_000)
        self.service = Service(SERVICE_BACKOFF, clock)
        self.uploader = Uploader(
            self.ledger,
            self.spool,
            sink,
            self.service,
            backoff=ARTIFACT_BACKOFF,
            max_tries=settings.upload.max_tries,
            bandwidth=Bandwidth(settings.upload.bandwidth),
            on_settled=self._record,
            clock=clock,
        )
        self.intake = Intake(
            self.catalog,
            self.ledger,
            self.spool,
            clips_dir=settings.frigate.clips_dir,
            keys=KeyCodec(settings.s3.prefix, settings.keys.timezone),
            troubles=self._troubles,
            wake=self.uploader.wake,
            clock=clock,
        )
        self.window = Window(self.ledger, settings.sweep.days * DAY)
        for trouble in state.troubles:
            self._troubles.note(f"state: {trouble}", trouble)
        self._verify_at = 0.0
        self._summed_up = 0
        self._failed_told: tuple[int, ...] = ()
        self._telling = threading.Lock()
        self._stopped = False
        self._lines_missing = False
        self._tidy_at, self._tidied = time.monotonic() + TIDY_EVERY, False
        self._versions = versions or {}

    def start(self) -> None:
        """Upload, first of all what an outage held up in an earlier life."""
        self.hasten()
        self.start_threads()

    def hasten(self) -> None:
        """Make due at once what an outage held up in an earlier life. Waits while another process
        has the ledger locked, but not for ever."""
        with suppress(LedgerError):
            self.ledger.hasten(self._clock())

    def start_threads(self) -> None:
        """Start the threads that upload. Touches no file and waits for nothing."""
        self.uploader.start(self._settings.upload.threads)

    def stop(self, drain: float) -> None:
        """Up to `drain` seconds for what is due now, then let go. The rest is in the ledger."""
        until = time.monotonic() + drain
        while time.monotonic() < until and self._drainable():
            time.sleep(0.05)
        self.uploader.stop()
        self.uploader.join(max(0.0, until - time.monotonic()))
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

    def _record(self, batch: list[Settled]) -> None:
        """Append what was uploaded to its state file; what does not fit there now comes later."""
        self._uploaded.append(batch)
        self._lines_missing |= bool(self._uploaded.trouble)

    # -- what has to be done now and then

    def housekeep(self) -> None:
        """One round of the sweep thread: mend what a set clock did, and find what no hook told and
        what Frigate has changed since. Where the ledger cannot be written, the pictures are held
        all the same."""
        now, sound = self._clock(), True
        for step in (self._mend_clock, self._hold, self._sweep, self._look_for_changes):
            try:
                step(now)
            except (CatalogError, LedgerError) as error:
                self._note(error)
                sound = False
        if sound:
            self._troubles.note("database", "")
            self._troubles.note("ledger", "")

    def _mend_clock(self, now: float) -> None:
        self.ledger.mend_clock(now, now + ARTIFACT_BACKOFF.cap)

    def _hold(self, now: float) -> None:
        self.intake.hold()

    def _sweep(self, now: float) -> None:
        found = sum(self.intake.sweep(*span) for span in self.window.spans(now))
        self.window.swept(now)
        if found:
            log.info("S3 sweep: %d event(s) queued that no hook had offered", found)

    def _look_for_changes(self, now: float) -> None:
        since = now - self._settings.sweep.days * DAY
        recent = self.catalog.ended_since(now - HOUR, since, CHANGES_AT_ONCE)
        changed = self.intake.look_for_changes(recent)
        last = float(self.ledger.note("changes") or -math.inf)
        if not now - DAY < last <= now:  # a day has passed, or the clock was set back
            changed += sum(map(self.intake.look_for_changes, self.catalog.window(since)))
            self.ledger.take_note("changes", repr(now))
        if changed:
            log.info("S3 sweep: %d picture(s) that Frigate changed go up again", changed)

    def tend(self) -> None:
        """One look for the pictures that were not there."""
        try:
            self.intake.tend()
        except (CatalogError, LedgerError) as error:
            self._note(error)

    def tidy(self) -> None:
        """Prune every TIDY_EVERY seconds, the first time as soon as no backlog has to wait for
        that."""
        if time.monotonic() < self._tidy_at and (self._tidied or self._drainable()):
            return
        self._tidy_at, self._tidied = time.monotonic() + TIDY_EVERY, True
        self.prune()

    def prune(self) -> None:
        """Forget what is older than the window plus a margin, in ledger, files and spool; look
        again for what had no file within it."""
        now = self._clock()
        since = now - self._settings.sweep.days * DAY
        try:
            swept = min(span[0] for span in self.window.spans(now))
            forgotten, unheard = self.ledger.prune(swept - PRUNE_MARGIN, now - KEEP_DEAD)
            if unheard:
                log.warning("S3 ledger: %d failed picture(s) older than %d days are forgotten, and "
                            "no longer keep health from OK", unheard, KEEP_DEAD / DAY)  # fmt: skip
            self.spool.sweep(self._keep_held)
            if forgotten or self._lines_missing:
                self._uploaded.replace(self.ledger.settled("uploaded"))
                self._lines_missing = bool(self._uploaded.trouble)
            self.intake.look_again(since)
        except (CatalogError, LedgerError) as error:
            self._note(error)

    def _keep_held(self, artifact_id: str) -> float:
        """For how many seconds the spool keeps a file: as long as anybody may want it."""
        if self.ledger.unknown([artifact_id]):
            return self._settings.sweep.days * DAY + PRUNE_MARGIN
        return math.inf if self.ledger.wants_file(artifact_id) else 0.0

    def check(self) -> None:
        """Ask the bucket for a sign of life, so that an outage shows before the next event.

        A put is the better witness: while puts get through, a key that may not list is a remark.
        """
        service, remark = self.service, ""
        try:
            self._sink.check()
            idle = self.ledger.next_due() is None and self.ledger.claimed == 0
            if service.check_worked(idle=idle):
                self.uploader.back()
            self.uploader.wake()
        except SinkError as error:
            if isinstance(error, Misconfigured) and service.proven and not service.doubted:
                remark = str(error)
            else:
                service.check_failed(error)
        except LedgerError as error:
            self._note(error)
        self._troubles.note("check", remark)

    def verify(self) -> None:
        """Once after the start and then once a day, look whether the newest pictures that were
        uploaded are still in the bucket; more often while some are not."""
        now = time.monotonic()
        if not self.service.answered or now < self._verify_at:
            return
        since = self._clock() - DAY
        try:
            looked, missing = presence.missing(
                self.ledger, self._sink, since, math.inf, presence.SOME
            )
        except SinkError as error:  # nobody knows: what was told before still holds
            log.debug("S3 bucket not listed: %s", error)
            self._verify_at = now + self._settings.report.check_interval
            return
        except LedgerError as error:
            self._note(error)
            return
        self._verify_at = now + (self._settings.report.check_interval if missing else DAY)
        trouble = (
            f"{len(missing)} of the newest {looked} uploaded pictures are missing in the bucket: "
            "was it emptied or replaced? `backfill --verify --since 7d` uploads them again"
        )
        self._troubles.note("bucket", trouble if missing else "")

    def tell(self) -> None:
        """The statistics line."""
        try:
            log.info("%s", self.status().line())
        except LedgerError as error:
            self._note(error)

    def sum_up(self) -> None:
        """One line for the backlog and retries that were uploaded since the last one."""
        tally = self.uploader.tally
        with tally.lock:
            done = tally.success - tally.live
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
            service_answered=self.service.answered,
            service_since=self.service.since,
            spool_files=self.spool.files,
            spool_bytes=self.spool.bytes,
            troubles=self._every_trouble(),
            versions=self._versions,
            target={"bucket": settings.s3.bucket, "endpoint": settings.s3.endpoint_url or "AWS",
                    "prefix": settings.s3.prefix},
            paths={"database": str(settings.frigate.db_path), "state": str(settings.state.folder),
                   "ledger": str(self.ledger.path), "other ledger": str(self._state.other or "")},
        )  # fmt: skip

    def write_status(self, *, stopped: bool = False) -> None:
        """Write the status file; a failure is noted, never raised. Once it says `stopped`, that
        is the last word."""
        with self._telling:
            if self._stopped:
                return
            self._stopped = stopped
            try:
                status = self.status()
                self._tell_failed(status.counts)
                health.write(
                    status.document() | {"stopped": stopped}, self._settings.state.status_path
                )
                self._troubles.note("status", "")
            except (LedgerError, OSError) as error:
                self._troubles.note("status", f"status file cannot be written: {error}")

    def _tell_failed(self, counts: Counts) -> None:
        """Bring the file of dead letters up to date when they have changed."""
        now = (counts.failed, counts.lost, counts.flawed, counts.acknowledged,
               self.uploader.tally.buried)  # fmt: skip
        if now != self._failed_told:
            self._failed.replace(self.ledger.dead_letters())
            if not self._failed.trouble:
                self._failed_told = now

    def note_task(self, name: str, fault: str) -> None:
        """One of the rounds' tasks failed in a way that nobody foresaw; an empty fault: it works
        again."""
        trouble = f"{name} fails, see the log: {fault}" if fault else ""
        self._troubles.note(f"task {name}", trouble)

    def _note(self, error: CatalogError | LedgerError) -> None:
        """Say it, unless it is only that a late round met a mirror that has stopped."""
        if not self._stopped:
            name = "database" if isinstance(error, CatalogError) else "ledger"
            self._troubles.note(name, str(error))

    def _every_trouble(self) -> list[str]:
        files = [self._uploaded.trouble, self._failed.trouble]
        others = [self.uploader.tally.trouble, self.spool.trouble, *files]
        return list(dict.fromkeys([*self._troubles.all(), *filter(None, others)]))
