"""What is wrong: the last error, and the troubles of the moment."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger("frigate_s3")


@dataclass(frozen=True, slots=True)
class Fault:
    """The last error: when (Unix seconds), what, and what the owner can do about it."""

    at: float
    message: str
    hint: str


class Troubles:
    """What is wrong at the moment, by name; each is said once when it begins."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def note(self, name: str, trouble: str) -> None:
        """`trouble` is what is wrong with `name` now; empty: nothing is, any more."""
        if trouble and not self._now.get(name):
            log.warning("S3 snapshot mirror: %s", trouble)
        self._now[name] = trouble

    def all(self) -> list[str]:
        # A copy first: another thread may note something new meanwhile.
        return [trouble for trouble in list(self._now.values()) if trouble]
