"""Waiting for a condition, with one generous limit for all tests.

The limit only says when a test gives up. It must hold on a machine that has many times more work
than processors, so no test chooses a shorter limit of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120.0  # seconds


def until(
    condition: Callable[[], Any],
    what: str | Callable[[], str] = "",
    *,
    within: float = PATIENCE,
    every: float = 0.01,
    error: type[Exception] = AssertionError,
) -> Any:
    """Asks `condition` `every` so many seconds and returns its first true answer.

    Raises `error` after `within` seconds. `what` names the condition in the message. A function is
    called for its text only then."""
    end = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > end:
            told = what() if callable(what) else what
            raise error(f"not within {within:g} s: {told or 'the condition'}")
        time.sleep(every)
    return found
