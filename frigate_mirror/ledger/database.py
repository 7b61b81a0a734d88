"""The SQLite file of the ledger: one connection that several threads share, and its errors.

This module brings the tables up to date (`schema`). It does not know what their rows mean.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from frigate_mirror.faults import PartError
from frigate_mirror.ledger import schema

BUSY_SECONDS = 10
ENDINGS = ("", "-wal", "-shm", "-journal")  # the files that SQLite keeps for one database
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_HIGHEST_VERSION = 1_000  # a higher version number can only be damage
_OPEN = "open"  # the ledger has this note while a process has it open alone


class LedgerError(PartError):
    """The ledger cannot be read or written: the disk is full, rights are missing, or another
    program has held the lock too long."""

    part = "ledger"


class LedgerBusy(LedgerError):
    """Another program has held the ledger's lock too long. It may be free in a moment."""


class LedgerDamaged(LedgerError):
    """The file is damaged or no ledger at all. It must be put aside."""


class LedgerNewer(LedgerError):
    """A newer version of the mirror made the ledger. It is left as it is."""


class Database:
    """The SQLite file at `path`, readable by its owner only. Threads take turns.

    It uses WAL with synchronous=NORMAL: a power cut can undo the last commits, but never damages
    the file.
    """

    def __init__(self, path: Path, *, alone: bool) -> None:
        """Opens the file. With `alone`, no other process may have it open, and the file is made or
        brought up to date where needed. Without it, the file must exist in this version's form.
        Raises LedgerError, LedgerDamaged, LedgerNewer."""
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
        if found < schema.VERSION:  # so that a current ledger opens on a full disk
            schema.migrate(self._sql, found)
        self._sql.execute(schema.CHECK_COLUMNS)
        if alone:
            self._check_after_a_crash()

    def _check_after_a_crash(self) -> None:
        """Reads through a ledger that was not closed in good order; a million rows take a second.
        Writing the note also proves that the ledger can be written."""
        if self._sql.execute("SELECT 1 FROM note WHERE name = ?", (_OPEN,)).fetchone():
            [(word,), *_] = self._sql.execute("PRAGMA quick_check(1)")
            if word != "ok":
                raise self.distrust(str(word))
        self._sql.execute("INSERT OR REPLACE INTO note VALUES (?, '')", (_OPEN,))
        self._alone = True

    def close(self) -> None:
        with self.turn:
            if self._alone and not self.damaged:
                with suppress(sqlite3.Error):  # then the next opening reads it through
                    self._sql.execute("DELETE FROM note WHERE name = ?", (_OPEN,))
            self._sql.close()

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Returns the answer to a query. The caller holds `turn` (see `select`)."""
        with self._errors("read"):
            return self._sql.execute(query, values).fetchall()

    def cursor(self, query: str, values: tuple[object, ...] = ()) -> Iterator[Any]:
        """Yields the answer row by row. The caller holds `turn` until it has read enough."""
        with self._errors("read"):
            yield from self._sql.execute(query, values)

    def select(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Returns the answer to a query."""
        with self.turn:
            return self.rows(query, values)

    def select_aside(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Returns the answer to a slow query, over a connection of its own, so that nobody waits
        for it."""
        with self._errors("read"), closing(_connect(self.path)) as sql:
            return sql.execute(query, values).fetchall()

    def version(self) -> object:
        """Returns a token that changes after every commit of any process."""
        with self.turn:
            return self.rows("PRAGMA data_version"), self._sql.total_changes

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Runs the block as one transaction, which any exception undoes."""
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
        """Runs one statement as a transaction of its own; returns how many rows it changed."""
        with self.turn, self._errors("write"):
            return self._sql.execute(statement, values).rowcount

    @contextmanager
    def attached(self, other: Path) -> Iterator[sqlite3.Connection]:
        """Attaches the database at `other` under the name `other`, for one transaction."""
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
        """Marks the ledger as damaged, because what was read makes no sense. Returns the exception
        to raise."""
        self.damaged = True
        return LedgerDamaged(f"read {self.path}: {why}")


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # a file deleted meanwhile is not made again
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _is_damage(error: Exception, verb: str, path: Path) -> bool:
    """Returns whether the error means that the file is damaged, rather than locked or on a full
    disk."""
    if any(os.path.isdir(f"{path}{ending}") for ending in ENDINGS):  # SQLite has many codes for it
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:  # the file ends too early
        return True
    code &= 0xFF
    if code == sqlite3.SQLITE_READONLY:  # a flipped bit in the header causes this, too
        return _can_be_written(path)
    if code == sqlite3.SQLITE_ERROR:  # in an open ledger this may be a fault of our own statement
        return verb == "open"
    # Either a text in a row is not UTF-8, or SQLite's message quotes such a text.
    unreadable = isinstance(error, UnicodeDecodeError) or (not code and "decode" in str(error))
    return unreadable or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _can_be_written(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
