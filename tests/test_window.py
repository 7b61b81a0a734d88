"""Window: which spans the sweep compares, also after the clock was set."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_mirror.intake.window import AROUND, Window
from frigate_mirror.ledger.ledger import Ledger

DAY = 86_400.0
WEEK = 7 * DAY
NOW = 1_705_329_022.5


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(tmp_path / "ledger.db")) as opened:
        yield opened


def test_the_window_goes_back_from_now(ledger: Ledger) -> None:
    window = Window(ledger, WEEK)
    assert window.spans(NOW) == [(NOW - WEEK, math.inf)]
    window.swept(NOW)
    assert window.spans(NOW + 60) == [(NOW + 60 - WEEK, math.inf)]


def test_after_a_clock_jumps_ahead_the_time_before_the_jump_is_swept_for_the_length_of_a_window(
    ledger: Ledger,
) -> None:
    Window(ledger, WEEK).swept(300.0)  # 1970, and then a restart
    window = Window(ledger, WEEK)
    behind = (300.0 - AROUND, 300.0 + AROUND)
    for later in (0.0, 60.0, WEEK - 1):
        assert window.spans(NOW + later) == [behind, (NOW + later - WEEK, math.inf)]
        window.swept(NOW + later)
    assert window.spans(NOW + WEEK + 1) == [(NOW + 1, math.inf)]


def test_a_clock_that_is_set_back_adds_no_span(ledger: Ledger) -> None:
    window = Window(ledger, WEEK)
    window.swept(NOW)
    assert window.spans(300.0) == [(300.0 - WEEK, math.inf)]


def test_the_span_before_a_jump_ends_where_the_window_begins(ledger: Ledger) -> None:
    window = Window(ledger, WEEK)
    window.swept(NOW - WEEK - 10.0)
    assert window.spans(NOW) == [
        (NOW - WEEK - 10.0 - AROUND, NOW - WEEK),
        (NOW - WEEK, math.inf),
    ]


def test_a_clock_that_jumps_again_and_again_leaves_a_bounded_number_of_spans(
    ledger: Ledger,
) -> None:
    window = Window(ledger, WEEK)
    for number in range(50):
        window.swept(1e8 + number * 1e6)
        assert len(window.spans(NOW)) <= 11


def test_dead_letters_from_before_a_jump_of_the_clock_are_not_years_old(ledger: Ledger) -> None:
    ledger.refuse("snapshot:299.5-abcdef", "a/b", 299.5, "names no file", 300.0)
    Window(ledger, WEEK).swept(300.0)
    Window(ledger, WEEK).spans(NOW)
    assert ledger.prune(NOW - WEEK, NOW - 90 * DAY) == (0, 0)
    [letter] = ledger.dead_letters()
    assert letter.at == NOW
