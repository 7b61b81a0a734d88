"""Spool: a second name for each file not yet uploaded, so that Frigate's retention cannot take it.

A hard link costs no space until Frigate deletes its own name. Where links are not possible (another
file system, exFAT, some network shares) the file is copied. All of it together is bounded; past the
bound, and whenever the spool fails, the file is uploaded from where Frigate put it.

The folder lies in Frigate's clips/cache, where 0.16 to 0.18 delete `clip_*.mp4` only
(`frigate/record/cleanup.py`).
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from frigate_mirror.artifacts import Artifact

log = logging.getLogger("frigate_s3.spool")


class Spool:
    """The folder `folder`, holding at most `limit` bytes (0: nothing at all)."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._full = False
        self._broken = False
        if limit:
            for path in self._files():
                with suppress(OSError):
                    self._sizes[path.name] = path.lstat().st_size
        self.bytes = sum(self._sizes.values())
        """Bytes held, as if Frigate had deleted every one of the files."""

    @property
    def files(self) -> int:
        return len(self._sizes)

    @property
    def trouble(self) -> str:
        """Why files are not held at the moment; empty if they are."""
        if self._full:
            return "spool full, Frigate may delete pictures before they are uploaded"
        return "spool cannot be written" if self._broken else ""

    def hold(self, artifact: Artifact) -> None:
        """Keep the artifact's file until `release`. A failure is said once, never raised."""
        if not self._limit:
            return
        with self._lock:
            full = self.bytes + artifact.size > self._limit
            self._tell_full(full)
        if full:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._link_or_copy(artifact.source, self._path(artifact.id))
        except FileNotFoundError:
            return  # deleted just now; the upload will find out
        except OSError as error:
            if not self._broken:
                log.warning("S3 spool: cannot keep %s: %s", artifact.source.name, error)
            self._broken = True
            return
        with self._lock:
            name = self._path(artifact.id).name
            self.bytes += artifact.size - self._sizes.get(name, 0)
            self._sizes[name] = artifact.size
        self._broken = False

    def open(self, artifact: Artifact) -> BinaryIO:
        """The artifact's bytes, from the spool or else from Frigate's own file. Raises OSError:
        FileNotFoundError when neither is there (any more)."""
        with suppress(FileNotFoundError):
            return _open_regular(self._path(artifact.id))
        return _open_regular(artifact.source)

    def release(self, artifact_id: str) -> None:
        """Let go of the artifact's file: it is in the bucket, or never will be."""
        path = self._path(artifact_id)
        with self._lock:
            self.bytes -= self._sizes.pop(path.name, 0)
        # Whether or not it is in our books: another process may have held it (`backfill`).
        with suppress(OSError):
            path.unlink()

    def sweep(self, wanted: Callable[[str], bool], older_than: float = 3600.0) -> int:
        """Remove files that a crash left behind: those for which `wanted(artifact id)` is false.
        Young ones may be on their way into the ledger and stay. Returns how many."""
        removed = 0
        for path in self._files():
            with suppress(OSError):
                age = time.time() - path.lstat().st_ctime
                if age > older_than and not wanted(path.name.replace("_", ":", 1)):
                    self.release(path.name.replace("_", ":", 1))
                    removed += 1
        return removed

    def _path(self, artifact_id: str) -> Path:
        # Ids are checked (`keys.is_event_id`): no slash, no blank, and one colon.
        return self._folder / artifact_id.replace(":", "_", 1)

    def _files(self) -> list[Path]:
        try:
            return [Path(entry.path) for entry in os.scandir(self._folder) if entry.is_file()]
        except OSError:
            return []

    def _link_or_copy(self, source: Path, target: Path) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return
        except FileNotFoundError:
            raise
        except OSError:
            partial = target.with_name(f".{target.name}.part")
            try:
                with _open_regular(source) as original, partial.open("wb") as copy:
                    shutil.copyfileobj(original, copy)
                partial.replace(target)
            except OSError:
                with suppress(OSError):
                    partial.unlink()
                raise

    def _tell_full(self, full: bool) -> None:
        if full and not self._full:
            log.warning("S3 spool full at %d MB: pictures wait where Frigate keeps them",
                        self._limit // 1_000_000)  # fmt: skip
        self._full = full


def _open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, but nothing that a name could have been swapped for: no link, no
    pipe (which would block), no folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")
