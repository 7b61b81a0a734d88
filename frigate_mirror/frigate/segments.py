"""Says which of Frigate's recording segments make up a span of time, and what they leave out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOLERANCE = 1.5
"""Seconds by which a row may begin after the end of the one before it. Frigate cuts the start of a
row to a whole second, so the rows of an unbroken recording overlap, or leave gaps, of up to 1 s."""

Span = tuple[float, float]
"""From when until when, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of Frigate's table `recordings`: a file, and its start and end in Unix seconds."""

    path: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Chain:
    """The segments that a span needs, in order, and which parts of the span they cover or not."""

    segments: tuple[Segment, ...]
    covered: tuple[Span, ...]
    gaps: tuple[Span, ...]


def chain(segments: Iterable[Segment], since: float, until: float) -> Chain:
    """Chains the segments from `since` to `until`. A segment that shows nothing new is left out.
    Where several follow, because two recorders were at work or the clock was set back, it takes the
    one that begins nearest to the end of the one before."""
    used: list[Segment] = []
    covered: list[Span] = []
    gaps: list[Span] = []
    begun = reached = since
    left = sorted((one for one in segments if one.start < one.end), key=lambda one: one.start)
    while left and reached < until:
        left = [one for one in left if one.end > reached and one.start < until]
        segment = _following(left, reached, first=not used)
        if segment is None:
            break
        if segment.start - reached > TOLERANCE:
            if used:
                covered.append((begun, reached))
            gaps.append((reached, segment.start))
            begun = segment.start
        used.append(segment)
        reached = segment.end
    if used:
        covered.append((begun, min(reached, until)))
    if not used or until - reached > TOLERANCE:
        gaps.append((reached, until))
    return Chain(tuple(used), tuple(covered), tuple(gaps))


def _following(left: Sequence[Segment], reached: float, *, first: bool) -> Segment | None:
    """Returns the segment that goes on from `reached`. The first one of a chain should show that
    moment itself."""
    near = [one for one in left if one.start <= reached + TOLERANCE] or left[:1]
    if first:
        near = [one for one in near if one.start <= reached] or near
    return min(near, key=lambda one: (abs(one.start - reached), -one.end), default=None)
