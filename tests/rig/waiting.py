"""Waiting for events in tests, with one generous limit for all of them.

The limit only says when a test gives up on what will never come. It must hold on a machine with
many times more work than processors, so no test chooses a shorter one for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120.0  # seconds


def eventually(
    condition: Callable[[], Any],
    what: str | Callable[[], str] = "",
    *,
    within: float = PATIENCE,
) -> Any:
    """Returns what `condition` returns as soon as that is true; fails after `within` seconds.
    `what` says what was waited for; a function is asked for it only then."""
    end = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > end:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {within:g} s: {told or 'the condition'}")
        time.sleep(0.01)
    return found
