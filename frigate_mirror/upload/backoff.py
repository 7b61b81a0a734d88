"""Backoff: how long to wait before the next try.

The pause doubles with each failure and is jittered. Full jitter (a random share of the doubled
pause) spreads clients that failed together; see the AWS Architecture Blog, "Exponential Backoff And
Jitter". A tenth of the pause is the floor, so that no try follows the last one at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`base` and `cap` are seconds: `base` doubles with every failure, up to `cap`. `chance` gives
    a number from 0 to 1."""

    base: float
    cap: float
    chance: Callable[[], float] = random.random

    def pause(self, failures: int) -> float:
        """Returns the seconds to wait after the `failures`-th failure in a row; the first is 1."""
        doubled = self.base * 2.0 ** min(max(failures - 1, 0), 60)
        longest = min(self.cap, doubled)
        return longest * (0.1 + 0.9 * self.chance())
