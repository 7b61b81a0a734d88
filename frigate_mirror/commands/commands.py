"""The commands that change something, for people: retry, acknowledge, backfill, rebuild.

Each works beside a running mirror (which does the uploading then) and without one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator

from frigate_mirror.frigate.database import CatalogError
from frigate_mirror.keys import KeyCodec
from frigate_mirror.ledger import places
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.places import StateLock
from frigate_mirror.ledger.rebuild import from_listing
from frigate_mirror.mirror import Mirror
from frigate_mirror.settings.settings import Settings, StateSettings
from frigate_mirror.sinks.sink import Sink, SinkError
from frigate_mirror.upload import presence

EX_OK, EX_LEFT, EX_SOFTWARE = 0, 1, 70
POLL = 0.2  # seconds between two looks at the progress
SECOND_LOOK = 2.0  # seconds after which a picture that was not there, or not whole, is looked for


def retry(settings: StateSettings, event_id: str, camera: str) -> int:
    """Dead letters are due again."""
    return _of_dead_letters(
        settings,
        lambda ledger: ledger.revive(event_id, camera, time.time()),
        "failed picture(s) will be tried again",
    )


def acknowledge(settings: StateSettings, event_id: str, camera: str) -> int:
    """The owner knows of what failed or was lost: it no longer keeps health from OK."""
    return _of_dead_letters(
        settings,
        lambda ledger: ledger.acknowledge(event_id, camera),
        "failed or lost picture(s) acknowledged; .s3_failed_events still lists them",
    )


def _of_dead_letters(settings: StateSettings, change: Callable[[Ledger], int], said: str) -> int:
    if not places.ledgers(settings):
        folders = " or ".join(map(str, settings.dirs))
        return _told(f"no ledger in {folders}: nothing was ever mirrored here")
    try:
        with places.opened(settings) as (found, _):
            count = change(found.ledger)
    except (LedgerError, OSError) as error:
        return _told(str(error))
    print(f"{count} {said}")
    return EX_OK


def rebuild(settings: Settings, sink: Sink) -> int:
    """Take what the bucket lists as uploaded, so that it is not uploaded again."""
    keys = KeyCodec(settings.s3.prefix, settings.keys.timezone)
    try:
        with places.opened(settings.state) as (found, _):
            listing = sink.list(f"{settings.s3.prefix}/" if settings.s3.prefix else "")
            count = found.ledger.add_settled(from_listing(listing, keys))
    except (LedgerError, SinkError, OSError) as error:
        return _told(str(error))
    print(f"{count} picture(s) of the bucket are new in the ledger")
    return EX_OK


def backfill(
    settings: Settings, sink: Sink, since: float, until: float | None, *, verify: bool = False
) -> int:
    """Queue what the database has of the span, and see it through: by the mirror that runs, or
    by one of our own. With `verify` what is missing in the bucket is queued again first.
    Interrupted, the rest stays in the queue."""
    end = math.inf if until is None else until
    try:
        with places.opened(settings.state) as (found, ours):
            mirror = Mirror(settings, sink, found)
            try:
                if verify:
                    _verify(mirror, sink, since, end)
                _see_through(mirror, since, end, None if ours else StateLock(settings.state))
            except KeyboardInterrupt:
                print("\ninterrupted; the rest stays in the queue", file=sys.stderr)
            mirror.uploader.stop()
            mirror.uploader.join(5.0)
            counts = mirror.ledger.between(since, end)
    except (LedgerError, CatalogError, SinkError, OSError) as error:
        return _told(str(error))
    left, failed, lost = counts.pending, counts.failed, counts.lost
    if left or failed or lost:
        print(f"{left} left, {failed} failed for good, {lost} lost")
    else:
        print("the bucket has all of it" if verify else "all of it was uploaded")
    if missing := counts.waiting + counts.gone:
        print(f"{missing} event(s) have no picture on disk")
    return EX_LEFT if left or failed or lost else EX_OK


def _verify(mirror: Mirror, sink: Sink, since: float, until: float) -> None:
    """Hold what the ledger has as uploaded against the bucket's listing."""
    looked, absent = presence.missing(mirror.ledger, sink, since, until, -1)
    reason = "not in the bucket any more"
    mirror.ledger.vanished(absent, reason, time.time())
    again = mirror.intake.look_for_files(absent)
    print(f"{looked} uploaded picture(s) compared with the bucket: {len(absent)} missing there, "
          f"{again} of them go up again", flush=True)  # fmt: skip


def _see_through(mirror: Mirror, since: float, until: float, others: StateLock | None) -> None:
    """Queue, and show the progress until nothing is left. The uploading is that mirror's that
    holds the lock `others`, or else ours."""
    found = mirror.intake.sweep(since, until)
    print(f"{found} event(s) of that time were not in the ledger yet", flush=True)
    if others is None:
        mirror.start()
    if mirror.ledger.between(since, until).waiting:
        time.sleep(SECOND_LOOK)
        if others is None:
            mirror.tend()
    for _ in _progress(mirror, since, until):
        if others is not None and others.acquire():
            others.release()
            print("the mirror that ran has ended; the rest stays in the queue", file=sys.stderr)
            return


def _progress(mirror: Mirror, since: float, until: float) -> Iterator[None]:
    """One step for each look while something is left, with a bar on a terminal."""
    total = left = mirror.ledger.between(since, until).pending
    while left:
        _bar(total - left, total, mirror)
        yield
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
