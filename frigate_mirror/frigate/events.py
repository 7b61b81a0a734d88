"""An event of Frigate, and how it is made of what Frigate tells, by its database or by its API."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from frigate_mirror.keys import KeyFault, is_event_id

log = logging.getLogger("frigate_s3.catalog")


@dataclass(frozen=True, slots=True)
class Event:
    """An event of Frigate. `score` is 0 to 1 or None; `tracked` is true for a tracked object and
    false for a manual, API or audio event. `severity` is that of the review items that contain the
    event, `alert` if one of them is an alert; without a review item it is what Frigate noted at the
    event's end, or empty. `reviewed` says whether anyone has reviewed such an item; from the API it
    says whether the mirror's own account has. `reviews` has the id and severity of each.

    `row` is the whole row, and `timeline` are the rows of the event in that table, with JSON
    columns as documents; both are empty unless the catalog reads events whole."""

    id: str
    camera: str
    label: str
    sub_label: str
    started: float
    ended: float | None
    score: float | None
    zones: tuple[str, ...]
    has_snapshot: bool
    tracked: bool
    has_clip: bool = False
    severity: str = ""
    reviewed: bool = False
    reviews: tuple[tuple[str, str], ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)
    timeline: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def has_final_files(self) -> bool:
        """Whether Frigate will not change the event's pictures any more. It writes those of a
        tracked object just before the event ends, and all others when the event starts."""
        return self.ended is not None or not self.tracked

    def check_names(self) -> None:
        """Raises KeyFault if the event's id or its camera can stand in no file's name."""
        if not is_event_id(self.id) or "/" in self.camera or "\0" in self.camera:
            raise KeyFault(f"event {self.id!r} of camera {self.camera[:40]!r} names no file")


@dataclass(frozen=True, slots=True)
class Review:
    """A review item that contains an event. `seen` says whether it has been reviewed."""

    id: str
    severity: str
    seen: bool


def event_of(row: Mapping[str, Any]) -> Event | None:
    """Returns the Event of a row of Frigate's table, or None for a row that makes no sense. Columns
    may be missing; a JSON column is a document or its text."""
    event_id, camera, started = row.get("id"), row.get("camera"), number(row.get("start_time"))
    if started is None or not isinstance(event_id, str) or not isinstance(camera, str):
        log.debug("row of event %r cannot be read, so the event is ignored", event_id)
        return None
    data = _document(row.get("data"), dict)
    scores = map(number, (data.get("top_score"), row.get("top_score"), row.get("score")))
    return Event(
        id=event_id,
        camera=camera,
        label=str(row.get("label") or ""),
        sub_label=str(row.get("sub_label") or ""),
        started=started,
        ended=number(row.get("end_time")),
        score=next((one for one in scores if one is not None), None),
        zones=tuple(map(str, _document(row.get("zones"), list))),
        has_snapshot=bool(row.get("has_snapshot")),
        tracked=data.get("type", "object") == "object",
        has_clip=bool(row.get("has_clip")),
        severity=str(data.get("max_severity") or ""),
    )


def with_reviews(events: Iterable[Event], found: Iterable[tuple[str, Review]]) -> list[Event]:
    """Completes the events with their review items, which `found` has with the event's id each."""
    of_event: dict[str, list[Review]] = {}
    for event_id, review in found:
        of_event.setdefault(event_id, []).append(review)
    return [
        _reviewed(event, of_event[event.id]) if event.id in of_event else event for event in events
    ]


def _reviewed(event: Event, reviews: Sequence[Review]) -> Event:
    return replace(
        event,
        severity="alert" if any(one.severity == "alert" for one in reviews) else "detection",
        reviewed=any(one.seen for one in reviews),
        reviews=tuple((one.id, one.severity) for one in reviews),
    )


def with_rows(
    events: Iterable[Event],
    rows: Mapping[str, Mapping[str, Any]],
    timeline: Iterable[Mapping[str, Any]],
) -> list[Event]:
    """Completes the events with their rows, by event id, and with their rows of the timeline."""
    of_event: dict[str, list[Mapping[str, Any]]] = {}
    for row in timeline:
        of_event.setdefault(str(row.get("source_id")), []).append(row)
    for found in of_event.values():
        found.sort(key=lambda row: (str(row.get("timestamp")), str(row.get("class_type"))))
    return [
        replace(event, row=rows.get(event.id, {}), timeline=tuple(of_event.get(event.id, ())))
        for event in events
    ]


def number(value: Any) -> float | None:
    """Returns a finite number, or None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def finite(text: str) -> float | str:
    """Returns the number in a JSON text. One that is too large, such as 1e999, stays a text."""
    found = float(text)
    return found if math.isfinite(found) else text


def _document(value: Any, wanted: type) -> Any:
    """Returns the document in a JSON column, or an empty one if it is missing or of another
    type."""
    if not isinstance(value, wanted):
        try:
            value = json.loads(value)
        except (TypeError, ValueError, RecursionError):
            value = None
    return value if isinstance(value, wanted) else wanted()
