"""Which runs a campaign makes, in which order, and making them within the time there is.

First every fault once, then every fault as often as it wants, then random pairs for as long as
there is time.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.campaign.faults import Fault
from lab.campaign.lab import Lab, side_by_side
from lab.campaign.run import Outcome, run

PAIRS = 200  # in a campaign of scale 1, at the most
AT_ONCE = 2  # worlds


@dataclass(frozen=True)
class Planned:
    """Everything random in a run comes from its seed: `{seed}:{number}:{names}`."""

    faults: tuple[Fault, ...]
    seed: str


def plan(faults: Sequence[Fault], seed: int, scale: float) -> list[Planned]:
    """Each fault's runs, and random pairs of those that go together, in their order."""
    rounds: dict[int, list[Planned]] = {}
    for fault in faults:
        for number in range(max(1, round(fault.runs * scale))):
            one = Planned((fault,), f"{seed}:{number}:{fault.name}")
            # The many runs of one fault spread over all rounds.
            rounds.setdefault(number * 4 // max(4, fault.runs), []).append(one)
    alone = [one for number in sorted(rounds) for one in rounds[number]]
    return alone + pairs(faults, seed, round(PAIRS * scale))


def pairs(faults: Sequence[Fault], seed: int, count: int) -> list[Planned]:
    """Random pairs of faults that go together, preferably of different kinds."""
    rng = random.Random(f"{seed}:pairs")
    able = [fault for fault in faults if not fault.alone]
    if len(able) < 2:
        return []
    found = []
    for number in range(count):
        one, other = rng.sample(able, 2)
        found.append(Planned((one, other), f"{seed}:{number}:{one.name} + {other.name}"))
    return found


class Campaign:
    """Makes planned runs until `deadline` (monotonic seconds); `tell` hears of each."""

    def __init__(self, lab: Lab, deadline: float, tell: Callable[[Outcome], None]) -> None:
        self._lab = lab
        self._deadline = deadline
        self._tell = tell
        self._telling = threading.Lock()
        self.outcomes: list[Outcome] = []
        self.left_out: list[Planned] = []

    def make(self, planned: Sequence[Planned], at_once: int = AT_ONCE) -> None:
        """Make them, `at_once` at a time."""
        side_by_side(self._lab, at_once, [functools.partial(self._one, one) for one in planned])

    def _one(self, planned: Planned) -> None:
        if time.monotonic() > self._deadline:
            self.left_out.append(planned)
            return
        outcome = run(self._lab, planned.faults, planned.seed)
        with self._telling:
            self.outcomes.append(outcome)
            self._tell(outcome)
