"""Measures a segment: how long its video is, how many bytes it has, and whether Frigate can play
it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frigate_mirror import mp4
from frigate_mirror.files import open_regular
from frigate_mirror.untrusted import plain

PLAYED = {"avc1", "avc3", "hvc1", "hev1", "h264", "hevc"}
"""H.264 and H.265 as mp4 and ffprobe name them. Frigate records whatever a camera sends, but its
player knows only these."""
LONGEST = 600.0
"""Seconds. Frigate's player leaves out longer segments (MAX_SEGMENT_DURATION of frigate.const in
v0.16.4, v0.17.2 and v0.18.0-beta1)."""
PATIENCE = 30.0  # seconds for ffprobe
MIB = 1 << 20


class BadSegmentError(Exception):
    """The file is no segment that Frigate could play. The text says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`duration` is that of the video in seconds, `size` the file's in MiB as Frigate rounds it,
    and `changed` the Unix seconds of its last change."""

    duration: float
    size: float
    changed: float


def measure(path: str, ffprobe: str = "") -> Measured:
    """Measures the file. `ffprobe` is the program that measures what our own reader cannot judge,
    or an empty text. Raises BadSegmentError, and OSError for a file that cannot be read."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        if not status.st_size:
            raise BadSegmentError("is empty")
        try:
            movie = mp4.read(file)
            # Frigate divides the number of all pictures by their rate, also of hidden ones.
            duration, codec = movie.media_duration, movie.video.name
        except mp4.TooLargeError as error:
            if not ffprobe:
                raise BadSegmentError(f"cannot be judged without ffprobe: {error}") from error
            duration, codec = _probed(path, ffprobe)
        except mp4.Mp4Error as error:
            raise BadSegmentError(f"is no whole mp4: {error}") from error
    if codec not in PLAYED:
        raise BadSegmentError(f"has video of the codec {codec}, which Frigate cannot play")
    if not 0 < duration <= LONGEST:
        raise BadSegmentError(f"lasts {duration:g} s; Frigate plays up to {LONGEST:g} s")
    return Measured(duration, round(status.st_size / MIB, 2), status.st_mtime)


def beside(ffmpeg: str) -> str:
    """Returns the ffprobe that belongs to this ffmpeg, or an empty text."""
    place = Path(ffmpeg).with_name("ffprobe") if ffmpeg else None
    return str(place) if place and os.access(place, os.X_OK) else ""


def _probed(path: str, ffprobe: str, run: Callable[..., Any] = subprocess.run) -> tuple[float, str]:
    words = ("-v", "error", "-select_streams", "v:0", "-show_entries", "stream=codec_name,duration")
    command = [ffprobe, *words, "-of", "json", f"file:{path}"]
    try:
        done = run(command, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        [stream] = json.loads(done.stdout)["streams"]
        return float(stream["duration"]), plain(str(stream["codec_name"]))
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise BadSegmentError("ffprobe cannot judge it either") from error
