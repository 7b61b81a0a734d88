"""Part: the interface through which the mirror runs its parts and asks for their status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """A recurring task of a part. The mirror calls `run` at its start, and then every `every`
    seconds. Tasks that name the same `thread` run one after the other in that thread."""

    thread: str
    every: float
    run: Callable[[], None]


class Part:
    """A part of the mirror. A subclass overrides the methods for which it has something to do or to
    return."""

    def tasks(self) -> Sequence[Task]:
        """Returns the part's recurring tasks."""
        return ()

    def troubles(self) -> list[str]:
        """Returns what is wrong at the moment, a sentence each."""
        return []

    def status(self) -> dict[str, Any]:
        """Returns the part's fields of the status document (`report.status.Status`). Raises
        LedgerError."""
        return {}

    def finish(self) -> None:
        """Does the part's last work. The mirror calls it once, after the last upload."""
