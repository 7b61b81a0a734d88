"""What one figure is: ours and the rival's rounds, their ratio, the goal, and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """`of` is what is looked at: the ratio of the medians, or our own median (`ours`)."""

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
    """Our own median, in the figure's unit."""
    return Goal("ours", "≤", limit)


@dataclass
class Figure:
    """`ours` and `rival` are one value a round, in `unit`, interleaved. Without a goal a figure is
    for information; `verdict` overrules the comparison where the row knows better."""

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
        """Least and greatest ratio of two values of the same round."""
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
    """Each measure once a round, in turn; every other round backwards, so that none is always
    the one that runs after another."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        order = list(measures) if number % 2 == 0 else list(reversed(measures))
        for name in order:
            found[name].append(measures[name]())
    return found
