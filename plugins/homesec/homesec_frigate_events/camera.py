"""One camera of HomeSec: which of Frigate's events it wants, and what becomes of their clips."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from frigate_mirror.frigate.events import Event
from frigate_mirror.intake.selection import Filters
from frigate_mirror.settings.parse import Names

LONGEST_NAME = 60  # characters of a camera's name in the name of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a camera of HomeSec wants. `frigate_cameras` are names of Frigate's cameras; None means
    all of them, as it does for `zones`."""

    frigate_cameras: frozenset[str] | None
    labels: frozenset[str]
    min_score: float = 0.0
    zones: frozenset[str] | None = None
    min_duration_s: float = 0.0
    faststart: bool = True
    retain: bool = True
    bypass_filter: bool = True
    include_metadata: bool = True

    def filters(self) -> Filters:
        return Filters(
            cameras=_names(self.frigate_cameras),
            labels=_names(self.labels),
            zones=_names(self.zones),
            min_score=self.min_score or None,
            min_duration=self.min_duration_s or None,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """A clip that HomeSec is to work on. `started` and `ended` are Unix seconds."""

    clip_id: str
    path: Path
    started: float
    ended: float


class Camera:
    """A camera of HomeSec called `name`.

    `give` hands a clip to HomeSec and returns whether that was possible. Until HomeSec is done with
    the clip, nothing is known of it; then the second argument of `give` is called, in any thread
    and at any moment, so that it must neither wait nor take a lock. What ended before `since` (Unix
    seconds) is none of this camera's.
    """

    def __init__(
        self,
        name: str,
        wishes: Wishes,
        give: Callable[[Given, Callable[[], None]], bool],
        since: float,
    ) -> None:
        self.name = name
        self.wishes = wishes
        self.give = give
        self.since = since
        self._filters = wishes.filters()

    def why_not(self, event: Event) -> str:
        """Returns why the camera does not want the event, or an empty text."""
        name, reason = self._filters.why_not(event)
        if name:
            return f"{name}: {reason}"
        if event.ended is not None and event.ended < self.since:
            return f"it ended before the camera {self.name} was added"
        return ""

    def stem(self, event_id: str, started: float, part: int) -> str:
        """Returns the name of a clip without its ending. It is unique, and HomeSec knows the clip
        by it."""
        moment = datetime.fromtimestamp(started, UTC)
        ending = f"_{part}" if part > 1 else ""
        return f"{file_name(self.name)}_{moment:%Y%m%d_%H%M%S}_{event_id}{ending}"


def file_name(name: str) -> str:
    """Returns a camera's name as it can stand in the name of a file. Two names never become one."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).lstrip(".")[:LONGEST_NAME]
    if plain == name:
        return name
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _names(names: frozenset[str] | None) -> Names | None:
    return None if names is None else Names(only=names)
