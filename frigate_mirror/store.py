"""One SQLite connection that several threads share, and the lock that lets one process claim.

Knows nothing of what is stored; `ledger` does.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BUSY_SECONDS = 10


class LedgerError(Exception):
    """The ledger could not be read or written: full disk, rights, a lock held too long."""


class LedgerDamaged(LedgerError):
    """The file is no ledger, or one of a newer version: it must be put aside."""


class Store:
    """The SQLite file at `path`, made if need be, readable by its owner only.

    WAL with synchronous=NORMAL: a power cut can undo the last commits, never damage the file.
    """

    def __init__(self, path: Path, ddl: str, version: int, nonsense: str) -> None:
        """`nonsense` is a query that finds nothing in a sound file. Raises LedgerError, or
        LedgerDamaged for a file that is none of ours."""
        self.path = path
        self.turn = threading.Lock()
        self.damaged = False
        with self._errors("open"):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._sql = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors("open"):
                self._sql.execute("PRAGMA journal_mode = WAL")
                self._sql.execute("PRAGMA synchronous = NORMAL")
                found = self._sql.execute("PRAGMA user_version").fetchone()[0]
                if found > version:
                    raise LedgerDamaged(f"open {path}: made by a newer version ({found})")
                if found < version:  # no write where none is needed: the disk may be full
                    self._sql.executescript(ddl)
                if self._sql.execute(nonsense).fetchone():
                    raise self.distrust("a word in it makes no sense")
        except LedgerError:
            self._sql.close()
            raise

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
        """One statement as a transaction; returns how many rows it changed."""
        with self.writing() as sql:
            return sql.execute(statement, values).rowcount

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.damaged |= _is_damage(error, verb, self.path)
            kind = LedgerDamaged if self.damaged else LedgerError
            raise kind(f"{verb} {self.path}: {error}") from error

    def distrust(self, why: str) -> LedgerDamaged:
        """What was read makes no sense: an exception to raise."""
        self.damaged = True
        return LedgerDamaged(f"read {self.path}: {why}")


def _is_damage(error: Exception, verb: str, path: Path) -> bool:
    """Whether SQLite speaks of the file, and not of the moment or of the disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_READONLY:  # says a flipped bit, or a folder in the place of -shm
        return _can_be_written(path)
    if code == sqlite3.SQLITE_ERROR:  # while open it may be our own fault
        return verb == "open"
    unreadable = not code and "decode" in str(error)
    damage = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return damage or unreadable or isinstance(error, IsADirectoryError)


def _can_be_written(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except OSError:
            os.close(file)
            raise
        self._file = file
        return True

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
