"""The commands that change something, for people: retry, backfill, rebuild.

Each works beside a running mirror (which does the uploading then) and without one.
"""

from __future__ import annotations

import math
import sys
import time

from frigate_mirror import rebuild as rebuilding
from frigate_mirror.events import CatalogError
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger import Ledger, LedgerError
from frigate_mirror.mirror import Mirror
from frigate_mirror.settings import Settings
from frigate_mirror.sink import Sink, SinkError
from frigate_mirror.statefiles import StateFile
from frigate_mirror.store import RunLock

EX_OK, EX_LEFT, EX_SOFTWARE = 0, 1, 70
POLL = 0.2  # seconds between two looks at the progress


def retry(settings: Settings, event_id: str, camera: str) -> int:
    """Dead letters are due again."""
    try:
        if not settings.ledger_path.exists():
            return _told(f"no ledger at {settings.ledger_path}: nothing was ever mirrored here")
        count = Ledger(settings.ledger_path).revive(event_id, camera, time.time())
    except LedgerError as error:
        return _told(str(error))
    print(f"{count} failed picture(s) will be tried again")
    return EX_OK


def rebuild(settings: Settings, sink: Sink) -> int:
    """Take what the bucket lists as uploaded, so that it is not uploaded again."""
    keys = KeyCodec(settings.prefix, settings.key_timezone)
    try:
        ledger = _ledger(settings)
        listing = sink.list(f"{settings.prefix}/" if settings.prefix else "")
        count = ledger.add_settled(rebuilding.from_listing(listing, keys))
    except (LedgerError, SinkError, OSError) as error:
        return _told(str(error))
    print(f"{count} picture(s) of the bucket are new in the ledger")
    return EX_OK


def _ledger(settings: Settings) -> Ledger:
    """The ledger, made anew if need be; but never one that a running mirror has open. Raises
    LedgerError, OSError."""
    lock = RunLock(settings.lock_path)
    if not lock.acquire():
        return Ledger(settings.ledger_path)
    try:
        return rebuilding.open_ledger(
            settings.ledger_path,
            StateFile(settings.uploaded_file, with_errors=False),
            StateFile(settings.failed_file, with_errors=True),
        )
    finally:
        lock.release()


def backfill(settings: Settings, sink: Sink, since: float, until: float | None) -> int:
    """Queue what the database has of the span, and see it through: by the mirror that runs, or
    by one of our own. Interrupted, the rest stays in the queue."""
    end = math.inf if until is None else until
    lock = RunLock(settings.lock_path)
    try:
        ours = lock.acquire()
        mirror = Mirror(settings, sink)
        try:
            _see_through(mirror, since, end, ours=ours)
        except KeyboardInterrupt:
            print("\ninterrupted; the rest stays in the queue", file=sys.stderr)
        mirror.uploader.stop()
        mirror.uploader.join(5.0)
        counts = mirror.ledger.between(since, end)
    except (LedgerError, CatalogError, OSError) as error:
        return _told(str(error))
    finally:
        lock.release()
    left, failed = counts.pending, counts.failed
    print(
        f"{left} left, {failed} failed for good" if left or failed else "all of it is in the bucket"
    )
    if missing := counts.waiting + counts.gone:
        print(f"{missing} event(s) have no picture on disk")
    return EX_LEFT if left or failed else EX_OK


def _see_through(mirror: Mirror, since: float, until: float, *, ours: bool) -> None:
    """Queue, and show the progress until nothing is left. `ours`: the uploading is ours too."""
    found = mirror.intake.sweep(since, until)
    print(f"{found} event(s) of that time were not in the ledger yet", flush=True)
    if ours:
        mirror.start()
    total = left = mirror.ledger.between(since, until).pending
    while left:
        _bar(total - left, total, mirror)
        time.sleep(POLL)
        left = mirror.ledger.between(since, until).pending
        total = max(total, left)
    _bar(total, total, mirror)


def _bar(done: int, total: int, mirror: Mirror) -> None:
    """A progress bar on a terminal, silence elsewhere."""
    if sys.stderr.isatty():
        width = 40 * done // total if total else 40
        why = "  bucket down" if mirror.service.down else ""
        bar = f"\r[{'#' * width:<40}] {done}/{total}{why}\x1b[K"
        print(bar, end="\n" if done == total else "", file=sys.stderr, flush=True)


def _told(message: str) -> int:
    print(f"S3 snapshot mirror: {message}", file=sys.stderr)
    return EX_SOFTWARE
