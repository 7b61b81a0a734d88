"""The undo file: which rows a backfill has added, so that exactly these can be removed again.

It has one JSON object a line, with the id and the path of a row. A line is on the disk before its
row is in the database, so a killed backfill leaves no row without a line. A line without a row does
no harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from frigate_mirror.files import open_regular
from frigate_mirror.restore.recordings_table import BATCH, RecordingsTable, Row

LONGEST_LINE = 8_192


class UndoError(Exception):
    """The file is no undo file. The text says why."""


class UndoFile:
    """An undo file that is made in `folder` when the first rows are noted. `path` is None until
    then."""

    def __init__(self, folder: Path) -> None:
        self.path: Path | None = None
        self._folder = folder
        self._file = -1
        self._size = 0

    def note(self, rows: Sequence[Row]) -> None:
        """Writes down the rows, and waits until they are on the disk. Raises OSError, and leaves no
        part of a line that a later one would follow."""
        if self._file < 0:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"undo-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.jsonl"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._folder / name, flags, 0o600)
            self.path = self._folder / name
        lines = (json.dumps({"id": row.id, "path": row.path}) + "\n" for row in rows)
        left = data = "".join(lines).encode("ascii")
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def rows_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yields id and path of each row in an undo file. A last line that a crash has cut is left out,
    because its row was never added. Raises UndoError and OSError."""
    with open_regular(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
            try:
                noted = json.loads(line)
                row = noted["id"], noted["path"]
            except (ValueError, TypeError, KeyError) as error:
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    return
                raise UndoError(f"line {number} of {path} is none of an undo file") from error
            if not all(isinstance(one, str) for one in row):
                raise UndoError(f"line {number} of {path} is none of an undo file")
            yield row


def undo(path: Path, table: RecordingsTable) -> tuple[int, int]:
    """Removes the rows of an undo file; their files stay. Returns how many rows there were, and how
    many the file names. Raises UndoError, TableError and OSError."""
    named = sum(1 for _ in rows_of(path))  # all of it is checked before anything is removed
    rows, removed = rows_of(path), 0
    while some := list(islice(rows, BATCH)):
        removed += table.remove(some)
    return removed, named
