"""One SQLite connection that several threads share, and the lock that lets one process claim.

Knows nothing of what is stored but how to bring it up to date; `ledger` does.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from frigate_mirror.files import open_regular
from frigate_mirror.ledger import schema

BUSY_SECONDS = 10
ENDINGS = ("", "-wal", "-shm", "-journal")  # the files that SQLite keeps for one database
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_HIGHEST_VERSION = 1_000  # that a ledger may ever have: beyond it is damage
_OPEN = "open"  # the note that stands in the ledger while a process has it to itself


class LedgerError(Exception):
    """The ledger could not be read or written: full disk, rights, a lock held too long."""


class LedgerBusy(LedgerError):
    """Another program has held the ledger's lock for too long: it may be free in a moment."""


class LedgerDamaged(LedgerError):
    """The file is no ledger: it must be put aside."""


class LedgerNewer(LedgerError):
    """The ledger was made by a newer version of the mirror: it is left as it is."""


class Store:
    """The SQLite file at `path`, readable by its owner only.

    WAL with synchronous=NORMAL: a power cut can undo the last commits, never damage the file.
    """

    def __init__(self, path: Path, *, alone: bool) -> None:
        """`alone` says that no other process has the file open: it is made where it is missing,
        and brought up to date. Else it must be there, as this version makes it. Raises
        LedgerError, LedgerDamaged, LedgerNewer."""
        self.path = path
        self.turn = threading.Lock()
        self.damaged = False
        self._alone = False
        with self._errors("open"):
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if alone else 0)
            os.close(os.open(path, flags, 0o600))
            self._sql = _connect(path)
        try:
            with self._errors("open"):
                self._prepare(alone)
        except BaseException:
            self._sql.close()
            raise

    def _prepare(self, alone: bool) -> None:
        found = self._sql.execute("PRAGMA user_version").fetchone()[0]
        if schema.VERSION < found <= _HIGHEST_VERSION:
            raise LedgerNewer(
                f"open {self.path}: made by a newer version of the mirror (ledger version {found}, "
                f"this one knows {schema.VERSION}): install the newer version again, or move the "
                "file away to begin a new one; nothing was changed"
            )
        if found < schema.VERSION and not alone:
            raise LedgerError(
                f"open {self.path}: made by an older version of the mirror, which still runs: "
                "restart Frigate first"
            )
        if not 0 <= found <= _HIGHEST_VERSION:
            raise self.distrust(f"its version is {found}")
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = NORMAL")
        if found < schema.VERSION:  # no write where none is needed: the disk may be full
            schema.migrate(self._sql, found)
        self._sql.execute(schema.CHECK_COLUMNS)
        if alone:
            self._check_after_a_crash()

    def _check_after_a_crash(self) -> None:
        """A ledger that was not closed in good order is read through: a second for a million rows.
        The note also shows that the ledger can be written."""
        if self._sql.execute("SELECT 1 FROM note WHERE name = ?", (_OPEN,)).fetchone():
            [(word,), *_] = self._sql.execute("PRAGMA quick_check(1)")
            if word != "ok":
                raise self.distrust(str(word))
        self._sql.execute("INSERT OR REPLACE INTO note VALUES (?, '')", (_OPEN,))
        self._alone = True

    def close(self) -> None:
        with self.turn:
            if self._alone and not self.damaged:
                with suppress(sqlite3.Error):  # then it is only read through at its next opening
                    self._sql.execute("DELETE FROM note WHERE name = ?", (_OPEN,))
            self._sql.close()

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """The answer to a query. The caller holds `turn` (see `select`)."""
        with self._errors("read"):
            return self._sql.execute(query, values).fetchall()

    def cursor(self, query: str, values: tuple[object, ...] = ()) -> Iterator[Any]:
        """The answer row by row. The caller holds `turn` until it has read what it wants."""
        with self._errors("read"):
            yield from self._sql.execute(query, values)

    def select(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self.turn:
            return self.rows(query, values)

    def version(self) -> object:
        """A token that changes after every commit of any process."""
        with self.turn:
            return self.rows("PRAGMA data_version"), self._sql.total_changes

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it, or on any exception nothing."""
        with self.turn, self._errors("write"):
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite itself rolls back on a full disk
                    self._sql.execute("ROLLBACK")
                raise

    def change(self, statement: str, values: tuple[object, ...]) -> int:
        """One statement, which is a transaction of its own; returns how many rows it changed."""
        with self.turn, self._errors("write"):
            return self._sql.execute(statement, values).rowcount

    @contextmanager
    def attached(self, other: Path) -> Iterator[sqlite3.Connection]:
        """The database at `other` is there under the name `other`, for one transaction."""
        with self.turn, self._errors("write"):
            self._sql.execute("ATTACH ? AS other", (str(other),))
            try:
                yield self._sql
            finally:
                with suppress(sqlite3.Error):
                    if self._sql.in_transaction:
                        self._sql.execute("ROLLBACK")
                    self._sql.execute("DETACH other")

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            self.damaged |= _is_damage(error, verb, self.path)
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
            kind = LedgerDamaged if self.damaged else LedgerBusy if busy else LedgerError
            raise kind(f"{verb} {self.path}: {error}") from error

    def distrust(self, why: str) -> LedgerDamaged:
        """What was read makes no sense: an exception to raise."""
        self.damaged = True
        return LedgerDamaged(f"read {self.path}: {why}")


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # never made here, if it has just gone
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _is_damage(error: Exception, verb: str, path: Path) -> bool:
    """Whether SQLite speaks of the file, and not of the moment or of the disk."""
    if any(os.path.isdir(f"{path}{ending}") for ending in ENDINGS):  # SQLite has many words for it
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:  # it ends before it should
        return True
    code &= 0xFF
    if code == sqlite3.SQLITE_READONLY:  # says a flipped bit, too
        return _can_be_written(path)
    if code == sqlite3.SQLITE_ERROR:  # while open it may be our own fault
        return verb == "open"
    # A text; or SQLite's own message, if it quotes the file.
    unreadable = isinstance(error, UnicodeDecodeError) or (not code and "decode" in str(error))
    return unreadable or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _can_be_written(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def held(path: Path) -> bool | None:
    """Whether a process holds the RunLock at `path`, in whichever container it runs; None where
    that cannot be found out, as there is no such file or no right to read it."""
    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _lock(file: int) -> bool:
    """Whether the file's lock could be had. Tries thrice, since `held` takes it for a moment."""
    for pause in (0.0, 0.01, 0.05):
        time.sleep(pause)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class RunLock:
    """A lock file of which one process at a time has the lock; free again when that process ends,
    however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def acquire(self) -> bool:
        """Take the lock if it is free; True when held. Raises OSError."""
        if self._file >= 0:
            return True
        with suppress(OSError):  # a folder that cannot be written: the lock counts all the same
            os.close(os.open(self._path, _PLAIN | os.O_CREAT | os.O_WRONLY, 0o600))
        # Only for reading: a file that is open for writing would keep its file system from being
        # made read-only.
        file = os.open(self._path, _PLAIN | os.O_RDONLY)
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
        """Leave a word in the file for whoever finds it locked, if it can be written."""
        with suppress(OSError):
            file = os.open(self._path, _PLAIN | os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
