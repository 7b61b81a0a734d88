"""Frigate's database is locked, busy, changed or replaced while the mirror runs.

Frigate's own event thread must go on, because without it there are no events. So a fault that would
stop it happens between two events, and the fault itself writes the events of that time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import struct
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.campaign import rows
from lab.campaign.faults import Fault, Step
from lab.campaign.faults.child import living
from lab.campaign.faults.disk import told
from lab.campaign.world import World
from tests.rig import processes

# SQLite's lock byte (os.h, "PENDING_BYTE"). While it is held, a process that has the database open
# goes on reading and writing, and no other process can open it. As a lock of the open file
# description it stays when this process opens and closes the file again.
PENDING_BYTE = 0x40000000
MINUTE = 60.0
LOCKED = told("database is locked")
COLUMNS = (
    ("sub_label", "VARCHAR(100)"),
    ("top_score", "REAL"),
    ("zones", "JSON NOT NULL DEFAULT '[]'"),
    ("label", "VARCHAR(20) NOT NULL DEFAULT ''"),
    ("end_time", "DATETIME"),
)
INDEXES = ("event_label", "event_label_start_time", "event_start_time_end_time")
"""Those that contain one of these columns. They must go before it."""


def _lock(world: World) -> None:
    rows.wait_for_table(world)
    file = os.open(world.database, os.O_RDWR | os.O_CLOEXEC)
    world.notes["lock"] = file
    world.at_close(lambda: _unlock(world))
    whole = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, PENDING_BYTE, 1, 0)
    world.wait_until(lambda: _locked(file, whole), 20, "the lock on the database")
    if pid := living(world):  # a mirror that has it open already does not meet the lock
        processes.kill(pid, signal.SIGKILL)


def _locked(file: int, whole: bytes) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, whole)
    except BlockingIOError:
        return False
    return True


def _unlock(world: World) -> None:
    if (file := world.notes.pop("lock", None)) is not None:
        os.close(file)


# -- a busy writer, and a reader that prevents the log from being emptied


def _write_busily(world: World) -> None:
    rows.wait_for_table(world)
    world.notes["quit"] = quit_ = threading.Event()
    seed = world.rng.randint(1, 30)
    world.notes["writer"] = thread = threading.Thread(
        target=_writer, args=(world.database, quit_, seed / 1000), daemon=True
    )
    thread.start()
    world.at_close(lambda: _rest(world))


def _writer(database: Path, quit_: threading.Event, pause: float) -> None:
    with closing(sqlite3.connect(database, timeout=20)) as writer:
        writer.isolation_level = None
        writer.execute("CREATE TABLE IF NOT EXISTS written (id TEXT, path TEXT)")
        with closing(sqlite3.connect(database, timeout=20)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM written").fetchone()
            while not quit_.wait(pause):
                writer.execute("BEGIN IMMEDIATE")
                values = [(str(number), "x" * 200) for number in range(200)]
                writer.executemany("INSERT INTO written VALUES (?, ?)", values)
                writer.execute("COMMIT")


def _rest(world: World) -> None:
    world.notes["quit"].set()
    world.notes["writer"].join(20)


# -- another table


def _between_events(change: Callable[[World], Any]) -> Step:
    """Waits until Frigate has handled every event, and sends it none until the fault is over."""

    def strike(world: World) -> None:
        rows.wait_for_table(world)
        if world.wait_until(world.quiet, 20, "Frigate to be idle") and world.running.alive:
            change(world)

    return strike


def _drop_a_column(world: World) -> None:
    """Removes a column that an upload does not need, and checks that a new event is uploaded."""
    column, back = world.rng.choice(COLUMNS)
    ended = {e.id: e.ended for e in world.events.values()}
    rows.execute(
        world,
        *(f"DROP INDEX IF EXISTS {index}" for index in INDEXES),
        f"ALTER TABLE event DROP COLUMN {column}",
    )
    event = rows.make(world)
    if column == "end_time":
        event.kind = "api"  # a tracked object without an end has not ended yet
    rows.insert(world, {k: v for k, v in rows.row(event).items() if k != column})
    rows.own(world, event)
    there = lambda: event.id in world.oracle.present()  # noqa: E731
    world.wait_until(there, 20, f"a picture without column {column}")
    rows.execute(world, f"ALTER TABLE event ADD COLUMN {column} {back}")
    if column == "end_time":
        with closing(rows.database(world)) as connection, connection:
            query = "UPDATE event SET end_time = ? WHERE id = ?"
            connection.executemany(query, [(at, one) for one, at in ended.items()])


def _add_columns(world: World) -> None:
    number = world.notes["columns"] = world.notes.get("columns", 0) + 1
    rows.execute(
        world,
        f"ALTER TABLE event ADD COLUMN extra_{number} TEXT DEFAULT 'x'",
        f"CREATE INDEX event_extra_{number} ON event (extra_{number}, start_time DESC)",
    )


def _miss_a_needed_column(world: World) -> None:
    column = world.rng.choice(("id", "camera", "start_time", "has_snapshot"))
    rows.execute(world, f"ALTER TABLE event RENAME COLUMN {column} TO elsewhere")
    world.pause(1.5, 2.5)
    rows.execute(world, f"ALTER TABLE event RENAME COLUMN elsewhere TO {column}")


def _rebuild_table(world: World) -> None:
    """Replaces the table as migrations do where ALTER is not enough: copy, drop, rename."""
    rows.execute(
        world,
        "BEGIN IMMEDIATE",
        "CREATE TABLE event_new AS SELECT * FROM event",
        "DROP TABLE event",
        "ALTER TABLE event_new RENAME TO event",
        "CREATE UNIQUE INDEX event_by_id ON event (id)",
        "COMMIT",
        "VACUUM",
    )


# -- another file


def _replace(world: World) -> None:
    """For a while there is another database, or none, or something else of that name."""
    aside = world.folder / "aside"
    aside.mkdir(exist_ok=True)
    family = [world.database.with_name(world.database.name + end) for end in ("-shm", "-wal", "")]
    for path in filter(Path.exists, family):
        path.rename(aside / path.name)
    how = world.rng.choice((_nothing, _folder, _text, _empty_file, _half, _older))
    how(world, aside / world.database.name)
    world.pause(1.5, 3.0)
    for path in filter(Path.exists, family):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in aside.iterdir():
        path.rename(world.database.parent / path.name)


def _nothing(world: World, original: Path) -> None:
    pass


def _folder(world: World, original: Path) -> None:
    world.database.mkdir()


def _text(world: World, original: Path) -> None:
    world.database.write_bytes(b"SQLite format 3\0" + world.rng.randbytes(5000))


def _empty_file(world: World, original: Path) -> None:
    world.database.touch()


def _half(world: World, original: Path) -> None:
    data = original.read_bytes()
    world.database.write_bytes(data[: len(data) // 2])


def _older(world: World, original: Path) -> None:
    """Restores a backup: the table, with one event of its own."""
    with closing(sqlite3.connect(original, timeout=20)) as connection:
        [table] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'event'")
    with closing(sqlite3.connect(world.database, timeout=20)) as connection:
        connection.execute(table[0])
    event = rows.make(world)
    rows.insert(world, rows.row(event))
    rows.own(world, event)
    world.wait_until(
        lambda: event.id in world.oracle.present(), 20, "the event of the database put there"
    )


FAULTS = (
    Fault(name="database locked", begin=_lock, end=_unlock, met=LOCKED, blinds=True, alone=True),
    Fault(
        name="database locked for a minute",
        begin=_lock,
        end=_unlock,
        met=LOCKED,
        lasts=(MINUTE, MINUTE),
        blinds=True,
        alone=True,
    ),
    Fault(name="busy writer", begin=_write_busily, end=_rest, lasts=(3.0, 8.0)),
    Fault(
        name="a column dropped and added",
        strike=_between_events(_drop_a_column),
        strikes=3,
        lasts=(0.0, 1.0),
        alone=True,
    ),
    Fault(name="columns added", strike=_between_events(_add_columns), strikes=3),
    Fault(
        name="a needed column missing",
        strike=_between_events(_miss_a_needed_column),
        strikes=3,
        lasts=(0.0, 1.0),
        blinds=True,
        alone=True,
    ),
    Fault(
        name="event table rebuilt",
        strike=_between_events(_rebuild_table),
        strikes=1,
        alone=True,
    ),
    Fault(
        name="database replaced while open",
        strike=_between_events(_replace),
        strikes=3,
        lasts=(0.0, 1.0),
        blinds=True,
        alone=True,
        runs=4,
    ),
)
