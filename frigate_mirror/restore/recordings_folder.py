"""Finds segments in Frigate's recordings folder: YYYY-MM-DD/HH/camera/MM.SS.mp4, in UTC.

Newer Frigates keep the segments of a second stream in a folder `camera@sub` beside the first. All
else in the folder of a camera is strange, and is told. No path leads out of the recordings folder:
a link may only point to something inside it.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
HOUR = re.compile(r"[01]\d|2[0-3]", re.ASCII)
FILE = re.compile(r"([0-5]\d)\.([0-5]\d)\.mp4", re.ASCII)
MAIN, SUB = "main", "sub"
STREAMS = {MAIN: "", SUB: "@sub"}
"""What follows the name of the camera in the name of the folder of each stream."""


class OutsideError(Exception):
    """The path that was named is no folder of the recordings folder. The text says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is named as a segment. It can be read at `path`. `shown` is the path by which
    Frigate knows it, and `start` is the time of its name in Unix seconds."""

    path: str
    shown: str
    stream: str
    start: float


@dataclass(frozen=True, slots=True)
class Strange:
    """Something in the folder of a camera that is no segment, or cannot be read."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Hour:
    """The folder of one hour, which begins at `start`, in Unix seconds."""

    day: str
    hour: str
    start: float


class RecordingsFolder:
    """The folder `root`, which Frigate knows by the path `shown`. Raises OutsideError if there is
    no such folder."""

    def __init__(self, root: Path, shown: str) -> None:
        self.shown = shown.rstrip("/")
        self._root = os.path.realpath(root)
        if not os.path.isdir(self._root):
            raise OutsideError(f"there is no folder {root}")
        self._identity = self._identified()
        self._only: tuple[str, ...] = ()

    def narrow(self, directory: str) -> None:
        """Looks only into this folder from now on: one of a day, of an hour or of a camera. Raises
        OutsideError for any other."""
        real = os.path.realpath(directory)
        if not self._is_inside(real):
            raise OutsideError(f"{directory} is not in the recordings folder {self._root}")
        parts = () if real == self._root else tuple(os.path.relpath(real, self._root).split("/"))
        if not os.path.isdir(real):
            raise OutsideError(f"there is no folder {directory}")
        patterns = (DAY, HOUR)
        if len(parts) > 3 or not all(map(re.Pattern.fullmatch, patterns, parts)):
            raise OutsideError(f"{directory} is not the folder of a day, of an hour or of a camera")
        self._only = parts

    def free_mib(self) -> float:
        """Returns how many MiB the disk of this folder has left. Raises OSError."""
        return shutil.disk_usage(self._root).free / (1 << 20)

    def check(self) -> None:
        """Raises OSError if another folder has taken the place of this one since it was opened. A
        folder whose disk is unmounted looks as if it just had no recordings."""
        if self._identified() != self._identity:
            raise OSError(errno.ESTALE, "another folder has taken its place", self._root)

    def hours(self, since: float = -math.inf, until: float = math.inf) -> list[Hour | Strange]:
        """Returns the folders of the hours that may have segments from `since` to before `until`,
        in order, and what cannot be read. Raises OSError if the recordings folder cannot be
        read."""
        found: list[Hour | Strange] = []
        for day in self._names(self._root, DAY, 0):
            midnight = _midnight(day)
            if midnight is None or midnight >= until or midnight + 86_400 <= since:
                continue
            place = os.path.join(self._root, day)
            if why := self._leads_out(place):
                found.append(Strange(place, why))
                continue
            try:
                names = self._names(place, HOUR, 1)
            except FileNotFoundError:  # Frigate removes empty folders
                continue
            except OSError as error:
                found.append(Strange(place, f"cannot be read: {error.strerror}"))
                continue
            starts = ((hour, midnight + int(hour) * 3600) for hour in names)
            found += (
                Hour(day, hour, start)
                for hour, start in starts
                if start < until and start + 3600 > since
            )
        return found

    def segments(self, hour: Hour, camera: str) -> Iterator[Found | Strange]:
        """Yields the segments of the camera in this hour, in order for each stream, and before them
        what is strange there."""
        above = os.path.join(self._root, hour.day, hour.hour)
        if why := self._leads_out(above):
            yield Strange(above, why)
            return
        for stream, ending in STREAMS.items():
            name = camera + ending
            if len(self._only) == 3 and self._only[2] != name:
                continue
            place = os.path.join(above, name)
            if why := self._leads_out(place):
                yield Strange(place, why)
                continue
            files = set()  # a file system may tell a file twice while the folder changes
            try:
                with os.scandir(place) as entries:
                    for entry in entries:
                        if FILE.fullmatch(entry.name):
                            files.add((entry.name, entry.is_symlink()))
                        else:
                            yield Strange(entry.path, "is not named MM.SS.mp4")
            except FileNotFoundError:
                continue
            except OSError as error:
                yield Strange(place, f"cannot be read: {error.strerror}")
                continue
            shown = f"{self.shown}/{hour.day}/{hour.hour}/{name}"
            for file, is_link in sorted(files):
                yield self._judge(hour, stream, f"{place}/{file}", f"{shown}/{file}", is_link)

    def _judge(
        self, hour: Hour, stream: str, path: str, shown: str, is_link: bool
    ) -> Found | Strange:
        real = path
        if is_link:
            if why := self._leads_out(path):
                return Strange(path, why)
            real = os.path.realpath(path)
            if not os.path.lexists(real):
                return Strange(path, "is a link to nothing")
        minute, second, _ = os.path.basename(path).split(".")
        return Found(real, shown, stream, hour.start + int(minute) * 60 + int(second))

    def _names(self, place: str, pattern: re.Pattern[str], depth: int) -> list[str]:
        """Returns the names in this folder that fit, in order. Raises OSError."""
        only = self._only[depth] if len(self._only) > depth else None
        if only:
            return [only]
        with os.scandir(place) as entries:
            return sorted(entry.name for entry in entries if pattern.fullmatch(entry.name))

    def _identified(self) -> tuple[int, int]:
        status = os.stat(self._root)
        return status.st_dev, status.st_ino

    def _leads_out(self, place: str) -> str:
        """Returns why a link must not be followed, or an empty text."""
        if not os.path.islink(place) or self._is_inside(os.path.realpath(place)):
            return ""
        return "is a link that leads out of the recordings folder"

    def _is_inside(self, real: str) -> bool:
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")


def _midnight(day: str) -> float | None:
    """Returns when this day begins in UTC, or None for a date that does not exist."""
    try:
        return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
