"""Writes rows into Frigate's event table that Frigate's own event thread would not write."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from lab.campaign import events
from lab.campaign.events import Event
from lab.campaign.world import World

Change = Callable[[Event], Event]
TABLE_SEEN = "the event table is there"


def database(world: World) -> sqlite3.Connection:
    """A connection to Frigate's database, as another process of Frigate opens it. It waits until
    the first Frigate of this world has made the table."""
    if not world.notes.get(TABLE_SEEN):
        wait_for_table(world)
        world.notes[TABLE_SEEN] = True
    return _connect(world)


def _connect(world: World) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{world.database}?mode=rw", uri=True, timeout=20)


def make(world: World, now: float | None = None, change: Change = lambda one: one) -> Event:
    """Makes an event that ended at `now` and writes its picture. It tells nobody of the event."""
    at = world.now if now is None else now
    event, picture = events.happen(world.rng, at, world.version)
    event = change(event)
    world.write(event, picture)
    return event


def unwritten(world: World) -> tuple[Event, bytes]:
    """An event, and its picture as bytes that are not written yet."""
    return events.happen(world.rng, world.now, world.version)


def own(world: World, event: Event, *, owed: bool = True) -> None:
    """Counts the event as committed. If it is not `owed` it may arrive, and must then be right."""
    event.committed, event.taken = True, not owed
    world.events[event.id] = event


def row(event: Event) -> dict[str, Any]:
    """The event's row as Frigate writes it, by column."""
    source = "object" if event.kind == "tracked" else "api"
    data = {"type": source, "score": 0.84, "top_score": 0.87, "attributes": []}
    return {
        "id": event.id, "label": event.label, "sub_label": None, "camera": event.camera,
        "start_time": event.started, "end_time": event.ended, "top_score": 0.87,
        "zones": '["drive"]', "has_clip": 1, "has_snapshot": 1, "retain_indefinitely": 0,
        "data": json.dumps(data),
    }  # fmt: skip


def insert(world: World, values: Mapping[str, Any]) -> None:
    """Inserts one row and commits it."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    with closing(database(world)) as connection, connection:
        query = f"INSERT OR REPLACE INTO event ({names}) VALUES ({marks})"
        connection.execute(query, tuple(values.values()))


def execute(world: World, *statements: str) -> None:
    """Executes each statement in a transaction of its own."""
    with closing(database(world)) as connection:
        connection.isolation_level = None
        for statement in statements:
            connection.execute(statement)


def delete(world: World, event_id: str) -> None:
    with closing(database(world)) as connection, connection:
        connection.execute("DELETE FROM event WHERE id = ?", (event_id,))


def wait_for_table(world: World) -> None:
    """Waits for the table, which Frigate's event thread makes a moment after its start."""
    world.wait_until(lambda: _has_table(world), 20, "Frigate's event table")


def _has_table(world: World) -> bool:
    try:
        with closing(_connect(world)) as connection:
            connection.execute("SELECT 1 FROM event LIMIT 1")
    except sqlite3.OperationalError:
        return False
    return True
