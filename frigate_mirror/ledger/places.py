"""Where the mirror keeps its ledger, and who may have it open.

There are two places: the chosen folder and, where that cannot be written, one under Frigate's
clips/cache. Whatever opens the ledger looks at both: what only the other one knows is taken over,
so that nothing that waits for upload is ever out of sight. The run lock is taken in both.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from frigate_mirror.files import open_regular
from frigate_mirror.ledger import rebuild
from frigate_mirror.ledger.connection import (
    ENDINGS,
    LedgerBusy,
    LedgerDamaged,
    LedgerError,
    LedgerNewer,
    RunLock,
)
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.settings.settings import LEDGER_NAME, LOCK_NAME, StateSettings
from frigate_mirror.untrusted import plain, shaped

log = logging.getLogger("frigate_s3.ledger")


@dataclass
class State:
    """An open ledger. `troubles` say, a sentence each, what is wrong with the places; `other` is
    the ledger in the other place, None where there is none."""

    ledger: Ledger
    folder: Path
    troubles: list[str] = field(default_factory=list)
    other: Path | None = None


class StateLock:
    """The run lock in each of the places: held by the one process that may make, mend and claim."""

    def __init__(self, settings: StateSettings) -> None:
        self._settings = settings
        self._locks = [RunLock(folder / LOCK_NAME) for folder in settings.dirs]

    def acquire(self) -> bool:
        """Take the lock in every place that can be locked; False if another process holds one of
        them. Raises OSError where no place can be locked."""
        faults: list[OSError] = []
        for folder, lock in zip(self._settings.dirs, self._locks, strict=True):
            try:
                with suppress(OSError):  # it may be there already
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not lock.acquire():
                    self.release()
                    return False
            except OSError as error:
                faults.append(error)
        if len(faults) == len(self._locks):
            raise faults[0]
        return True

    def sign(self, folder: Path) -> None:
        """Tell whoever finds the lock taken who holds it, and in which folder the ledger is."""
        words = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "clips": _identity(self._settings),
            "folder": str(folder),
        }
        for lock in self._locks:
            lock.write(json.dumps(words))

    def release(self) -> None:
        for lock in self._locks:
            lock.release()


@dataclass(frozen=True)
class Holder:
    """Who holds the run lock, as far as it says: `ours` whether it mirrors this very clips folder;
    `folder` where its ledger is, None where it does not say."""

    name: str = "another mirror"
    ours: bool = True
    folder: Path | None = None


def holder(settings: StateSettings) -> Holder:
    """Who signed the lock last; to be asked only where it is taken. The words in a folder that
    cannot be written now may be those of an earlier life."""
    found: list[tuple[int, Holder]] = []
    for folder in settings.dirs:
        try:
            with open_regular(folder / LOCK_NAME) as file:
                signed = os.fstat(file.fileno()).st_mtime_ns
                words = shaped(json.loads(file.read(4096)), _Words)
        except (OSError, ValueError, RecursionError):
            continue
        name = plain(f"the mirror with process id {words['pid']} on host {words['host']:.64}")
        ours = words["clips"] == _identity(settings)
        place = Path(plain(words["folder"])) if words["folder"] else None
        found.append((signed, Holder(name.encode("ascii", "replace").decode(), ours, place)))
    return max(found, key=lambda one: one[0])[1] if found else Holder()


@dataclass
class _Words:
    """What a lock says of its holder. Others can write into its file too."""

    host: str
    pid: int
    clips: str
    folder: str


def _identity(settings: StateSettings) -> str:
    """The clips folder itself: two containers may see two folders under one path."""
    try:
        found = os.stat(settings.clips_dir)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def ledgers(settings: StateSettings) -> list[Path]:
    """The ledgers that there are, the chosen folder's first."""
    return [path for folder in settings.dirs if os.path.exists(path := folder / LEDGER_NAME)]


@contextmanager
def opened(settings: StateSettings) -> Iterator[tuple[State, StateLock | None]]:
    """The ledger for a command, and the lock if no mirror runs. Beside a running mirror the
    ledger is opened as that mirror keeps it, and never made, mended or put aside. Raises
    LedgerError, OSError."""
    lock = StateLock(settings)
    if lock.acquire():
        try:
            state = open_alone(settings)
            lock.sign(state.folder)
            try:
                yield state, lock
            finally:
                state.ledger.close()
        finally:
            lock.release()
        return
    named = holder(settings).folder
    folder = named if named in settings.dirs else settings.dirs[0]
    try:
        ledger = Ledger(folder / LEDGER_NAME, alone=False)
    except LedgerDamaged as error:
        raise LedgerError(f"{error}: the mirror that runs will put it aside; try again") from error
    try:
        yield State(ledger, folder), None
    finally:
        ledger.close()


def open_alone(settings: StateSettings) -> State:
    """The ledger, for whoever holds the lock: in the first of the places that can be written. A
    damaged one is put aside, and an empty one is filled from the state files. Raises LedgerError,
    LedgerNewer."""
    troubles: list[str] = []
    for folder in settings.dirs:
        try:
            ledger = _open_in(folder, settings)
        except (LedgerBusy, LedgerNewer):
            raise
        except (LedgerError, OSError) as error:
            troubles.append(
                f"the state folder {folder} cannot be used ({error}): make it writable, or set "
                "MIRROR_STATE_DIR to a folder that is"
            )
            continue
        state = State(ledger, folder, troubles)
        try:
            _look_into_the_other(state, settings)
        except BaseException:
            ledger.close()
            raise
        return state
    raise LedgerError("; ".join(troubles))


def _open_in(folder: Path, settings: StateSettings) -> Ledger:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return rebuild.open_ledger(
        folder / LEDGER_NAME,
        StateFile(settings.uploaded_file, with_errors=False),
        StateFile(settings.failed_file, with_errors=True),
    )


def _look_into_the_other(state: State, settings: StateSettings) -> None:
    """Take over what only the ledger in the other place knows. That is deleted then or, where it
    cannot be, remembered as taken over."""
    for folder in settings.dirs:
        other = folder / LEDGER_NAME
        if folder == state.folder or not os.path.exists(other):
            continue
        state.other = other
        try:
            stamp = _stamp(other)
            if state.ledger.note(f"taken over: {other}") != stamp:
                pending = _take_over(state.ledger, other)
                log.warning("S3 ledger: %s is in use; taken over from %s: %d artifact(s) to upload",
                            state.ledger.path, other, pending)  # fmt: skip
                state.ledger.take_note(f"taken over: {other}", stamp)
            if state.folder == settings.dirs[0]:
                with suppress(OSError):
                    _delete(other)
                    state.other = None
        except (LedgerError, OSError) as error:
            state.troubles.append(f"what the other ledger {other} knows cannot be read: {error}")
            log.warning("S3 ledger: %s", state.troubles[-1])


def _stamp(ledger: Path) -> str:
    """Changes with every change of that ledger."""
    found = [
        os.stat(path) for ending in ENDINGS[:2] if (path := Path(f"{ledger}{ending}")).exists()
    ]
    return " ".join(f"{one.st_ino} {one.st_size} {one.st_mtime_ns}" for one in found)


def _take_over(ledger: Ledger, other: Path) -> int:
    """By way of a copy: a folder that cannot be written is no place to open a database in."""
    copy = ledger.path.with_name("other.db")
    _delete(copy)
    try:
        for ending in ENDINGS[:2]:
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{other}{ending}", f"{copy}{ending}")
        Ledger(copy).close()  # bring it up to date
        pending = ledger.take_over(copy)
        ledger.make_durable()
        return pending
    finally:
        with suppress(OSError):
            _delete(copy)


def _delete(ledger: Path) -> None:
    for ending in reversed(ENDINGS):  # the database last: without it the others mean nothing
        with suppress(FileNotFoundError):
            os.unlink(f"{ledger}{ending}")
