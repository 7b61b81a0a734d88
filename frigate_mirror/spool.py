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
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from frigate_mirror.artifacts import Artifact
from frigate_mirror.files import open_regular, replacing

log = logging.getLogger("frigate_s3.spool")


class Spool:
    """The folder `folder`, holding at most `limit` bytes (0: nothing at all)."""

    def __init__(self, folder: Path, limit: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._full = False
        self._broken = False
        if limit:
            for path in self._files():
                with suppress(OSError):
                    self._sizes[path.name] = path.lstat().st_size
        self._inherited = set(self._sizes)
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
        target = self._path(artifact.id)
        with self._lock:
            grown = self.bytes + artifact.size - self._sizes.get(target.name, 0)
            if grown > self._limit:
                self._tell_full()
                return
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _link_or_copy(artifact.source, target)
            except FileNotFoundError:
                return  # deleted just now; the upload will find out
            except OSError as error:
                self._tell_broken(artifact, error)
                return
            self.bytes, self._sizes[target.name] = grown, artifact.size
            self._inherited.discard(target.name)
            self._broken = False

    def open(self, artifact: Artifact) -> BinaryIO:
        """The artifact's bytes, from the spool or else from Frigate's own file. Raises OSError:
        FileNotFoundError only when neither is there any more, though Frigate's folder is."""
        trouble: OSError | None = None
        try:
            return open_regular(self._path(artifact.id))
        except FileNotFoundError:
            pass
        except OSError as error:
            trouble = error
        try:
            return open_regular(artifact.source)
        except FileNotFoundError:
            if trouble is not None:
                raise trouble from None  # it is still there, and may be readable later
            if not artifact.source.parent.is_dir():
                raise OSError(f"no folder {artifact.source.parent}") from None
            raise

    def release(self, artifact_id: str) -> None:
        """Let go of the artifact's file: it is in the bucket, or never will be."""
        path = self._path(artifact_id)
        with self._lock:
            held = self._sizes.pop(path.name, 0)
            self._inherited.discard(path.name)
            self.bytes -= held
            if held and self.bytes <= self._limit // 2:
                self._full = False
        # Whether or not it is in our books: another process may have held it (`backfill`).
        with suppress(OSError):
            path.unlink()

    def sweep(self, wanted: Callable[[str], bool], older_than: float = 3600.0) -> int:
        """Remove files that a crash left behind: those that were here at our start, and for which
        `wanted(artifact id)` is false. Returns how many.

        Young ones may be on another process's way into the ledger and stay; age alone says little,
        since clocks are set."""
        removed = 0
        for name in sorted(self._inherited):
            with suppress(OSError):
                age = self._clock() - (self._folder / name).lstat().st_ctime
                artifact_id = name.replace("_", ":", 1)
                if age > older_than and not wanted(artifact_id):
                    self.release(artifact_id)
                    removed += 1
        return removed

    def _path(self, artifact_id: str) -> Path:
        # Ids are checked (`keys.is_event_id`): no slash, no blank, and one colon.
        return self._folder / artifact_id.replace(":", "_", 1)

    def _files(self) -> list[Path]:
        try:
            with os.scandir(self._folder) as entries:
                return [Path(entry) for entry in entries if not entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def _tell_full(self) -> None:
        if not self._full:
            log.warning("S3 spool full at %d MB: pictures wait where Frigate keeps them",
                        self._limit // 1_000_000)  # fmt: skip
        self._full = True

    def _tell_broken(self, artifact: Artifact, error: OSError) -> None:
        if not self._broken:
            log.warning("S3 spool: cannot keep %s: %s", artifact.source.name, error)
        self._broken = True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        pass  # held already; Frigate does not write a picture twice
    except FileNotFoundError:
        raise
    except OSError:
        with open_regular(source) as original, replacing(target, f".{os.getpid()}") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())  # a power cut must not leave half a picture under its name
