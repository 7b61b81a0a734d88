"""Segment: the file that grows. It consists of whole fragments at every moment."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path

from frigate_mirror.recorder import folder
from frigate_mirror.recorder.stream import Fragment, Stream


class Segment:
    """A new segment of the camera whose folder is `camera`. It begins with `first`, whose start was
    at `started` (Unix seconds), and gets none of the names `taken`. Raises OSError."""

    def __init__(
        self,
        camera: Path,
        started: float,
        stream: Stream,
        first: Fragment,
        taken: Collection[str] = (),
    ) -> None:
        self.started = started
        self.size = 0
        self._head = stream.head
        self._duration_at = stream.duration_at
        self._base = first.earliest
        self._length = 0.0  # seconds
        self._synced = 0
        self._path = folder.create(camera, started, stream.ending, taken)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self.add(first)
            folder.sync_folder(camera)
        except OSError:
            os.close(self._file)
            self._path.unlink(missing_ok=True)
            raise

    def add(self, fragment: Fragment) -> None:
        """Appends a fragment, whose times are changed. After a failure the file is as it was
        before. Raises OSError."""
        fragment.move(self._base)
        end = self.size
        try:
            for data in (fragment.data,) if end else (self._head, fragment.data):
                end += self._write(data, end)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size = end
        self._length = max(self._length, fragment.start - self._base + fragment.seconds)

    def _write(self, data: bytes | bytearray, at: int) -> int:
        """Writes all of `data` to this place of the file, and returns its length."""
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.pwrite(self._file, view[written:], at + written)
        return written

    @property
    def grows(self) -> bool:
        """Whether something was added since it was last made durable."""
        return self.size != self._synced

    def sync(self) -> None:
        """Makes durable what the file has. Raises OSError."""
        if not self.grows:
            return
        if self._duration_at:
            length = struct.pack(">d", self._length * 1_000)
            os.pwrite(self._file, length, self._duration_at)
        os.fdatasync(self._file)
        self._synced = self.size

    def finish(self) -> Path:
        """Makes the file durable, gives it its own name, and returns that. Raises OSError."""
        try:
            self.sync()
        finally:
            os.close(self._file)
        return folder.finish(self._path)
