"""`backfill`: uploads the files of a span of time that the ledger does not know."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator

from frigate_mirror.catalog import CatalogError
from frigate_mirror.commands.loading import EX_LEFT, EX_OK, complain, load
from frigate_mirror.commands.moments import moment
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.ledger.lock import StateLock
from frigate_mirror.mirror import Mirror, of_frigate
from frigate_mirror.process import system
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Sink, SinkError
from frigate_mirror.upload import presence

POLL = 0.2  # seconds between two looks at the progress
SECOND_LOOK = 2.0  # seconds until the second look for missing or incomplete files


def add_options(parser: argparse.ArgumentParser) -> None:
    form = "2026-01-31, 2026-01-31T18:30 (local time) or 3d, 12h, 30m ago"
    parser.add_argument("--since", type=moment, required=True, help=form)
    parser.add_argument("--until", type=moment, default=math.inf, help="the same; default: now")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare with the bucket, and upload what is missing there",
    )


def main(arguments: argparse.Namespace) -> int:
    from s3 import S3Sink

    settings = load()
    system.set_up_logging("WARNING")
    sink = S3Sink(settings.s3, os.environ)
    return backfill(settings, sink, arguments.since, arguments.until, verify=arguments.verify)


def backfill(
    settings: Settings, sink: Sink, since: float, until: float = math.inf, *, verify: bool = False
) -> int:
    """Queues every file of events that started from `since` to before `until` (Unix seconds) and
    that the ledger does not know. Waits for their upload by the running mirror, or by a mirror in
    this process. With `verify`, files that are missing in the bucket are queued first. After an
    interruption the rest stays in the queue. Returns the exit code."""
    try:
        with folders.opened(settings.state) as (state, own_lock):
            mirror = of_frigate(settings, sink, state)
            try:
                if verify:
                    _verify(mirror, sink, since, until)
                _upload(mirror, since, until, None if own_lock else StateLock(settings.state))
            except KeyboardInterrupt:
                print(
                    "\ninterrupted; the running or the next mirror uploads the rest",
                    file=sys.stderr,
                )
            mirror.uploader.stop(5.0)
            counts = mirror.ledger.between(since, until)
    except (LedgerError, CatalogError, SinkError, OSError) as error:
        return complain(str(error))
    left, failed, lost = counts.pending, counts.failed, counts.lost
    if left or failed or lost:
        print(f"{left} still to upload, {failed} failed for good, {lost} lost")
    else:
        print(f"all files of that time are {'in the bucket' if verify else 'uploaded'}")
    if missing := counts.waiting + counts.gone:
        print(f"{missing} event(s) have no file on disk")
    return EX_LEFT if left or failed or lost else EX_OK


def _verify(mirror: Mirror, sink: Sink, since: float, until: float) -> None:
    """Compares the uploads in the ledger with the bucket's listing."""
    looked, absent = presence.missing(mirror.ledger, sink, since, until, -1)
    mirror.ledger.vanished(absent, "not in the bucket any more", time.time())
    again = mirror.intake.look_for_files(absent)
    print(f"{looked} uploaded file(s) compared with the bucket: {len(absent)} missing there, "
          f"{again} of them queued again", flush=True)  # fmt: skip


def _upload(mirror: Mirror, since: float, until: float, other: StateLock | None) -> None:
    """Queues the files and shows the progress until nothing is left. `other` is the lock of the
    running mirror, which uploads; without one, this process uploads."""
    count = mirror.intake.sweep(since, until)
    print(f"{count} file(s) of that time were not in the ledger yet", flush=True)
    if other is None:
        mirror.hasten()
        mirror.start_threads()
    if mirror.ledger.between(since, until).waiting:
        time.sleep(SECOND_LOOK)
        if other is None:
            mirror.sweep.look_for_waiting()
    for _ in _progress(mirror, since, until):
        if other is not None and other.acquire():
            other.release()
            print("the running mirror has ended; the next one uploads the rest", file=sys.stderr)
            return


def _progress(mirror: Mirror, since: float, until: float) -> Iterator[None]:
    """Yields after each look while something is left, and shows a bar on a terminal."""
    total = left = mirror.ledger.between(since, until).pending
    while left:
        _show_bar(total - left, total, mirror)
        yield
        time.sleep(POLL)
        left = mirror.ledger.between(since, until).pending
        total = max(total, left)
    _show_bar(total, total, mirror)


def _show_bar(done: int, total: int, mirror: Mirror) -> None:
    if sys.stderr.isatty():
        width = 40 * done // total if total else 40
        why = "  bucket down" if mirror.breaker.down else ""
        bar = f"\r[{'#' * width:<40}] {done}/{total}{why}\x1b[K"
        print(bar, end="\n" if done == total else "", file=sys.stderr, flush=True)
