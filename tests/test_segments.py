"""Which recording segments make up a span of time, and what they leave out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.frigate.segments import TOLERANCE, Segment, chain


def rows(*spans: tuple[float, float]) -> list[Segment]:
    return [Segment(f"{start}.mp4", start, end) for start, end in spans]


def test_a_chain_has_the_segments_that_overlap_the_span_in_order() -> None:
    known = rows((30, 40), (10, 20), (40, 50), (20, 30), (0, 10))
    found = chain(known, 15, 35)
    assert [one.start for one in found.segments] == [10, 20, 30]
    assert found.covered == ((15, 35),)
    assert found.gaps == ()


def test_rows_may_overlap_or_leave_up_to_one_and_a_half_seconds() -> None:
    found = chain(rows((1.5, 10), (11.5, 20), (19, 28.5)), 0, 30)
    assert found.gaps == ()
    assert found.covered == ((0, 28.5),)
    assert len(found.segments) == 3


def test_longer_holes_are_gaps_at_the_start_within_and_at_the_end() -> None:
    found = chain(rows((2, 10), (12, 20)), 0, 22)
    assert found.gaps == ((0, 2), (10, 12), (20, 22))
    assert found.covered == ((2, 10), (12, 20))


def test_a_span_without_segments_is_one_gap() -> None:
    for known in (rows(), rows((0, 10), (20, 30))):
        found = chain(known, 10, 20)
        assert found.segments == ()
        assert found.covered == ()
        assert found.gaps == ((10, 20),)


def test_a_segment_that_is_there_twice_or_shows_nothing_new_is_left_out() -> None:
    found = chain(rows((0, 10), (0, 10), (3, 8), (10, 10), (15, 9), (10, 20)), 0, 20)
    assert [one.start for one in found.segments] == [0, 10]
    assert len(chain(rows((0, 10), (15, 12)), 0, 20).segments) == 1, "it ends before it starts"


def test_of_two_recorders_at_once_one_chain_is_taken() -> None:
    mine, other = ((0, 10), (10, 20), (20, 30)), ((3, 13), (13, 23), (23, 33))
    found = chain(rows(*mine, *other), 1, 29)
    assert [one.start for one in found.segments] == [0, 10, 20]
    assert found.covered == ((1, 29),)


def test_a_clock_that_was_set_back_leaves_no_gap() -> None:
    found = chain(rows((0, 10), (6, 16), (16, 26)), 0, 25)
    assert [one.start for one in found.segments] == [0, 6, 16]
    assert found.gaps == ()


times = st.floats(0, 100)


@given(st.lists(st.tuples(times, times)), times, st.floats(0.1, 100))
def test_what_is_covered_and_the_gaps_fill_the_span(
    spans: list[tuple[float, float]], since: float, length: float
) -> None:
    until = since + length
    found = chain(rows(*spans), since, until)
    pieces = sorted([*found.covered, *found.gaps])
    assert pieces[0][0] == since
    assert until - pieces[-1][1] <= TOLERANCE
    assert all(here[1] == after[0] for here, after in pairwise(pieces))
