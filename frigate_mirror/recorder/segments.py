"""The recorder's folder as the mirror sees it: a catalog of its finished segments, the kind of
their files, and a source that offers new ones.

A subject is one segment. Its id is the name of its file and that of its camera:
`20240118_120000.mp4.front-door`. A long camera name is shortened, with a digest of the whole.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from frigate_mirror import metadata
from frigate_mirror.artifact import Artifact
from frigate_mirror.catalog import CatalogError, Kind
from frigate_mirror.keys import artifact_id, utc
from frigate_mirror.recorder.config import CAMERA
from frigate_mirror.recorder.folder import Finished, finished, started_of

RECORDING = "recording"
LONGEST_NAME = 38  # of a camera in an id, which has at most 64 characters
PAGE = 500
LOOK_EVERY = 0.5  # seconds
JUST_NOW = 1.0  # seconds; Linux before 6.13 gives two changes within milliseconds the same time
# 2020-01-01. A segment that started earlier was recorded before the clock of the machine was set.
CLOCK_IS_SET = 1_577_836_800.0
CONTENT_TYPES = {".mp4": "video/mp4", ".mkv": "video/x-matroska"}


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment. Times are Unix seconds."""

    id: str
    camera: str
    started: float
    ended: float | None
    file: Finished


def segment_id(file: Finished) -> str:
    """Returns the id of a segment."""
    return f"{file.path.name}.{_short(file.camera)}"


def _short(camera: str) -> str:
    if len(camera) <= LONGEST_NAME:
        return camera
    # No camera has a plus in its name, so nobody else's name is this one.
    return f"{camera[: LONGEST_NAME - 13]}+{hashlib.sha256(camera.encode()).hexdigest()[:12]}"


def key_of(prefix: str, file: Finished) -> str:
    """Returns the key of a segment's file: front-door/2024/01/18/20240118_120000.mp4."""
    name = file.path.name
    day = f"{name[:4]}/{name[4:6]}/{name[6:8]}"
    return f"{prefix}/{file.camera}/{day}/{name}".lstrip("/")


class Segments:
    """The catalog: every finished segment below `folder`, also of cameras that are not recorded any
    longer. See `Catalog`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cameras(self) -> list[Path]:
        """Returns the folders of all cameras. Raises CatalogError."""
        try:
            with os.scandir(self._folder) as entries:
                return [
                    Path(entry.path)
                    for entry in entries
                    if CAMERA.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                ]
        except OSError as error:
            raise CatalogError(f"the folder of segments cannot be read: {error}") from error

    def changes(self) -> list[tuple[str, int]]:
        """Returns a value that changes when a segment comes or goes. Raises CatalogError."""
        try:
            return sorted((path.name, path.stat().st_mtime_ns) for path in self.cameras())
        except OSError as error:
            raise CatalogError(f"a camera's folder cannot be read: {error}") from error

    def all(self) -> list[Segment]:
        """Returns every finished segment, the oldest first. Raises CatalogError."""
        found: list[Segment] = []
        for camera in self.cameras():
            try:
                found += map(_segment, finished(camera))
            except OSError as error:
                raise CatalogError(f"a camera's folder cannot be read: {error}") from error
        return sorted(found, key=lambda one: (one.started, one.id))

    def subjects(self, ids: Sequence[str]) -> list[Segment]:
        cameras = {_short(path.name): path for path in self.cameras()}
        return [one for one in (self._subject(cameras, subject) for subject in ids) if one]

    @staticmethod
    def _subject(cameras: dict[str, Path], subject_id: str) -> Segment | None:
        stem, ending, camera = [*subject_id.split(".", 2), "", ""][:3]
        name = f"{stem}.{ending}"
        started = started_of(name)
        if started is None or camera not in cameras:
            return None
        path = cameras[camera] / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CatalogError(f"a segment cannot be read: {error}") from error
        if not status.st_size:
            return None
        file = Finished(path, path.parent.name, started, status.st_mtime, status.st_size)
        return _segment(file)

    def window(self, since: float, until: float) -> Iterator[list[str]]:
        """See `Catalog.window`. A segment whose time is unknown belongs into every window."""
        ids = iter([
            one.id for one in self.all()
            if one.started < CLOCK_IS_SET or since <= one.started < until
        ])  # fmt: skip
        while page := list(islice(ids, PAGE)):
            yield page

    def ended_since(self, ended: float, since: float, most: int) -> list[str]:
        return []  # a finished segment never changes


def _segment(file: Finished) -> Segment:
    return Segment(segment_id(file), file.camera, file.started, file.ended, file)


class Recording(Kind[Segment]):
    """The file of a segment. `prefix` begins every key."""

    name = RECORDING
    bulk = True
    changes = False

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def find(self, subject: Segment, held: str) -> Artifact | None:
        file = subject.file
        told = {
            "camera": file.camera,
            "start-time": utc(file.started),
            "end-time": utc(file.ended),
        }
        return Artifact(
            id=artifact_id(RECORDING, subject.id),
            camera=file.camera,
            started=file.started,
            key=key_of(self._prefix, file),
            origin=str(file.path),
            size=file.size,
            content_type=CONTENT_TYPES[file.path.suffix],
            metadata=metadata.encode(told),
            version=version_of(file),
            bulk=True,
        )


def version_of(file: Finished) -> str:
    """Returns a text that another file of the same name does not have."""
    return f"{file.size}-{file.ended:.6f}"


class Arrivals:
    """Offers segments as soon as they are finished: looks for new names in the folders that have
    changed. See `Source`."""

    ended = False

    def __init__(self, catalog: Segments, sleep: Callable[[float], None] = time.sleep) -> None:
        self._catalog = catalog
        self._sleep = sleep
        self._changed: dict[Path, int] = {}
        self._known: dict[Path, set[str]] = {}

    def ids(self, timeout: float) -> list[str]:
        until = time.monotonic() + timeout
        while not (found := self._look()) and time.monotonic() < until:
            self._sleep(min(LOOK_EVERY, max(0.0, until - time.monotonic())))
        return found

    def settle(self, ids: list[str], taken: bool) -> None:
        """The sweep finds what was not taken."""

    def _look(self) -> list[str]:
        found: list[str] = []
        with suppress(CatalogError, OSError):
            for camera in self._catalog.cameras():
                changed = camera.stat().st_mtime_ns
                if self._changed.get(camera) != changed:
                    # The first look offers nothing, because the sweep begins with all.
                    known = self._known.get(camera)
                    ids = {segment_id(file) for file in finished(camera)}
                    found += sorted(ids - known) if known is not None else []
                    # The folder may change once more without another time of its change.
                    is_sure = abs(time.time() - changed / 1e9) > JUST_NOW
                    self._known[camera], self._changed[camera] = ids, changed if is_sure else 0
        return found
