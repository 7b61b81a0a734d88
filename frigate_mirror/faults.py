"""The last error, and what is wrong at the moment, as the status shows them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger("frigate_s3")


@dataclass(frozen=True, slots=True)
class Fault:
    """An error: when it happened (Unix seconds), what it was, and what the owner can do about
    it."""

    at: float
    message: str
    hint: str


class PartError(Exception):
    """An error of one part of the mirror; `part` is the name of its trouble."""

    part = ""


class Troubles:
    """What is wrong at the moment, by name. Each trouble is logged once when it begins."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._closed = False

    def close(self) -> None:
        """Ignores all later errors of parts, because tasks may still run while the mirror stops."""
        self._closed = True

    def note_error(self, error: PartError) -> None:
        """Notes an error as the trouble of its part."""
        if not self._closed:
            self.note(error.part, str(error))

    def note(self, name: str, trouble: str) -> None:
        """Notes what is wrong with `name` now. An empty text means that nothing is wrong."""
        if trouble and not self._now.get(name):
            log.warning("S3 snapshot mirror: %s", trouble)
        self._now[name] = trouble

    def noted(self, name: str) -> bool:
        """Returns whether something is wrong with `name` at the moment."""
        return bool(self._now.get(name))

    def all(self) -> list[str]:
        # The copy guards against another thread that notes something meanwhile.
        return [trouble for trouble in list(self._now.values()) if trouble]
