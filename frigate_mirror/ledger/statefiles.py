"""The two text files that people read and back up, kept from the ledger:

    .s3_uploaded_events   2024-01-15T14:31:03Z <tab> snapshot:<event id> <tab> <key>
    .s3_failed_events     the same <tab> <tries> <tab> <last error>

The first is appended to, a line an artifact in one write; both are replaced atomically when the
ledger forgets old rows. A lost ledger is rebuilt from them. A damaged line is counted, said and
passed over; it costs one upload of the same bytes to the same key.
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

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.keys import KINDS, artifact_id, is_event_id, kind_of, utc
from frigate_mirror.ledger.rows import Settled

log = logging.getLogger("frigate_s3.state")
_LONGEST_LINE = 8192
NO_KEY = "-"  # of an event that can have none
_LONGEST_ERROR = 1000
_LINE = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\t(([a-z]+):([^\t\n]+))\t([^\t\n]+)"
    rb"(?:\t(\d{1,9})\t([^\n]*))?\n"
)


class StateFile:
    """One of the two files. A failed write is said once and remembered in `trouble`; the ledger
    still knows all, and `replace` mends the file."""

    def __init__(self, path: Path, *, with_errors: bool) -> None:
        self.path = path
        self.trouble = ""
        self._with_errors = with_errors
        self._turn = threading.Lock()  # a line appended during a replacement must not get lost

    def append(self, done: Iterable[Settled]) -> None:
        """Add a line for each. Lines of one call appear together or, on a full disk, in part."""
        data = b"".join(self._line(one) for one in done)
        try:
            with self._turn:
                _append(self.path, data)
            self.trouble = ""
        except OSError as error:
            self._failed(error)

    def replace(self, rows: Iterable[Settled]) -> None:
        """Write the file anew. What `rows` raises passes, and the file stays as it was."""
        try:
            with self._turn, replacing(self.path) as file:
                file.writelines(self._line(one) for one in rows)
                file.flush()
                os.fsync(file.fileno())
            self.trouble = ""
        except OSError as error:
            self._failed(error)

    def read(self) -> Iterator[Settled]:
        """Every line that can be understood; the others are summed up in one warning."""
        damaged = 0
        try:
            with open_regular(self.path) as file:
                while raw := file.readline(_LONGEST_LINE):
                    one = _parse(raw)
                    if one is not None:
                        yield one
                    elif raw.strip():
                        damaged += 1
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("S3 state: cannot read %s: %s", self.path, error)
        if damaged:
            log.warning("S3 state: %d damaged line(s) in %s passed over", damaged, self.path)

    def _line(self, one: Settled) -> bytes:
        fields = [utc(one.at), one.id, one.key or NO_KEY]
        if self._with_errors:
            fields += [str(one.tries), " ".join(one.error.split())[:_LONGEST_ERROR]]
        return ("\t".join(fields) + "\n").encode("utf-8", "backslashreplace")

    def _failed(self, error: OSError) -> None:
        if not self.trouble:
            log.warning("S3 state: cannot write %s: %s", self.path, error)
        self.trouble = f"{self.path.name} cannot be written: {error}"


def _append(path: Path, data: bytes) -> None:
    """Write `data` at the end; a line that an earlier write left unfinished is marked so."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        if found.st_size and os.pread(file, 1, found.st_size - 1) != b"\n":
            data = b"\tcut short\n" + data  # lest half a key passes for a whole one
        if os.write(file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _parse(raw: bytes) -> Settled | None:
    """A line's entry. The key repeats the event's id, so a flipped bit cannot name another event.
    It also names the kind, and there it is right: the first edition took for snapshots whatever it
    found in a bucket."""
    match = _LINE.fullmatch(raw)
    if match is None:
        return None
    try:
        at, _, kind, event_id, key, tries, error = (
            (field or b"").decode("utf-8") for field in match.groups()
        )
        when = datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None
    if kind not in KINDS or not is_event_id(event_id):
        return None
    if key == NO_KEY:
        key = ""
    elif f"/{event_id}-" not in f"/{key}" or not kind_of(key):
        return None
    return Settled(when, artifact_id(kind_of(key) or kind, event_id), key, int(tries or 0), error)
