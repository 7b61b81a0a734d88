"""What the ledger's rows look like to everybody else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from frigate_mirror.artifacts import Artifact


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


COLUMNS = (
    "id, camera, started, priority, tries, attempts, added, "
    "key, source, size, content_type, metadata"
)


def entry_of(row: tuple[Any, ...]) -> Entry:
    """The entry in a row of the COLUMNS."""
    (one, camera, started, priority, tries, attempts, added, key, source, size, kind, text) = row
    artifact = Artifact(
        one, camera, started, key, Path(source), size, content_type=kind, metadata=json.loads(text)
    )
    return Entry(artifact, Priority(priority), tries, attempts, added)


@dataclass(frozen=True, slots=True)
class Settled:
    """A line of the state files: when (Unix seconds), which artifact, which key, why."""

    at: float
    id: str
    key: str
    tries: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    waiting: int = 0
    pending: int = 0
    uploaded: int = 0
    failed: int = 0
    gone: int = 0
    retrying: int = 0
