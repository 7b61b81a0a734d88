"""The state folders: where the ledger lies, and how a process opens it.

There are two: the folder that the owner chose and, for when that one cannot be written, a folder
under Frigate's clips/cache. The process that holds the run lock looks at both and takes over what
only the other ledger knows, so that it uploads everything that waits in either. A command beside a
running mirror opens the ledger that this mirror uses.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from frigate_mirror.ledger import repair
from frigate_mirror.ledger.database import (
    ENDINGS,
    LedgerBusy,
    LedgerDamaged,
    LedgerError,
    LedgerNewer,
)
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.lock import StateLock, holder
from frigate_mirror.ledger.statefiles import StateFile
from frigate_mirror.settings.settings import LEDGER_NAME, StateSettings

log = logging.getLogger("frigate_s3.ledger")


@dataclass
class State:
    """An open ledger. `troubles` are sentences about the state folders; `other` is the ledger in
    the other folder, or None where there is none."""

    ledger: Ledger
    folder: Path
    troubles: list[str] = field(default_factory=list)
    other: Path | None = None


def ledgers(settings: StateSettings) -> list[Path]:
    """Returns the ledgers that exist; the one in the chosen folder comes first."""
    return [path for folder in settings.dirs if os.path.exists(path := folder / LEDGER_NAME)]


@contextmanager
def opened(settings: StateSettings) -> Iterator[tuple[State, StateLock | None]]:
    """Opens the ledger for a command. Yields the run lock too if no mirror runs. Beside a running
    mirror, opens the ledger that this mirror uses, and never makes or repairs one or puts one
    aside. Raises LedgerError, OSError."""
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
        raise LedgerError(
            f"{error}: the running mirror will put it aside; try again in a minute"
        ) from error
    try:
        yield State(ledger, folder), None
    finally:
        ledger.close()


def open_alone(settings: StateSettings) -> State:
    """Opens the ledger for the holder of the run lock, in the first folder that can be written. A
    damaged ledger is put aside; an empty one is filled from the state files. Raises LedgerError,
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
    return repair.open_ledger(
        folder / LEDGER_NAME,
        StateFile(settings.uploaded_file, with_errors=False),
        StateFile(settings.failed_file, with_errors=True),
    )


def _look_into_the_other(state: State, settings: StateSettings) -> None:
    """Takes over what only the ledger in the other folder knows. That ledger is then deleted or,
    where that is impossible, remembered as taken over."""
    for folder in settings.dirs:
        other = folder / LEDGER_NAME
        if folder == state.folder or not os.path.exists(other):
            continue
        state.other = other
        try:
            stamp = _stamp(other)
            if state.ledger.note(f"taken over: {other}") != stamp:
                pending = _take_over(state.ledger, other)
                log.warning("S3 ledger %s is in use: %d file(s) to upload were taken over from %s",
                            state.ledger.path, pending, other)  # fmt: skip
                state.ledger.set_note(f"taken over: {other}", stamp)
            if state.folder == settings.dirs[0]:
                with suppress(OSError):
                    _delete(other)
                    state.other = None
        except (LedgerError, OSError) as error:
            state.troubles.append(
                f"the other ledger {other} may know of files to upload, but cannot be read: {error}"
            )
            log.warning("S3 ledger: %s", state.troubles[-1])


def _stamp(ledger: Path) -> str:
    """Returns a text that changes with every change of that ledger."""
    paths = [Path(f"{ledger}{ending}") for ending in ENDINGS[:2]]
    files = [os.stat(path) for path in paths if path.exists()]
    return " ".join(f"{file.st_ino} {file.st_size} {file.st_mtime_ns}" for file in files)


def _take_over(ledger: Ledger, other: Path) -> int:
    """Takes over from a copy, because SQLite cannot open a database in a folder that cannot be
    written. Returns how many artifacts of it are still to be uploaded."""
    copy = ledger.path.with_name("other.db")
    _delete(copy)
    try:
        for ending in ENDINGS[:2]:
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{other}{ending}", f"{copy}{ending}")
        Ledger(copy).close()  # brings the copy up to date
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
