"""Makes the clip of a span of time from Frigate's recording segments.

ffmpeg copies the streams into one mp4, and encodes nothing. Its exit code proves little: it also
ends with 0 if a segment is missing. The result is therefore compared with what the segments hold.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from frigate_mirror import mp4
from frigate_mirror.files import has_room, open_regular
from frigate_mirror.frigate.ffmpeg import Ffmpeg, FfmpegError
from frigate_mirror.frigate.segments import TOLERANCE, Segment, Span, chain
from frigate_mirror.mp4 import Movie, Mp4Error

WHOLE_SECOND = 1.0
"""Seconds by which a segment may begin later than its row says, because Frigate cuts the time."""
NOT_ITS_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say nothing of the segment."""
COPY = (
    "-protocol_whitelist", "file", "-f", "concat", "-safe", "0", "-i", "list",
    "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy",
    # The same segments give the same bytes: no times, no name of a version.
    "-map_metadata", "-1", "-fflags", "+bitexact",
    "-movflags", "+faststart", "-f", "mp4",
)  # fmt: skip


class NoRecording(Exception):
    """No segment of the span can be shown. The text says why."""


@dataclass(frozen=True, slots=True)
class ClipPart:
    """One mp4 file. It shows the time from `start` to `end` (Unix seconds) without its gaps.
    `start` is a keyframe, up to a few seconds before the time that was asked for. It is derived
    from durations, and is exact to a fraction of a second."""

    path: Path
    size: int
    duration: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip. It has several parts if the codec or the resolution changes in it.

    segments   the segments that it shows
    gaps   times without a recording
    cut    says that the clip ends at a limit, or is empty
    flaw   says which segments could not be used, or is empty
    """

    parts: tuple[ClipPart, ...]
    segments: tuple[Segment, ...]
    gaps: tuple[Span, ...]
    cut: str
    flaw: str

    def remove(self) -> None:
        """Deletes the files that are still where they were made."""
        shutil.rmtree(self.parts[0].path.parent, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Held:
    """A segment that retention cannot take away any more. ffmpeg finds it under `name`."""

    segment: Segment
    name: str
    size: int
    movie: Movie


class ClipMaker:
    """Makes clips in `folder`, which no other process uses and which should be on the file system
    of the recordings. Whatever an earlier process has left there is deleted.

    A clip has at most `longest` seconds and `most_bytes` bytes. It makes one clip at a time.
    """

    def __init__(self, ffmpeg: Ffmpeg, folder: Path, longest: float, most_bytes: int) -> None:
        self._ffmpeg = ffmpeg
        self._folder = folder
        self._longest = longest
        self._most_bytes = most_bytes
        shutil.rmtree(folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends the ffmpeg that runs in another thread, and prevents further ones."""
        self._ffmpeg.stop()

    def make(self, segments: Iterable[Segment], since: float, until: float) -> Clip:
        """Makes the clip from `since` to `until` (Unix seconds). The caller moves its files away
        and then calls `Clip.remove`.

        Raises NoRecording, FfmpegError, and OSError if a disk fails or is full. After an exception
        nothing of the clip is left.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="clip-", dir=self._folder))
        try:
            with ExitStack() as files:
                return self._make(list(segments), since, until, work, files)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(work / "held", ignore_errors=True)

    def _make(
        self, segments: list[Segment], since: float, until: float, work: Path, files: ExitStack
    ) -> Clip:
        cut = ""
        if until - since > self._longest:
            until = since + self._longest
            cut = f"cut after {self._longest:g} s, the limit for a clip"
        held: list[_Held] = []
        flaws: list[str] = []
        unreadable: OSError | None = None
        (work / "held").mkdir()
        room = self._most_bytes
        needed = chain(segments, since - WHOLE_SECOND, until).segments
        for number, segment in enumerate(needed):
            try:
                one = _hold(segment, work / "held" / f"{number:06}", files)
            except FileNotFoundError:
                flaws.append(f"the segment {segment.path} is missing")
                continue
            except Mp4Error as error:
                flaws.append(f"the segment {segment.path} is damaged: {error}")
                continue
            except OSError as error:
                if error.errno in NOT_ITS_FAULT:
                    raise
                unreadable = error
                flaws.append(f"the segment {segment.path} cannot be read: {error.strerror}")
                continue
            room -= one.size
            if room < 0:
                until = segment.start
                cut = f"cut before it has more than {self._most_bytes} bytes, the limit for a clip"
                break
            held.append(one)
        if unreadable and not held:  # a disk that fails may work again
            raise unreadable
        if not has_room(work, sum(one.size for one in held)):
            raise OSError(errno.ENOSPC, "the disk has too little room to make a clip")
        flaw = flaws[0] if flaws else ""
        if len(flaws) > 1:
            flaw += f" (and {len(flaws) - 1} more segments)"
        parts = [
            self._join(list(group), since, until, work / f"part-{number:04}.mp4")
            for number, (_, group) in enumerate(itertools.groupby(held, _codecs), start=1)
        ]
        if not parts:
            raise NoRecording(flaw or cut or "Frigate has no recording of this time")
        shown = tuple(one.segment for one in held)
        return Clip(tuple(parts), shown, chain(shown, since, until).gaps, cut, flaw)

    def _join(self, held: Sequence[_Held], since: float, until: float, path: Path) -> ClipPart:
        """Copies segments with the same codecs into one file."""
        lines = ["ffconcat version 1.0"]
        planned = again = 0.0
        start = end = 0.0
        for one in held:
            last = min(one.movie.duration, until - one.segment.start)
            first = min(last, max(0.0, since - WHOLE_SECOND - one.segment.start))
            if one is not held[0] and end - one.segment.start > TOLERANCE:
                first = again = end - one.segment.start  # two recorders, or a clock set back
                if first >= last:
                    continue
            lines.append(f"file {one.name}")
            if first > 0:
                lines.append(f"inpoint {first:.6f}")
            if last < one.movie.duration:
                lines.append(f"outpoint {last:.6f}")
            if one is held[0]:
                start = one.segment.start + first
            end = one.segment.start + last
            # ffmpeg lets a segment begin where all tracks of the one before it have ended.
            cut = one is held[-1] or last < one.movie.duration
            planned += (last if cut else one.movie.length) - first
        folder = path.parent / "held"
        (folder / "list").write_text("\n".join(lines))
        descriptors = [int(one.name.rpartition("/")[2]) for one in held if "/" in one.name]
        said = self._ffmpeg.run([*COPY, str(path)], path, folder, descriptors)
        if "Impossible to open" in said:
            raise FfmpegError("ffmpeg could not open one of the segments")
        try:
            movie = mp4.read(path)
        except (Mp4Error, FileNotFoundError) as error:
            raise FfmpegError(
                f"ffmpeg ended with code 0, but wrote no whole mp4: {error}"
            ) from error
        if movie.duration < planned - TOLERANCE:
            raise FfmpegError(
                f"ffmpeg ended with code 0, but its clip has {movie.duration:.1f} s "
                f"instead of {planned:.1f} s"
            )
        if not again:
            start -= max(0.0, movie.duration - planned)  # ffmpeg began at the keyframe before
        return ClipPart(path, path.stat().st_size, movie.duration, start, end)


def _codecs(held: _Held) -> tuple[mp4.Codec, mp4.Codec | None]:
    return held.movie.video, held.movie.audio


def _hold(segment: Segment, target: Path, files: ExitStack) -> _Held:
    """Keeps a segment from being taken away: by a hard link, or, where the file system refuses
    links, by keeping it open. Raises Mp4Error and OSError; FileNotFoundError if there is none."""
    try:
        os.link(segment.path, target, follow_symlinks=False)
        name, file = target.name, open_regular(target)
    except FileNotFoundError:
        raise
    except OSError:
        file = files.enter_context(open_regular(segment.path))
        return _held(segment, f"/proc/self/fd/{file.fileno()}", file)
    with file:
        return _held(segment, name, file)


def _held(segment: Segment, name: str, file: BinaryIO) -> _Held:
    movie = mp4.read(file)
    if not movie.duration:
        raise Mp4Error("it has no picture")
    return _Held(segment, name, os.fstat(file.fileno()).st_size, movie)
