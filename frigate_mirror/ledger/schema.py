"""The ledger's tables, the migration of an older ledger, and the queue's statements.

Each query by due time names its index. Otherwise SQLite prefers the index of the states, and reads
the whole queue to find a few rows.
"""

from __future__ import annotations

import sqlite3

from frigate_mirror.keys import kind_in

VERSION = 5
DDL = """
CREATE TABLE artifact (
    id           TEXT PRIMARY KEY,
    camera       TEXT NOT NULL,
    started      REAL NOT NULL,
    state        TEXT NOT NULL
                 CHECK (state IN ('waiting', 'pending', 'uploaded', 'failed', 'lost', 'gone',
                                  'unwanted')),
    priority     INTEGER NOT NULL CHECK (priority IN (0, 1, 2)),
    due          REAL NOT NULL CHECK (typeof(due) = 'real'),
    tries        INTEGER NOT NULL DEFAULT 0 CHECK (typeof(tries) = 'integer'),
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (typeof(attempts) = 'integer'),
    added        REAL NOT NULL CHECK (typeof(added) = 'real'),
    settled      REAL,
    key          TEXT,
    origin       TEXT,
    size         INTEGER NOT NULL DEFAULT 0,
    content_type TEXT,
    metadata     TEXT,
    version      TEXT,
    flaw         TEXT NOT NULL DEFAULT '',
    digest       TEXT,
    error        TEXT,
    acknowledged INTEGER NOT NULL DEFAULT 0,
    bulk         INTEGER NOT NULL DEFAULT 0 CHECK (bulk IN (0, 1)),
    about        TEXT
) WITHOUT ROWID;
CREATE INDEX artifact_queue ON artifact (bulk, priority, due) WHERE state = 'pending';
CREATE INDEX artifact_waiting ON artifact (bulk, priority, due) WHERE state = 'waiting';
CREATE INDEX artifact_added ON artifact (added) WHERE state = 'pending';
CREATE INDEX artifact_state ON artifact (state, started);
CREATE INDEX artifact_dead ON artifact (started, id)
    WHERE state IN ('failed', 'lost') OR flaw != '';
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
"""The tables of VERSION.

`version` and `flaw` are those of the `Artifact` that is in the queue or was uploaded last. The
`flaw` of an uploaded row may also say that a later version was lost. `settled` of a pending row
says that an earlier version is in the bucket. `digest` is the SHA-256, in hex, of the bytes that
are held or were uploaded. `about` is a JSON object, and stays as long as the row. `note` remembers
single values by their names."""

CHANGED: dict[int, dict[str, str]] = {
    1: {
        "id": "true_id(id, key)",
        "state": "CASE WHEN state = 'gone' AND key IS NOT NULL THEN 'lost' ELSE state END",
        "origin": "source",
    },
    2: {"origin": "source"},
    3: {},
    4: {},
}
"""For each older version, the columns that the migration does not copy from the old column of the
same name, and the SQL that computes them from an old row. Version 1 called a lost artifact
`gone`, and gave every object that `rebuild` found in the bucket the same kind."""


def migrate(sql: sqlite3.Connection, found: int) -> None:
    """Brings a ledger of version `found` up to VERSION in one transaction. Version 0 is an empty
    file. The old rows are copied into the tables of today."""
    sql.execute("BEGIN IMMEDIATE")
    try:
        if found:
            sql.execute("ALTER TABLE artifact RENAME TO old")
            for (index,) in sql.execute(
                """SELECT name FROM sqlite_master
                   WHERE type = 'index' AND tbl_name = 'old' AND sql NOT NULL"""
            ).fetchall():
                sql.execute(f'DROP INDEX "{index}"')
        for statement in filter(str.strip, DDL.split(";")):  # executescript would commit first
            sql.execute(statement)
        if found:
            _copy_rows(sql, CHANGED[found])
        sql.execute(f"PRAGMA user_version = {VERSION}")
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:  # SQLite itself rolls back on a full disk
            sql.execute("ROLLBACK")
        raise


def _copy_rows(sql: sqlite3.Connection, changed: dict[str, str]) -> None:
    """Copies every column that the old and the new table have in common, and those in `changed`."""
    sql.create_function("true_id", 2, _true_id, deterministic=True)
    old, new = (
        {name for _, name, *_ in sql.execute(f"PRAGMA table_info({table})")}
        for table in ("old", "artifact")
    )
    values = {name: name for name in new & old} | changed
    names, expressions = ", ".join(values), ", ".join(values.values())
    sql.execute(f"INSERT OR IGNORE INTO artifact ({names}) SELECT {expressions} FROM old")
    sql.execute("DROP TABLE old")


def _true_id(artifact_id: str, key: str | None) -> str:
    """Returns the id with the kind that its key names."""
    kind, _, event_id = artifact_id.partition(":")
    return f"{kind_in(key or '') or kind}:{event_id}"


COLUMNS = (
    "id, camera, started, key, origin, size, content_type, metadata, version, flaw, "
    "about, bulk, priority, tries, attempts, added"
)
ALL_COLUMNS = f"{COLUMNS}, state, due, settled, digest, error, acknowledged"
CHECK_COLUMNS = f"SELECT {ALL_COLUMNS} FROM artifact LIMIT 0"
TAKE_OVER = f"""INSERT OR IGNORE INTO artifact ({ALL_COLUMNS})
                SELECT {ALL_COLUMNS} FROM other.artifact"""
SET_NOTE = "INSERT OR REPLACE INTO note VALUES (?, ?)"
TAKE_OVER_NOTES = """
    INSERT INTO note SELECT name, value FROM other.note WHERE name IN (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
    WHERE CAST(excluded.value AS REAL) > CAST(value AS REAL)"""
"""Takes over two notes that are numbers, where the other ledger has the larger one."""
ADD_TO_NOTE = """
    INSERT INTO note VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value"""
"""Adds to a note that is a whole number."""
ADD = """
    INSERT INTO artifact (id, camera, started, key, origin, size, content_type, metadata, version,
                          flaw, about, bulk, digest, priority, due, added, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 'pending')
    ON CONFLICT (id) DO UPDATE SET
        settled = CASE state WHEN 'uploaded' THEN settled END,
        state = 'pending', due = excluded.due, added = excluded.added, tries = 0, attempts = 0,
        error = NULL, acknowledged = 0,
        priority = excluded.priority, camera = excluded.camera, started = excluded.started,
        key = CASE WHEN settled NOT NULL AND NOT bulk AND substr(key, -4) = substr(excluded.key, -4)
                   THEN key ELSE excluded.key END,
        origin = excluded.origin, size = excluded.size,
        content_type = excluded.content_type, metadata = excluded.metadata,
        version = excluded.version, flaw = excluded.flaw,
        about = excluded.about, bulk = excluded.bulk, digest = excluded.digest
    WHERE state IN ('waiting', 'gone', 'lost', 'unwanted')
       OR state IN ('pending', 'uploaded') AND version != excluded.version
       OR state = 'uploaded' AND version IS NULL AND size NOT IN (0, excluded.size)"""
"""Queues an artifact. A row without a version was uploaded before versions were kept; its size may
be known. A file that is uploaded again keeps its key, even if the owner has chosen another template
meanwhile, so that it replaces the object."""

OUTDATED = """
    SELECT id FROM (SELECT ours.id AS id,
            ours.state IN ('gone', 'waiting', 'unwanted') AS empty,
            theirs.state IN ('gone', 'waiting', 'unwanted') AS their_empty,
            ours.version IS NULL AS vague, theirs.version IS NULL AS their_vague,
            max(ours.added, ifnull(ours.settled, 0.0)) AS at,
            max(theirs.added, ifnull(theirs.settled, 0.0)) AS their_time,
            (ours.state = 'uploaded') * 2 + ours.acknowledged AS weight,
            (theirs.state = 'uploaded') * 2 + theirs.acknowledged AS their_weight
        FROM artifact AS ours JOIN other.artifact AS theirs ON theirs.id = ours.id)
    WHERE empty > their_empty
       OR empty = their_empty AND (vague > their_vague OR vague = their_vague
           AND (their_time > at OR their_time = at AND their_weight > weight))"""
"""The ids of rows for which the attached ledger `other` has a later row. A row without a file
yields to a row with a file, and a row without a version, as a state file gives it, to a row with a
version. Of two rows of the same moment, the uploaded one counts as later, then the acknowledged
one."""

DEAD = """artifact INDEXED BY artifact_dead
          WHERE (state IN ('failed', 'lost') OR flaw != '') AND state != 'pending'"""
"""Dead letters, and uploaded artifacts with a flaw."""
_QUEUE = "artifact INDEXED BY artifact_queue"
_DUE = f"""SELECT id FROM {_QUEUE}
           WHERE state = 'pending' AND bulk = ? AND priority = ? AND due <= ? ORDER BY due """
OLDEST_DUE, NEWEST_DUE = _DUE + "ASC", _DUE + "DESC"
SOONEST = f"""SELECT id, due FROM {_QUEUE}
              WHERE state = 'pending' AND bulk = ? AND priority = ? ORDER BY due"""
OLDEST_TO_MAKE = """SELECT min(due) FROM artifact INDEXED BY artifact_waiting
                    WHERE state = 'waiting' AND bulk = 1 AND priority = ?"""
LOST_TO_MAKE = """SELECT count(*) FROM artifact INDEXED BY artifact_waiting
                  WHERE state = 'waiting' AND bulk = 1 AND priority IN (0, 1, 2)
                    AND settled NOT NULL AND NOT acknowledged"""
"""Counts the lost artifacts that are looked for again at this moment."""
_NOT_DUE = "state = 'pending' AND bulk IN (0, 1) AND priority IN (0, 1, 2) AND due > ?1"
HASTEN = f"UPDATE {_QUEUE} SET due = ?1 WHERE {_NOT_DUE} AND tries = 0"
MEND_PENDING = f"UPDATE {_QUEUE} SET due = ?1 WHERE {_NOT_DUE} AND (due > ?2 OR attempts = 0)"
MEND_WAITING = """UPDATE artifact INDEXED BY artifact_waiting SET due = ?1
                  WHERE state = 'waiting' AND bulk IN (0, 1) AND priority IN (0, 1, 2)
                    AND due > ?1 AND (due > ?2 OR attempts = 0)"""
