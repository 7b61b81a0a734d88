"""Events of the campaign's Frigate. Each has a picture of its own."""

from __future__ import annotations

import hashlib
import random
import string
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig import STANDIN

LETTERS = string.ascii_lowercase + string.digits
CAMERAS = ("front_door", "back_yard", "garage", "cam-1", "Hof_2-links")
LABELS = ("person", "dog", "car", "package")
KINDS = ("tracked", "tracked", "tracked", "manual", "api")
JPEGS, WEBPS = (
    [one.read_bytes() for one in sorted((STANDIN / "pictures").glob(kind))]
    for kind in ("*.jpg", "*.webp")
)


@dataclass
class Event:
    """One event. Its times are Unix seconds. `host` is the number of the Frigate that it was sent
    to. `committed` says that its row is known to be in the database."""

    id: str
    camera: str
    label: str
    kind: str
    started: float
    ended: float
    file: str
    sha256: str
    host: int = 0
    committed: bool = False
    goes_after: float = 1e9
    """Seconds of its fair chance after which retention deletes its picture."""
    taken: bool = False
    """Its object is not expected in the bucket: the owner deleted it there, or the mirror has
    reported its loss."""
    kept: bool = False
    """Retention must not delete its picture yet, because the picture will still change."""

    @property
    def files(self) -> tuple[str, ...]:
        """Its files in clips: the picture, beside a .jpg the clean copy that some versions write,
        and the thumbnail."""
        stem, jpg, _ = self.file.rpartition(".jpg")
        clean = (f"{stem}-clean.webp",) if jpg else ()
        return (self.file, *clean, self.thumbnail)

    @property
    def thumbnail(self) -> str:
        return f"thumbs/{self.camera}/{self.id}.webp"

    @property
    def last_word(self) -> str:
        """The kind of message after which its row is complete and the hook has its id."""
        return "start" if self.kind == "manual" else "end"

    def message(self) -> dict[str, Any]:
        """Its data as in Frigate's messages."""
        return {
            "id": self.id, "camera": self.camera, "label": self.label, "sub_label": None,
            "start_time": self.started, "end_time": self.ended, "score": 0.84, "top_score": 0.87,
            "type": "object" if self.kind == "tracked" else "api", "entered_zones": ["drive"],
            "has_clip": True, "has_snapshot": True, "false_positive": False,
        }  # fmt: skip


def happen(rng: random.Random, now: float, version: str) -> tuple[Event, bytes]:
    """Makes an event that ends at `now` and its picture. The picture is named as by this
    version."""
    webp = version == "0.18"
    picture = photograph(rng, webp=webp)
    started = round(now - rng.uniform(0.5, 20.0), 6)
    event_id = f"{started}-{''.join(rng.choices(LETTERS, k=6))}"
    camera = rng.choice(CAMERAS)
    event = Event(
        id=event_id,
        camera=camera,
        label=rng.choice(LABELS),
        kind=rng.choice(KINDS),
        started=started,
        ended=now,
        file=f"{camera}-{event_id}{'-clean.webp' if webp else '.jpg'}",
        sha256=hashlib.sha256(picture).hexdigest(),
    )
    return event, picture


def photograph(rng: random.Random, *, webp: bool) -> bytes:
    """Makes a whole picture that differs from every other one. Its own bytes stand where viewers
    skip them: in a comment behind the first marker of a JPEG, or in the last chunk of a WebP."""
    own = rng.randbytes(2 * rng.randrange(1, 30_000))
    if webp:
        picture = rng.choice(WEBPS) + b"OWN " + struct.pack("<I", len(own)) + own
        return picture[:4] + struct.pack("<I", len(picture) - 8) + picture[8:]
    picture = rng.choice(JPEGS)
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(own) + 2) + own + picture[2:]


def write(folder: Path, event: Event, picture: bytes, version: str) -> None:
    """Writes the event's picture, and for 0.17 also the clean copy, which is not to be mirrored."""
    (folder / event.file).write_bytes(picture)
    if version == "0.17":
        (folder / f"{event.camera}-{event.id}-clean.webp").write_bytes(WEBPS[0])


def thumbnail_of(event: Event) -> bytes:
    """The event's thumbnail, which differs from every other one."""
    return photograph(random.Random(event.id), webp=True)


def write_thumbnail(folder: Path, event: Event) -> None:
    path = folder / event.thumbnail
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(thumbnail_of(event))
