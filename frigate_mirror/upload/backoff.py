"""How long to wait before the next try: exponential with full jitter.

Full jitter (a random share of the doubled pause) spreads clients that failed together; see the AWS
Architecture Blog, "Exponential Backoff And Jitter". A tenth of the pause is kept as a floor, so
that no try follows the last one at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: `base` doubles with every failure up to `cap`. `chance` gives 0 to 1."""

    base: float
    cap: float
    chance: Callable[[], float] = random.random

    def pause(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure in a row (the first is 1)."""
        doubled = self.base * 2.0 ** min(max(failures - 1, 0), 60)
        longest = min(self.cap, doubled)
        return longest * (0.1 + 0.9 * self.chance())
