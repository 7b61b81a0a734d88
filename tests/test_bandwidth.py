"""Bandwidth limits the bytes that uploads send per second."""

from __future__ import annotations

import math

import pytest

from frigate_mirror.settings import parse
from frigate_mirror.sinks.sink import Unavailable
from frigate_mirror.upload.bandwidth import Bandwidth, Throttle


class Now:
    def __init__(self) -> None:
        self.second, self.minute = 1000.0, 0

    def bandwidth(self, text: str) -> Bandwidth:
        limits = parse.bandwidth(text)
        return Bandwidth(limits, clock=lambda: self.second, minute=lambda: self.minute)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", ((0, math.inf),)),
        ("off", ((0, math.inf),)),
        ("500000", ((0, 500_000.0),)),
        ("1.5M", ((0, 1_572_864.0),)),
        ("512k", ((0, 524_288.0),)),
        ("1G", ((0, 1_073_741_824.0),)),
        ("08:00,512K 23:30,off", ((480, 524_288.0), (1410, math.inf))),
        ("23:00,off 8:00,1", ((480, 1.0), (1380, math.inf))),
    ],
)
def test_a_limit_is_bytes_a_second_or_a_timetable_of_them(
    text: str, limits: tuple[tuple[int, float], ...]
) -> None:
    assert parse.bandwidth(text) == limits


@pytest.mark.parametrize(
    "text",
    ["fast", "-1", "0", "1T", "24:00,1M", "08:60,1M", "08:00", "08:00,", "1M 2M",
     "08:00,1M 8:00,2M", "nan", "08:00,1M,2M", "1e9", "0.1"],
)  # fmt: skip
def test_the_error_for_a_text_that_is_no_limit_shows_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"08:00,512K"):
        parse.bandwidth(text)


def test_a_pause_after_each_upload_keeps_the_limit() -> None:
    now = Now()
    line = now.bandwidth("1000")
    assert line.pause() == 0.0
    line.send(500)
    line.send(1000)
    assert line.pause() == 1.5
    now.second += 1.0
    assert line.pause() == 0.5
    now.second += 100.0
    line.send(100)
    assert line.pause() == pytest.approx(0.1), "a quiet time is no credit"


def test_each_hour_has_the_limit_of_the_timetable() -> None:
    now = Now()
    line = now.bandwidth("08:00,1000 20:00,off")
    for minute, pause in [(0, 0.0), (479, 0.0), (480, 1.0), (1199, 1.0), (1200, 0.0), (1439, 0.0)]:
        now.minute = minute
        now.second += 1000.0
        line.send(1000)
        assert line.pause() == pause, minute


def test_without_a_limit_nothing_waits() -> None:
    line = Now().bandwidth("")
    line.send(10**12)
    assert line.pause() == 0.0


def test_a_sink_that_limits_itself_is_told_each_limit_of_the_day_once() -> None:
    told: list[float] = []
    now = Now()
    throttle = Throttle(told.append, parse.bandwidth("08:00,1K 22:00,off"), lambda: now.minute)
    throttle.tell()
    assert told == [], "the night begins without a limit, and so does the sink"
    for minute in (479, 480, 481, 1319, 1320, 1400):
        now.minute = minute
        throttle.tell()
    assert told == [1024.0, math.inf]


def test_a_limit_that_the_sink_did_not_take_is_told_again_and_is_a_trouble() -> None:
    told: list[float] = []

    def limit(rate: float) -> None:
        told.append(rate)
        if len(told) == 1:
            raise Unavailable("rclone does not answer")

    throttle = Throttle(limit, parse.bandwidth("2K"))
    throttle.tell()
    assert throttle.troubles() == ["the bandwidth limit does not hold: rclone does not answer"]
    throttle.tell()
    throttle.tell()
    assert (told, throttle.troubles()) == ([2048.0, 2048.0], [])
