"""Bytes that lie on a disk under no name, so that nothing of them is left after a kill."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path
from typing import BinaryIO


class Scratch:
    """A file without a name in `folder`. It exists as long as this object, or a file that `open` or
    `write` returned."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
            self._descriptor = os.open(folder, flags, 0o600)
        except OSError:  # not every file system has files without a name
            self._descriptor, path = tempfile.mkstemp(dir=folder)
            os.unlink(path)
        weakref.finalize(self, os.close, self._descriptor)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def write(self) -> BinaryIO:
        """Opens the file for writing."""
        return open(f"/proc/self/fd/{self._descriptor}", "wb")

    def open(self) -> BinaryIO:
        """Opens the file for reading, from its beginning."""
        return open(f"/proc/self/fd/{self._descriptor}", "rb")
