"""Says which files of which events the owner has chosen, and checks the names in the filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from frigate_mirror.catalog import CatalogError
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.frigate import config
from frigate_mirror.frigate.events import Event
from frigate_mirror.intake.selection import Filters, Selection
from frigate_mirror.keys import CLIP, ENDINGS, SNAPSHOT
from frigate_mirror.settings.parse import Names
from frigate_mirror.settings.settings import Settings

WEEK = 7 * 86_400.0  # seconds
ANYBODY = "a review counts whoever made it, because Frigate keeps it for each user"


class Catalog(Protocol):
    """Frigate's events and reviews: its database, or its API."""

    def subjects(self, ids: Sequence[str]) -> list[Event]:
        """Returns the events with these ids. Raises CatalogError."""
        ...

    def any_review_since(self, since: float) -> bool:
        """Returns whether an item that started from `since` on is reviewed. Raises CatalogError."""
        ...


def selection(
    loaded: Settings, ask: config.Ask, catalog: Catalog, now: float, whose: str = ANYBODY
) -> Iterator[Finding]:
    """Says in a sentence what will be mirrored, and finds filters that select nothing. `whose` says
    whose reviews count."""
    kinds = loaded.kinds.kinds
    yield Finding(OK, f"the mirror uploads {_sentence(kinds, _selection(loaded))}")
    filters = {"MIRROR": Filters.of(loaded.selection)}
    of_clips = Filters.of(loaded.clip_selection)
    if CLIP in kinds:
        filters["MIRROR_CLIP"] = of_clips
    elif of_clips != Filters():
        what = "there are filters for clips (MIRROR_CLIP_...), and MIRROR_KINDS has no clip"
        yield Finding(NOTE, what, "add clip to MIRROR_KINDS, or remove these filters")
    try:
        yield from _unknown(filters, config.cameras(ask()))
    except config.ConfigError:
        pass  # `frigate.cameras` tells it
    yield from _reviewed(catalog, filters, now, whose)


def _selection(loaded: Settings) -> Selection:
    own = {CLIP: Filters.of(loaded.clip_selection)}
    return Selection(Filters.of(loaded.selection), own)


def _sentence(kinds: frozenset[str], selected: Selection) -> str:
    """Returns in words which files are mirrored of which events."""
    files: dict[str, list[str]] = {}
    for kind in _in_order(kinds):
        files.setdefault(selected.filters(kind).sentence(), []).append(f"the {kind}")
    return ", and ".join(f"{_listed(names)} of {events}" for events, names in files.items())


def _in_order(kinds: frozenset[str]) -> list[str]:
    return [kind for kind in ENDINGS if kind in kinds]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _reviewed(
    catalog: Catalog, filters: Mapping[str, Filters], now: float, whose: str
) -> Iterator[Finding]:
    names = [f"{prefix}_REVIEWED" for prefix, one in filters.items() if one.reviewed]
    if not names:
        return
    try:
        seen = catalog.any_review_since(now - WEEK)
    except CatalogError:
        return  # another check tells it
    name = _listed(names)
    if seen:
        yield Finding(OK, f"{name}: {whose}")
    else:
        what = f"{name}: nobody has reviewed anything in the last 7 days"
        yield Finding(NOTE, what, f"{whose}; without reviews nothing is uploaded")


def _unknown(filters: Mapping[str, Filters], cameras: list[config.Camera]) -> Iterator[Finding]:
    every = {one.name for one in cameras}
    labels = frozenset[str]().union(*(camera.labels for camera in cameras))
    zones = frozenset[str]().union(*(camera.zones for camera in cameras))
    for prefix, one in filters.items():
        for what, names, known in (
            ("CAMERAS: Frigate has no camera", one.cameras, every),
            ("LABELS: no camera of Frigate tracks", one.labels, labels),
            ("ZONES: no camera of Frigate has a zone", one.zones, zones),
        ):
            if missing := sorted(_all(names).difference(known)):
                advice = f"Frigate's configuration has {', '.join(sorted(known)) or 'none'}"
                yield Finding(NOTE, f"{prefix}_{what} {', '.join(missing)}", advice)


def _all(names: Names | None) -> frozenset[str]:
    return names.only | names.never if names else frozenset()


def explain(loaded: Settings, catalog: Catalog, event_id: str) -> Iterator[Finding]:
    """Says of each kind of file which filter decides about one event, and why. The events of
    `catalog` have their reviews."""
    try:
        found = catalog.subjects([event_id])
    except CatalogError as error:
        yield Finding(FAULT, str(error))
        return
    if not found:
        yield Finding(FAULT, f"Frigate has no event {event_id!r}")
        return
    [event] = found
    selected = _selection(loaded)
    for kind in _in_order(loaded.kinds.kinds):
        what = f"event {event.id} ({event.camera}, {event.label}): the {kind}"
        name, reason = selected.why_not(kind, event)
        if name:
            yield Finding(NOTE, f"{what} is left out by {name}: {reason}")
        elif lacks := _lacks(kind, event):
            yield Finding(NOTE, f"{what} is selected, but {lacks}")
        else:
            yield Finding(OK, f"{what} is selected")


def _lacks(kind: str, event: Event) -> str:
    """Returns what Frigate lacks for this kind of file, or an empty text."""
    if kind == SNAPSHOT and not event.has_snapshot:
        return "Frigate has no snapshot of the event"
    if kind == CLIP and not event.has_clip:
        return "Frigate has no recordings of the event"
    return ""
