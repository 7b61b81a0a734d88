"""The kinds `snapshot` and `thumbnail` over Frigate's HTTP API.

    Frigate to 0.17   snapshot.jpg: the file that Frigate keeps
    Frigate 0.18      snapshot-clean.webp: the file that Frigate keeps; snapshot.jpg is drawn anew
    thumbnail.webp    in all versions; 0.16 gives the stored bytes, whatever their form is

This was read from Frigate v0.16.4, v0.17.2 and v0.18.0-beta1 (frigate.api.media). The API tells
neither a time nor a digest of a picture, and Frigate does not change the pictures of an event that
has ended. So a picture is downloaded once, when its event has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from frigate_mirror.artifact import Artifact, subject_of
from frigate_mirror.catalog import Kind, NoFile
from frigate_mirror.files import open_regular, regular_file
from frigate_mirror.frigate import pictures
from frigate_mirror.frigate.api import ApiError, DownloadError, FrigateApi
from frigate_mirror.frigate.describe import describe
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.scratch import Scratch
from frigate_mirror.keys import SNAPSHOT, THUMBNAIL, KeyCodec, artifact_id, content_type

log = logging.getLogger("frigate_s3.api")
MOST_BYTES = 64_000_000  # of a picture
CLEAN = "snapshot-clean.webp"
DRAWN = "snapshot.jpg"


class RemotePictures(Kind[Event]):
    """Downloads one picture of each event. `folder` is where its bytes lie until the spool holds
    them; no other process should use it."""

    changes = False
    mark = ""  # what a key has before the ending of the picture's form
    endings: Sequence[str] = ()

    def __init__(self, api: FrigateApi, folder: Path, keys: KeyCodec) -> None:
        self._api = api
        self._folder = folder
        self._keys = keys

    def names(self, event: Event) -> Sequence[str]:
        """Returns the names of the picture in Frigate's API, the preferred one first."""
        raise NotImplementedError

    def name_of(self, key: str) -> str:
        """Returns the name of the picture that was uploaded under this key."""
        raise NotImplementedError

    def find(self, event: Event, held: str) -> Artifact | None:
        event.check_names()
        try:
            scratch = self._picture(event)
        except OSError as error:  # a later look may succeed
            log.debug("%s", error)
            scratch = None
        status = regular_file(held)
        if scratch is not None:
            size, opener = scratch.size, scratch.open
        elif status is not None:
            size, opener = status.st_size, lambda: open_regular(held)
        else:
            return None
        with opener() as file:
            ending = pictures.ending_of(file)
        ending = f"{self.mark}{ending}"
        key = self._keys.key(event.camera, event.id, event.started, ending, event.label)
        return Artifact(
            id=artifact_id(self.name, event.id),
            camera=event.camera,
            started=event.started,
            key=key,
            origin="",
            size=size,
            content_type=content_type(key),
            metadata=describe(event),
            version=repr(event.ended),
            opener=lambda artifact: opener(),
        )

    def flaw(self, file: BinaryIO) -> str:
        return pictures.flaw(file)

    def why_unseen(self, event: Event) -> str:
        try:
            self._picture(event)
        except (OSError, ApiError) as error:
            return str(error)
        return ""

    def open(self, artifact: Artifact) -> BinaryIO:
        """Downloads the picture again, because the spool does not hold it."""
        return self._downloaded(subject_of(artifact.id), self.name_of(artifact.key)).open()

    def _picture(self, event: Event) -> Scratch | None:
        """Returns the event's picture, or None if Frigate has none. Raises ApiError and OSError."""
        for name in self.names(event):
            try:
                return self._downloaded(event.id, name)
            except FileNotFoundError:
                continue
        return None

    def _downloaded(self, event_id: str, name: str) -> Scratch:
        """Raises FileNotFoundError, and what `_picture` raises."""
        scratch = Scratch(self._folder)
        path = f"/api/events/{event_id}/{name}"
        with scratch.write() as file:
            self._api.download(path, file, MOST_BYTES)
        with scratch.open() as file:
            # A proxy in between may answer with a page of its own.
            if pictures.ending_of(file) not in self.endings:
                raise DownloadError(f"ask {self._api.url}{path}: the answer is not a picture")
        return scratch


class RemoteSnapshots(RemotePictures):
    """Downloads the snapshots of events. With `always_jpg` it asks Frigate 0.18 for the picture
    that it draws, as all earlier versions keep it."""

    name = SNAPSHOT
    endings = (".jpg", ".webp")

    def __init__(
        self, api: FrigateApi, folder: Path, keys: KeyCodec, *, always_jpg: bool = False
    ) -> None:
        super().__init__(api, folder, keys)
        self._always_jpg = always_jpg

    def find(self, event: Event, held: str) -> Artifact | None:
        if not event.has_snapshot and regular_file(held) is None:
            raise NoFile("Frigate took no snapshot")
        return super().find(event, held)

    def names(self, event: Event) -> Sequence[str]:
        data = event.row.get("data")
        # Only 0.18 notes this. Events of earlier versions have a .jpg, which it still has.
        clean = isinstance(data, dict) and data.get("snapshot_clean") is True
        return [CLEAN, DRAWN] if clean and not self._always_jpg else [DRAWN]

    def name_of(self, key: str) -> str:
        return CLEAN if key.endswith(".webp") else DRAWN


class RemoteThumbnails(RemotePictures):
    """Downloads the thumbnails of events."""

    name = THUMBNAIL
    mark = "-thumb"
    endings = (".webp", ".jpg")

    def names(self, event: Event) -> Sequence[str]:
        return ["thumbnail.webp"]

    def name_of(self, key: str) -> str:
        return "thumbnail.webp"
