"""The kind `clip`: an mp4 of the event, made from Frigate's recording segments without encoding.

Where there is no ffmpeg, the segments are mirrored as they are, as the parts of the clip.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from frigate_mirror import mp4
from frigate_mirror.artifact import Artifact, open_file
from frigate_mirror.catalog import Kind, NoFile, NotYet
from frigate_mirror.files import open_regular
from frigate_mirror.frigate.clipfiles import clip_artifact, flaw_of, opened, told
from frigate_mirror.frigate.clipmaker import Clip, ClipMaker, NoRecording
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.ffmpeg import FfmpegError, FfmpegStopped, NoFfmpeg
from frigate_mirror.frigate.readiness import ready
from frigate_mirror.frigate.segments import Segment, chain
from frigate_mirror.keys import CLIP, KeyCodec
from frigate_mirror.mp4 import Mp4Error

log = logging.getLogger("frigate_s3.clips")
TO_TIDY = 2.0  # seconds
AFTER_FAILURE = 30.0  # seconds
MOST_FAILURES = 2  # of ffmpeg for one event; then its segments are mirrored as they are
RAW = "raw "
"""The origin of a part that is an unchanged segment begins with this word."""


class Clips(Kind[Event]):
    """Makes the clips of events, one at a time.

    `maker` returns what makes them, or None where there is no ffmpeg. `padding` is how many seconds
    a clip shows before and after its event; a clip of raw segments ends at the limits `longest`
    (seconds) and `most_bytes`. `clock` gives Unix seconds.
    """

    name = CLIP
    bulk = True

    def __init__(
        self,
        database: FrigateDatabase,
        keys: KeyCodec,
        maker: Callable[[], ClipMaker | None],
        *,
        padding: tuple[float, float],
        longest: float,
        most_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._keys = keys
        self._find_maker = maker
        self._padding = padding
        self._longest = longest
        self._most_bytes = most_bytes
        self._clock = clock
        self._turn = threading.Lock()
        self._maker: ClipMaker | None = None
        self._looked = False
        self._failures: dict[str, int] = {}

    @contextmanager
    def make(self, event: Event, held: str) -> Iterator[Sequence[Artifact]]:
        event.check_names()
        if not event.has_clip:
            raise NoFile("Frigate recorded nothing of this event")
        segments, since, until = ready(self._database, event, self._padding, self._clock())
        with self._turn:
            clip = self._made(event.id, segments, since, until)
            if clip is None:
                yield self._raw(event, segments, since)
                return
            try:
                yield self._parts(event, clip, since, until)
            finally:
                clip.remove()

    def flaw(self, file: BinaryIO) -> str:
        return flaw_of(file)

    def open(self, artifact: Artifact) -> BinaryIO:
        """Makes the clip again, because the spool does not hold it."""
        if artifact.origin.startswith(RAW):
            return open_file(artifact, artifact.origin.removeprefix(RAW))
        try:
            since, until, part, newest = map(float, artifact.origin.split())
        except ValueError:
            raise FileNotFoundError(f"the origin of {artifact.id} names no recording") from None
        found = self._database.recordings(artifact.camera, since, until)
        segments = [segment for segment in found if segment.start <= newest]
        with self._turn:
            maker = self._usable_maker()
            try:
                if maker is None:
                    raise NoFfmpeg("there is no ffmpeg")
                clip = maker.make(segments, since, until)
            except NoRecording as error:
                raise FileNotFoundError(str(error)) from error
            except FfmpegError as error:
                raise OSError(errno.EIO, str(error)) from error
            try:
                if part > len(clip.parts):
                    raise FileNotFoundError(f"the clip has no part {part:g} any more")
                # What is known of the clip would not be true of another one. It becomes lost, and
                # is then made anew of what is left.
                if clip.parts[int(part) - 1].size != artifact.size:
                    raise FileNotFoundError("the recordings have changed since the clip was made")
                return opened(clip.parts[int(part) - 1].path)
            finally:
                clip.remove()

    def stop(self) -> None:
        if self._maker is not None:
            self._maker.stop()
        if self._turn.acquire(timeout=TO_TIDY):  # what it has written is deleted by then
            self._turn.release()

    # -- how it is made

    def _made(
        self, event_id: str, segments: Sequence[Segment], since: float, until: float
    ) -> Clip | None:
        """Returns the clip, or None if the segments are to be mirrored as they are."""
        maker = self._usable_maker()
        if maker is None or self._failures.get(event_id, 0) >= MOST_FAILURES:
            self._failures.pop(event_id, None)
            return None
        try:
            clip = maker.make(segments, since, until)
        except NoRecording as error:
            self._check_disk(segments)
            raise NoFile(str(error)) from error
        except FfmpegStopped as error:
            raise NotYet(0.0) from error
        except NoFfmpeg as error:
            log.warning("S3 clips: %s, so the segments are mirrored as they are", error)
            return None
        except FfmpegError as error:
            self._failures[event_id] = self._failures.get(event_id, 0) + 1
            log.warning("S3 clips: the clip of %s fails: %s", event_id, error)
            raise NotYet(AFTER_FAILURE) from error
        self._failures.pop(event_id, None)
        return clip

    @staticmethod
    def _check_disk(segments: Sequence[Segment]) -> None:
        """Raises OSError if the disk of the recordings is away."""
        for segment in segments[:1]:
            parents = Path(segment.path).parents  # recordings/DAY/HOUR/CAMERA/MM.SS.mp4
            recordings = parents[min(3, len(parents) - 1)]
            if not recordings.is_dir():
                raise OSError(errno.ENOENT, f"there is no folder {recordings}")

    def _usable_maker(self) -> ClipMaker | None:
        if not self._looked:
            self._looked, self._maker = True, self._find_maker()
            if self._maker is None:
                log.warning(
                    "S3 clips: there is no ffmpeg, so the segments are mirrored as they are"
                )
        return self._maker

    # -- what comes of it

    def _parts(self, event: Event, clip: Clip, since: float, until: float) -> list[Artifact]:
        """Returns an artifact for each file of the clip."""
        many = len(clip.parts) > 1
        end = clip.parts[-1].end if clip.cut else event.ended or 0.0
        gaps = chain(clip.segments, event.started, end).gaps
        notes = "; ".join(filter(None, [clip.cut, clip.flaw]))
        newest = max(segment.start for segment in clip.segments)
        return [
            clip_artifact(
                self._keys,
                event,
                number,
                many,
                origin=f"{since!r} {until!r} {number} {newest!r}",
                size=part.size,
                path=part.path,
                about={"start": part.start, "end": part.end, "duration": part.duration}
                | (told(gaps, notes, len(clip.parts)) if number == 1 else {}),
            )
            for number, part in enumerate(clip.parts, start=1)
        ]

    def _raw(self, event: Event, segments: Sequence[Segment], since: float) -> list[Artifact]:
        """Returns an artifact for each segment, up to the limits for a clip."""
        end = event.ended or since
        needed = chain(segments, event.started, end)
        found: list[tuple[Segment, int, float]] = []
        notes, room = ["the recording segments as they are, without ffmpeg"], self._most_bytes
        for segment in needed.segments:
            try:
                with open_regular(segment.path) as file:
                    seconds = mp4.read(file).duration
                    size = os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                notes.append(f"the segment {segment.path} is missing")
                continue
            except (OSError, Mp4Error) as error:
                notes.append(f"the segment {segment.path} cannot be used: {error}")
                continue
            if room < size or segment.start >= since + self._longest:
                notes.append("cut at the limit for a clip")
                end = segment.start
                break
            room -= size
            found.append((segment, size, seconds))
        if not found:
            self._check_disk(segments)
            raise NoFile("; ".join(notes[1:]) or "Frigate has no recording of this event")
        gaps = chain([segment for segment, *_ in found], event.started, end).gaps
        return [
            clip_artifact(
                self._keys,
                event,
                number,
                many=True,
                origin=f"{RAW}{segment.path}",
                size=size,
                path=Path(segment.path),
                about={"start": segment.start, "end": segment.end, "duration": seconds}
                | (told(gaps, "; ".join(notes), len(found)) if number == 1 else {}),
            )
            for number, (segment, size, seconds) in enumerate(found, start=1)
        ]
