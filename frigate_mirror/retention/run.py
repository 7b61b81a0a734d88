"""One run of the retention: it lists, plans, tells what it would delete, and deletes.

Everything is decided before the first object is deleted. An error while the destination is listed
or read ends the run, so half of a listing deletes nothing. Two runs on one machine do not overlap.
On two machines they do no harm, because an object that is gone counts as deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from frigate_mirror.keys import INSIDE, READABLE, KeyCodec, utc
from frigate_mirror.ledger.lock import RunLock
from frigate_mirror.policy import Policy
from frigate_mirror.retention import plan as planning
from frigate_mirror.retention.documents import Documents
from frigate_mirror.retention.errors import Refused, RetentionError
from frigate_mirror.retention.inventory import Inventory
from frigate_mirror.retention.purge import Deleted, Note, purge
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Archive
from frigate_mirror.untrusted import plain

LOCK, LISTING, CACHE = "retention.lock", "retention.listing", "retention.cache"
NOTE = "retention.unfinished"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do and where: the objects whose keys `keys` knows are kept as `policy` says. `most`
    is how many objects a run may delete, and `folder` is for the run's own files."""

    policy: Policy
    keys: KeyCodec
    most: int
    folder: Path
    where: str

    @classmethod
    def of(cls, settings: Settings) -> Job:
        """Returns the job that the settings describe. Besides the owner's templates it knows both
        defaults, because on its own machine nothing says whether the mirror is a companion. Raises
        ValueError if there is no policy."""
        policy = settings.retention.policy
        if policy is None:
            raise ValueError("MIRROR_RETENTION: missing, set it to how long events stay, as 7d")
        keys = settings.keys.codec
        old = tuple(one for one in (*keys.old, INSIDE, READABLE) if one != keys.template)
        return cls(
            policy=policy,
            keys=replace(keys, old=old),
            most=settings.retention.most,
            folder=settings.state.folder,
            where=settings.destination,
        )


def run(
    job: Job,
    archive: Archive,
    say: Say,
    *,
    once: int | None = None,
    dry: bool = False,
    named: bool = False,
    clock: Callable[[], float] = time.time,
    stop: Callable[[], bool] = lambda: False,
) -> Deleted:
    """Makes one run, and calls `say` with each line for the owner. `once` is the limit for this run
    only. With `dry` nothing is deleted, and with `named` each object that is due has a line. Raises
    RetentionError and SinkError."""
    with _alone(job.folder):
        return _run(job, archive, say, once=once, dry=dry, named=named, now=clock(), stop=stop)


def _run(
    job: Job,
    archive: Archive,
    say: Say,
    *,
    once: int | None,
    dry: bool,
    named: bool,
    now: float,
    stop: Callable[[], bool],
) -> Deleted:
    below = f" below {plain(job.keys.folder)}" if job.keys.folder else ""
    say(f"retention at {job.where}{below}, {utc(now)}: {job.policy}")
    for line in planning.rules(job.policy, now):
        say(f"    {line}")
    _check_clock(archive)
    deleted, note = Deleted(), Note(job.folder / NOTE)
    with closing(Inventory(job.folder / LISTING)) as inventory:
        inventory.fill(archive.list(job.keys.folder), job.keys, stop)
        planning.check_times(inventory, job.policy, now)
        unfinished, folders = note.read()
        with closing(Documents(archive, inventory, job.folder / CACHE)) as documents:
            plan = planning.make(inventory, documents, job.policy, unfinished, now, stop)
        for line in planning.lines(plan, inventory):
            say(line)
        if named:
            for page in inventory.pages(due=True):
                for key in (
                    key for event in page for some in inventory.files(event) for key in some
                ):
                    say(f"    {plain(key, 1024)}")
        if plan.due.events and (fate := archive.fate()):
            say(fate)
        planning.check_amount(plan, job.most, once)
        if dry:
            say("nothing was deleted, because this is a dry run")
            return deleted
        try:
            for folder in folders:
                archive.remove_folder(folder)
            purge(inventory, archive, note, deleted, stop)
        finally:
            for line in _told(deleted):
                say(line)
    return deleted


def _check_clock(archive: Archive) -> None:
    skew = archive.check().clock_skew
    if skew is not None and abs(skew) > planning.HOUR:
        raise Refused(
            f"the clock of the service differs from this machine's by {skew / 3_600:+.1f} hours, "
            "so nobody knows how old an event is. Correct the clock of this machine"
        )


def _told(deleted: Deleted) -> Iterator[str]:
    totals = deleted.totals
    yield f"deleted {planning.of_events(totals)}"
    if deleted.left:
        yield f"objects that could not be deleted: {len(deleted.left):,}, such as"
        for key, why in list(deleted.left.items())[:5]:
            yield f"    {plain(key, 200)}: {plain(why, 300)}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the lock of the run. Raises RetentionError if another run holds it, or if the folder
    cannot be written."""
    lock = RunLock(folder / LOCK)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = lock.acquire()
    except OSError as error:
        raise RetentionError(
            f"write to {folder}: {error.strerror}; set MIRROR_STATE_DIR to a folder that can be "
            "written"
        ) from None
    if not taken:
        raise RetentionError(f"another run of the retention is under way in {folder}")
    try:
        yield
    finally:
        lock.release()
