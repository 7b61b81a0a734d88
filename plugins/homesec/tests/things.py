"""Events, cameras and clips for tests that need no HomeSec."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from frigate_mirror.demo.standin import CAMERAS
from frigate_mirror.frigate.events import Event
from homesec_frigate_events.camera import Camera, Given, Wishes
from homesec_frigate_events.event import EVENT, PART, document_of

MOVIE = (CAMERAS / "garage.mp4").read_bytes()
"""A movie of 30 seconds, in fragments as Frigate sends it."""
EVENT_ID = "1764151200.123456-abc123"


def event(**changes: Any) -> Event:
    usual = Event(
        id=EVENT_ID,
        camera="garage",
        label="person",
        sub_label="",
        started=1764151200.0,
        ended=1764151210.0,
        score=0.9,
        zones=("yard",),
        has_snapshot=True,
        tracked=True,
        has_clip=True,
    )
    return replace(usual, **changes)


class Hands:
    """Takes clips as HomeSec does, and lets go of them when it is told to."""

    def __init__(self) -> None:
        self.given: list[Given] = []
        self.refuses = False
        self._let_go: dict[str, Callable[[], None]] = {}

    def take(self, given: Given, let_go: Callable[[], None]) -> bool:
        if self.refuses:
            return False
        self.given.append(given)
        self._let_go[given.clip_id] = let_go
        return True

    def finish(self, clip_id: str) -> None:
        self._let_go.pop(clip_id)()

    @property
    def ids(self) -> list[str]:
        return [given.clip_id for given in self.given]


def camera(name: str = "garage", hands: Hands | None = None, **wishes: Any) -> Camera:
    """A camera that was always there, and wants persons of Frigate's camera garage."""
    usual = {"frigate_cameras": frozenset({"garage"}), "labels": frozenset({"person"})}
    return Camera(name, Wishes(**{**usual, **wishes}), (hands or Hands()).take, since=0.0)


def put(folder: Any, of: Event, body: bytes = MOVIE, part: int = 1) -> Any:
    """Puts the clip of an event as the uploader does."""
    metadata = {EVENT: json.dumps(document_of(of)), PART: str(part)}
    return folder.put("key", io.BytesIO(body), content_type="video/mp4", metadata=metadata)


def sidecar_of(clip: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(clip.with_suffix(".json").read_text())
    return found
