"""The sidecar of a clip: a JSON file beside it that says which event of Frigate it shows.

HomeSec's clips carry nothing of their source, and its filter is told the path of a file only. So
what Frigate has detected goes from the source to filter and analyzer in this file. It also keeps
whether HomeSec is done with the clip, over restarts.

This module needs the standard library only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SCHEMA = "homesec-frigate-events/1"
MARK = ".homesec-frigate-events"
"""A file in each folder of clips that the source fills."""
LARGEST = 65_536  # bytes
UPLOAD_FAILED = "upload_failed"
NUMBER = (int, float)
FIELDS: dict[str, type | tuple[type, ...]] = {
    "clip_id": str, "homesec_camera": str, "started": NUMBER, "ended": NUMBER, "retain": bool,
    "given": int, "done": bool, "bypass_filter": bool, "predetected_classes": list,
    "predetected_score": NUMBER,
}  # fmt: skip
"""What every sidecar has. What Frigate says of the event comes besides."""
# The name of a clip: the camera, the date, the time, and Frigate's id of the event.
_OURS = re.compile(r".+_\d{8}_\d{6}_\d+\.\d+-\w+\.mp4")


class NoSidecar(Exception):
    """The clip of an event has no sidecar that can be read."""


def path_of(clip: Path) -> Path:
    return clip.with_suffix(".json")


def is_frigates(clip: Path) -> bool:
    """Returns whether the clip is one of Frigate's, by its folder or, after HomeSec has fetched it
    back from its storage, by its name."""
    return (clip.parent / MARK).exists() or _OURS.fullmatch(clip.name) is not None


def read(clip: Path) -> dict[str, Any] | None:
    """Returns the sidecar of a clip, or None for a clip that is not Frigate's. Raises NoSidecar."""
    path = path_of(clip)
    try:
        return load(path)
    except (OSError, ValueError) as error:
        if is_frigates(clip):
            raise NoSidecar(
                f"{clip.name} is a clip of Frigate, but its sidecar cannot be read, so nothing is "
                f"known of what it shows: {error}"
            ) from error
        return None


def load(path: Path) -> dict[str, Any]:
    """Returns the sidecar in this file. Raises OSError, and ValueError for another document."""
    with path.open("rb") as file:
        document = json.loads(file.read(LARGEST))
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path.name} is no sidecar of {SCHEMA}")
    wrong = [name for name, kind in FIELDS.items() if not isinstance(document.get(name), kind)]
    if wrong:
        raise ValueError(f"{path.name} is damaged: {', '.join(wrong)}")
    return document


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a sidecar, all of it or nothing. Raises OSError."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"schema": SCHEMA, **document}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def note_upload(clip: Path, failed: bool) -> None:
    """Notes in the sidecar of a clip, if it has one, whether its last upload has failed."""
    with suppress(OSError, ValueError):
        document = load(path_of(clip))
        if document.get(UPLOAD_FAILED, False) != failed:
            write(path_of(clip), document | {UPLOAD_FAILED: failed})


def all_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields each sidecar of a folder with its path. Raises OSError if the folder cannot be
    read."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, RecursionError):
            yield path, load(path)
