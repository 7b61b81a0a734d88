"""`backfill`: uploads the files of a span of time that the ledger does not know."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from frigate_mirror import __version__
from frigate_mirror.catalog import CatalogError
from frigate_mirror.commands.loading import EX_LEFT, EX_OK, EX_USAGE, complain, load, sink_of
from frigate_mirror.commands.moments import moment
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.ledger.lock import StateLock
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.mirror import Mirror, of_frigate
from frigate_mirror.process import system
from frigate_mirror.process.rounds import rounds_of
from frigate_mirror.report import status
from frigate_mirror.report.status import span
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Sink, SinkError
from frigate_mirror.untrusted import plain
from frigate_mirror.upload import presence

POLL = 0.2  # seconds between two looks at the progress
TELL_EVERY = 10.0  # seconds between two lines about the progress where there is no terminal
OUTAGE_PATIENCE = 60.0  # seconds without an upload while the destination is down; then it gives up
PATIENCE = 900.0  # seconds without an upload for any other cause
ENDED = "no mirror runs here; the last one that ran was a `backfill`, which has ended"
SECOND_LOOK = 2.0  # seconds until the second look for missing or incomplete files


def add_options(parser: argparse.ArgumentParser) -> None:
    form = "a date or time (2026-01-31, 2026-01-31T18:30, local time) or an age (3d, 12h, 30m)"
    parser.add_argument("--since", type=moment, required=True, help=form)
    parser.add_argument("--until", type=moment, default=math.inf, help="the same; default: now")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare with the bucket, and upload what is missing there",
    )


def main(arguments: argparse.Namespace) -> int:
    if arguments.until <= arguments.since:
        print("--until is not after --since, so no event can lie between them", file=sys.stderr)
        return EX_USAGE
    settings = load()
    system.set_up_logging("WARNING")
    sink = sink_of(settings, os.environ)
    return backfill(settings, sink, arguments.since, arguments.until, verify=arguments.verify)


def backfill(
    settings: Settings, sink: Sink, since: float, until: float = math.inf, *, verify: bool = False
) -> int:
    """Queues every file of events that started from `since` to before `until` (Unix seconds) and
    that the ledger does not know. Waits for their upload by the running mirror, or by a mirror in
    this process. With `verify`, files that are missing at the destination are queued first. After
    an interruption or an outage the rest stays in the queue. Returns the exit code."""
    began = time.time()
    # Whoever names a span wants all of it.
    settings = replace(settings, companion=replace(settings.companion, skip_history=False))
    try:
        with folders.opened(settings.state) as (state, own_lock):
            mirror = of_frigate(settings, sink, state, versions={"mirror": __version__})
            try:
                if verify:
                    _verify(mirror, sink, since, until)
                other = None if own_lock else StateLock(settings.state)
                why = _upload(mirror, settings.state.status_path, since, until, other)
            except KeyboardInterrupt:
                why = "interrupted"
            if why:
                print(f"{why}; the running or the next mirror uploads the rest", file=sys.stderr)
            mirror.stop_making()
            mirror.uploader.stop(5.0)
            if own_lock:
                mirror.reporter.write(stopped=ENDED)
            counts = mirror.ledger.between(since, until)
            now = mirror.ledger.uploaded_after(began, since, until)
    except (LedgerError, CatalogError, SinkError, OSError) as error:
        return complain(str(error))
    return _sum_up(counts, now, verified=verify)


def _sum_up(counts: Counts, now: int, *, verified: bool) -> int:
    """Prints how many files of the span are in which state, `now` of them uploaded by this run.
    Returns the exit code."""
    fates = {
        "uploaded now": now,
        "uploaded before": counts.uploaded - now,
        "still to upload": counts.pending,
        "failed for good": counts.failed,
        "lost": counts.lost,
        "not on disk": counts.waiting + counts.gone,
        "left out by your filters": counts.unwanted,
    }
    total = sum(fates.values())
    if total:
        some = ", ".join(f"{count} {fate}" for fate, count in fates.items() if count)
        print(f"of {total} file(s) of that time: {some}")
    else:
        print("Frigate has no file of that time")
    if total and total == counts.uploaded:
        print(f"all files of that time are {'at the destination' if verified else 'uploaded'}")
    return EX_LEFT if counts.pending or counts.failed or counts.lost else EX_OK


def _verify(mirror: Mirror, sink: Sink, since: float, until: float) -> None:
    """Compares the uploads in the ledger with the bucket's listing."""
    looked, absent = presence.missing(mirror.ledger, sink, since, until, -1)
    mirror.ledger.vanished(absent, "not at the destination any more", time.time())
    again = mirror.intake.look_for_files(absent)
    print(f"{looked} uploaded file(s) compared with the destination: {len(absent)} missing there, "
          f"{again} of them queued again", flush=True)  # fmt: skip


def _upload(
    mirror: Mirror, status_path: Path, since: float, until: float, other: StateLock | None
) -> str:
    """Queues the files and shows the progress until nothing is left. `other` is the lock of the
    running mirror, which uploads and writes the status; without one, this process uploads. Returns
    why something is left, or an empty text."""
    count = mirror.intake.sweep(since, until)
    print(f"{count} file(s) of that time were not in the ledger yet", flush=True)
    if other is None:
        mirror.hasten()
        mirror.start_threads()
        making = [task for task in mirror.tasks() if task.thread == "bulk"]
        for thread in rounds_of(making, mirror.note_task):
            thread.start()
    if mirror.ledger.between(since, until).waiting:
        time.sleep(SECOND_LOOK)
        if other is None:
            mirror.sweep.look_for_waiting()
    progress = Progress(sys.stderr)
    try:
        while True:
            if other is None:
                mirror.sweep.follow()
            left = mirror.ledger.between(since, until).pending
            left += mirror.ledger.to_make(since, until)
            why = progress.look(left, _outage(mirror, status_path if other else None))
            if other is not None and other.acquire():
                other.release()
                why = "the running mirror has ended"
            if why or not left:
                return why
            time.sleep(POLL)
    finally:
        progress.end()


def _outage(mirror: Mirror, status_path: Path | None) -> str:
    """Returns why the destination is down, as the running mirror says in its status or, without a
    status, as this process has seen it. Returns an empty text if it is not down."""
    if status_path is not None:
        document = status.read(status_path)
        error = document.get("last_error") if document.get("service_down") else None
    else:
        fault = mirror.breaker.last_fault if mirror.breaker.down else None
        error = asdict(fault) if fault else None
    return plain(": ".join(filter(None, (error["message"], error["hint"])))) if error else ""


class Progress:
    """Shows on `out` how much is uploaded, as a bar on a terminal and as a line now and then
    elsewhere. Decides when to give up. `clock` gives monotonic seconds."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._total = self._left = 0
        self._moved = clock()
        self._told_at, self._told = -math.inf, ""

    def look(self, left: int, outage: str) -> str:
        """Shows that `left` files are left, and the `outage` of the destination, an empty text
        if there is none. Returns why to give up, or an empty text."""
        now = self._clock()
        if left != self._left:
            self._left, self._moved = left, now
        self._total = max(self._total, left)
        if self._out.isatty() and self._total:
            self._show_bar("  destination down" if outage else "")
        elif left and (now - self._told_at >= TELL_EVERY or outage != self._told):
            self._told_at, self._told = now, outage
            why = f"; the destination is down: {outage}" if outage else ""
            print(f"{self._total - left} of {self._total} file(s) done{why}", file=self._out)
            self._out.flush()
        stalled = now - self._moved
        if outage and stalled >= OUTAGE_PATIENCE:
            return f"the destination is down: {outage}"
        return f"nothing was uploaded for {span(stalled)}" if stalled >= PATIENCE else ""

    def end(self) -> None:
        """Ends the line of the bar."""
        if self._out.isatty() and self._total:
            print(file=self._out, flush=True)

    def _show_bar(self, why: str) -> None:
        done, total = self._total - self._left, self._total
        width = 40 * done // total
        bar = f"\r[{'#' * width:<40}] {done}/{total}{why}\x1b[K"
        print(bar, end="", file=self._out, flush=True)
