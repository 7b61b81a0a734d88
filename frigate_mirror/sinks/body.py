"""The bytes of one upload: their number, their digests, and a way to send them more than once.

The size is taken before anything is sent, so a file that changes meanwhile is noticed here. Errors
of reading the file stay OSErrors, because the service has no part in them. This module does not
know S3.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, BinaryIO

IN_MEMORY = 1024 * 1024
"""Bodies up to this many bytes are read once and kept in memory. Larger ones are read in pieces:
once for each digest, and again for each time that they are sent."""
PIECE = 64 * 1024
"""Bytes that are read at once of a large body."""
ASKED_PIECE = 16 * 1024
"""The same for a body whose file wants to be asked before each piece. What was read is sent, even
if the line is needed for something else by then."""


class Body:
    """The bytes that `file` holds from its current position to its end.

    The constructor takes the size. Each digest is computed when it is first asked for, so a large
    body is read again for it. Raises OSError.

    A file may have a method `before_send(size)` that waits until so many bytes may be sent. It is
    called before each piece that is sent, and not for a digest. Such a file is not kept in memory.
    """

    def __init__(
        self, file: BinaryIO | Window, before_send: Callable[[int], None] | None = None
    ) -> None:
        self._file = file
        self._before_send = before_send or getattr(file, "before_send", None)
        self._start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._start
        file.seek(self._start)
        small = self.size <= IN_MEMORY and self._before_send is None
        self._data = file.read(self.size + 1) if small else None

    @cached_property
    def sha256(self) -> bytes:
        """Raises OSError."""
        return self._digest(hashlib.sha256())

    @cached_property
    def md5(self) -> bytes | None:
        """The MD5, or None on a host that forbids it (FIPS). Raises OSError."""
        return self._digest(_md5()) if md5_is_allowed() else None

    def part(self, start: int, size: int) -> Body:
        """Returns `size` bytes from `start` on, or those that are left, as a body of their own."""
        window = Window(self._file, self._start + start, min(size, self.size - start))
        return Body(window, self._before_send)

    def sendable(self) -> bytes | Window:
        """Returns the bytes, from the first one on. Call it again before each attempt."""
        if self._data is not None:
            return self._data
        return Window(self._file, self._start, self.size, self._before_send)

    def check_unchanged(self) -> None:
        """Raises OSError if the file is no longer as long as at the beginning."""
        self._expect(self._file.seek(0, os.SEEK_END) - self._start)

    def _digest(self, digest: Any) -> bytes:
        size = 0
        for piece in self._pieces():
            digest.update(piece)
            size += len(piece)
        self._expect(size)
        return bytes(digest.digest())

    def _pieces(self) -> Iterator[bytes]:
        if self._data is not None:
            yield self._data
            return
        self._file.seek(self._start)
        while piece := self._file.read(PIECE):
            yield piece

    def _expect(self, size: int) -> None:
        if size != self.size:
            message = f"changed from {self.size} to {size} bytes while it was read"
            raise OSError(errno.EAGAIN, message)


def md5_is_allowed() -> bool:
    """Whether this host allows MD5, which FIPS forbids."""
    try:
        _md5()
    except ValueError:
        return False
    return True


def _md5() -> Any:
    return hashlib.new("md5", usedforsecurity=False)


class Window:
    """The `size` bytes of `file` from `start` on, as a file of their own. `before_send` is called
    with the number of bytes before each read; `piece` is how many should be read at once.

    botocore needs it: it rewinds a body to 0 before it sends it again, and takes the length that
    the file has by then.
    """

    def __init__(
        self,
        file: BinaryIO | Window,
        start: int,
        size: int,
        before_send: Callable[[int], None] | None = None,
    ) -> None:
        self._file, self._start, self._at = file, start, 0
        self.size = size
        self.piece = PIECE if before_send is None else ASKED_PIECE
        self._before_send = before_send
        file.seek(start)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}
        self._at = max(0, bases[whence] + offset)
        self._file.seek(self._start + self._at)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted and self._before_send is not None:
            self._before_send(wanted)
        data = self._file.read(wanted)
        self._at += len(data)
        if len(data) < wanted:
            raise OSError(errno.EIO, "became shorter while it was sent")
        return data
