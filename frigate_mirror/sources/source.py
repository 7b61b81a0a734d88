"""Source: what offers the ids of subjects that may have files now."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """Offers ids. An id is only a hint: the sweep finds what a source misses."""

    @property
    def ended(self) -> bool:
        """Whether no more ids will come."""
        ...

    def ids(self, timeout: float) -> list[str]:
        """Returns the ids that arrive within `timeout` seconds, as soon as there are any."""
        ...

    def settle(self, ids: list[str], taken: bool) -> None:
        """Takes note of whether the intake could look at these ids, which `ids` has returned."""
        ...
