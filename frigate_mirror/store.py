"""One SQLite connection that several threads share, and the lock that lets one process claim.

Knows nothing of what is stored; `ledger` does.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from frigate_mirror.files import open_regular

BUSY_SECONDS = 10
ENDINGS = ("", "-wal", "-shm", "-journal")  # the files that SQLite keeps for one database


class LedgerError(Exception):
    """The ledger could not be read or written: full disk, rights, a lock held too long."""


class LedgerDamaged(LedgerError):
    """The file is no ledger, or one of a newer version: it must be put aside."""


class Store:
    """The SQLite file at `path`, made if need be, readable by its owner only.

    WAL with synchronous=NORMAL: a power cut can undo the last commits, never damage the file.
    """

    def __init__(self, path: Path, ddl: str, version: int, made: str) -> None:
        """`ddl` makes all that is missing, `made` is a query that tells what there is. Raises
        LedgerError, or LedgerDamaged for a file that is none of ours."""
        self.path = path
        self.turn = threading.Lock()
        self.damaged = False
        with self._errors("open"):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._sql = _connect(path)
        try:
            with self._errors("open"):
                self._prepare(ddl, version, made)
        except LedgerError:
            self._sql.close()
            raise

    def _prepare(self, ddl: str, version: int, made: str) -> None:
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = NORMAL")
        found = self._sql.execute("PRAGMA user_version").fetchone()[0]
        if found > version:
            raise LedgerDamaged(f"open {self.path}: made by a newer version ({found})")
        if found < version:  # no write where none is needed: the disk may be full
            self._sql.executescript(ddl)
        # A flipped bit in it changes what a column is called, or which words it may hold.
        with closing(sqlite3.connect(":memory:")) as right:
            right.executescript(ddl)
            if not set(right.execute(made)) <= set(self._sql.execute(made)):
                raise self.distrust("its table is not as it was made")

    def check(self) -> None:
        """Read the whole file and hold every index against its table, through a connection of its
        own, so that nobody waits. Raises LedgerError, LedgerDamaged."""
        if not self.path.exists():  # deleted while open: what we have open goes on
            return
        with self._errors("check"), closing(_connect(self.path)) as sql:
            [(found,)] = sql.execute("PRAGMA integrity_check(1)")
        if found != "ok":
            raise self.distrust(str(found))

    def close(self) -> None:
        with self.turn:
            self._sql.close()

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """The answer to a query. The caller holds `turn` (see `select`)."""
        with self._errors("read"):
            return self._sql.execute(query, values).fetchall()

    def select(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self.turn:
            return self.rows(query, values)

    def version(self) -> object:
        """Something that is another after each change, by whichever process."""
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

    def changed(self, statement: str, values: tuple[object, ...]) -> int:
        """One statement, which is a transaction of its own; returns how many rows it changed. The
        caller holds `turn` (see `change`)."""
        with self._errors("write"):
            return self._sql.execute(statement, values).rowcount

    def change(self, statement: str, values: tuple[object, ...]) -> int:
        with self.turn:
            return self.changed(statement, values)

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            self.damaged |= _is_damage(error, verb, self.path)
            kind = LedgerDamaged if self.damaged else LedgerError
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


def readable(path: Path, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
    """The rows of a damaged file, up to the first that cannot be read."""
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(path)) as sql:
        sql.text_factory = lambda text: text.decode("utf-8", "replace")
        yield from sql.execute(query, values)


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


class RunLock:
    """Held by the one process that uploads; gone with it, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def acquire(self) -> bool:
        """Take the lock if it is free; True when held. Raises OSError."""
        if self._file >= 0:
            return True
        file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
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

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
