"""One figure: our rounds and the rival's, their ratio, the goal, and whether the goal is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit. `of` names what it limits: the `ratio` of the medians or our own median (`ours`)."""

    of: str
    sign: str
    limit: float

    def met(self, ours: float, ratio: float | None) -> bool | None:
        value = ours if self.of == "ours" else ratio
        if value is None:
            return None
        return value <= self.limit if self.sign == "≤" else value >= self.limit

    def __str__(self) -> str:
        return f"{'' if self.of == 'ours' else 'ratio '}{self.sign} {self.limit:g}"


def at_most(limit: float) -> Goal:
    return Goal("ratio", "≤", limit)


def at_least(limit: float) -> Goal:
    return Goal("ratio", "≥", limit)


def below(limit: float) -> Goal:
    """A limit of our own median, in the figure's unit."""
    return Goal("ours", "≤", limit)


@dataclass
class Figure:
    """`ours` and `rival` have one value for each round, in `unit`. A figure without a goal is for
    information. A `verdict` replaces the comparison with the goal."""

    name: str
    unit: str
    ours: list[float]
    against: str = ""
    rival: list[float] = field(default_factory=list)
    goal: Goal | None = None
    note: str = ""
    verdict: bool | None = None

    @property
    def ratio(self) -> float | None:
        if not self.rival or not statistics.median(self.rival):
            return None
        return statistics.median(self.ours) / statistics.median(self.rival)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The least and the greatest ratio of two values of the same round."""
        pairs = [a / b for a, b in zip(self.ours, self.rival, strict=False) if b]
        return (min(pairs), max(pairs)) if pairs else None

    @property
    def met(self) -> bool | None:
        if self.verdict is not None or self.goal is None:
            return self.verdict
        return self.goal.met(statistics.median(self.ours), self.ratio)

    def document(self) -> dict[str, Any]:
        found = asdict(self) | {"goal": str(self.goal or ""), "ratio": self.ratio, "met": self.met}
        return found | {"median": statistics.median(self.ours), "spread": self.spread}


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def interleaved(rounds: int, **measures: Callable[[], float]) -> dict[str, list[float]]:
    """Runs each measure once a round, one after the other. Every other round runs them backwards,
    so that no measure always follows the same one."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        order = list(measures) if number % 2 == 0 else list(reversed(measures))
        for name in order:
            found[name].append(measures[name]())
    return found
