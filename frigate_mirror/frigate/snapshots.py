"""The kind `snapshot`: the picture that Frigate keeps of an event.

    Frigate to 0.17   clips/{camera}-{id}.jpg         (a -clean copy may lie beside it)
    Frigate 0.18      clips/{camera}-{id}-clean.webp  (.jpg only for events of older versions)
    before 0.17       the clean copy is a .png

This was read from Frigate v0.16.4, v0.17.2 and v0.18.0-beta1 (frigate.util.file,
frigate.track.tracked_object). The picture is mirrored in the form that Frigate gave it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from frigate_mirror.artifact import Artifact
from frigate_mirror.catalog import Kind, NoFile
from frigate_mirror.files import regular_file
from frigate_mirror.frigate import pictures
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.keys import SNAPSHOT, KeyCodec, artifact_id

FORMS = (
    (".jpg", "image/jpeg"),
    ("-clean.webp", "image/webp"),
    ("-clean.png", "image/png"),
)
"""What a snapshot's file name ends with, and its content type, in the order of preference."""


class Snapshots(Kind[Event]):
    """Finds the snapshots of events in the folder `clips`."""

    name = SNAPSHOT

    def __init__(self, clips: Path, keys: KeyCodec) -> None:
        self._clips = clips
        self._keys = keys

    def is_final(self, event: Event) -> bool:
        return event.has_final_files

    def find(self, event: Event, held: str) -> Artifact | None:
        event.check_names()
        if not event.has_snapshot and regular_file(held) is None:
            raise NoFile("Frigate took no snapshot")
        path = f"{self._clips}/{event.camera}-{event.id}"
        found = _in_clips(path) or _in_spool(held)
        if found is None:
            return None
        ending, content_type, status = found
        suffix = f".{ending.rpartition('.')[2]}"
        return Artifact(
            id=artifact_id(SNAPSHOT, event.id),
            camera=event.camera,
            started=event.started,
            key=self._keys.key(event.camera, event.id, event.started, suffix, event.label),
            origin=f"{path}{ending}",
            size=status.st_size,
            content_type=content_type,
            metadata=describe(event),
            version=f"{status.st_size} {status.st_mtime_ns} {event.ended}",
        )

    def flaw(self, file: BinaryIO) -> str:
        return pictures.flaw(file)

    def why_unseen(self, event: Event) -> str:
        for ending, _ in FORMS:
            try:
                os.lstat(f"{self._clips}/{event.camera}-{event.id}{ending}")
            except (FileNotFoundError, ValueError):
                continue
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    return f"{self._clips} cannot be read: {error.strerror}"
        return "" if self._clips.is_dir() else f"no folder {self._clips}"


_Found = tuple[str, str, os.stat_result]
"""The ending of the file's name, its content type, and its status."""


def _in_clips(path: str) -> _Found | None:
    """Looks for the event's picture, in the order of preference."""
    for ending, content_type in FORMS:
        status = regular_file(f"{path}{ending}")
        if status is not None:
            return ending, content_type, status
    return None


def _in_spool(held: str) -> _Found | None:
    """Detects the form of a held picture by its first bytes, because names in the spool have no
    ending."""
    status = regular_file(held)
    try:
        ending = pictures.ending(held) if status else ""
    except OSError:
        return None
    return next(((*form, status) for form in FORMS if status and form[0].endswith(ending)), None)


def newest_sizes(clips: Path, most: int) -> list[int]:
    """Returns the sizes in bytes of the `most` snapshots that were written last. A snapshot that
    lies there in two forms counts once, in the preferred one. Raises OSError."""
    files = {name: regular_file(f"{clips}/{name}") for name in os.listdir(clips)}
    found: dict[str, os.stat_result] = {}
    for ending, _ in reversed(FORMS):
        for name, status in files.items():
            if name.endswith(ending) and status is not None:
                found[name.removesuffix(ending)] = status
    newest = sorted(found.values(), key=lambda status: status.st_mtime, reverse=True)
    return [status.st_size for status in newest[:most]]
