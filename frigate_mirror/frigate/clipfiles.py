"""The files of a clip as artifacts, whether they are made of recordings or asked of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from frigate_mirror import mp4
from frigate_mirror.artifact import Artifact, open_file
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.segments import Span
from frigate_mirror.keys import CLIP, KeyCodec, artifact_id
from frigate_mirror.mp4 import Mp4Error

MOST_GAPS = 100  # that the document lists


def clip_artifact(
    keys: KeyCodec,
    event: Event,
    number: int,
    many: bool,
    *,
    origin: str,
    size: int,
    path: Path,
    about: Mapping[str, Any],
) -> Artifact:
    """Returns the artifact of the file at `path`: part `number` of the event's clip, which has
    `many` parts or is that one file."""
    ending = f"-part-{number:04}.mp4" if many else ".mp4"
    return Artifact(
        id=artifact_id(CLIP, event.id, number),
        camera=event.camera,
        started=event.started,
        key=keys.key(event.camera, event.id, event.started, ending, event.label),
        origin=origin,
        size=size,
        content_type="video/mp4",
        metadata=describe(event),
        version=f"{event.started!r} {event.ended!r}",
        about=about,
        bulk=True,
        opener=lambda artifact: open_file(artifact, str(path)),
    )


def told(gaps: Sequence[Span], notes: str, parts: int) -> dict[str, object]:
    """Returns what the document says of the whole clip, in the entry of its first part."""
    found: dict[str, object] = {"gaps": [list(gap) for gap in gaps[:MOST_GAPS]], "note": notes}
    return found | ({"parts": parts} if parts > 1 else {})


def flaw_of(file: BinaryIO) -> str:
    """Returns why the clip in `file` is damaged, or an empty text. Leaves `file` at its
    beginning."""
    try:
        mp4.read(file)
    except Mp4Error as error:
        return f"the clip is damaged: {error}"
    finally:
        file.seek(0)
    return ""


def opened(path: Path) -> BinaryIO:
    """Opens a file that is deleted at once, so that nothing of it is left after a kill."""
    file = FileIO(path)
    path.unlink()
    return cast(BinaryIO, file)
