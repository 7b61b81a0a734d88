"""What Frigate's next cleanup will do with a segment, by Frigate's settings and review items."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.frigate.config import ConfigError
from frigate_mirror.frigate.record_settings import (
    OfReviews,
    RecordSettings,
    Retention,
    of_api,
    of_file,
)
from frigate_mirror.restore.fate import DAY, Fate
from frigate_mirror.restore.recordings_table import ReviewItem
from tests.rig import ROOT

NOW = 1_800_000_000.0
KEPT = Retention(2.0, 1.0, OfReviews(10.0, 5, 7), OfReviews(4.0, 3, 3))
OLD = NOW - 3 * DAY
"""A start that is beyond the retention, but not beyond that of review items."""


def is_kept(
    start: float, *reviews: ReviewItem, seconds: float = 10.0, kept: Retention = KEPT,
    later: bool = False,
) -> bool:  # fmt: skip
    fate = Fate(kept, reviews, NOW, counts_later_reviews=later)
    return not fate.of(start, start + seconds)


def test_a_segment_is_kept_as_long_as_it_ends_within_the_retention() -> None:
    border = NOW - 2 * DAY
    assert is_kept(border - 10)
    assert not is_kept(border - 10.001)


@pytest.mark.parametrize(("severity", "before", "after"), [("alert", 5, 7), ("detection", 3, 3)])
def test_a_review_item_keeps_what_it_shows_with_its_captures(
    severity: str, before: int, after: int
) -> None:
    item = ReviewItem(OLD, OLD + 60, severity)
    assert is_kept(OLD - before - 10, item)
    assert not is_kept(OLD - before - 10.01, item)
    assert is_kept(OLD + 60 + after, item)
    assert not is_kept(OLD + 60 + after + 0.01, item)


def test_an_item_in_progress_keeps_all_that_follows() -> None:
    assert is_kept(OLD + 20_000, ReviewItem(OLD, None, "alert"))


def test_an_item_that_expires_itself_keeps_nothing() -> None:
    for severity, days in (("alert", 10), ("detection", 4)):
        end = NOW - days * DAY
        assert is_kept(end - 5, ReviewItem(end - 60, end, severity))
        assert not is_kept(end - 5, ReviewItem(end - 60, end - 0.01, severity))


def test_items_within_the_retention_count_only_for_frigate_0_18() -> None:
    border = NOW - 2 * DAY
    item = ReviewItem(border + 1, border + 60, "alert")
    assert not is_kept(border - 12, item)
    assert is_kept(border - 12, item, later=True)


def test_segments_are_judged_in_order_and_each_by_itself() -> None:
    items = [ReviewItem(OLD + at, OLD + at + 20, "alert") for at in range(0, 10_000, 500)]
    fate = Fate(KEPT, items, NOW, counts_later_reviews=False)
    starts = [OLD + at for at in range(-100, 10_500, 10)]
    together = [not fate.of(start, start + 10) for start in starts]
    assert together == [is_kept(start, *items) for start in starts]
    assert any(together)
    assert not all(together)


def test_random_worlds_agree_with_a_plain_reading_of_frigates_rule() -> None:
    dice = random.Random(5)
    for _ in range(300):
        same = OfReviews(dice.uniform(3, 6), 4, 4)  # equal captures, so that order cannot matter
        kept = replace(KEPT, alerts=same, detections=same)
        items = sorted(
            (
                ReviewItem(start, dice.choice([start + dice.uniform(1, 900), None]), "alert")
                for start in (OLD + dice.uniform(-3 * DAY, DAY) for _ in range(20))
            ),
            key=lambda item: item.start,
        )
        items = [replace(item, end=item.end or item.start + 5) for item in items[:-1]] + items[-1:]
        fate = Fate(kept, items, NOW, counts_later_reviews=False)
        for start in sorted(OLD + dice.uniform(-4 * DAY, 2 * DAY) for _ in range(100)):
            end = start + 10
            shown = any(
                item.start - 4 <= end
                and (item.end is None or item.end + 4 >= start)
                and item.start < NOW - 2 * DAY
                and not (item.end is not None and item.end < NOW - same.days * DAY)
                for item in items
            )
            is_deleted = bool(fate.of(start, end))
            assert is_deleted != (end >= NOW - 2 * DAY or shown)


def test_days_are_counted_by_the_clock_on_the_wall_as_frigate_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        for zone, hours in (("UTC", 0), ("STD-1DST,J14/3,J200/3", -1), ("STD-1DST,J5/3,J14/3", 1)):
            monkeypatch.setenv("TZ", zone)  # the clock is put forward, or back, on 14 January
            time.tzset()
            border = NOW - 2 * DAY - hours * 3600
            assert is_kept(border - 10)
            assert not is_kept(border - 10.001)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_more_days_than_there_have_been_keep_everything() -> None:
    assert is_kept(0, kept=replace(KEPT, days=1e6))
    assert is_kept(0, kept=replace(KEPT, days=1e12))


def test_the_sentence_names_the_days_that_are_needed() -> None:
    text = Fate(KEPT, [], NOW, counts_later_reviews=False).of(OLD, OLD + 10)
    assert "for 2 day(s)" in text
    assert "raise the retention to 3 days" in text


# -- Frigate's settings


@pytest.mark.parametrize("version", ["0.16.4", "0.17.2", "0.18.0-beta1"])
def test_the_settings_of_each_version_are_read_as_its_api_gives_them(version: str) -> None:
    path = ROOT / "tests" / "fixtures" / "frigate_config" / f"{version}.json"
    found = of_file(path)
    assert sorted(found.cameras) == ["front_door"]
    assert found.cameras["front_door"].alerts == OfReviews(10.0, 5, 5)
    assert (found.every, found.syncs, found.is_safe) == (3600.0, False, False)


def config(tmp_path: Path, text: str) -> RecordSettings:
    path = tmp_path / "config.yml"
    path.write_text(text)
    return of_file(path)


YAML = """
record:
  enabled: true
  continuous: {days: 3}
  alerts: {pre_capture: 8, retain: {days: 30}}
cameras:
  front_door: {}
  garage:
    record: {motion: {days: 7}, alerts: {retain: {days: 2}}, detections: {post_capture: 0}}
  empty:
"""


def test_a_configuration_file_is_filled_in_as_frigate_does(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    found = config(tmp_path, YAML).cameras
    usual = OfReviews(10, 5, 5)
    assert found["front_door"] == Retention(3, 3, OfReviews(30, 8, 5), usual)
    assert found["empty"] == found["front_door"]
    assert found["garage"] == Retention(7, 3, OfReviews(2, 8, 5), OfReviews(10, 5, 0))


def test_the_older_form_has_one_time_for_all_recordings(tmp_path: Path) -> None:
    record = {"retain": {"days": 6, "mode": "motion"}, "sync_recordings": True}
    text = json.dumps({"cameras": {"door": {}}, "record": {**record, "expire_interval": 30}})
    found = config(tmp_path, text)
    assert (found.cameras["door"].days, found.cameras["door"].continuous_days) == (6, 6)
    assert (found.every, found.syncs) == (1800.0, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "cameras: {",
        '{"cameras": []}',
        '{"cameras": {"door": {"record": {"alerts": 5}}}}',
        '{"cameras": {"door": {"record": {"continuous": {"days": "many"}}}}}',
        '{"cameras": {"door": {}}, "record": {"expire_interval": null, "alerts": []}}',
        "\udcff",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"config\.yml"):
        of_file(path)


@pytest.mark.parametrize("document", [None, [], {}, {"cameras": {"door": {}}}])
def test_an_answer_that_is_not_frigates_is_refused(document: Any) -> None:
    with pytest.raises(ConfigError, match="not the settings of Frigate"):
        of_api(document)
