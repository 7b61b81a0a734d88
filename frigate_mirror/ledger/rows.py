"""What the ledger's rows look like to everybody else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from frigate_mirror.artifact import Artifact

_FARTHEST = 6e10  # seconds, the year 3871: beyond it there is no date that could be written


class Priority(IntEnum):
    """The order in which what is due is claimed."""

    LIVE = 0
    RETRY = 1
    BACKLOG = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """An artifact in the queue. `tries` are charged to it, `attempts` counts all puts; `added`
    is Unix seconds."""

    artifact: Artifact
    priority: Priority
    tries: int
    attempts: int
    added: float


def row_of(artifact: Artifact) -> tuple[Any, ...]:
    """The artifact as columns of the ledger."""
    a = artifact
    return (a.id, a.camera, float(a.started), a.key, str(a.source), a.size, a.content_type,
            json.dumps(dict(a.metadata)), a.version, a.flaw)  # fmt: skip


def entry_of(row: tuple[Any, ...]) -> Entry:
    """The entry in a row of `schema.COLUMNS`. Raises TypeError or ValueError for a row that is
    not as it was written."""
    *own, priority, tries, attempts, added = row
    artifact_id, camera, started, key, source, size, content_type, text, version, flaw = own
    artifact = Artifact(
        artifact_id,
        camera,
        started,
        key,
        Path(source),
        size,
        content_type,
        metadata=json.loads(text),
        version=version or "",
        flaw=flaw,
    )
    return Entry(artifact, Priority(priority), int(tries), int(attempts), float(added))


@dataclass(frozen=True, slots=True)
class Settled:
    """A line of the state files: when (Unix seconds), which artifact, which key, why. `version`
    and `size` are those of what was uploaded; a size of 0 is unknown."""

    at: float
    id: str
    key: str
    tries: int = 0
    error: str = ""
    version: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """How many artifacts are in each state. `failed` and `lost` leave out those that the owner
    has acknowledged; `flawed` counts uploaded ones whose bytes were not whole, or of which a later
    version was lost."""

    waiting: int = 0
    pending: int = 0
    uploaded: int = 0
    failed: int = 0
    lost: int = 0
    gone: int = 0
    retrying: int = 0
    flawed: int = 0
    acknowledged: int = 0


def settled_of(row: tuple[Any, ...]) -> Settled:
    """The line that a row (settled, id, key, tries, error) is. Raises TypeError or ValueError for
    one that can be none."""
    at, artifact_id, key, tries, error = row
    at = float(at or 0.0)
    if not abs(at) < _FARTHEST:
        raise ValueError(f"artifact {artifact_id!r} was settled at {at!r}")
    return Settled(at, str(artifact_id), str(key or ""), int(tries), str(error or ""))


def counts_of(rows: Iterable[tuple[Any, Any]]) -> Counts:
    """How many artifacts are in each state. Raises TypeError for a word that is none."""
    return Counts(**dict(rows))
