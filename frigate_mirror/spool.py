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
YOUNG = 3_600.0  # seconds that another process may take from holding a file to queueing it


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
        self._missed = limit > 0  # in an earlier life, for all we know
        if limit:
            with suppress(OSError):
                for entry in self._entries():
                    with suppress(OSError):
                        self._sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
        self._orphans = set(self._sizes)
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

    def path(self, artifact_id: str) -> str:
        """Where the artifact's file is held, if it is. A text: making a Path costs more than some
        of what is done with it."""
        return f"{self._folder}/{_name(artifact_id)}"

    def holds(self, artifact_id: str) -> bool:
        return _name(artifact_id) in self._sizes

    def lacks(self, artifact_id: str) -> bool:
        """Whether the artifact's file is not held, though it could be."""
        return not self._full and not self.holds(artifact_id)

    def hold(self, artifact: Artifact) -> None:
        """Keep the artifact's file until `release`. A failure is said once, never raised, and
        remembered for `recount`."""
        if not self._limit:
            return
        name, target = _name(artifact.id), self.path(artifact.id)
        with self._lock:
            grown = self.bytes + artifact.size - self._sizes.get(name, 0)
            if grown > self._limit:
                self._missed = True
                self._tell_full()
                return
            try:
                self._take(artifact.source, target)
            except FileNotFoundError:
                return  # deleted just now; the upload will find out
            except OSError as error:
                self._missed = True
                self._tell_broken(artifact, error)
                return
            self.bytes, self._sizes[name] = grown, artifact.size
            self._orphans.discard(name)
            self._broken = False

    def _take(self, source: Path, target: str) -> None:
        try:
            _link_or_copy(source, target)
        except FileNotFoundError:  # the file, or our folder: to look first costs each of them
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link_or_copy(source, target)

    def open(self, artifact: Artifact) -> BinaryIO:
        """The artifact's bytes, from the spool or else from Frigate's own file. Raises OSError:
        FileNotFoundError only when neither is there any more, though Frigate's folder is."""
        trouble: OSError | None = None
        try:
            return open_regular(self.path(artifact.id))
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
        name = _name(artifact_id)
        with self._lock:
            held = self._sizes.pop(name, 0)
            self._orphans.discard(name)
            self.bytes -= held
            if held and self.bytes <= self._limit // 2:
                self._full = False
        # Whether or not it is in our books: another process may have held it (`backfill`).
        with suppress(OSError):
            os.unlink(self.path(artifact_id))

    def recount(self) -> bool:
        """Whether files should be held again: some could not be, or somebody has deleted some."""
        with self._lock:
            for name in self._sizes.keys() - self._there():
                self.bytes -= self._sizes.pop(name)
                self._orphans.discard(name)
                self._missed = True
            missed, self._missed = self._missed, False
        return missed

    def orphan(self, artifact_id: str) -> None:
        """The ledger could not be told of this file."""
        with self._lock:
            self._orphans |= {_name(artifact_id)} & self._sizes.keys()

    @property
    def orphans(self) -> list[str]:
        """Ids of the artifacts that the ledger may not know: their files were here at our start,
        or it could not be told."""
        return [name.replace("_", ":", 1) for name in sorted(self._orphans)]

    def sweep(self, keep: Callable[[str], float]) -> int:
        """Remove orphans that are older than `keep(artifact id)` seconds, and older than what
        another process may still be about to queue. Returns how many.

        Never any other file: age alone says little, since clocks are set."""
        removed = 0
        for artifact_id in self.orphans:
            with suppress(OSError):
                held = os.lstat(self.path(artifact_id))
                age = self._clock() - held.st_ctime
                half_a_copy = artifact_id.endswith(".part")
                if age > YOUNG and (half_a_copy or age > keep(artifact_id)):
                    self.release(artifact_id)
                    removed += 1
        return removed

    def _entries(self) -> list[os.DirEntry[str]]:
        """All but folders."""
        try:
            with os.scandir(self._folder) as entries:
                return [entry for entry in entries if not entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def _there(self) -> set[str]:
        """Names of the files that are there; of all that should be, while nobody can tell."""
        try:
            return {entry.name for entry in self._entries()} if self._sizes else set()
        except OSError:
            return set(self._sizes)

    def _tell_full(self) -> None:
        if not self._full:
            log.warning("S3 spool full at %d MB: pictures wait where Frigate keeps them",
                        self._limit // 1_000_000)  # fmt: skip
        self._full = True

    def _tell_broken(self, artifact: Artifact, error: OSError) -> None:
        if not self._broken:
            log.warning("S3 spool: cannot keep %s: %s", artifact.source.name, error)
        self._broken = True


def _name(artifact_id: str) -> str:
    # Ids are checked (`keys.is_event_id`): no slash, no blank, and one colon.
    return artifact_id.replace(":", "_", 1)


def _link_or_copy(source: Path, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        pass  # held already; Frigate does not write a picture twice
    except FileNotFoundError:
        raise
    except OSError:
        with open_regular(source) as original, replacing(Path(target), f".{os.getpid()}") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())  # a power cut must not leave half a picture under its name
