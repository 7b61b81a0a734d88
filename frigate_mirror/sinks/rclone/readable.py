"""A file that rclone, another process of the same user, can read: the body of one upload."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

PIECE = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Readable:
    """An open file of this process. `size` is in bytes; `digests` are in hex, by their names."""

    descriptor: int
    size: int
    digests: dict[str, str]

    @property
    def folder(self) -> str:
        """The remote of rclone that holds the file. `name` is the file's name in it.

        The link in /proc leads to the open file, even if its name has been deleted or replaced
        meanwhile, or if it never had one.
        """
        return f":local,copy_links=true:/proc/{os.getpid()}/fd"

    @property
    def name(self) -> str:
        return str(self.descriptor)

    def check_unchanged(self) -> None:
        """Raises OSError if the file is no longer as long as when its digests were computed."""
        size = os.fstat(self.descriptor).st_size
        if size != self.size:
            message = f"changed from {self.size} to {size} bytes while it was read"
            raise OSError(errno.EAGAIN, message)


@contextmanager
def readable(body: BinaryIO, *digests: str) -> Iterator[Readable]:
    """Gives what `body` holds from its current position to its end, read once for its `digests`.

    rclone reads a real file itself. Everything else is copied to a temporary file: bytes in memory,
    a file from its middle on, a file that another class reads. Raises OSError.
    """
    descriptor = _descriptor(body)
    if descriptor is not None:
        size, found = _read(body, digests)
        yield Readable(descriptor, size, found)
        return
    with tempfile.TemporaryFile() as copy:
        size, found = _read(body, digests, copy)
        yield Readable(copy.fileno(), size, found)


def _descriptor(body: BinaryIO) -> int | None:
    """Returns the number of the open file if all of it is to be uploaded."""
    is_file = isinstance(body, (io.BufferedReader, io.FileIO)) or hasattr(body, "before_send")
    if not is_file or body.tell() != 0:
        return None
    try:
        return body.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return None


def _read(body: BinaryIO, names: tuple[str, ...], copy: Any = None) -> tuple[int, dict[str, str]]:
    """Returns the number of bytes and their digests, and writes them to `copy`."""
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    size = 0
    while piece := body.read(PIECE):
        size += len(piece)
        for digest in digests.values():
            digest.update(piece)
        if copy:
            copy.write(piece)
    if copy:
        copy.flush()
    return size, {name: digest.hexdigest() for name, digest in digests.items()}
