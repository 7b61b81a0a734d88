"""Rows of Frigate's event table that go early, are malformed, are many, or have unusual times."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

from lab.campaign import events, rows
from lab.campaign.events import Event
from lab.campaign.faults import Fault, Step
from lab.campaign.world import World

HOUR, DAY, YEAR = 3_600.0, 86_400.0, 365 * 86_400.0
CHUNK = 10_000  # rows in one transaction, so that Frigate's event thread waits only briefly


# -- rows that go early


def _row_gone_at_once(world: World) -> None:
    """Deletes the row before or just after anybody could read it. The picture stays without a
    row."""
    event = rows.make(world)
    rows.insert(world, rows.row(event))
    world.pause(0.0, 0.3)
    rows.delete(world, event.id)
    rows.own(world, event, owed=False)


def _picture_gone_at_once(world: World) -> None:
    """A retention of 0 days deletes the picture. The hook may or may not be faster."""
    event = rows.make(world)
    event.taken = True
    world.send(event)
    world.pause(0.0, 0.3)
    for file in event.files:
        (world.clips / file).unlink(missing_ok=True)


def _no_picture(world: World) -> None:
    """The row says `has_snapshot`, but the file is missing, for ever or for a while."""
    event, picture = rows.unwritten(world)
    rows.insert(world, rows.row(event))
    if world.rng.random() < 0.5:
        rows.own(world, event, owed=False)
        return
    world.pause(0.0, 4.0)
    events.write(world.clips, event, picture, world.version)
    rows.own(world, event)


def _all_found(world: World) -> None:
    world.wait_until(
        lambda: world.owed().keys() <= world.oracle.present().keys(), 60, "late pictures"
    )


# -- malformed rows

DEEP = "[" * 5_000 + "]" * 5_000
HARMLESS: tuple[dict[str, Any], ...] = (
    {"zones": "no JSON"}, {"zones": DEEP}, {"zones": b"\xff\xfe"}, {"zones": '{"a": [1]}'},
    {"data": "[]"}, {"data": '{"type": 5, "top_score": "much"}'}, {"data": DEEP},
    {"data": "x" * 1_000_000}, {"label": ""}, {"label": b"\x00\xff"}, {"label": "x" * 5_000},
    {"sub_label": b"\xff" * 3_000}, {"sub_label": "a\nb\0c"}, {"top_score": "high"},
    {"top_score": 9e999}, {"top_score": -1e308}, {"has_snapshot": 2}, {"has_snapshot": -1},
    {"zones": '["\\ud800", null, 3, {"a": 1}]'}, {"end_time": 1e300}, {"end_time": -5},
)  # fmt: skip
FATAL: tuple[dict[str, Any], ...] = (
    {"id": b"\x01\xff"}, {"id": 17}, {"id": ""}, {"id": "a/../../b"}, {"id": "x" * 4_096},
    {"id": "1.5-abc\nsnapshot"}, {"camera": b"\xff\x00"}, {"camera": 7}, {"camera": ""},
    {"start_time": "yesterday"}, {"start_time": b"1"}, {"start_time": 9e999},
    {"start_time": 1e300}, {"start_time": 4e10}, {"start_time": -1e300}, {"has_snapshot": b"1"},
    {"has_snapshot": "perhaps"}, {"end_time": "never"}, {"end_time": 9e999},
)  # fmt: skip


def _malformed(world: World) -> None:
    """Inserts some rows of each kind. The harmless ones are owed; the others must do no harm."""
    for what in world.rng.sample(HARMLESS, 4):
        event = rows.make(world)
        rows.insert(world, rows.row(event) | what)
        rows.own(world, event)
    for what in world.rng.sample(FATAL, 4):
        event = rows.make(world)
        rows.insert(world, rows.row(event) | what)
        rows.own(world, event, owed=False)
    world.burst(1, 2)


def _no_utf8(world: World) -> None:
    """A text column with bytes that are no text."""
    event = rows.make(world)
    rows.insert(world, rows.row(event) | {"id": "no-utf8"})
    rows.execute(world, "UPDATE event SET id = CAST(X'FFFE41' AS TEXT) WHERE id = 'no-utf8'")
    rows.own(world, event, owed=False)


# -- times


def _times(world: World) -> None:
    """Ends in the future, in the past or missing; starts of yesterday and tomorrow. All are
    owed."""
    now = world.now
    for change in world.rng.sample((
        lambda e: replace(e, ended=now + world.rng.choice((HOUR, YEAR, 50 * YEAR))),
        lambda e: replace(e, ended=e.started - HOUR),
        lambda e: replace(e, kind="manual", ended=now + DAY),
        lambda e: replace(e, ended=0.0),
    ), 3):  # fmt: skip
        world.send(rows.make(world, change=change))
    world.send(rows.make(world, now - world.rng.uniform(HOUR, 6 * DAY)))
    world.send(rows.make(world, now + world.rng.choice((60.0, DAY))))
    never = rows.make(world, change=lambda e: replace(e, kind="api"))
    rows.insert(world, rows.row(never) | {"end_time": None})
    rows.own(world, never)
    _ends_later(world)


def _ends_later(world: World) -> None:
    """A tracked object is complete only with its end, so it is not owed before."""
    event = rows.make(world, change=lambda e: replace(e, kind="tracked"))
    rows.insert(world, rows.row(event) | {"end_time": None})
    world.pause(0.5, 1.5)
    if event.id in world.oracle.present():
        world.complaints.append(f"{event.id} is in the bucket before its end")
    rows.insert(world, rows.row(event))
    rows.own(world, event)


def _older_than_the_window(world: World) -> None:
    """An event of which only the hook can tell."""
    world.send(rows.make(world, world.now - 8 * DAY))


def _held_back(world: World) -> None:
    """Delays the mirror's start until a few events have ended."""
    world.change(broken={"module": "boto3", "how": "exit"})


# -- a million rows


def _filler(number: int, now: float) -> tuple[str, float]:
    """The ids and starts of past events, spread over the last five days."""
    started = round(now - 60 - number * (5 * DAY / 1_000_000), 6)
    return f"{started}-{number % 1_000_000:06d}", started


def _known_already(count: int) -> Step:
    """Half of the rows were uploaded in an earlier life, as the state file says. Half have no
    picture."""

    def prepare(world: World) -> None:
        world.notes["now"] = world.now
        cache = world.clips / "cache"
        cache.mkdir()
        with (cache / ".s3_uploaded_events").open("w") as file:
            for number in range(0, count, 2):
                one, _ = _filler(number, world.notes["now"])
                key = f"garage/2026-01-01/{one}-20260101_000000.jpg"
                file.write(f"2026-01-01T00:00:00Z\tsnapshot:{one}\t{key}\n")

    return prepare


def _many(count: int) -> Step:
    def begin(world: World) -> None:
        rows.wait_for_table(world)
        rows.execute(world, "CREATE INDEX IF NOT EXISTS event_start_time_end_time ON event "
                            "(start_time DESC, end_time DESC)")  # fmt: skip
        pattern = Event("", "garage", "car", "api", 0.0, 0.0, "", "")
        names, values = zip(*rows.row(pattern).items(), strict=True)
        query = f"INSERT INTO event ({','.join(names)}) VALUES ({','.join('?' * len(names))})"
        with closing(rows.database(world)) as connection:
            for first in range(0, count, CHUNK):
                world.lab.rest(0.0)
                chunk = range(first, min(count, first + CHUNK))
                with connection:
                    connection.executemany(query, (_filled(names, values, n, world) for n in chunk))
        world.burst(2, 4)

    return begin


def _filled(
    names: tuple[str, ...], values: tuple[Any, ...], number: int, world: World
) -> list[Any]:
    event_id, started = _filler(number, world.notes["now"])
    own = {"id": event_id, "start_time": started, "end_time": started + 5,
           "has_snapshot": 1 - number % 2}  # fmt: skip
    return [own.get(name, value) for name, value in zip(names, values, strict=True)]


def _no_hook_told(world: World) -> None:
    """One event among all the rows, in the middle of the window. Only the sweep can find it."""
    at = world.notes["now"] - world.rng.uniform(60, 4 * DAY)
    event = rows.make(world, at)
    rows.insert(world, rows.row(event))
    rows.own(world, event)


def many(count: int, **more: Any) -> Fault:
    return Fault(
        name=f"{count:,} events in the window",
        prepare=_known_already(count),
        begin=_many(count),
        strike=_no_hook_told,
        strikes=3,
        blinds=True,  # a sweep takes longer than the fair chance
        alone=True,
        environ={"MIRROR_BATCH_SIZE": "500"},
        **more,
    )


FAULTS = (
    Fault(name="rows deleted before they are read", strike=_row_gone_at_once, strikes=6),
    Fault(name="retention of 0 days", strike=_picture_gone_at_once, strikes=6),
    Fault(
        name="has_snapshot without a file",
        strike=_no_picture,
        strikes=6,
        end=_all_found,
        blinds=True,  # the mirror looks less and less often for a picture that comes late
        alone=True,
    ),
    Fault(
        name="malformed rows",
        strike=_malformed,
        strikes=3,
        alone=True,
        runs=4,
    ),
    Fault(
        name="an event id that is no text",
        begin=_no_utf8,
        alone=True,
    ),
    Fault(name="times of any kind", strike=_times, strikes=2, pause=(0.0, 0.5), runs=3),
    Fault(
        name="an event older than the window ends",
        strike=_older_than_the_window,
        strikes=3,
        alone=True,
    ),
    Fault(
        name="events end before the mirror is up",
        prepare=_held_back,
        starts=False,
        end=lambda world: world.change(broken=None),
        alone=True,
    ),
    many(20_000),
    many(1_000_000, bound=600.0, lasts=(60.0, 60.0)),
)
