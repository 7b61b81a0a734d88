"""Spool: the files of artifacts that are not uploaded yet, safe from the recorder's retention.

A hard link costs no space until the recorder deletes its own name. Where links are not possible
(another file system, exFAT, some network shares) the file is copied. The spool is bounded; when it
is full, and whenever it fails, an artifact is uploaded from its origin.

Beside each held file lies its description, a JSON document with all that is needed to upload the
file without any database.

The folder lies in Frigate's clips/cache, where Frigate 0.16 to 0.18 delete only `clip_*.mp4`
(`frigate/record/cleanup.py`).
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from frigate_mirror.artifact import Artifact, kind_of, subject_of
from frigate_mirror.files import has_room, open_regular, replacing
from frigate_mirror.keys import is_artifact_id, kind_in, names_subject
from frigate_mirror.part import Part

log = logging.getLogger("frigate_s3.spool")
DESCRIPTION = "~.json"  # no subject id can end so
LONGEST_DESCRIPTION = 65_536  # bytes
DESCRIBED = tuple(
    field.name for field in dataclasses.fields(Artifact) if field.name not in ("origin", "opener")
)
LATER_FIELDS = {"digest": "", "about": {}, "bulk": False}  # descriptions of version 0.2 lack these
FULL = (errno.ENOSPC, errno.EDQUOT)
YOUNG = 3_600.0  # seconds that another process may take from holding a file to queueing it
_PART = re.compile(r"(\.\d+)?\.part$")  # what the name of a half copy has behind the artifact's
_UNFIT = re.compile("[\0-\x1f\x7f\ud800-\udfff]")  # neither a header nor SQLite takes these


@dataclass(slots=True)
class _Room:
    """What the spool may hold of the usual files, or of the bulk ones: at most `limit` bytes.
    `missed` says that a file that should be held may be missing."""

    limit: int
    setting: str
    bytes: int = 0  # also of files that the recorder still has
    full: bool = False
    missed: bool = True  # an earlier run may have missed some


class Spool(Part):
    """The folder `folder`, which holds at most `limit` bytes, and besides at most `bulk_limit`
    bytes of the files of `bulk_kinds`. With a limit of 0 it holds none. When the disk is full, bulk
    files are deleted first. `clock` gives Unix seconds."""

    def __init__(
        self,
        folder: Path,
        limit: int,
        clock: Callable[[], float] = time.time,
        *,
        bulk_limit: int = 0,
        bulk_kinds: Collection[str] = (),
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._usual = _Room(limit, "MIRROR_SPOOL_LIMIT_MB", missed=limit > 0)
        self._bulk = _Room(bulk_limit, "MIRROR_CLIP_SPOOL_MB", missed=bulk_limit > 0)
        self._bulk_kinds = frozenset(bulk_kinds)
        self._lock = threading.Condition()
        self._busy: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._versions: dict[str, str] = {}
        self._failure = ""
        if limit or bulk_limit:
            with suppress(OSError):
                for entry in self._entries():
                    with suppress(OSError):
                        self._count(entry.name, entry.stat(follow_symlinks=False).st_size)
        self._orphans = set(self._sizes)

    def troubles(self) -> list[str]:
        """Returns why files cannot be held at the moment."""
        troubles = []
        if self._usual.full:
            troubles.append(
                "the spool is full, so Frigate may delete files before they are uploaded: "
                f"raise {self._usual.setting} if the disk has room"
            )
        if self._bulk.full:
            troubles.append(
                "the spool has no room for more clips, so Frigate may delete recordings before "
                f"their clips are uploaded: raise {self._bulk.setting} if the disk has room"
            )
        if self._failure and not self._usual.full:
            troubles.append(
                "the spool cannot hold files, so Frigate may delete them before they are uploaded: "
                f"{self._failure}"
            )
        return troubles

    def status(self) -> dict[str, Any]:
        """Returns this part's piece of the status document."""
        return {
            "spool_files": len(self._sizes),
            "spool_bytes": self._usual.bytes + self._bulk.bytes,
        }

    def path(self, artifact_id: str) -> str:
        """Returns where the artifact's file lies if it is held."""
        return f"{self._folder}/{_name(artifact_id)}"

    def holds(self, artifact_id: str) -> bool:
        return _name(artifact_id) in self._sizes

    def lacks(self, artifact_id: str) -> bool:
        """Returns whether the artifact's file is not held although there is room for it."""
        return not self._room(_name(artifact_id)).full and not self.holds(artifact_id)

    def hold(self, artifact: Artifact) -> None:
        """Keeps the artifact's file until `release`. A failure is logged once, never raised, and
        remembered for `recount`. Only one thread at a time holds or releases the same file; others
        need not wait while a large one is copied."""
        name = _name(artifact.id)
        room = self._room(name)
        if not room.limit:
            return
        with self._only(name):
            with self._lock:
                grown = room.bytes + artifact.size - self._sizes.get(name, 0)
                if grown > room.limit or (room is self._bulk and not self._disk_has_room()):
                    room.missed = True
                    self._tell_full(room)
                    return
            try:
                self._keep(artifact, self.path(artifact.id))
            except FileNotFoundError:
                return  # the recorder has just deleted it; the upload will find out
            except OSError as error:
                room.missed = True
                self._tell_failure(artifact, error)
                return
            with self._lock:
                self._count(name, artifact.size)
                self._versions[name] = artifact.version
                self._orphans.discard(name)
                self._failure = ""
            self._describe(artifact, self.path(artifact.id))

    def _keep(self, artifact: Artifact, target: str) -> None:
        """Links or copies the artifact's file. On a full disk bulk files make room for it, unless
        it is one of them. Raises OSError."""
        with artifact.open() as original:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _link_or_copy(original, target)
            except OSError as error:
                usual = self._room(_name(artifact.id)) is self._usual
                if error.errno not in FULL or not usual or not self._drop_bulk():
                    raise
                original.seek(0)
                _link_or_copy(original, target)

    def _drop_bulk(self) -> bool:
        """Gives up the held bulk files, whose artifacts are made anew from the recordings if these
        are still there. Returns whether there were any."""
        with self._lock:
            names = [name for name in self._sizes if self._room(name) is self._bulk]
            if names:
                log.warning("S3 spool: the disk is full, so %d held clip(s) are given up; they are "
                            "made again from the recordings as long as these exist",
                            len(names))  # fmt: skip
            for name in names:
                self._forget(name)
                self._unlink(name)
            self._bulk.missed = True
            self._bulk.full = self._bulk.full or bool(names)
        return bool(names)

    def _disk_has_room(self) -> bool:
        """Returns whether the disk has room for bulk files, which only clips of the recordings on
        the same disk need."""
        try:
            return has_room(self._folder.parent)
        except OSError:
            return False

    def _describe(self, artifact: Artifact, target: str) -> None:
        """Writes the description. Without it the held file can still be uploaded as long as the
        ledger or the recorder knows its subject."""
        document = json.dumps({name: getattr(artifact, name) for name in DESCRIBED}, default=dict)
        try:
            with replacing(Path(f"{target}{DESCRIPTION}"), f".{os.getpid()}") as file:
                file.write(document.encode())
        except OSError as error:
            self._tell_failure(artifact, error)

    def described(self, artifact_id: str) -> Artifact | None:
        """Returns the artifact of a held file from its description, or None where no description
        fits. Its origin is empty: other programs can write here, and must not choose a file."""
        path = self.path(artifact_id)
        try:
            size = os.lstat(path).st_size
            with open_regular(f"{path}{DESCRIPTION}") as file:
                fields = json.loads(file.read(LONGEST_DESCRIPTION))
            fields = LATER_FIELDS | fields
            known = {name: fields[name] for name in DESCRIBED} | {"origin": "", "size": size}
            artifact = Artifact(**known)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return artifact if _makes_sense(artifact, artifact_id) else None

    def open(self, artifact: Artifact) -> BinaryIO:
        """Opens the artifact's bytes, held or else at their origin. Raises FileNotFoundError only
        if neither exists any more, and OSError for any other failure."""
        try:
            return self.open_held(artifact.id)
        except OSError as error:
            trouble = error
        try:
            return artifact.open()
        except FileNotFoundError:
            if not isinstance(trouble, FileNotFoundError):
                raise trouble from None  # the held file exists, and may be readable later
            raise

    def open_held(self, artifact_id: str) -> BinaryIO:
        """Opens the held file. Raises OSError."""
        return open_regular(self.path(artifact_id))

    def release(self, artifact_id: str, version: str = "") -> None:
        """Deletes the held file, because its artifact is uploaded or never will be. With a
        `version`, a file in another version stays, because it may have been held since."""
        name = _name(artifact_id)
        with self._only(name), self._lock:
            if version and self._holds_another(artifact_id, version):
                return
            self._forget(name)
            self._unlink(name)

    def _unlink(self, name: str) -> None:
        # Another process (`backfill`) may have held it, so this one may not know of it.
        for path in (f"{self._folder}/{name}", f"{self._folder}/{name}{DESCRIPTION}"):
            with suppress(OSError):
                os.unlink(path)

    def _holds_another(self, artifact_id: str, version: str) -> bool:
        """Returns whether the file is held in another version, according to this process and to the
        description, which another process may have written since."""
        if self._versions.get(_name(artifact_id), version) == version:
            return False
        described = self.described(artifact_id)
        return described is not None and described.version != version

    def recount(self) -> bool:
        """Returns whether files should be held again, because some could not be held or somebody
        has deleted some."""
        with self._lock:
            for name in self._sizes.keys() - self._names():
                self._room(name).missed = True
                self._forget(name)
            rooms = (self._usual, self._bulk)
            if self._bulk.full and self._bulk.bytes <= self._bulk.limit // 2:
                self._bulk.full = not self._disk_has_room()
            missed = any(room.missed and not room.full for room in rooms)
            for room in rooms:
                room.missed = False
        return missed

    def orphan(self, artifact_id: str) -> None:
        """Notes that the ledger could not be told of this file."""
        with self._lock:
            self._orphans |= {_name(artifact_id)} & self._sizes.keys()

    @property
    def orphans(self) -> list[str]:
        """The ids of artifacts that the ledger may not know: their files were here at our start, or
        the ledger could not be told of them."""
        return [_artifact_id(name) for name in sorted(self._orphans)]

    def sweep(self, keep: Callable[[str], float]) -> int:
        """Deletes orphans that are older than `keep(artifact id)` seconds and than YOUNG, and
        returns how many. It deletes no other files, because a file of any age looks old after
        somebody has set the clock."""
        removed = 0
        for artifact_id in self.orphans:
            with suppress(OSError):
                age = self._clock() - os.lstat(self.path(artifact_id)).st_ctime
                half_a_copy = artifact_id.endswith(".part")
                if age > YOUNG and (half_a_copy or age > keep(artifact_id)):
                    self.release(artifact_id)
                    removed += 1
        return removed

    def _entries(self) -> list[os.DirEntry[str]]:
        """Returns the entries with a name of ours: held files and unfinished copies. Raises
        OSError."""
        try:
            with os.scandir(self._folder) as entries:
                return [
                    entry
                    for entry in entries
                    if is_artifact_id(_artifact_id(_PART.sub("", entry.name)))
                    and not entry.is_dir(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return []

    def _names(self) -> set[str]:
        """Returns the names of the files in the folder, or the expected names if it cannot be
        read."""
        try:
            return {entry.name for entry in self._entries()} if self._sizes else set()
        except OSError:
            return set(self._sizes)

    def _room(self, name: str) -> _Room:
        return self._bulk if name.partition("_")[0] in self._bulk_kinds else self._usual

    @contextmanager
    def _only(self, name: str) -> Iterator[None]:
        """Waits until no other thread works on the file `name`, and keeps others from doing so."""
        with self._lock:
            self._lock.wait_for(lambda: name not in self._busy)
            self._busy.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(name)
                self._lock.notify_all()

    def _count(self, name: str, size: int) -> None:
        self._room(name).bytes += size - self._sizes.get(name, 0)
        self._sizes[name] = size

    def _forget(self, name: str) -> None:
        room, size = self._room(name), self._sizes.pop(name, 0)
        self._versions.pop(name, "")
        self._orphans.discard(name)
        room.bytes -= size
        if size and room.bytes <= room.limit // 2:
            room.full = False

    def _tell_full(self, room: _Room) -> None:
        if not room.full:
            log.warning("S3 spool is full (%s), so Frigate may delete files before they are "
                        "uploaded", room.setting)  # fmt: skip
        room.full = True

    def _tell_failure(self, artifact: Artifact, error: OSError) -> None:
        if not self._failure:
            log.warning("S3 spool cannot hold %s: %s", artifact.key, error)
        self._failure = f"{artifact.key}: {error}"


def _name(artifact_id: str) -> str:
    # Ids are checked (`keys.is_artifact_id`): they have no slash, no blank and no tilde.
    return artifact_id.replace(":", "_", 1).replace(":", "~")


def _artifact_id(name: str) -> str:
    return name.replace("_", ":", 1).replace("~", ":")


def _makes_sense(artifact: Artifact, artifact_id: str) -> bool:
    """Returns whether a description belongs to this artifact and the mirror can have written it."""
    kind, subject_id = kind_of(artifact_id), subject_of(artifact_id)
    metadata = artifact.metadata
    texts = [artifact.camera, artifact.key, artifact.content_type, artifact.version, artifact.flaw,
             artifact.digest]  # fmt: skip
    if isinstance(metadata, dict):
        texts += [*metadata, *metadata.values()]
    return (
        artifact.id == artifact_id
        and all(isinstance(text, str) and not _UNFIT.search(text) for text in texts)
        and isinstance(artifact.started, float)
        and math.isfinite(artifact.started)
        and kind_in(artifact.key) in ("", kind)
        and names_subject(artifact.key, subject_id)
        and isinstance(metadata, dict)
        and isinstance(artifact.about, dict)
        and _is_json(artifact.about)
        and isinstance(artifact.bulk, bool)
    )


def _is_json(document: object) -> bool:
    """Returns whether SQLite can read the document, too. Python also reads NaN and Infinity."""
    try:
        json.dumps(document, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def _link_or_copy(original: BinaryIO, target: str) -> None:
    """Gives an open file the name `target`. A file that has this name already is replaced, unless
    it is the same file or an unchanged copy of it. Raises OSError."""
    try:
        _link(original, target)
        return
    except FileExistsError:
        if _same(original, target):
            return
    except OSError:  # this file system has no links, or the bytes do not come from a file
        _copy(original, target)
        return
    partial = f"{target}.{os.getpid()}.part"
    with suppress(FileNotFoundError):
        os.unlink(partial)
    try:
        _link(original, partial)
    except OSError:
        _copy(original, target)
    else:
        os.replace(partial, target)


def _link(original: BinaryIO, target: str) -> None:
    """Links the open file itself, even if its name leads to another file by now. Raises OSError."""
    descriptor = original.fileno()
    # Python follows the link in /proc only if a folder is given; an absolute path ignores it.
    os.link(f"/proc/self/fd/{descriptor}", target, src_dir_fd=descriptor, follow_symlinks=True)


def _same(original: BinaryIO, target: str) -> bool:
    ours, theirs = os.lstat(target), os.fstat(original.fileno())
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
        return True
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _copy(original: BinaryIO, target: str) -> None:
    """Copies what the file holds. The copy has the time of the original, so that `_same` knows it
    again. Raises OSError."""
    with replacing(Path(target), f".{os.getpid()}") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        with suppress(OSError):  # bytes that do not come from a file have no time
            status = os.fstat(original.fileno())
            os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(copy.fileno())  # a power cut must not leave half a file under its name
