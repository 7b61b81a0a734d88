"""Ledgers of other versions of the mirror: an older one is migrated, a newer one is kept.

The older ledger has a queue whose pictures only the spool still has, so nothing could replace it.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from lab.campaign import told
from lab.campaign.faults import Fault
from lab.campaign.faults.disk import state
from lab.campaign.last_copies import (
    as_an_earlier_version_held_them,
    nothing_is_lost,
    take_everything,
    wait_until_taken,
)
from lab.campaign.world import World

NEWER = 99
# The table as version 1 of the ledger had it, up to the mirror's version 0.1.0.
FIRST_VERSION = """
CREATE TABLE IF NOT EXISTS artifact (
    id           TEXT PRIMARY KEY,
    camera       TEXT NOT NULL,
    started      REAL NOT NULL,
    state        TEXT NOT NULL
                 CHECK (state IN ('waiting', 'pending', 'uploaded', 'failed', 'gone')),
    priority     INTEGER NOT NULL CHECK (priority IN (0, 1, 2)),
    due          REAL NOT NULL CHECK (typeof(due) = 'real'),
    tries        INTEGER NOT NULL DEFAULT 0 CHECK (typeof(tries) = 'integer'),
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (typeof(attempts) = 'integer'),
    added        REAL NOT NULL CHECK (typeof(added) = 'real'),
    settled      REAL,
    key          TEXT,
    source       TEXT,
    size         INTEGER NOT NULL DEFAULT 0,
    content_type TEXT,
    metadata     TEXT,
    crc          INTEGER,
    error        TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS artifact_queue ON artifact (priority, due) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS artifact_waiting ON artifact (due) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS artifact_added ON artifact (added) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS artifact_state ON artifact (state, started);
PRAGMA user_version = 1;
"""
COLUMNS = (
    "id", "camera", "started", "state", "priority", "due", "tries", "attempts", "added", "settled",
    "key", "source", "size", "content_type", "metadata", "crc", "error",
)  # fmt: skip
DESCRIBED = ("id", "camera", "started", "key", "source", "size", "content_type", "metadata")
STATES = ("waiting", "pending", "uploaded", "failed", "gone")


def _ledger(world: World) -> Path:
    return state(world) / "ledger.db"


# -- an older one


def _outage(world: World) -> None:
    world.proxy.refuse()
    world.burst(2, 4)


def _rewrite_as_first_version(world: World) -> None:
    """The owner updates the mirror. The next one finds the ledger of version 1."""
    wait_until_taken(world)
    world.stop()
    as_an_earlier_version_held_them(world)
    rows = _rows_of(_ledger(world))
    if not [row for row in rows if row["state"] == "pending"]:
        world.complaints.append("nothing was pending in the ledger, so this run proves nothing")
    for path in state(world).glob("ledger.db*"):
        path.unlink()
    with closing(sqlite3.connect(_ledger(world))) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.executescript(FIRST_VERSION)
        marks = ", ".join("?" * len(COLUMNS))
        with ledger:
            ledger.executemany(
                f"INSERT INTO artifact ({', '.join(COLUMNS)}) VALUES ({marks})",
                [tuple(_as_first_version(row).values()) for row in rows],
            )
    world.proxy.accept()
    world.start()


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """Returns the ledger's rows by the names of today's columns."""
    with closing(sqlite3.connect(path)) as ledger:
        ledger.row_factory = sqlite3.Row
        return [dict(row) for row in ledger.execute("SELECT * FROM artifact")]


def _as_first_version(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: row.get(name) for name in COLUMNS} | {"source": row["origin"]}
    if found["state"] not in STATES:  # of what version 1 did not know it had said: no file
        found["state"] = "gone"
    if found["state"] == "pending":
        described = [found[name] for name in DESCRIBED]
        found["crc"] = zlib.crc32(json.dumps(described).encode())
    return found


# -- a newer one


def _put_newer_there(world: World) -> None:
    """The owner goes back to an older mirror, which finds a newer ledger. The fault keeps the real
    one aside."""
    world.wait_until(world.quiet, 20, "Frigate's handlers to return")
    world.stop()
    aside = world.folder / "own ledger"
    aside.mkdir()
    for path in state(world).glob("ledger.db*"):
        path.rename(aside / path.name)
    with closing(sqlite3.connect(_ledger(world))) as ledger, ledger:
        ledger.execute("CREATE TABLE artifact (id TEXT PRIMARY KEY, colour TEXT, state TEXT)")
        ledger.execute("INSERT INTO artifact VALUES ('snapshot:1.5-abcdef', 'red', 'pending')")
        ledger.execute(f"PRAGMA user_version = {NEWER}")
    _ledger(world).chmod(0o600)
    world.notes["newer"] = _ledger(world).read_bytes()
    world.notes["said"] = len(world.log.read_bytes())
    world.start()


def _is_refused(world: World) -> bool:
    """Whether the mirror has said that a newer version made this ledger."""
    said = world.log.read_bytes()[world.notes["said"] :]
    return b"newer" in said and b"ledger.db" in said


def _use_commands(world: World) -> None:
    """No command may change it, fail with a traceback, or report that all is well."""
    for words in (("retry",), ("backfill", "--since", "1d")):
        told.run(world, *words)
    if told.status(world)["health"] == told.OK:
        world.complaints.append("health is OK with a ledger of a newer version")


def _take_newer_away(world: World) -> None:
    world.stop()
    path = _ledger(world)
    if not path.is_file() or path.read_bytes() != world.notes["newer"]:
        there = sorted(str(one.relative_to(world.folder)) for one in state(world).rglob("*"))
        world.complaints.append(f"the newer ledger is not as it was; there is {there}")
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    for own in (world.folder / "own ledger").iterdir():
        own.rename(path.with_name(own.name))
    world.start()


FAULTS = (
    Fault(
        name="a ledger of the first version, with pending pictures",
        prepare=take_everything(),
        begin=_outage,
        end=_rewrite_as_first_version,
        after=nothing_is_lost,
        alone=True,
    ),
    Fault(
        # There may be no mirror during the fault, so retention must wait.
        name="a ledger of a newer version",
        begin=_put_newer_there,
        strike=_use_commands,
        strikes=1,
        pause=(2.0, 4.0),
        met=_is_refused,
        end=_take_newer_away,
        after=nothing_is_lost,
        blinds=True,
        alone=True,
    ),
)
