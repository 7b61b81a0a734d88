"""The life of a process that mirrors: it waits for its turn, mirrors, drains its queue, and ends.

The child inside Frigate (`process.child`) and the companion (`process.companion`) live in this
way.
"""

from __future__ import annotations

import encodings.idna
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from frigate_mirror.catalog import CatalogError
from frigate_mirror.ledger import folders, repair
from frigate_mirror.ledger.database import LedgerBusy, LedgerError
from frigate_mirror.ledger.lock import StateLock, holder
from frigate_mirror.mirror import Mirror
from frigate_mirror.process.rounds import rounds_of, start_all
from frigate_mirror.report import status
from frigate_mirror.settings.settings import Settings

# Python loads this module when it first encodes a host name. If memory is short at that moment, it
# remembers for ever that the module does not exist.
assert encodings.idna

log = logging.getLogger("frigate_s3")
EX_OK, EX_FAILED = 0, 1


class Stop:
    """Whether to stop, because a signal says so or because a thread has died.

    A threading.Event will not do: Python calls a signal's function in the main thread, which may
    hold the Event's lock at that moment.
    """

    wanted = False
    status = EX_OK

    def __call__(self, *_: object) -> None:
        self.wanted = True

    def on_death(self, death: threading.ExceptHookArgs) -> None:
        """Threads only die of MemoryError. The process then ends, and its keeper starts a new one,
        because Python 3.11 was seen to call wrong functions after a MemoryError."""
        self.wanted, self.status = True, EX_FAILED
        log.error("S3 snapshot mirror ends, and its keeper starts a new one: %r", death.exc_value)


class Host(Protocol):
    """What is particular to a process: how it makes the mirror, where ids come from, and when to
    end."""

    stop: Stop

    def mirror(self, state: folders.State) -> Mirror:
        """Returns the mirror with this ledger. Raises CatalogError, LedgerError and OSError."""
        ...

    def ids(self, timeout: float) -> list[str]:
        """See `Source.ids`."""
        ...

    def settle(self, ids: list[str], taken: bool) -> None:
        """See `Source.settle`."""
        ...

    @property
    def leaves(self) -> bool:
        """Whether the process should end even if it has not begun to mirror."""
        ...

    @property
    def is_gone(self) -> bool:
        """Whether the process should end at once, even if ids are left."""
        ...

    @property
    def over(self) -> bool:
        """Whether the process should end, because no ids will come or the host is gone."""
        ...


def catch_signals(stop: Stop) -> None:
    """Lets `stop` know of signals and of threads that die."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.excepthook = stop.on_death


def live(settings: Settings, host: Host) -> int:
    """Mirrors until the host has ended or leaves, or a signal says so; returns the exit code."""
    catch_signals(host.stop)
    return run(settings, host)


def run(settings: Settings, host: Host, start: Callable[..., None] = start_all) -> int:
    """Does the same without signals, so it can run in a thread of another program's process.
    `start` calls functions that start threads (`rounds.start_all`)."""
    lock, own = StateLock(settings.state), settings.state
    with ExitStack() as at_end:
        at_end.callback(lock.release)
        try:
            if not _take_turn(lock, host, settings):
                return EX_OK
            state = _open_ledger(host, settings)
            at_end.callback(state.ledger.close)
            lock.sign(state.folder)
            mirror = host.mirror(state)
            mirror.tell()
        except (CatalogError, LedgerError, OSError) as error:
            log.error("S3 snapshot mirror cannot start: %s", error)
            status.write_why_not_running(f"the mirror cannot start: {error}", own.status_path)
            return EX_FAILED
        _mirror_until_the_end(host, mirror, settings, start)
        ledger = mirror.ledger
        ledger.close()
        if ledger.damaged:
            log.error(
                "S3 ledger damaged, kept as %s; the next start makes a new one",
                repair.put_aside(ledger.path),
            )
        return EX_FAILED if ledger.damaged else host.stop.status


def _take_turn(lock: StateLock, host: Host, settings: Settings) -> bool:
    """Waits until an earlier mirror has drained; returns False if the host leaves before that."""
    told = ""
    while not lock.acquire():
        if host.leaves:
            return False
        told = _tell_holder(settings, told)
        time.sleep(0.1)
    return True


def _tell_holder(settings: Settings, told: str) -> str:
    """Says once who holds the lock. The mirror of another Frigate will not end soon, so the status
    file says it, too."""
    other = holder(settings.state)
    if other.ours:
        words = f"S3 snapshot mirror waits for an earlier one to end: {other.name}"
        if settings.companion.url:
            words += (
                f" uses {settings.state.folder}; for a second companion set MIRROR_STATE_DIR to a "
                "folder of its own"
            )
    else:
        words = (
            f"S3 snapshot mirror waits: the state folder {other.folder} is in use by "
            f"{other.name}, which mirrors another clips folder: set MIRROR_STATE_DIR to a folder "
            "of its own for each Frigate"
        )
    if words != told:
        if not other.ours:
            status.write_why_not_running(words, settings.state.status_path)
        log.log(logging.INFO if other.ours else logging.ERROR, "%s", words)
    return words


def _open_ledger(host: Host, settings: Settings) -> folders.State:
    """Opens the ledger as soon as no other program has it locked. Raises LedgerError, OSError."""
    told = False
    while True:
        try:
            return folders.open_alone(settings.state)
        except LedgerBusy as error:
            if host.leaves:
                raise
            if not told:
                log.warning("S3 snapshot mirror waits for its ledger: %s", error)
                status.write_why_not_running(
                    f"the mirror waits: {error}", settings.state.status_path
                )
            told = True


def _mirror_until_the_end(
    host: Host, mirror: Mirror, settings: Settings, start: Callable[..., None]
) -> None:
    page = settings.sweep.batch_size
    rounds = rounds_of(mirror.tasks(), mirror.note_task)
    log.info("S3 snapshot mirror started: %s, %d threads",
             settings.destination, settings.upload.threads)  # fmt: skip
    mirror.hasten()
    start(mirror.start_threads, *(thread.start for thread in rounds))
    while not (host.over or mirror.ledger.damaged):
        ids = host.ids(timeout=0.5)
        for at in range(0, len(ids), page):
            if host.is_gone:
                break
            some = ids[at : at + page]
            taken = mirror.intake.offer(*some)
            host.settle(some, taken)
            if not taken:  # a locked or slow database must not delay our end
                break
    log.info("S3 snapshot mirror stopping, uploads under way get up to %g s",
             settings.upload.drain_seconds)  # fmt: skip
    for thread in rounds:
        thread.stop()
    mirror.stop(settings.upload.drain_seconds)
    log.info("S3 snapshot mirror stopped")
