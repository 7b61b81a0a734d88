"""Spool: a second name for each file not yet uploaded, so that Frigate's retention cannot take it.

A hard link costs no space until Frigate deletes its own name. Where links are not possible (another
file system, exFAT, some network shares) the file is copied. All of it together is bounded; past the
bound, and whenever the spool fails, the file is uploaded from where Frigate put it.

Beside each held file lies its description, a JSON document with all that is needed to upload it
without any database.

The folder lies in Frigate's clips/cache, where 0.16 to 0.18 delete `clip_*.mp4` only
(`frigate/record/cleanup.py`).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from frigate_mirror.artifact import Artifact
from frigate_mirror.files import open_regular, replacing
from frigate_mirror.keys import is_event_id, kind_of

log = logging.getLogger("frigate_s3.spool")
DESCRIPTION = "~.json"  # no event id can end so
LONGEST_DESCRIPTION = 65_536  # bytes
_UNFIT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")  # in no text that a header or SQLite can take
YOUNG = 3_600.0  # seconds that another process may take from holding a file to queueing it


class Spool:
    """The folder `folder`, holding at most `limit` bytes (0: nothing at all)."""

    def __init__(self, folder: Path, limit: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._versions: dict[str, str] = {}
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
            self._versions[name] = artifact.version
            self._orphans.discard(name)
            self._broken = False
            self._describe(artifact, target)

    def _describe(self, artifact: Artifact, target: str) -> None:
        """Without its description a held file can still be uploaded, while the ledger or Frigate
        knows its event."""
        document = json.dumps(dataclasses.asdict(artifact), default=str)
        try:
            with replacing(Path(f"{target}{DESCRIPTION}"), f".{os.getpid()}") as file:
                file.write(document.encode())
        except OSError as error:
            self._tell_broken(artifact, error)

    def described(self, artifact_id: str) -> Artifact | None:
        """The artifact of a held file, as its description has it; None where there is none that
        fits."""
        path = self.path(artifact_id)
        try:
            size = os.lstat(path).st_size
            with open_regular(f"{path}{DESCRIPTION}") as file:
                fields = json.loads(file.read(LONGEST_DESCRIPTION))
            fields["source"], fields["size"] = Path(fields["source"]), size
            artifact = Artifact(**fields)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return artifact if _makes_sense(artifact, artifact_id) else None

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

    def release(self, artifact_id: str, version: str = "") -> None:
        """Let go of the artifact's file: it is in the bucket, or never will be. With a `version`,
        only if it is held in no other one: it may have been held anew this very moment."""
        name = _name(artifact_id)
        with self._lock:
            if version and self._holds_another(artifact_id, version):
                return
            held = self._sizes.pop(name, 0)
            self._versions.pop(name, "")
            self._orphans.discard(name)
            self.bytes -= held
            if held and self.bytes <= self._limit // 2:
                self._full = False
            # Whether or not it is in our books: another process may have held it (`backfill`).
            for path in (self.path(artifact_id), f"{self.path(artifact_id)}{DESCRIPTION}"):
                with suppress(OSError):
                    os.unlink(path)

    def _holds_another(self, artifact_id: str, version: str) -> bool:
        """Whether it is held in another version, by our books and by its description too: another
        process may have held it since."""
        if self._versions.get(_name(artifact_id), version) == version:
            return False
        described = self.described(artifact_id)
        return described is not None and described.version != version

    def recount(self) -> bool:
        """Whether files should be held again: some could not be, or somebody has deleted some."""
        with self._lock:
            for name in self._sizes.keys() - self._there():
                self.bytes -= self._sizes.pop(name)
                self._versions.pop(name, "")
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
        """Those with a name of ours that are no folders: held files and halves of copies."""
        try:
            with os.scandir(self._folder) as entries:
                return [
                    entry
                    for entry in entries
                    if is_event_id(entry.name.partition("_")[2])
                    and not entry.is_dir(follow_symlinks=False)
                ]
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


def _makes_sense(artifact: Artifact, artifact_id: str) -> bool:
    """Whether a description is of this artifact and could have been written by the mirror."""
    kind, _, event_id = artifact_id.partition(":")
    metadata = artifact.metadata
    texts = [artifact.camera, artifact.key, artifact.content_type, artifact.version, artifact.flaw]
    if isinstance(metadata, dict):
        texts += [str(artifact.source), *metadata, *metadata.values()]
    return (
        artifact.id == artifact_id
        and all(isinstance(text, str) and not _UNFIT.search(text) for text in texts)
        and isinstance(artifact.started, float)
        and math.isfinite(artifact.started)
        and kind_of(artifact.key) == kind
        and f"/{event_id}-" in f"/{artifact.key}"
        and isinstance(metadata, dict)
    )


def _link_or_copy(source: Path, target: str) -> None:
    """Give the file at `source` the name `target` too; what has that name already is replaced if
    it is another file, or a copy of what the file was before it changed."""
    try:
        os.link(source, target, follow_symlinks=False)
        return
    except FileNotFoundError:
        raise
    except FileExistsError:
        if _same(source, target):
            return
    except OSError:  # no links here
        _copy(source, target)
        return
    partial = f"{target}.{os.getpid()}.part"
    with suppress(FileNotFoundError):
        os.unlink(partial)
    try:
        os.link(source, partial, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        _copy(source, target)
    else:
        os.replace(partial, target)


def _same(source: Path, target: str) -> bool:
    ours, theirs = os.lstat(target), os.lstat(source)
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
        return True
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _copy(source: Path, target: str) -> None:
    with open_regular(source) as original, replacing(Path(target), f".{os.getpid()}") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        was = os.fstat(original.fileno())
        os.utime(copy.fileno(), ns=(was.st_atime_ns, was.st_mtime_ns))
        os.fsync(copy.fileno())  # a power cut must not leave half a picture under its name
