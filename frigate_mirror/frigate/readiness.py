"""Says when Frigate's recordings of an event are ready to become its clip.

Frigate stores a segment of 10 seconds some 5 to 20 seconds after its end, and with its default
retention it often never stores the last one, which shows only a scene at rest. A clip is therefore
ready when the segments reach the end of its padding. From 20 seconds after the event's end on, it
is also ready when they reach that end, or the moment when the object was last seen.
"""

from __future__ import annotations

from typing import Protocol

from frigate_mirror.catalog import NoFile, NotYet
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.segments import Segment, chain

LOOK_AGAIN = 2.0  # seconds
STILL_TAIL = 20.0  # seconds after the end for which a clip waits for what follows the last sight
NO_END = 30.0  # seconds
LATEST = 120.0  # seconds after the end; what Frigate has not stored by then never comes


class Recordings(Protocol):
    """Tells what Frigate has recorded. Its methods raise CatalogError."""

    def recordings(self, camera: str, since: float, until: float) -> list[Segment]:
        """Returns the segments of the camera's main stream that overlap this span, in order."""
        ...

    def last_seen(self, event_id: str) -> float | None:
        """Returns when Frigate last saw the event's object, or None if it noted no such time."""
        ...


def ready(
    recordings: Recordings, event: Event, padding: tuple[float, float], now: float
) -> tuple[list[Segment], float, float]:
    """Returns the segments of the event's clip and the span of time that it shows. `padding` is how
    many seconds it shows before and after the event. Raises NotYet, NoFile and CatalogError."""
    if event.ended is None:  # Frigate has taken the end back
        raise NotYet(NO_END)
    since, until = event.started - padding[0], event.ended + padding[1]
    age = now - event.ended
    if age < 0:  # the end of an event that was created by hand may lie in the future
        raise NotYet(1.0 - age)
    found = recordings.recordings(event.camera, since, until + LATEST)
    late = age >= LATEST or any(segment.start > until for segment in found)
    segments = [segment for segment in found if segment.start < until]
    # The padding is a wish: Frigate may never store what follows the event.
    wanted = until if age < STILL_TAIL else event.ended
    if not late and chain(segments, event.started, wanted).gaps:
        seen = recordings.last_seen(event.id) if age >= STILL_TAIL else None
        if seen is None or chain(segments, event.started, seen).gaps:
            raise NotYet(LOOK_AGAIN)
    if not chain(segments, event.started, event.ended).segments:
        if age < LATEST:
            raise NotYet(LOOK_AGAIN)
        raise NoFile("Frigate has no recording of this event")
    # The same clip can be made again, even if Frigate has stored more by then.
    return segments, since, min(until, max(segment.end for segment in segments))
