"""The state of the recorder for people: a few lines for each camera, then those of the mirror."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.keys import utc
from frigate_mirror.recorder import folder
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.config import Config
from frigate_mirror.recorder.diary import Diary, Line
from frigate_mirror.report.status import span
from frigate_mirror.untrusted import plain

FRESH = 60.0  # seconds since the file has grown
MOST_GAPS = 20  # that are listed of a camera


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera at one moment. `since` is None while it is not recorded, and then `trouble` says
    why. `local_bytes` of `local_files` finished segments lie here; they are on their way, or stay
    because the owner keeps them. `lines` is the diary of today in UTC."""

    name: str
    since: float | None
    trouble: str
    growing_bytes: int
    local_files: int
    local_bytes: int
    last: Line | None
    lines: list[Line]

    @property
    def gaps(self) -> list[Line]:
        return [line for line in self.lines if line.gap]

    @property
    def recorded_bytes(self) -> int:
        """Bytes of today's finished segments."""
        return sum(line.bytes for line in self.lines)


def of_camera(camera: Camera, now: float) -> CameraStatus:
    """Returns how a camera is, by what its recorder has written."""
    path = camera.folder
    diary = Diary(path)
    state, lines = diary.state(), diary.day(now)
    size, newest = _growing(path)
    local = []
    with suppress(OSError):
        local = list(folder.finished(path))
    since = state.recording_since if state else None
    trouble = state.trouble if state else "it was never recorded"
    if since is not None and abs(now - newest) > FRESH:
        since, trouble = None, "its recorder does not run, or hangs"
    files = [line for line in (lines or diary.day(now - 86_400.0)) if line.file]
    return CameraStatus(
        camera.name, since, trouble, size, len(local), sum(one.size for one in local),
        files[-1] if files else None, lines,
    )  # fmt: skip


def _growing(path: Path) -> tuple[int, float]:
    """Returns how large the file is that grows, and when it was written last."""
    with suppress(OSError):
        for one in reversed(folder.growing(path)):
            status = one.stat()
            return status.st_size, status.st_mtime
    return 0, 0.0


def lines_of(config: Config, now: float | None = None) -> Iterator[str]:
    """Yields the lines for a terminal."""
    now = time.time() if now is None else now
    for camera in config.cameras:
        if not camera.enabled:
            yield f"{camera.name}: switched off"
            continue
        yield from map(plain, _lines(of_camera(camera, now), now))


def _lines(status: CameraStatus, now: float) -> Iterator[str]:
    if status.since is None:
        yield f"{status.name}: NOT RECORDED: {status.trouble}"
    else:
        yield f"{status.name}: recording for {span(now - status.since)}"
    if status.last:
        last = status.last
        yield (
            f"  last segment {last.file}, {span(last.until - last.since)}, {_mb(last.bytes)}, "
            f"finished {span(now - last.until)} ago"
        )
    yield (
        f"  today        {_mb(status.recorded_bytes + status.growing_bytes)} recorded, "
        f"of these {_mb(status.growing_bytes)} in the segment that grows"
    )
    yield f"  here         {status.local_files} finished segment(s), {_mb(status.local_bytes)}"
    gaps = status.gaps
    missing = sum(gap.until - gap.since for gap in gaps)
    yield f"  gaps today   {len(gaps)}" + (f", {span(missing)} in all" if gaps else "")
    for gap in gaps[-MOST_GAPS:]:
        length = gap.until - gap.since
        yield f"    {utc(gap.since)} for {span(length)}: {gap.gap}"


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
