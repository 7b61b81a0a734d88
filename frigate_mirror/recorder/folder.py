"""The folder of one camera: the names of its segments, and the file that grows.

    {camera}/20240118_120000.mp4              a finished segment; the name is its start in UTC
    {camera}/20240118_120000-2.mp4            another one that started in the same second
    {camera}/.20240118_130000.mp4.growing     the segment that is being recorded
    {camera}/.lock                            held by the process that records this camera
    {camera}/.diary/2024-01-18.jsonl          see `diary`

A segment gets its own name only when it is finished, so that everybody can tell by the name alone.
Nothing is ever overwritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from frigate_mirror.files import open_regular
from frigate_mirror.recorder.stream import whole_length

NAME = re.compile(r"(\d{8}_\d{6})(?:-([2-9]|[1-9]\d{1,3}))?(\.mp4|\.mkv)")
GROWING = re.compile(rf"\.({NAME.pattern})\.growing")
MOST_OF_A_NAME = 9_999


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished segment: `started` and `ended` in Unix seconds, `size` in bytes."""

    path: Path
    camera: str
    started: float
    ended: float
    size: int


def stamp_of(seconds: float) -> str:
    """Returns the beginning of a name: 20240118_120000."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y%m%d_%H%M%S")


def started_of(name: str) -> float | None:
    """Returns the Unix seconds in the name of a segment, or None for any other name."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def finished(folder: Path) -> Iterator[Finished]:
    """Yields the finished segments of a camera's folder in no order. Raises OSError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            started = started_of(entry.name)
            if started is None:
                continue
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if entry.is_file(follow_symlinks=False) and status.st_size:
                    yield Finished(
                        Path(entry.path), folder.name, started, status.st_mtime, status.st_size
                    )


def growing(folder: Path) -> list[Path]:
    """Returns the files that grow, or that a crash has left. Raises OSError."""
    return sorted(path for path in folder.iterdir() if GROWING.fullmatch(path.name))


def create(folder: Path, started: float, ending: str, taken: Collection[str] = ()) -> Path:
    """Makes the file of a new segment. Its own name will be none of `taken`, which may be uploaded
    and deleted here: a second file of such a name would replace the first at the destination.
    Raises OSError."""
    for number in range(1, MOST_OF_A_NAME):
        name = f"{stamp_of(started)}{f'-{number}' if number > 1 else ''}{ending}"
        path = folder / f".{name}.growing"
        if name not in taken and not (folder / name).exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
                return path
    raise FileExistsError(f"too many segments {stamp_of(started)}")


def finish(path: Path) -> Path:
    """Gives a file that has grown its own name, or the next free one, and returns it. Raises
    OSError."""
    match = GROWING.fullmatch(path.name)
    assert match is not None, path.name
    for number in range(int(match[3] or 1), MOST_OF_A_NAME):
        target = path.with_name(f"{match[2]}{f'-{number}' if number > 1 else ''}{match[4]}")
        try:
            # The name is taken first, because not every file system has links, and renaming alone
            # would replace a file.
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        except FileExistsError:
            continue
        path.replace(target)
        sync_folder(path.parent)
        return target
    raise FileExistsError(f"too many segments {match[2]}")


def recover(folder: Path) -> list[Path]:
    """Finishes what a crash or a power cut has left: cuts each file behind its last whole fragment.
    Returns the finished segments. Only the process that records the camera may call it. Raises
    OSError."""
    for path in folder.iterdir():  # a name that was taken for a file that did not come
        if started_of(path.name) is not None and path.lstat().st_size == 0:
            path.unlink()
    return [segment for path in growing(folder) if (segment := _recovered(path))]


def _recovered(path: Path) -> Path | None:
    with open_regular(path) as file:
        ended = os.fstat(file.fileno())
        whole = whole_length(file, ".mkv" if ".mkv" in path.name else ".mp4")
    if not whole:
        path.unlink()
        return None
    os.truncate(path, whole)
    os.utime(path, ns=(ended.st_atime_ns, ended.st_mtime_ns))  # it ends when it was written last
    return finish(path)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
