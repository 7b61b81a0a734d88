"""Selection: the owner's filters, which say for which events files are mirrored.

A filter that is not set lets every event pass. Severity and review can become true long after an
event's end, so a later look may select what an earlier look left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from frigate_mirror.settings.parse import Names


class Selectable(Protocol):
    """What the filters ask of an event. `score` is 0 to 1 or None; `severity` is `alert`,
    `detection` or empty; `reviewed` says whether anyone has reviewed it."""

    @property
    def camera(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def sub_label(self) -> str: ...
    @property
    def zones(self) -> tuple[str, ...]: ...
    @property
    def score(self) -> float | None: ...
    @property
    def started(self) -> float: ...
    @property
    def ended(self) -> float | None: ...
    @property
    def severity(self) -> str: ...
    @property
    def has_clip(self) -> bool: ...
    @property
    def reviewed(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """One set of filters. None means that the filter is not set."""

    cameras: Names | None = None
    labels: Names | None = None
    sub_labels: Names | None = None
    zones: Names | None = None
    min_score: float | None = None
    min_duration: float | None = None
    severity: str | None = None
    has_clip: bool | None = None
    reviewed: bool | None = None

    @classmethod
    def of(cls, settings: Any) -> Filters:
        """Returns the filters in a part of the settings, whose fields have the same names."""
        return cls(**{one.name: getattr(settings, one.name) for one in fields(cls)})

    @property
    def ask_for_reviews(self) -> bool:
        return self.severity is not None or self.reviewed is not None

    def sentence(self) -> str:
        """Returns in words which events pass."""
        told = [
            f"{name.replace('_', ' ')} {names}"
            for name in ("cameras", "labels", "sub_labels", "zones")
            if (names := getattr(self, name)) is not None
        ]
        if self.min_score is not None:
            told.append(f"a score of at least {self.min_score:g}")
        if self.min_duration is not None:
            told.append(f"a length of at least {self.min_duration:g} s")
        if self.severity is not None:
            told.append(f"the severity {self.severity}")
        if self.has_clip is not None:
            told.append("recordings" if self.has_clip else "no recordings")
        if self.reviewed is not None:
            told.append("a review by anyone" if self.reviewed else "no review yet")
        return f"events with {', '.join(told)}" if told else "all events"

    def over(self, general: Filters) -> Filters:
        """Returns these filters, completed by the general ones."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(general, **{name: value for name, value in own.items() if value is not None})

    def why_not(self, event: Selectable) -> tuple[str, str]:
        """Returns the name of the filter that leaves the event out and its reason, or two empty
        texts."""
        return next(((name, reason) for name, reason in self._reasons(event) if reason), ("", ""))

    def _reasons(self, event: Selectable) -> Iterator[tuple[str, str]]:
        if self.cameras is not None:
            yield "cameras", self.cameras.why_not(event.camera)
        if self.labels is not None:
            yield "labels", self.labels.why_not(event.label)
        if self.sub_labels is not None:
            yield "sub_labels", self.sub_labels.why_not(*filter(None, [event.sub_label]))
        if self.zones is not None:
            yield "zones", self.zones.why_not(*event.zones)
        if self.min_score is not None and (event.score or 0.0) < self.min_score:
            score = "no score" if event.score is None else f"the score {event.score:.2f}"
            yield "min_score", f"{score} is below {self.min_score:g}"
        if self.min_duration is not None:
            yield "min_duration", self._too_short(event, self.min_duration)
        if self.severity is not None and event.severity != self.severity:
            yield "severity", f"it is {event.severity or 'in no review'}, not {self.severity}"
        if self.has_clip is not None and event.has_clip != self.has_clip:
            yield "has_clip", "it has no recordings" if self.has_clip else "it has recordings"
        if self.reviewed is not None and event.reviewed != self.reviewed:
            yield "reviewed", "nobody has reviewed it" if self.reviewed else "it is reviewed"

    @staticmethod
    def _too_short(event: Selectable, least: float) -> str:
        if event.ended is None:
            return "it has not ended"
        took = event.ended - event.started
        return f"it took {took:.1f} s, less than {least:g} s" if took < least else ""


class Selection:
    """The filters of each kind. `own` has filters for a kind of its own: one that is set there
    counts instead of the general one. Other kinds have the general ones."""

    def __init__(self, general: Filters, own: Mapping[str, Filters] | None = None) -> None:
        self._general = general
        self._own = dict(own or {})
        self._completed = {kind: filters.over(general) for kind, filters in self._own.items()}

    def filters(self, kind: str) -> Filters:
        """Returns the filters that count for this kind of file."""
        return self._completed.get(kind, self._general)

    def why_not(self, kind: str, event: Selectable) -> tuple[str, str]:
        """Returns which setting leaves out this kind of file of the event, and why, or two empty
        texts."""
        name, reason = self.filters(kind).why_not(event)
        if not name:
            return "", ""
        is_own = getattr(self._own.get(kind), name, None) is not None
        return f"MIRROR_{f'{kind}_' if is_own else ''}{name}".upper(), reason
