"""The run lock: of all processes that share a state folder, one mirror runs at a time.

The lock is taken in each of the state folders. Its file also names the holder, so that a second
mirror, `status` and `check` can say who it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frigate_mirror.files import open_regular
from frigate_mirror.untrusted import plain, shaped

if TYPE_CHECKING:  # the process of one camera needs a lock, but no settings
    from frigate_mirror.settings.settings import StateSettings

LOCK_NAME = "mirror.lock"  # in each state folder; held by the one mirror that runs
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class RunLock:
    """A lock file that one process at a time can lock. The lock is free again when that process
    ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def acquire(self) -> bool:
        """Takes the lock if it is free; returns whether this process holds it. Raises OSError."""
        if self._file >= 0:
            return True
        with suppress(OSError):  # in a read-only folder, an existing lock file will do
            os.close(os.open(self._path, _SAFE | os.O_CREAT | os.O_WRONLY, 0o600))
        # A file that is open for writing would keep its file system from being made read-only.
        file = os.open(self._path, _SAFE | os.O_RDONLY)
        try:
            taken = _lock(file)
        except OSError:
            os.close(file)
            raise
        if taken:
            self._file = file
        else:
            os.close(file)
        return taken

    def write(self, text: str) -> None:
        """Writes `text` into the file for those who find it locked, if it can be written."""
        with suppress(OSError):
            file = os.open(self._path, _SAFE | os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int) -> bool:
    """Locks the file if it is free. Tries three times, because `is_locked` locks it for a
    moment."""
    for pause in (0.0, 0.01, 0.05):
        time.sleep(pause)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def is_locked(path: Path) -> bool | None:
    """Returns whether a process in any container holds the RunLock at `path`, or None if that
    cannot be found out because the file is missing or may not be read."""
    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


class StateLock:
    """The run locks of all state folders. Only their holder may make or repair a ledger and
    claim artifacts."""

    def __init__(self, settings: StateSettings) -> None:
        self._whose = settings.whose
        self._locks = {folder: RunLock(folder / LOCK_NAME) for folder in settings.dirs}

    def acquire(self) -> bool:
        """Takes every lock that can be taken; returns False if another process holds one of them.
        Raises OSError if no folder can hold a lock."""
        faults: list[OSError] = []
        for folder, lock in self._locks.items():
            try:
                with suppress(OSError):  # the folder may exist although it cannot be made
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
        """Writes into the lock files who holds them, and in which folder the ledger is."""
        signature = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "clips": _identity(self._whose),
            "folder": str(folder),
        }
        for lock in self._locks.values():
            lock.write(json.dumps(signature))

    def release(self) -> None:
        for lock in self._locks.values():
            lock.release()


@dataclass(frozen=True)
class Holder:
    """Who holds the run lock, according to its file. `ours` is true if the holder mirrors the same
    clips folder; `folder` is where its ledger is, or None if the file does not say."""

    name: str = "another mirror"
    ours: bool = True
    folder: Path | None = None


def holder(settings: StateSettings) -> Holder:
    """Returns who signed the lock last. The answer is only meaningful while the lock is taken; in a
    folder that cannot be written, the signature may be an old one."""
    signatures: list[tuple[int, Holder]] = []
    for folder in settings.dirs:
        try:
            with open_regular(folder / LOCK_NAME) as file:
                signed = os.fstat(file.fileno()).st_mtime_ns
                words = shaped(json.loads(file.read(4096)), _Signature)
        except (OSError, ValueError, RecursionError):
            continue
        name = plain(f"the mirror with process id {words['pid']} on host {words['host']:.64}")
        ours = words["clips"] == _identity(settings.whose)
        path = Path(plain(words["folder"])) if words["folder"] else None
        signatures.append((signed, Holder(name.encode("ascii", "replace").decode(), ours, path)))
    return max(signatures, key=lambda pair: pair[0])[1] if signatures else Holder()


@dataclass
class _Signature:
    """What a lock file says of its holder. Other programs can write to it, too."""

    host: str
    pid: int
    clips: str
    folder: str


def _identity(folder: Path) -> str:
    """Identifies the folder itself: in two containers one path can mean two folders."""
    try:
        status = os.stat(folder)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"
