"""Says which events the owner's filters select, and checks the names in them."""

from __future__ import annotations

from collections.abc import Iterator

from frigate_mirror.catalog import CatalogError
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.frigate import config
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.intake.selection import Filters, Selection
from frigate_mirror.keys import SNAPSHOT
from frigate_mirror.settings.parse import Names
from frigate_mirror.settings.settings import Settings

WEEK = 7 * 86_400.0  # seconds


def selection(loaded: Settings, api: str, now: float) -> Iterator[Finding]:
    """Says in a sentence what will be mirrored, and finds filters that select nothing."""
    filters = Filters.of(loaded.selection)
    yield Finding(OK, f"the mirror uploads the snapshots of {filters.sentence()}")
    try:
        yield from _unknown(filters, config.cameras(api))
    except config.ConfigError:
        pass  # `frigate.cameras` tells it
    if filters.reviewed:
        try:
            seen = FrigateDatabase(loaded.frigate.db_path).any_review_since(now - WEEK)
        except CatalogError:
            return  # `places.paths` tells it
        whose = "a review counts whoever made it, because Frigate keeps it for each user"
        if seen:
            yield Finding(OK, f"MIRROR_REVIEWED: {whose}")
        else:
            what = "MIRROR_REVIEWED: nobody has reviewed anything in the last 7 days"
            yield Finding(NOTE, what, f"{whose}; without reviews nothing is uploaded")


def _unknown(filters: Filters, cameras: list[config.Camera]) -> Iterator[Finding]:
    labels = frozenset[str]().union(*(camera.labels for camera in cameras))
    zones = frozenset[str]().union(*(camera.zones for camera in cameras))
    for what, names, known in (
        ("MIRROR_CAMERAS: Frigate has no camera", filters.cameras, {one.name for one in cameras}),
        ("MIRROR_LABELS: no camera of Frigate tracks", filters.labels, labels),
        ("MIRROR_ZONES: no camera of Frigate has a zone", filters.zones, zones),
    ):
        if missing := sorted(_all(names).difference(known)):
            advice = f"Frigate's configuration has {', '.join(sorted(known)) or 'none'}"
            yield Finding(NOTE, f"{what} {', '.join(missing)}", advice)


def _all(names: Names | None) -> frozenset[str]:
    return names.only | names.never if names else frozenset()


def explain(loaded: Settings, event_id: str) -> Finding:
    """Says which filter decides about one event, and why."""
    database = FrigateDatabase(loaded.frigate.db_path, reviews=True)
    try:
        found = database.subjects([event_id])
    except CatalogError as error:
        return Finding(FAULT, str(error))
    if not found:
        return Finding(FAULT, f"Frigate's database has no event {event_id!r}")
    [event] = found
    name, reason = Selection(Filters.of(loaded.selection)).why_not(SNAPSHOT, event)
    called = f"event {event.id} ({event.camera}, {event.label})"
    if name:
        return Finding(NOTE, f"{called} is left out by {name}: {reason}")
    if not event.has_snapshot:
        return Finding(NOTE, f"{called} is selected, and has no snapshot")
    return Finding(OK, f"{called} is selected")
