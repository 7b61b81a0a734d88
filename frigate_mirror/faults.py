"""The last error, and what is wrong at the moment, as the status shows them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

log = logging.getLogger("frigate_s3")
VARIES = re.compile(r"\S*[\d/]\S*")
"""Words that differ although the cause is the same: addresses, ids, times."""
MOST_CAUSES = 10  # of one trouble that are logged


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
    """What is wrong at the moment, by name. Each trouble is logged when it begins, when it has a
    cause that it did not have before (Frigate is away at first, and then comes back with another
    certificate), and when it is over."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._logged: dict[str, set[str]] = {}
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
        logged = self._logged.setdefault(name, set())
        cause = VARIES.sub("", trouble)
        if not trouble:
            if logged:
                log.info("S3 snapshot mirror: this is over: %s", self._now.get(name, name))
            logged.clear()
        elif cause not in logged and len(logged) < MOST_CAUSES:
            logged.add(cause)
            log.warning("S3 snapshot mirror: %s", trouble)
        self._now[name] = trouble

    def noted(self, name: str) -> bool:
        """Returns whether something is wrong with `name` at the moment."""
        return bool(self._now.get(name))

    def all(self) -> list[str]:
        # The copy guards against another thread that notes something meanwhile.
        return [trouble for trouble in list(self._now.values()) if trouble]
