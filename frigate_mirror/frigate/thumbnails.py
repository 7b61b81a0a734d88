"""The kind `thumbnail`: the small picture that Frigate shows in its lists.

    Frigate from 0.16 on   clips/thumbs/{camera}/{id}.webp
    before                 base64 of a JPEG in the event's column `thumbnail`; such rows stay

This was read from Frigate v0.16.4, v0.17.2 and v0.18.0-beta1 (frigate.track.tracked_object,
frigate.util.path, frigate.util.file).
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from frigate_mirror.artifact import Artifact, open_file, subject_of
from frigate_mirror.catalog import Kind
from frigate_mirror.files import regular_file
from frigate_mirror.frigate import pictures
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.keys import THUMBNAIL, KeyCodec, artifact_id, content_type

COLUMN = "event.thumbnail"
"""The origin of a thumbnail that lies in Frigate's database."""


class Thumbnails(Kind[Event]):
    """Finds the thumbnails of events in the folder `clips`, or in the database."""

    name = THUMBNAIL

    def __init__(self, clips: Path, database: FrigateDatabase, keys: KeyCodec) -> None:
        self._clips = clips
        self._database = database
        self._keys = keys

    def is_final(self, event: Event) -> bool:
        return event.has_final_files

    def find(self, event: Event, held: str) -> Artifact | None:
        event.check_names()
        path = f"{self._clips}/thumbs/{event.camera}/{event.id}.webp"
        status, ending = regular_file(path), ".webp"
        if status is None:
            status, ending = _in_spool(held)
        if status is not None:
            size, origin = status.st_size, path
            version = f"{size} {status.st_mtime_ns} {event.ended}"
        elif stored := self._database.thumbnail(event.id):
            ending, size, origin = ".jpg", len(stored), COLUMN
            version = f"{size} {event.ended}"
        else:
            return None
        ending = f"-thumb{ending}"
        key = self._keys.key(event.camera, event.id, event.started, ending, event.label)
        return Artifact(
            id=artifact_id(THUMBNAIL, event.id),
            camera=event.camera,
            started=event.started,
            key=key,
            origin=origin,
            size=size,
            content_type=content_type(key),
            metadata=describe(event),
            version=version,
            opener=self.open,
        )

    def flaw(self, file: BinaryIO) -> str:
        return pictures.flaw(file)

    def why_unseen(self, event: Event) -> str:
        return "" if self._clips.is_dir() else f"no folder {self._clips}"

    def open(self, artifact: Artifact) -> BinaryIO:
        if artifact.origin != COLUMN:
            return open_file(artifact)
        stored = self._database.thumbnail(subject_of(artifact.id))
        if not stored:
            raise FileNotFoundError(f"no thumbnail in the row of {artifact.id}")
        return BytesIO(stored)


def _in_spool(held: str) -> tuple[os.stat_result | None, str]:
    """Returns the status of a held thumbnail and what its name would end with. Another thread may
    delete it at this moment."""
    try:
        return regular_file(held), pictures.ending(held)
    except OSError:
        return None, ""
