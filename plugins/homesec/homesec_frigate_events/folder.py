"""The folder of clips, as the destination of a mirror.

A put writes the clip once for each camera of HomeSec that wants its event: first the sidecar, then
the clip, each under its final name at once. What is there already stays as it is, because a put is
repeated if the process has died before the ledger knew of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from frigate_mirror import mp4
from frigate_mirror.mp4 import Mp4Error
from frigate_mirror.sinks.sink import Probe, Receipt, Stored, Unavailable
from homesec_frigate_events import sidecar
from homesec_frigate_events.camera import Camera
from homesec_frigate_events.event import EVENT, PART, event_of

log = logging.getLogger("homesec_frigate_events")
PIECE = 1_000_000  # bytes
REMUX = 600.0  # seconds that ffmpeg may take
TOLERANCE = 1.0  # seconds that a remuxed clip may be shorter


class ClipFolder:
    """The folder `path` as a `Sink`. `cameras` returns those that there are now; `arrived` is
    called with the path of each new clip and the name of its camera."""

    def __init__(
        self,
        path: Path,
        cameras: Callable[[], list[Camera]],
        arrived: Callable[[Path, str], None],
    ) -> None:
        self._path = path
        self._cameras = cameras
        self._arrived = arrived
        self._ffmpeg = shutil.which("ffmpeg")

    def put(
        self, key: str, body: BinaryIO, *, content_type: str, metadata: Mapping[str, str]
    ) -> Receipt:
        """See `Sink.put`. Raises Unavailable if the folder cannot be written."""
        document, part = json.loads(metadata[EVENT]), int(metadata[PART])
        event = event_of(document)
        digest, size = hashlib.sha256(), 0
        for piece in iter(lambda: body.read(PIECE), b""):
            digest.update(piece)
            size += len(piece)
        try:
            wanting = [camera for camera in self._cameras() if not camera.why_not(event)]
            for camera in wanting:
                self._write(camera, document, part, body)
        except OSError as error:
            raise Unavailable(
                f"write a clip into {self._path}: {error}", hint="look whether the disk is full"
            ) from error
        if not wanting:
            log.info("The clip of event %s is left out: no camera wants it any more", event.id)
        return Receipt(key, size, "", digest.hexdigest())

    def _write(
        self, camera: Camera, document: Mapping[str, Any], part: int, body: BinaryIO
    ) -> None:
        stem = camera.stem(document["event_id"], document["started"], part)
        clip = self._path / f"{stem}.mp4"
        if clip.exists():
            return
        self.prepare()
        partial = self._path / f".{stem}.part"
        try:
            body.seek(0)
            with partial.open("wb") as file:
                shutil.copyfileobj(body, file, PIECE)
                file.flush()
                os.fsync(file.fileno())
            if camera.wishes.faststart:
                self._remux(partial)
            sidecar.write(sidecar.path_of(clip), _sidecar(camera, document, stem))
            partial.replace(clip)
        finally:
            partial.unlink(missing_ok=True)
        log.info("Downloaded clip: %s (%.1f MB)", clip, clip.stat().st_size / 1_000_000)
        self._arrived(clip, camera.name)

    def _remux(self, clip: Path) -> None:
        """Lets ffmpeg write the clip anew so that a player can begin at once, without a change of
        its pictures. Without ffmpeg, and if it fails, the clip stays as Frigate sends it."""
        if self._ffmpeg is None:
            return
        result = clip.with_suffix(".remux")
        command = [self._ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error", "-y",
                   "-i", f"file:{clip}", "-map", "0", "-c", "copy", "-movflags", "+faststart",
                   "-f", "mp4", f"file:{result}"]  # fmt: skip
        try:
            before = mp4.read(clip).duration
            subprocess.run(command, check=True, capture_output=True, timeout=REMUX)
            if mp4.read(result).duration < before - TOLERANCE:
                raise Mp4Error("the result is shorter than the clip")
            with result.open("rb") as file:
                os.fsync(file.fileno())
            result.replace(clip)
        except (OSError, subprocess.SubprocessError, Mp4Error) as error:
            log.warning("%s stays as Frigate has sent it, because ffmpeg fails: %s", clip, error)
        finally:
            result.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Makes the folder, and marks it as ours. Raises OSError."""
        self._path.mkdir(parents=True, exist_ok=True)
        (self._path / sidecar.MARK).touch()

    def check(self) -> Probe:
        """See `Sink.check`."""
        try:
            self.prepare()
        except OSError as error:
            raise Unavailable(f"write into {self._path}: {error}") from error
        return Probe(took=0.0, clock_skew=None)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Raises Unavailable: HomeSec deletes clips as it likes, so nothing follows from a
        listing."""
        raise Unavailable("the folder of HomeSec's clips is not compared with the ledger")


def _sidecar(camera: Camera, document: Mapping[str, Any], stem: str) -> dict[str, Any]:
    """Returns the sidecar of a new clip. Its last fields have the names that the specification of
    the plugin gives them."""
    wishes = camera.wishes
    told: dict[str, Any] = {
        "clip_id": stem,
        "homesec_camera": camera.name,
        "started": document["started"],
        "ended": document["ended"],
        "retain": wishes.retain,
        "given": 0,
        "done": False,
        "bypass_filter": wishes.bypass_filter,
        "predetected_classes": [document["label"]] if document["label"] else [],
        "predetected_score": document["score"] or 0.0,
    }
    if wishes.include_metadata:
        names = document.keys() - {"started", "ended"}
        told |= {f"frigate_{name}": document[name] for name in document if name in names}
    return told


def remove_leftovers(path: Path) -> None:
    """Deletes what an earlier process was writing when it died. Raises OSError."""
    for pattern in (".*.part", ".*.remux"):
        for left in path.glob(pattern):
            with suppress(OSError):
                left.unlink()
