"""The ledger's tables, the steps that bring an older ledger up to date, and the queue's statements.

Each question by when something is due names its index: left to itself SQLite prefers the one of
the states, and reads the whole queue where a few rows are wanted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from frigate_mirror.keys import kind_of

VERSION = 2
_DDL_2 = """
CREATE TABLE artifact (
    id           TEXT PRIMARY KEY,
    camera       TEXT NOT NULL,
    started      REAL NOT NULL,
    state        TEXT NOT NULL
                 CHECK (state IN ('waiting', 'pending', 'uploaded', 'failed', 'lost', 'gone')),
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
    version      TEXT,
    flaw         TEXT NOT NULL DEFAULT '',
    error        TEXT,
    acknowledged INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX artifact_queue ON artifact (priority, due) WHERE state = 'pending';
CREATE INDEX artifact_waiting ON artifact (due) WHERE state = 'waiting';
CREATE INDEX artifact_added ON artifact (added) WHERE state = 'pending';
CREATE INDEX artifact_state ON artifact (state, started);
CREATE INDEX artifact_dead ON artifact (started, id)
    WHERE state IN ('failed', 'lost') OR flaw != '';
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
DDL = _DDL_2
"""The tables of VERSION; those of an older one stay as they were, for the step that leads to it.

`version` and `flaw` are those of `Artifact`: of what was uploaded last, or is in the queue. `flaw`
of an uploaded row may also say that a later version was lost.
`settled` of a pending row says that an earlier version of it is in the bucket. `note` remembers
single values by their names."""


def _from_1(sql: sqlite3.Connection) -> None:
    """Version 1 had a checksum in each row, called what was lost `gone`, and took every object
    that `rebuild` found in the bucket for a snapshot."""
    sql.execute("ALTER TABLE artifact RENAME TO old")
    for (index,) in sql.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'old' AND sql NOT NULL"
    ).fetchall():
        sql.execute(f'DROP INDEX "{index}"')
    execute_all(sql, _DDL_2)
    same = """camera, started, priority, due, tries, attempts, added, settled, key, source, size,
              content_type, metadata, error"""
    sql.create_function("true_id", 2, _true_id, deterministic=True)
    sql.execute(f"""
        INSERT OR IGNORE INTO artifact (id, state, {same})
        SELECT true_id(id, key),
            CASE WHEN state = 'gone' AND key IS NOT NULL THEN 'lost' ELSE state END, {same}
        FROM old""")
    sql.execute("DROP TABLE old")


def _true_id(artifact_id: str, key: str | None) -> str:
    """The id with the kind that its key names."""
    kind, _, event_id = artifact_id.partition(":")
    return f"{kind_of(key or '') or kind}:{event_id}"


STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1}
"""Each makes of a ledger of its version one of the next, within a transaction of the caller's."""


def migrate(sql: sqlite3.Connection, found: int) -> None:
    """Bring a ledger of version `found` up to VERSION, 0 being an empty file: all of it or, on any
    exception, nothing."""
    sql.execute("BEGIN IMMEDIATE")
    try:
        if found == 0:
            execute_all(sql, DDL)
        for version in range(found or VERSION, VERSION):
            STEPS[version](sql)
        sql.execute(f"PRAGMA user_version = {VERSION}")
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:  # SQLite itself rolls back on a full disk
            sql.execute("ROLLBACK")
        raise


def execute_all(sql: sqlite3.Connection, script: str) -> None:
    """As `executescript`, which would commit first."""
    for statement in filter(str.strip, script.split(";")):
        sql.execute(statement)


COLUMNS = (
    "id, camera, started, key, source, size, content_type, metadata, version, flaw, "
    "priority, tries, attempts, added"
)
ALL_COLUMNS = f"{COLUMNS}, state, due, settled, error, acknowledged"
CHECK_COLUMNS = f"SELECT {ALL_COLUMNS} FROM artifact LIMIT 0"
TAKE_OVER = f"""INSERT OR IGNORE INTO artifact ({ALL_COLUMNS})
                SELECT {ALL_COLUMNS} FROM other.artifact"""
ADD = """
    INSERT INTO artifact (id, camera, started, key, source, size, content_type, metadata, version,
                          flaw, priority, due, added, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, 'pending')
    ON CONFLICT (id) DO UPDATE SET
        settled = CASE state WHEN 'uploaded' THEN settled END,
        state = 'pending', due = excluded.due, added = excluded.added, tries = 0, attempts = 0,
        error = NULL, acknowledged = 0,
        priority = excluded.priority, camera = excluded.camera, started = excluded.started,
        key = excluded.key, source = excluded.source, size = excluded.size,
        content_type = excluded.content_type, metadata = excluded.metadata,
        version = excluded.version, flaw = excluded.flaw
    WHERE state IN ('waiting', 'gone', 'lost')
       OR state IN ('pending', 'uploaded') AND version != excluded.version
       OR state = 'uploaded' AND version IS NULL AND size NOT IN (0, excluded.size)"""
"""A row whose version is unknown was uploaded before versions were kept; its size may be known."""

OUTDATED = """
    SELECT id FROM (SELECT ours.id AS id,
            ours.state IN ('gone', 'waiting') AS empty,
            theirs.state IN ('gone', 'waiting') AS their_empty,
            ours.version IS NULL AS vague, theirs.version IS NULL AS their_vague,
            max(ours.added, ifnull(ours.settled, 0.0)) AS at,
            max(theirs.added, ifnull(theirs.settled, 0.0)) AS their_time,
            (ours.state = 'uploaded') * 2 + ours.acknowledged AS weight,
            (theirs.state = 'uploaded') * 2 + theirs.acknowledged AS their_weight
        FROM artifact AS ours JOIN other.artifact AS theirs ON theirs.id = ours.id)
    WHERE empty > their_empty
       OR empty = their_empty AND (vague > their_vague OR vague = their_vague
           AND (their_time > at OR their_time = at AND their_weight > weight))"""
"""The ids of those rows of which an attached ledger, called `other`, has a later one. A row without
a file yields to one with a file, and one without a version, as it comes from a state file, to one
with a version. Of two rows of the same moment the uploaded one counts as the later, and then the
acknowledged one."""

DEAD = """artifact INDEXED BY artifact_dead
          WHERE (state IN ('failed', 'lost') OR flaw != '') AND state != 'pending'"""
"""Dead letters, and what is in the bucket with a flaw."""
_QUEUE = "artifact INDEXED BY artifact_queue"
_DUE = f"""SELECT id FROM {_QUEUE}
           WHERE state = 'pending' AND priority = ? AND due <= ? ORDER BY due """
OLDEST_DUE, NEWEST_DUE = _DUE + "ASC", _DUE + "DESC"
SOONEST = f"""SELECT id, due FROM {_QUEUE}
              WHERE state = 'pending' AND priority = ? ORDER BY due"""
_NOT_DUE = "state = 'pending' AND priority IN (0, 1, 2) AND due > ?1"
HASTEN = f"UPDATE {_QUEUE} SET due = ?1 WHERE {_NOT_DUE} AND tries = 0"
MEND_PENDING = f"UPDATE {_QUEUE} SET due = ?1 WHERE {_NOT_DUE} AND (due > ?2 OR attempts = 0)"
MEND_WAITING = """UPDATE artifact INDEXED BY artifact_waiting SET due = ?1
                  WHERE state = 'waiting' AND due > ?1 AND (due > ?2 OR attempts = 0)"""
