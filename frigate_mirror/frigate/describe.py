"""Describes an event in the object metadata of each of its files."""

from __future__ import annotations

from frigate_mirror import metadata
from frigate_mirror.frigate.events import Event


def describe(event: Event) -> dict[str, str]:
    """Returns the event as object metadata; times are Unix seconds."""
    values = {
        "event-id": event.id,
        "camera": event.camera,
        "label": event.label,
        "start-time": repr(event.started),
        "end-time": "" if event.ended is None else repr(event.ended),
        "score": "" if event.score is None else f"{event.score:.4g}",
        "sub-label": event.sub_label,
    }
    return metadata.encode(values, event.zones)
