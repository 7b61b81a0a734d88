"""The two text files that people read and back up, kept in step with the ledger:

    .s3_uploaded_events   2024-01-15T14:31:03Z <tab> <kind>:<event id> <tab> <key>
    .s3_failed_events     the same <tab> <tries> <tab> <last error>

Uploads are appended to the first file, one line each. Both files are replaced atomically when the
ledger forgets old rows. A lost ledger is rebuilt from them. A damaged line is counted, logged and
left out; the same bytes are then uploaded to the same key once more.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from frigate_mirror.artifact import subject_of
from frigate_mirror.files import open_regular, replacing
from frigate_mirror.keys import KINDS, is_artifact_id, kind_in, names_subject, utc
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.rows import Settled
from frigate_mirror.part import Part

log = logging.getLogger("frigate_s3.state")
_LONGEST_LINE = 8192
NO_KEY = "-"  # stands for the key of a subject that can have none
_LONGEST_ERROR = 1000
_LINE = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\t(([a-z]+):([^\t\n]+))\t([^\t\n]+)"
    rb"(?:\t(\d{1,9})\t([^\n]*))?\n"
)


class StateFiles(Part):
    """Both files of a running mirror."""

    def __init__(self, ledger: Ledger, uploaded: Path, failed: Path) -> None:
        self._ledger = ledger
        self._uploaded = StateFile(uploaded, with_errors=False)
        self._failed = StateFile(failed, with_errors=True)
        self._lines_missing = False
        self._written: object = None

    def troubles(self) -> list[str]:
        return [file.trouble for file in (self._uploaded, self._failed) if file.trouble]

    def add(self, batch: list[Settled]) -> None:
        """Appends what was uploaded. Lines that cannot be written now follow with `rewrite`."""
        self._uploaded.append(batch)
        self._lines_missing |= bool(self._uploaded.trouble)

    def rewrite(self, *, forgotten: bool) -> None:
        """Replaces the file of uploads if the ledger has forgotten some or lines are missing in the
        file. Raises LedgerError."""
        if forgotten or self._lines_missing:
            self._uploaded.replace(self._ledger.uploaded())
            self._lines_missing = bool(self._uploaded.trouble)

    def refresh(self) -> None:
        """Replaces the file of dead letters if they have changed. Raises LedgerError."""
        token = self._ledger.dead_letters_token()
        if token != self._written:
            self._failed.replace(self._ledger.dead_letters())
            if not self._failed.trouble:
                self._written = token


class StateFile:
    """One of the two files. A failed write is logged once and kept in `trouble`. The ledger still
    knows everything, and `replace` repairs the file."""

    def __init__(self, path: Path, *, with_errors: bool) -> None:
        self.path = path
        self.trouble = ""
        self._with_errors = with_errors
        self._turn = threading.Lock()  # a replacement must not lose a line that is appended to it

    def append(self, done: Iterable[Settled]) -> None:
        """Adds a line for each. The lines of one call appear together or, on a full disk, in
        part."""
        data = b"".join(self._line(line) for line in done)
        try:
            with self._turn:
                _append(self.path, data)
            self.trouble = ""
        except OSError as error:
            self._failed(error)

    def replace(self, rows: Iterable[Settled]) -> None:
        """Writes the file anew. An exception that `rows` raises passes, and leaves the file as it
        was."""
        try:
            with self._turn, replacing(self.path) as file:
                file.writelines(self._line(line) for line in rows)
                file.flush()
                os.fsync(file.fileno())
            self.trouble = ""
        except OSError as error:
            self._failed(error)

    def read(self) -> Iterator[Settled]:
        """Yields every line that makes sense. One warning sums up the others."""
        damaged = 0
        try:
            with open_regular(self.path) as file:
                while raw := file.readline(_LONGEST_LINE):
                    line = _parse(raw)
                    if line is not None:
                        yield line
                    elif raw.strip():
                        damaged += 1
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("S3 state: cannot read %s: %s", self.path, error)
        if damaged:
            log.warning("S3 state: %d damaged line(s) in %s left out", damaged, self.path)

    def _line(self, line: Settled) -> bytes:
        fields = [utc(line.at), line.id, line.key or NO_KEY]
        if self._with_errors:
            fields += [str(line.tries), " ".join(line.error.split())[:_LONGEST_ERROR]]
        return ("\t".join(fields) + "\n").encode("utf-8", "backslashreplace")

    def _failed(self, error: OSError) -> None:
        if not self.trouble:
            log.warning("S3 state: cannot write %s: %s", self.path, error)
        self.trouble = f"{self.path.name} cannot be written: {error}"


def _append(path: Path, data: bytes) -> None:
    """Writes `data` at the end. A line that an earlier write left unfinished is marked so that half
    a key does not pass for a whole one."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size and os.pread(file, 1, status.st_size - 1) != b"\n":
            data = b"\tcut short\n" + data
        if os.write(file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _parse(raw: bytes) -> Settled | None:
    """Returns what a line says, or None if it is damaged. The key repeats the subject's id, so that
    a flipped bit cannot name another subject. The kind comes from the key's ending, because the
    first version of `rebuild` gave every object the same kind in its id."""
    match = _LINE.fullmatch(raw)
    if match is None:
        return None
    try:
        at, line_id, kind, rest, key, tries, error = (
            (field or b"").decode("utf-8") for field in match.groups()
        )
        when = datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None
    if not is_artifact_id(line_id):
        return None
    if key == NO_KEY:
        key = ""
    elif not names_subject(key, subject_of(line_id)) or (kind in KINDS and not kind_in(key)):
        return None
    return Settled(when, f"{kind_in(key) or kind}:{rest}", key, int(tries or 0), error)
