"""The bytes of one upload: how many, their digest, and a view of them that can be sent twice.

A file's length and digest are taken before it is sent, so a file that changes meanwhile is noticed
here, whatever the service makes of it. Knows nothing of S3. Whoever opened the file minds its
faults, so they stay OSError.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

IN_MEMORY = 1024 * 1024
"""Bodies up to this many bytes are read once; larger ones for each digest and each try, in pieces,
never whole."""
PIECE = 256 * 1024


class Body:
    """The bytes that `file` holds from its current position to its end. They are read once for
    `size`, `md5` and `sha256`; `md5` is None on a host that forbids MD5 (FIPS). Raises OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._start
        file.seek(self._start)
        self._data = file.read(self.size + 1) if self.size <= IN_MEMORY else None
        self.md5, self.sha256 = self._digests()

    def sendable(self) -> bytes | Window:
        """The bytes, from their beginning; call it anew for every upload."""
        return Window(self._file, self._start, self.size) if self._data is None else self._data

    def settle(self) -> None:
        """Raise OSError where the file is no longer as long as when its digest was taken."""
        self._expect(self._file.seek(0, os.SEEK_END) - self._start)

    def _digests(self) -> tuple[bytes | None, bytes]:
        md5, sha256, read = _md5(), hashlib.sha256(), 0
        for piece in self._pieces():
            if md5:
                md5.update(piece)
            sha256.update(piece)
            read += len(piece)
        self._expect(read)
        return md5.digest() if md5 else None, sha256.digest()

    def _pieces(self) -> Iterator[bytes]:
        if self._data is not None:
            yield self._data
            return
        while piece := self._file.read(PIECE):
            yield piece

    def _expect(self, size: int) -> None:
        if size != self.size:
            message = f"changed from {self.size} to {size} bytes while it was read"
            raise OSError(errno.EAGAIN, message)


class Window:
    """`size` bytes of `file` from `start` on, as a file of their own: botocore rewinds a body to 0
    before it sends it again, and takes for its length whatever the file has by then."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._at = file, start, 0
        self.size = size
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
        data = self._file.read(wanted)
        self._at += len(data)
        if len(data) < wanted:
            raise OSError(errno.EIO, "became shorter while it was sent")
        return data


def _md5() -> hashlib._Hash | None:
    try:
        return hashlib.new("md5", usedforsecurity=False)
    except ValueError:
        return None
