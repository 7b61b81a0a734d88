"""What Frigate says of an event, as it goes from the event's clip to the clip's sidecar."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from frigate_mirror.artifact import Artifact
from frigate_mirror.catalog import NoFile
from frigate_mirror.frigate.events import Event, number
from frigate_mirror.frigate.remote_clips import RemoteClips
from frigate_mirror.untrusted import plain

log = logging.getLogger("homesec_frigate_events")
EVENT, PART = "event", "part"  # fields of an artifact's metadata
MOST_ZONES = 50
LONGEST_TEXT = 100  # characters


class DescribedClips(RemoteClips):
    """The clips of events, each with all that its sidecar says of its event. The description goes
    with the clip through spool and ledger, so that it is there even if Frigate is not, and even if
    Frigate has deleted the event meanwhile."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self._told: set[str] = set()

    @contextmanager
    def make(self, event: Event, held: str) -> Iterator[Sequence[Artifact]]:
        described = json.dumps(document_of(event))
        try:
            with super().make(event, held) as artifacts:
                yield [
                    replace(artifact, metadata={EVENT: described, PART: str(number)})
                    for number, artifact in enumerate(artifacts, start=1)
                ]
        except NoFile as error:
            self._tell(event, str(error))
            raise

    def _tell(self, event: Event, why: str) -> None:
        """Says once that an event has no clip. It is looked for again every hour."""
        if event.id not in self._told:
            self._told.add(event.id)
            log.warning("No clip of event %s of camera %s: %s", event.id, plain(event.camera), why)


def document_of(event: Event) -> dict[str, Any]:
    """Returns what a sidecar can say of the event, in names that are those of the sidecar without
    `frigate_`."""
    data = event.row.get("data")
    of_object: Mapping[str, Any] = data if isinstance(data, dict) else {}
    return {
        "event_id": event.id,
        "camera": event.camera,
        "label": _text(event.label),
        "sub_label": _text(event.sub_label) or None,
        "score": event.score,
        "zones": [_text(zone) for zone in event.zones[:MOST_ZONES]],
        "region": _box(of_object.get("region")) or _box(event.row.get("region")),
        "box": _box(of_object.get("box")) or _box(event.row.get("box")),
        "has_clip": event.has_clip,
        "has_snapshot": event.has_snapshot,
        "started": event.started,
        "ended": event.ended,
    }


def event_of(document: Mapping[str, Any]) -> Event:
    """Returns the event that `document_of` has described, as far as filters ask for it."""
    return Event(
        id=document["event_id"],
        camera=document["camera"],
        label=document["label"],
        sub_label=document["sub_label"] or "",
        started=document["started"],
        ended=document["ended"],
        score=document["score"],
        zones=tuple(document["zones"]),
        has_snapshot=document["has_snapshot"],
        tracked=True,
        has_clip=document["has_clip"],
    )


def _text(text: str) -> str:
    return plain(text, LONGEST_TEXT)


def _box(value: Any) -> list[float] | None:
    """Returns the four numbers of a box, or None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    found = [number(one) for one in value]
    return None if None in found else [one for one in found if one is not None]
