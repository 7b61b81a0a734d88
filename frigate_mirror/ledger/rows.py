"""The types of the ledger's rows, and their conversion to and from SQL columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from frigate_mirror.artifact import Artifact, Known, Opener

_FARTHEST = 6e10  # seconds, the year 3871; a later date cannot be written


class Priority(IntEnum):
    """The order in which due artifacts are claimed."""

    LIVE = 0
    RETRY = 1
    BACKLOG = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """An artifact in the queue. `attempts` counts all puts, `tries` only those that count against
    the artifact; `added` is Unix seconds."""

    artifact: Artifact
    priority: Priority
    tries: int
    attempts: int
    added: float


def row_of(artifact: Artifact) -> tuple[Any, ...]:
    """Returns the artifact as columns of the ledger."""
    a = artifact
    about = json.dumps(dict(a.about)) if a.about else None
    return (a.id, a.camera, float(a.started), a.key, a.origin, a.size, a.content_type,
            json.dumps(dict(a.metadata)), a.version, a.flaw, about, a.bulk,
            a.digest or None)  # fmt: skip


def entry_of(row: tuple[Any, ...], opener: Opener) -> Entry:
    """Returns the entry in a row of `schema.COLUMNS`. Raises TypeError or ValueError for a row that
    the ledger cannot have written."""
    *own, priority, tries, attempts, added = row
    artifact_id, camera, started, key, origin, size, content_type, text, *rest = own
    version, flaw, about, bulk = rest
    artifact = Artifact(
        artifact_id,
        camera,
        started,
        key,
        str(origin or ""),
        size,
        content_type,
        metadata=json.loads(text),
        version=version or "",
        flaw=flaw,
        about=json.loads(about) if about else {},
        bulk=bool(bulk),
        opener=opener,
    )
    return Entry(artifact, Priority(priority), int(tries), int(attempts), float(added))


@dataclass(frozen=True, slots=True)
class Settled:
    """An artifact that is uploaded or a dead letter, as in a line of the state files. `at` is Unix
    seconds, `error` says why it is a dead letter or flawed. `version`, `size` and `digest` (SHA-256
    in hex) are those of the uploaded bytes; a size of 0 and an empty digest are unknown."""

    at: float
    id: str
    key: str
    tries: int = 0
    error: str = ""
    version: str = ""
    size: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter, or an upload with a flaw, for people. `state` is failed, lost or uploaded, and
    `reason` says why."""

    id: str
    camera: str
    started: float
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many artifacts are in each state. `failed` and `lost` leave out those that the owner has
    acknowledged. `flawed` counts uploaded artifacts whose bytes are incomplete or of which a later
    version was lost. `forgotten` counts uploads whose rows are so old that the ledger has deleted
    them. `kinds` says for each kind how many are in each state, acknowledged or not."""

    waiting: int = 0
    pending: int = 0
    uploaded: int = 0
    failed: int = 0
    lost: int = 0
    gone: int = 0
    unwanted: int = 0
    retrying: int = 0
    flawed: int = 0
    acknowledged: int = 0
    forgotten: int = 0
    kinds: Mapping[str, Mapping[str, int]] = field(default_factory=dict, compare=False)


STATES = ("waiting", "pending", "uploaded", "failed", "lost", "gone", "unwanted")


def settled_of(row: tuple[Any, ...]) -> Settled:
    """Returns the artifact in a row (settled, id, key, tries, error). Raises TypeError or
    ValueError for a row that the ledger cannot have written."""
    at, artifact_id, key, tries, error = row
    at = float(at or 0.0)
    if not abs(at) < _FARTHEST:
        raise ValueError(f"artifact {artifact_id!r} was settled at {at!r}")
    return Settled(at, str(artifact_id), str(key or ""), int(tries), str(error or ""))


def dead_of(row: tuple[Any, ...]) -> Dead:
    """Returns the dead letter in a row of `Dead`'s fields. Raises TypeError or ValueError for a row
    that the ledger cannot have written."""
    artifact_id, camera, started, state, reason = row
    if not abs(started) < _FARTHEST:
        raise ValueError(f"artifact {artifact_id!r} started at {started!r}")
    return Dead(str(artifact_id), str(camera), float(started), str(state), str(reason or ""))


def known_of(row: tuple[Any, ...]) -> Known:
    """Returns what is known of an artifact, from a row of `Known`'s columns. Raises TypeError or
    ValueError for a row that the ledger cannot have written."""
    artifact_id, state, key, size, digest, version, about, error = row
    return Known(artifact_id, state, key or "", int(size), digest or "", version or "",
                 json.loads(about) if about else {}, error or "")  # fmt: skip


def counts_of(rows: Iterable[tuple[Any, Any]]) -> Counts:
    """Returns how many artifacts are in each state. Raises TypeError for an unknown state."""
    return Counts(**dict(rows))
