"""The kind `clip` over Frigate's HTTP API: an mp4 that Frigate makes from its recording.

Frigate ends an answer in the usual way, with status 200, also where its ffmpeg has stopped in the
middle or at once. That happens if a file of the recording is missing, and if the same clip is asked
for twice at a time: both then write the same list of files, and the first to end deletes it. A clip
is therefore measured against the recording's list of segments, asked for again if it is too short,
and each question begins a tiny random time earlier, so that no two are the same.

After some failures the segments are downloaded as they are, as the parts of the clip. These facts
are those of Frigate v0.16.4, v0.17.2 and v0.18.0-beta1 (frigate.api.media).
"""

from __future__ import annotations

import errno
import logging
import math
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from frigate_mirror import mp4
from frigate_mirror.artifact import Artifact
from frigate_mirror.catalog import Kind, NoFile, NotYet
from frigate_mirror.files import has_room
from frigate_mirror.frigate.api import (
    ApiStatus,
    ApiTooLarge,
    DownloadError,
    DownloadTooLarge,
    FrigateApi,
)
from frigate_mirror.frigate.clipfiles import clip_artifact, flaw_of, opened, told
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.readiness import Recordings, ready
from frigate_mirror.frigate.segments import TOLERANCE, Segment, chain
from frigate_mirror.keys import CLIP, KeyCodec, quote_camera
from frigate_mirror.mp4 import Mp4Error

log = logging.getLogger("frigate_s3.clips")
EARLIER = 0.01  # seconds by which a question begins earlier at most
LONGEST = 4 * 3_600.0  # seconds for one download
AFTER_FAILURE = 30.0  # seconds
TO_TIDY = 2.0  # seconds
AT_ONCE = 2  # downloads before the clip is put off
MOST_FAILURES = 2  # of the clip of one event; then its segments are downloaded as they are
RAW = "raw "
"""Begins the origin of a part that is a segment as it is."""


class RemoteClips(Kind[Event]):
    """Downloads the clips of events, one at a time.

    `recordings` lists the segments. `folder` is where a clip lies until the spool holds it; no
    other process should use it. `padding` is how many seconds a clip shows before and after its
    event; it ends at the limits `longest` (seconds) and `most_bytes`. `clock` gives Unix seconds,
    `earlier` a random time up to EARLIER.
    """

    name = CLIP
    bulk = True

    def __init__(
        self,
        api: FrigateApi,
        recordings: Recordings,
        folder: Path,
        keys: KeyCodec,
        *,
        padding: tuple[float, float],
        longest: float,
        most_bytes: int,
        clock: Callable[[], float] = time.time,
        earlier: Callable[[], float] = lambda: random.uniform(0.0, EARLIER),
    ) -> None:
        self._api = api
        self._recordings = recordings
        self._folder = folder
        self._keys = keys
        self._padding = padding
        self._longest = longest
        self._most_bytes = most_bytes
        self._clock = clock
        self._earlier = earlier
        self._turn = threading.Lock()
        self._failures: dict[str, int] = {}

    @contextmanager
    def make(self, event: Event, held: str) -> Iterator[Sequence[Artifact]]:
        event.check_names()
        if not event.has_clip:
            raise NoFile("Frigate recorded nothing of this event")
        segments, since, until = self._ready(event)
        with self._turn, self._work() as work:
            if self._failures.get(event.id, 0) < MOST_FAILURES:
                artifacts = [self._whole(event, segments, since, until, work)]
            else:
                artifacts = self._raw(event, segments, since, work)
            self._failures.pop(event.id, None)
            yield artifacts

    def flaw(self, file: BinaryIO) -> str:
        return flaw_of(file)

    def open(self, artifact: Artifact) -> BinaryIO:
        """Downloads the clip again, because the spool does not hold it."""
        with self._turn, self._work() as work:
            path = work / "clip.mp4"
            try:
                if artifact.origin.startswith(RAW):
                    self._segment(artifact.origin.removeprefix(RAW), path, self._most_bytes)
                else:
                    since, until, newest = map(float, artifact.origin.split())
                    found = self._recordings.recordings(artifact.camera, since, until)
                    segments = [segment for segment in found if segment.start <= newest]
                    if not segments:
                        raise FileNotFoundError("Frigate has no recording of this clip any more")
                    self._clip(artifact.camera, segments, since, until, path)
            except ValueError:
                raise FileNotFoundError(
                    f"the ledger does not say which recording {artifact.id} shows"
                ) from None
            except Mp4Error as error:
                raise FileNotFoundError(f"the segment of {artifact.id}: {error}") from error
            # The ledger describes the clip as it was before. The clip counts as lost, and is then
            # made anew of what is left.
            if path.stat().st_size != artifact.size:
                raise FileNotFoundError("Frigate sends another clip than before")
            return opened(path)

    def stop(self) -> None:
        self._api.stop()
        if self._turn.acquire(timeout=TO_TIDY):  # what it has written is deleted by then
            self._turn.release()

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """A folder for one clip, which is deleted afterwards."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="clip-", dir=self._folder))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _ready(self, event: Event) -> tuple[list[Segment], float, float]:
        """See `ready`. What Frigate refuses for this event alone must not hold up other clips, so
        it raises OSError for it. Raises NotYet, NoFile and ApiError, too."""
        try:
            return ready(self._recordings, event, self._padding, self._clock())
        except ApiTooLarge as error:
            raise NoFile(str(error)) from error
        except ApiStatus as error:
            raise OSError(errno.EIO, str(error)) from error

    # -- the clip in one piece

    def _whole(
        self, event: Event, segments: Sequence[Segment], since: float, until: float, work: Path
    ) -> Artifact:
        """Downloads the clip. Raises NotYet after a failure, OSError if the disk fails, and
        ApiError."""
        path, cut = work / "clip.mp4", ""
        if until - since > self._longest:
            until = since + self._longest
            cut = f"cut after {self._longest:g} s, the limit for a clip"
        while True:
            try:
                movie, start, end = self._clip(event.camera, segments, since, until, path)
                break
            except DownloadTooLarge:
                until = since + (until - since) / 2
                cut = f"cut before it has more than {self._most_bytes} bytes, the limit for a clip"
            except (DownloadError, FileNotFoundError) as error:
                self._failures[event.id] = self._failures.get(event.id, 0) + 1
                log.warning("S3 clips: the clip of %s fails: %s", event.id, error)
                raise NotYet(AFTER_FAILURE) from error
        gaps = chain(segments, event.started, end if cut else event.ended or end).gaps
        about = {"start": start, "end": end, "duration": movie.duration} | told(gaps, cut, 1)
        size = path.stat().st_size
        newest = max(segment.start for segment in segments)
        origin = f"{since!r} {until!r} {newest!r}"
        return clip_artifact(
            self._keys, event, 1, many=False, origin=origin, size=size, path=path, about=about
        )

    def _clip(
        self, camera: str, segments: Sequence[Segment], since: float, until: float, path: Path
    ) -> tuple[mp4.Movie, float, float]:
        """Downloads the clip of a span of time, and returns what it is and which time it shows. A
        clip that is too short is asked for again. Raises DownloadError, FileNotFoundError and
        ApiError."""
        ask_until = _reached(segments, until)
        for _ in range(AT_ONCE):
            begin = since - self._earlier()
            start, end, planned = _planned(segments, begin, ask_until)
            size = self._ask(camera, begin, ask_until, path)
            if not size:
                fault = "Frigate sends an empty clip"
                continue
            try:
                movie = mp4.read(path)
            except Mp4Error as error:
                fault = f"Frigate sends a clip that is not whole: {error}"
                continue
            if movie.duration >= planned - TOLERANCE:
                # It begins at a keyframe, which may be before.
                return movie, start - max(0.0, movie.duration - planned), end
            fault = f"Frigate sends a clip of {movie.duration:.1f} s instead of {planned:.1f} s"
        raise DownloadError(fault)

    def _ask(self, camera: str, since: float, until: float, path: Path) -> int:
        """Downloads what Frigate gives for this span, and returns its size."""
        where = f"/api/{quote_camera(camera)}/start/{since:.6f}/end/{until:.6f}/clip.mp4"
        try:
            return self._download(where, path, self._most_bytes)
        except DownloadError as error:
            # Frigate 0.17 answers with status 400 where 0.16 sends an empty clip.
            if error.status == 400:
                return 0
            raise

    def _download(self, where: str, path: Path, most: int) -> int:
        """Writes at most `most` bytes to `path`, and returns how many. Raises what
        `FrigateApi.download` raises, and OSError if the disk has too little room."""
        if not has_room(path.parent):
            raise OSError(errno.ENOSPC, "the disk has too little room to download a clip")
        with path.open("wb") as file:
            return self._api.download(where, file, most, LONGEST)

    # -- the segments as they are

    def _raw(
        self, event: Event, segments: Sequence[Segment], since: float, work: Path
    ) -> list[Artifact]:
        """Downloads each segment, up to the limits for a clip. Raises NoFile, OSError and
        ApiError."""
        end = event.ended or since
        needed = chain(segments, event.started, end)
        found: list[tuple[Segment, str, Path, float]] = []
        notes = ["the recording segments as they are, because Frigate sends no whole clip"]
        room = self._most_bytes
        for number, segment in enumerate(needed.segments):
            path, where = work / f"{number:04}.mp4", _address(event.camera, segment)
            if segment.start >= since + self._longest:
                notes.append("cut at the limit for a clip")
                end = segment.start
                break
            try:
                seconds = self._segment(where, path, room)
            except FileNotFoundError:
                notes.append(f"the segment {where} is missing")
            except Mp4Error as error:
                notes.append(f"the segment {where} is damaged: {error}")
            except DownloadTooLarge:
                notes.append("cut at the limit for a clip")
                end = segment.start
                break
            else:
                room -= path.stat().st_size
                found.append((segment, where, path, seconds))
        if not found:
            raise NoFile("; ".join(notes[1:]) or "Frigate has no recording of this event")
        gaps = chain([segment for segment, *_ in found], event.started, end).gaps
        return [
            clip_artifact(
                self._keys,
                event,
                number,
                many=True,
                origin=f"{RAW}{where}",
                size=path.stat().st_size,
                path=path,
                about={"start": segment.start, "end": segment.end, "duration": seconds}
                | (told(gaps, "; ".join(notes), len(found)) if number == 1 else {}),
            )
            for number, (segment, where, path, seconds) in enumerate(found, start=1)
        ]

    def _segment(self, where: str, path: Path, most: int) -> float:
        """Downloads one segment and returns for how many seconds it lasts. Raises
        FileNotFoundError, OSError, Mp4Error and ApiError."""
        self._download(where, path, most)
        return mp4.read(path).duration


def _reached(segments: Sequence[Segment], until: float) -> float:
    """Returns until when to ask for a clip that reaches `until`, although Frigate cuts the last
    segment at a whole second of it."""
    last = max((one.start for one in segments if one.start < until), default=until)
    return last + math.ceil(until - last) + 0.001


def _planned(segments: Sequence[Segment], since: float, until: float) -> tuple[float, float, float]:
    """Returns from when to when Frigate's clip of this span shows the recording, and for how many
    seconds. Frigate cuts the first and the last segment at whole seconds."""
    used = [one for one in segments if one.end >= since and one.start <= until]
    start = end = seconds = 0.0
    for number, one in enumerate(used):
        first = max(0, int(since - one.start))
        last = int(until - one.start) if one.end > until else one.end - one.start
        if number == 0:
            start = one.start + first
        end = max(end, one.start + last)
        seconds += max(0.0, last - first)
    return start, end, seconds


def _address(camera: str, segment: Segment) -> str:
    """Returns where Frigate's web server has the file of a segment."""
    at = datetime.fromtimestamp(int(segment.start), UTC)
    return f"/recordings/{at:%Y-%m-%d}/{at:%H}/{quote_camera(camera)}/{at:%M.%S}.mp4"
