"""Artifact: one file on its way to the destination. Knows nothing of who made the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of one event, on its way to one key.

    `id` is `{kind}:{event id}`, the ledger's key; `started` the event's start and `size` the
    file's size in bytes when it was seen; `metadata` is ready for the sink. `version` changes
    whenever the file or what the event says of itself does; `flaw` says in a few words why the
    bytes are not whole, and is empty where they are.
    """

    id: str
    camera: str
    started: float
    key: str
    source: Path
    size: int
    content_type: str
    metadata: Mapping[str, str]
    version: str = ""
    flaw: str = ""


def event_of(artifact: str) -> str:
    """The event id in an artifact's id."""
    return artifact.partition(":")[2]
