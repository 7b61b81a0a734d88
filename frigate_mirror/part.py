"""Part: how the mirror runs and reports its parts without knowing what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """What a part does now and then: `run` is called every `every` seconds, and the first time at
    once. Tasks with the same `thread` wait for each other."""

    thread: str
    every: float
    run: Callable[[], None]


class Part:
    """A part of the mirror. It overrides what it has to offer."""

    def tasks(self) -> Sequence[Task]:
        """Returns what the part does now and then."""
        return ()

    def troubles(self) -> list[str]:
        """Returns what is wrong at the moment, a sentence each."""
        return []

    def status(self) -> dict[str, Any]:
        """Returns the part's fields of the status document (`report.status.Status`). Raises
        LedgerError."""
        return {}

    def finish(self) -> None:
        """Is called once, after the last upload."""
