"""The kind `clip`: an mp4 of the event, made from Frigate's recording segments without encoding.

Frigate stores a segment of 10 seconds some 5 to 20 seconds after its end, and with its default
retention it often never stores the last one, which shows only a scene at rest. A clip is therefore
ready when the segments reach the end of its padding. From 20 seconds after the event's end on, it
is also ready when they reach that end, or the moment when the object was last seen.

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
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

from frigate_mirror import mp4
from frigate_mirror.artifact import Artifact, open_file
from frigate_mirror.catalog import Kind, NoFile, NotYet
from frigate_mirror.files import open_regular
from frigate_mirror.frigate.clipmaker import Clip, ClipMaker, NoRecording
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.ffmpeg import FfmpegError, FfmpegStopped, NoFfmpeg
from frigate_mirror.frigate.segments import Segment, chain
from frigate_mirror.keys import CLIP, KeyCodec, artifact_id
from frigate_mirror.mp4 import Mp4Error

log = logging.getLogger("frigate_s3.clips")
LOOK_AGAIN = 2.0  # seconds
STILL_TAIL = 20.0  # seconds after the end for which a clip waits for what follows the last sight
LATEST = 120.0  # seconds after the end; what Frigate has not stored by then never comes
TO_TIDY = 2.0  # seconds
AFTER_FAILURE = 30.0  # seconds
MOST_FAILURES = 2  # of ffmpeg for one event; then its segments are mirrored as they are
MOST_GAPS = 100  # that the document lists
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
        self._before, self._after = padding
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
        segments, since, until = self._ready(event)
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
        try:
            mp4.read(file)
        except Mp4Error as error:
            return f"the clip is damaged: {error}"
        finally:
            file.seek(0)
        return ""

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
                return _opened(clip.parts[int(part) - 1].path)
            finally:
                clip.remove()

    def stop(self) -> None:
        if self._maker is not None:
            self._maker.stop()
        if self._turn.acquire(timeout=TO_TIDY):  # what it has written is deleted by then
            self._turn.release()

    # -- whether it is ready

    def _ready(self, event: Event) -> tuple[list[Segment], float, float]:
        """Returns the segments of the event's clip and the span of time that it shows. Raises
        NotYet and NoFile."""
        if event.ended is None:  # Frigate has taken the end back
            raise NotYet(AFTER_FAILURE)
        since, until = event.started - self._before, event.ended + self._after
        age = self._clock() - event.ended
        if age < 0:  # the end of an event that was created by hand may lie in the future
            raise NotYet(1.0 - age)
        found = self._database.recordings(event.camera, since, until + LATEST)
        late = age >= LATEST or any(segment.start > until for segment in found)
        segments = [segment for segment in found if segment.start < until]
        # The padding is a wish: Frigate may never store what follows the event.
        wanted = until if age < STILL_TAIL else event.ended
        if not late and chain(segments, event.started, wanted).gaps:
            seen = self._database.last_seen(event.id) if age >= STILL_TAIL else None
            if seen is None or chain(segments, event.started, seen).gaps:
                raise NotYet(LOOK_AGAIN)
        if not chain(segments, event.started, event.ended).segments:
            if age < LATEST:
                raise NotYet(LOOK_AGAIN)
            raise NoFile("Frigate has no recording of this event")
        # The same clip can be made again, even if Frigate has stored more by then.
        return segments, since, min(until, max(segment.end for segment in segments))

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
            self._artifact(
                event,
                number,
                f"-part-{number:04}.mp4" if many else ".mp4",
                f"{since!r} {until!r} {number} {newest!r}",
                part.size,
                part.path,
                {"start": part.start, "end": part.end, "duration": part.duration}
                | (_told(gaps, notes, len(clip.parts)) if number == 1 else {}),
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
            self._artifact(
                event,
                number,
                f"-part-{number:04}.mp4",
                f"{RAW}{segment.path}",
                size,
                Path(segment.path),
                {"start": segment.start, "end": segment.end, "duration": seconds}
                | (_told(gaps, "; ".join(notes), len(found)) if number == 1 else {}),
            )
            for number, (segment, size, seconds) in enumerate(found, start=1)
        ]

    def _artifact(
        self,
        event: Event,
        number: int,
        ending: str,
        origin: str,
        size: int,
        path: Path,
        about: dict[str, object],
    ) -> Artifact:
        return Artifact(
            id=artifact_id(CLIP, event.id, number),
            camera=event.camera,
            started=event.started,
            key=self._keys.key(event.camera, event.id, event.started, ending),
            origin=origin,
            size=size,
            content_type="video/mp4",
            metadata=describe(event),
            version=f"{event.started!r} {event.ended!r}",
            about=about,
            bulk=True,
            opener=lambda artifact: open_file(artifact, str(path)),
        )


def _told(gaps: Sequence[tuple[float, float]], notes: str, parts: int) -> dict[str, object]:
    """Returns what the document says of the whole clip, in the entry of its first part."""
    told: dict[str, object] = {"gaps": [list(gap) for gap in gaps[:MOST_GAPS]], "note": notes}
    return told | ({"parts": parts} if parts > 1 else {})


def _opened(path: Path) -> BinaryIO:
    """Opens a file that is deleted at once, so that nothing of it is left after a kill."""
    file = FileIO(path)
    path.unlink()
    return cast(BinaryIO, file)
