"""Moments: points in time as people type them."""

from __future__ import annotations

import argparse
from datetime import datetime

import pytest

from frigate_mirror.commands.moments import moment


@pytest.mark.parametrize(
    ("text", "ago"), [("3d", 259_200.0), ("12h", 43_200.0), ("30m", 1800.0), ("0d", 0.0)]
)
def test_a_span_is_counted_back_from_now(text: str, ago: float) -> None:
    assert moment(text, 1_000_000.0) == 1_000_000.0 - ago


def test_a_date_or_time_is_local_unless_it_names_a_zone() -> None:
    assert moment("2026-01-31") == datetime(2026, 1, 31).timestamp()
    assert moment("2026-01-31T18:30") == datetime(2026, 1, 31, 18, 30).timestamp()
    assert moment("1970-01-01T01:00+01:00") == 0.0


def test_a_long_number_is_unix_seconds() -> None:
    assert moment("1640995200") == 1_640_995_200.0
    assert moment("1640995200.5") == 1_640_995_200.5
    assert moment("0.0") == 0.0


@pytest.mark.parametrize("text", ["", "3", "3w", "-3d", "1234567d", "tomorrow", "2026-02-30"])
def test_any_other_text_is_refused_with_examples_of_what_is_accepted(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a time ago such as 3d, 12h, 30m"):
        moment(text)
