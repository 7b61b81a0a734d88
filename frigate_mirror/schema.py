"""The ledger's table, and the statements that queue artifacts, claim them and salvage them.

Each question by when something is due names its index: left to itself SQLite prefers the one of
the states, and reads the whole queue where a few rows are wanted.
"""

from __future__ import annotations

VERSION = 1
DDL = f"""
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
PRAGMA user_version = {VERSION};
"""
"""`crc` is of what the artifact itself is (see `entries.row_of`). Bits that flip there are noticed
by it; in all else by the constraints and the indices, whose columns are there twice."""
MADE = "SELECT type, name, tbl_name, sql FROM sqlite_master"

COLUMNS = (
    "id, camera, started, key, source, size, content_type, metadata, crc, "
    "priority, tries, attempts, added"
)
# The indices may be what is damaged; and a state that is nonsense now was not `uploaded`.
_LEFT = f"""SELECT {COLUMNS} FROM artifact NOT INDEXED
            WHERE state NOT IN ('uploaded', 'failed', 'gone') AND id > ? ORDER BY id """
LEFT_FROM_BELOW, LEFT_FROM_ABOVE = _LEFT + "ASC", _LEFT + "DESC"
ADD = """
    INSERT INTO artifact (id, camera, started, key, source, size, content_type, metadata, crc,
                          priority, due, added, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, 'pending')
    ON CONFLICT (id) DO UPDATE SET
        state = 'pending', due = excluded.due, added = excluded.added, tries = 0, attempts = 0,
        error = NULL,
        priority = excluded.priority, camera = excluded.camera, started = excluded.started,
        key = excluded.key, source = excluded.source, size = excluded.size,
        content_type = excluded.content_type, metadata = excluded.metadata, crc = excluded.crc
    WHERE state IN ('waiting', 'gone')"""

_QUEUE = "artifact INDEXED BY artifact_queue"
_DUE = f"""SELECT {COLUMNS} FROM {_QUEUE}
           WHERE state = 'pending' AND priority = ? AND due <= ? ORDER BY due """
OLDEST_DUE, NEWEST_DUE = _DUE + "ASC LIMIT ?", _DUE + "DESC LIMIT ?"
SOONEST = f"""SELECT id, due FROM {_QUEUE}
              WHERE state = 'pending' AND priority = ? ORDER BY due LIMIT ?"""
_NOT_DUE = "state = 'pending' AND priority IN (0, 1, 2) AND due > ?1"
HASTEN = f"UPDATE {_QUEUE} SET due = ?1 WHERE {_NOT_DUE} AND tries = 0"
MEND_PENDING = f"UPDATE {_QUEUE} SET due = ?1 WHERE {_NOT_DUE} AND (due > ?2 OR attempts = 0)"
MEND_WAITING = """UPDATE artifact INDEXED BY artifact_waiting SET due = ?1
                  WHERE state = 'waiting' AND due > ?1 AND (due > ?2 OR attempts = 0)"""
