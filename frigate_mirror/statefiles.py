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
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from io import RawIOBase
from pathlib import Path

from frigate_mirror.entries import Settled
from frigate_mirror.keys import is_event_id, utc

log = logging.getLogger("frigate_s3.state")
_LONGEST_LINE = 8192


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
            with self._turn, _open_for_append(self.path) as file:
                if _ends_in_the_middle(self.path):
                    data = b"\n" + data
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.trouble = ""
        except OSError as error:
            self._failed(error)

    def replace(self, rows: Iterable[Settled]) -> None:
        """Write the file anew: temporary file, fsync, rename."""
        partial = self.path.with_name(f"{self.path.name}.part")
        try:
            with self._turn, partial.open("wb") as file:
                os.chmod(partial, 0o600)
                file.writelines(self._line(one) for one in rows)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(self.path)
            self.trouble = ""
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            self._failed(error)

    def read(self) -> Iterator[Settled]:
        """Every line that can be understood; the others are summed up in one warning."""
        damaged = 0
        try:
            with self.path.open("rb") as file:
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
        fields = [utc(one.at), one.id, one.key]
        if self._with_errors:
            fields += [str(one.tries), " ".join(one.error.split())]
        return ("\t".join(fields) + "\n").encode("utf-8", "backslashreplace")

    def _failed(self, error: OSError) -> None:
        if not self.trouble:
            log.warning("S3 state: cannot write %s: %s", self.path, error)
        self.trouble = f"{self.path.name} cannot be written: {error}"


def _open_for_append(path: Path) -> RawIOBase:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)


def _ends_in_the_middle(path: Path) -> bool:
    """Whether a write was cut short before its line end."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _parse(raw: bytes) -> Settled | None:
    try:
        fields = raw.decode("utf-8").rstrip("\n").split("\t")
        at = datetime.strptime(fields[0], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        artifact_id, key = fields[1], fields[2]
        tries = int(fields[3]) if len(fields) > 3 else 0
    except (ValueError, IndexError):
        return None
    kind, colon, event_id = artifact_id.partition(":")
    if not raw.endswith(b"\n") or not (kind.isalnum() and colon and is_event_id(event_id) and key):
        return None
    return Settled(at, artifact_id, key, tries, "\t".join(fields[4:]))
