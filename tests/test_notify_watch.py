"""When the owner is told that something is wrong, and that it is well again."""

from __future__ import annotations

import dataclasses

import pytest

from frigate_mirror.notify.watch import DAY, WELL, WELL_FOR, WRONG, Watch
from frigate_mirror.report.status import DEGRADED, DOWN, OK, UNKNOWN

AFTER = 900.0
STEP = 10.0


class Told:
    """A watch that looks every STEP seconds, and what it wanted to be told, with the time."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.watch = watch or Watch()
        self.now = 0.0
        self.told: list[tuple[float, str]] = []
        self._first = True

    def stays(self, health: str, seconds: float) -> Told:
        for _ in range(round(seconds / STEP)):
            passed = 0.0 if self._first else STEP
            self._first = False
            if what := self.watch.look(health, passed, after=AFTER, now=1e9 + self.now):
                self.told.append((self.now, what))
            self.now += STEP
        return self

    @property
    def words(self) -> list[str]:
        return [what for _, what in self.told]


def test_good_health_is_told_to_nobody() -> None:
    assert Told().stays(OK, 10 * DAY).told == []


@pytest.mark.parametrize("health", [DEGRADED, DOWN])
def test_what_stays_wrong_is_told_once_after_the_time_that_the_owner_has_set(health: str) -> None:
    told = Told().stays(OK, 100).stays(health, DAY)
    assert told.told == [(100 + AFTER, WRONG)]


def test_what_is_well_again_before_that_time_is_told_to_nobody() -> None:
    told = Told()
    for _ in range(20):
        told.stays(DOWN, AFTER - STEP).stays(OK, STEP)
    assert told.told == []


def test_the_end_of_a_trouble_is_told_once_and_only_if_its_beginning_was() -> None:
    told = Told().stays(DOWN, AFTER + 100).stays(OK, DAY)
    assert told.words == [WRONG, WELL]
    assert told.told[1][0] == AFTER + 100 + WELL_FOR
    assert told.stays(DOWN, AFTER - 100).stays(OK, DAY).words == [WRONG, WELL]


def test_a_trouble_that_comes_back_at_once_is_the_same_one() -> None:
    told = Told().stays(DOWN, AFTER + STEP)
    for _ in range(50):
        told.stays(OK, WELL_FOR - STEP).stays(DOWN, AFTER + STEP)
    assert told.words == [WRONG]
    assert told.watch.since == 1e9


def test_a_week_of_outage_is_told_at_most_once_a_day() -> None:
    told = Told().stays(DOWN, 7 * DAY)
    times = [at for at, _ in told.told]
    assert told.words == [WRONG] * 7
    assert times == [AFTER + DAY * day for day in range(7)]


def test_a_trouble_that_gets_worse_is_told_once_more_and_then_daily() -> None:
    told = Told().stays(DEGRADED, 3_600).stays(DOWN, 3 * DAY)
    assert [at for at, _ in told.told] == [
        AFTER, 3_600 + AFTER, 3_600 + AFTER + DAY, 3_600 + AFTER + 2 * DAY,
    ]  # fmt: skip
    assert Told().stays(DOWN, 3_600).stays(DEGRADED, 3_600).words == [WRONG]


def test_a_trouble_whose_health_changes_still_counts_from_its_beginning() -> None:
    told = Told()
    while told.now < AFTER + STEP:
        told.stays(DEGRADED, STEP).stays(DOWN, STEP)
    assert told.told == [(AFTER, WRONG)]


def test_unknown_health_after_a_start_is_neither_wrong_nor_well() -> None:
    assert Told().stays(UNKNOWN, DAY).told == []
    told = Told().stays(DOWN, AFTER + STEP).stays(UNKNOWN, DAY)
    assert told.words == [WRONG]
    assert told.stays(OK, WELL_FOR + STEP).words == [WRONG, WELL]


def test_a_service_that_comes_and_goes_for_a_week_is_told_a_bounded_number_of_times() -> None:
    told = Told()
    while told.now < 7 * DAY:
        told.stays(DOWN, AFTER + STEP).stays(OK, WELL_FOR + STEP)
    days = [sum(day * DAY <= at < (day + 1) * DAY for at, _ in told.told) for day in range(7)]
    assert max(days) <= 24 and sum(days) <= 7 * 12 + 12
    assert told.words[:4] == [WRONG, WELL, WRONG, WELL]


def test_a_restart_in_the_middle_of_a_trouble_repeats_and_forgets_no_notice() -> None:
    before = Told().stays(DOWN, AFTER - 60)
    after = Told(dataclasses.replace(before.watch))
    after.stays(UNKNOWN, 30).stays(DOWN, 200)
    assert before.told == [] and after.words == [WRONG]
    third = Told(dataclasses.replace(after.watch)).stays(UNKNOWN, 30).stays(DOWN, DAY - 1_000)
    assert third.told == []
    assert third.stays(OK, WELL_FOR + STEP).words == [WELL]


def test_the_time_while_no_mirror_runs_is_no_time_of_a_trouble() -> None:
    before = Told().stays(DOWN, AFTER - 60)
    after = Told(dataclasses.replace(before.watch))
    assert after.stays(DOWN, 50).told == []
