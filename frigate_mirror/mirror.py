"""Mirror: wires catalog, kinds, intake, spool, ledger, uploader and sink, and runs them.

The process that mirrors drives it (`process.life`), and so does the command `backfill`.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from frigate_mirror.catalog import Catalog, Kind, opener_of
from frigate_mirror.faults import Troubles
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.kinds import kinds_of
from frigate_mirror.intake.intake import Intake, WhyNot
from frigate_mirror.intake.pruning import Pruning
from frigate_mirror.intake.selection import Filters, Selection
from frigate_mirror.intake.sweep import DAY, HOUR, Sweep
from frigate_mirror.intake.window import Window
from frigate_mirror.keys import CLIP, METADATA, SNAPSHOT
from frigate_mirror.ledger.folders import State
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Settled
from frigate_mirror.ledger.statefiles import StateFiles
from frigate_mirror.notify import notice
from frigate_mirror.notify.notices import Notices
from frigate_mirror.notify.ping import Ping
from frigate_mirror.notify.ways import ways_of
from frigate_mirror.part import Part, Task
from frigate_mirror.report.reporter import Reporter
from frigate_mirror.report.status import Status
from frigate_mirror.report.tellers import tellers
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Limiter, Sink
from frigate_mirror.spool import Spool
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.bandwidth import Bandwidth, Throttle
from frigate_mirror.upload.checks import Checks
from frigate_mirror.upload.outage import CircuitBreaker
from frigate_mirror.upload.uploader import Uploader

ARTIFACT_BACKOFF = Backoff(base=2.0, cap=600.0)
SERVICE_BACKOFF = Backoff(base=1.0, cap=60.0)
FRIGATE_STOPPED = "the mirror has stopped, because Frigate has stopped"
STOPPED = "the companion was stopped"
IDENTITY = "mqtt client id"  # a note


class Mirror:
    """Mirrors the files of `kinds`, whose subjects `catalog` knows, to `sink`. `state` is the open
    ledger, `why_not` the owner's selection, `versions` are shown in the status, `clock` gives Unix
    seconds, and `farewell` says in the last status that the mirror has ended."""

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        state: State,
        catalog: Catalog[Any],
        kinds: Iterable[Kind[Any]],
        *,
        why_not: WhyNot[Any] = lambda kind, subject: ("", ""),
        clock: Callable[[], float] = time.time,
        versions: Mapping[str, str] | None = None,
        farewell: str = "",
    ) -> None:
        own = settings.state
        with suppress(OSError):
            own.cache_dir.mkdir(exist_ok=True)
        self._settings = settings
        self._clock = clock
        self._started_at = clock()
        self._versions = versions or {}
        self._state = state
        self._sink = sink
        self._troubles = troubles = Troubles()
        for trouble in state.troubles:
            troubles.note(f"state: {trouble}", trouble)

        self.catalog = catalog
        self.ledger = ledger = state.ledger
        kinds = tuple(kinds)
        ledger.opener = opener_of(kinds)
        self.kinds = kinds
        self.spool = spool = Spool(
            own.spool_dir,
            settings.spool.limit_mb * 1_000_000,
            bulk_limit=settings.spool.clip_limit_mb * 1_000_000,
            bulk_kinds={CLIP, *(kind.name for kind in kinds if kind.bulk)},  # also if it is off now
        )
        self.files = files = StateFiles(ledger, own.uploaded_file, own.failed_file)
        self.breaker = breaker = CircuitBreaker(SERVICE_BACKOFF, clock)
        self.uploader = uploader = Uploader(
            ledger,
            spool,
            sink,
            breaker,
            backoff=ARTIFACT_BACKOFF,
            max_tries=settings.upload.max_tries,
            bandwidth=None if isinstance(sink, Limiter) else Bandwidth(settings.upload.bandwidth),
            on_commit=self._on_commit,
            clock=clock,
        )
        self.intake = intake = Intake(
            catalog,
            kinds,
            ledger,
            spool,
            troubles=troubles,
            wake=uploader.wake,
            why_not=why_not,
            clock=clock,
        )
        window = Window(ledger, settings.sweep.days * DAY)
        self.sweep = Sweep(
            intake,
            catalog,
            ledger,
            window,
            interval=settings.sweep.interval,
            longest_pause=ARTIFACT_BACKOFF.cap,
            changes=settings.kinds.changes_hours * HOUR,
            troubles=troubles,
            clock=clock,
        )
        self.pruning = Pruning(
            ledger,
            files,
            spool,
            window,
            is_busy=uploader.is_busy,
            troubles=troubles,
            clock=clock,
        )
        self.checks = Checks(
            sink,
            ledger,
            breaker,
            uploader,
            interval=settings.report.check_interval,
            troubles=troubles,
            clock=clock,
        )
        self.reporter = reporter = Reporter(
            self.status,
            own.status_path,
            files,
            stats_interval=settings.report.stats_interval,
            farewell=farewell or (FRIGATE_STOPPED if own.clips_dir else STOPPED),
            troubles=troubles,
            count_events=ledger.events,
        )
        self.notices = Notices(
            lambda: notice.view_of(reporter.current(), clock()),
            state.folder,
            ways_of(settings),
            name=settings.report.name,
            after=settings.notify.after,
            digest_at=settings.notify.digest_at,
            clock=clock,
        )
        self.parts: list[Part] = [
            spool, files, uploader, self.sweep, self.pruning, self.checks, self.notices,
            self.reporter,
        ]  # fmt: skip
        if settings.notify.ping_url:
            self.add(
                Ping(
                    settings.notify.ping_url,
                    reporter.current,
                    lambda: breaker.silent_for,
                    check_interval=settings.report.check_interval,
                )
            )
        if isinstance(sink, Limiter):
            self.add(Throttle(sink.limit, settings.upload.bandwidth))

    def add(self, part: Part) -> None:
        """Adds a part of a particular mirror. The reporter stays the last one: it tells the end."""
        self.parts.insert(-1, part)

    def tell(self) -> None:
        """Adds the parts that tell others how the mirror is, as far as the settings ask for them.
        A command that mirrors something beside the running mirror does not call it."""
        for part in tellers(
            self._settings,
            lambda: identity_of(self.ledger),
            self.reporter,
            self.ledger,
            self._sink,
            self._troubles,
        ):
            self.add(part)

    def _on_commit(self, batch: list[Settled]) -> None:
        self.files.add(batch)
        self.intake.note_settled(batch)

    def tasks(self) -> list[Task]:
        """Returns the recurring tasks of all parts."""
        return [task for part in self.parts for task in part.tasks()]

    def hasten(self) -> None:
        """Makes the artifacts due at once that an outage put off before this process started. Waits
        a bounded time while another process has the ledger locked."""
        with suppress(LedgerError):
            self.ledger.hasten(self._clock())

    def start_threads(self) -> None:
        """Starts the threads that upload. Neither opens a file nor waits (see
        `rounds.start_all`)."""
        self.uploader.start(self._settings.upload.threads)

    def stop_making(self) -> None:
        """Makes no further bulk file, and ends the making of one."""
        self.sweep.stop()
        for kind in self.kinds:
            kind.stop()

    def stop(self, drain: float) -> None:
        """Uploads for up to `drain` seconds what is due now, then stops. The ledger keeps the
        rest."""
        self.stop_making()
        until = time.monotonic() + drain
        while time.monotonic() < until and self.uploader.is_busy():
            time.sleep(0.05)
        self.uploader.stop(max(0.0, until - time.monotonic()))
        for part in self.parts:
            part.finish()

    def note_task(self, name: str, fault: str) -> None:
        """Notes that the task `name` failed in an unforeseen way. An empty fault means that it
        works again."""
        trouble = f"the task {name} fails: {fault} (the log has the traceback)" if fault else ""
        self._troubles.note(f"task {name}", trouble)

    def status(self) -> Status:
        """Returns the status of all parts. Raises LedgerError."""
        settings, state = self._settings, self._state
        pieces = [part.status() for part in self.parts]
        troubles = [*self._troubles.all(), *(one for part in self.parts for one in part.troubles())]
        return Status(
            written_at=self._clock(),
            started_at=self._started_at,
            pid=os.getpid(),
            troubles=list(dict.fromkeys(troubles)),
            versions=self._versions,
            target=target_of(settings),
            paths={
                **({"database": str(settings.frigate.db_path)} if settings.state.clips_dir else {}),
                "state": str(settings.state.folder),
                "ledger": str(self.ledger.path),
                "other ledger": str(state.other or ""),
            },
            **{name: value for piece in pieces for name, value in piece.items()},
        )


def identity_of(ledger: Ledger) -> str:
    """Returns the name that this mirror has had at the broker since its first start, so that the
    broker keeps messages for it while it is away, and Home Assistant knows it again. Two mirrors
    have two. Raises LedgerError."""
    known = ledger.note(IDENTITY)
    if not known:
        known = f"frigate-mirror-{secrets.token_hex(4)}"
        ledger.set_note(IDENTITY, known)
    return known


def target_of(settings: Settings) -> dict[str, str]:
    """Returns the destination as the status names it."""
    s3, remote = settings.s3, settings.rclone.remote
    if remote:
        return {"remote": remote}
    return {"bucket": s3.bucket, "endpoint": s3.endpoint_url or "AWS", "prefix": s3.prefix}


def of_frigate(
    settings: Settings,
    sink: Sink,
    state: State,
    stopping: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Mirror:
    """Returns the mirror of the files of Frigate's events: over Frigate's API if the settings say
    where that is, and otherwise by its database and its files. `stopping` says whether the process
    is to end, so that it must not wait for Frigate. Raises CatalogError and LedgerError."""
    filters = Filters.of(settings.selection)
    clip_filters = Filters.of(settings.clip_selection)
    options.setdefault("why_not", Selection(filters, {CLIP: clip_filters}).why_not)
    chosen = settings.kinds.kinds
    asked = {
        "reviews": filters.ask_for_reviews or clip_filters.ask_for_reviews,
        "whole": METADATA in chosen,
        "without_snapshot": chosen != {SNAPSHOT},
    }
    if settings.companion.url:
        catalog, kinds = _over_api(settings, state.ledger, asked, stopping)
    else:
        catalog, kinds = _in_place(settings, state.ledger, asked, options.get("versions", {}))
    return Mirror(settings, sink, state, catalog, kinds, **options)


def _in_place(
    settings: Settings, ledger: Ledger, asked: dict[str, bool], versions: Mapping[str, str]
) -> tuple[Catalog[Any], list[Kind[Any]]]:
    frigate = settings.frigate
    catalog = FrigateDatabase(frigate.db_path, settings.sweep.batch_size, **asked)
    version = versions.get("frigate", "").replace("unknown", "")
    kinds = kinds_of(settings, catalog, ledger.known, ledger.note_digest, lambda: version)
    return catalog, kinds


def _over_api(
    settings: Settings, ledger: Ledger, asked: dict[str, bool], stopping: Callable[[], bool]
) -> tuple[Catalog[Any], list[Kind[Any]]]:
    from frigate_mirror.frigate.remote import over_api  # what it needs is an extra

    first = _first_start(ledger)
    since = first if settings.companion.skip_history else -math.inf
    return over_api(settings, asked, since, ledger.known, ledger.note_digest, stopping)


def _first_start(ledger: Ledger) -> float:
    """Returns when the first mirror with this ledger started, in Unix seconds. A time that is still
    to come counts as now: the clock was wrong. Raises LedgerError."""
    noted, now = ledger.note("first start"), time.time()
    if noted and float(noted) <= now:
        return float(noted)
    ledger.set_note("first start", repr(now))
    return now
