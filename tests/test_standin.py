"""The stand-in for Frigate has what a real one has of an event, also its recording."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror import mp4
from frigate_mirror.frigate.pictures import flaw
from tests.rig import ROOT, STANDIN, event_table, ffmpeg
from tests.rig.event_table import SEGMENTS
from tests.rig.waiting import PATIENCE, until

EVENTS = 5
SECONDS = 4.0  # of a segment


class Frigate:
    """A stand-in that records, and runs until it is stopped."""

    def __init__(self, folder: Path, events: int = EVENTS) -> None:
        self.media, self.database = folder / "media", folder / "frigate.db"
        self._environ = {
            "PATH": os.environ["PATH"],
            "STANDIN_MEDIA": str(self.media),
            "STANDIN_DB": str(self.database),
            "STANDIN_EVENTS": str(events),
            "STANDIN_LINGER": f"{PATIENCE:g}",
            "STANDIN_SEGMENTS": str(STANDIN / "segments"),
        }
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "frigate"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, cwd=STANDIN, env=self._environ, stdout=quiet, stderr=quiet
        )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def rows(self, query: str) -> list[dict[str, Any]]:
        connection = sqlite3.connect(self.database)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]
        except sqlite3.OperationalError:  # the stand-in has not made its tables yet
            return []
        finally:
            connection.close()

    def has_recorded_all(self) -> bool:
        """Says whether the recording of each camera reaches the end of its last event."""
        ends = {row["camera"]: row["end"] for row in self.rows(
            "SELECT camera, max(end_time) AS end FROM recordings GROUP BY camera")}  # fmt: skip
        events = self.rows("SELECT * FROM event WHERE end_time IS NOT NULL")
        return len(events) == EVENTS - 1 and all(
            ends.get(event["camera"], 0) >= event["end_time"] for event in events
        )


@pytest.fixture(scope="module")
def frigate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frigate]:
    started = Frigate(tmp_path_factory.mktemp("frigate"))
    try:
        until(started.has_recorded_all)
        yield started
    finally:
        started.stop()


def test_the_recording_covers_each_event_without_a_gap(frigate: Frigate) -> None:
    for event in frigate.rows("SELECT * FROM event"):
        camera = event["camera"]
        rows = frigate.rows(f"SELECT * FROM recordings WHERE camera = '{camera}' ORDER BY path")
        assert rows[0]["start_time"] < event["start_time"] - 5
        for row, following in itertools.pairwise(rows):
            assert row["end_time"] == following["start_time"] == row["start_time"] + SECONDS


def test_each_row_of_the_recording_names_a_whole_movie(frigate: Frigate) -> None:
    rows = frigate.rows("SELECT * FROM recordings")
    contents = set()
    for row in rows:
        at = datetime.fromtimestamp(row["start_time"], UTC)
        place = f"recordings/{at:%Y-%m-%d/%H}/{row['camera']}/{at:%M.%S}.mp4"
        assert row["path"] == str(frigate.media / place)
        assert mp4.read(Path(row["path"])).duration == row["duration"] == SECONDS
        contents.add(Path(row["path"]).read_bytes())
    assert len(contents) == len(rows) > 3, "no two segments are alike"


def test_an_event_has_its_timeline_its_review_item_and_its_thumbnail(frigate: Frigate) -> None:
    events = frigate.rows("SELECT * FROM event WHERE label != 'visitor'")
    assert len(events) == 2
    for event in events:
        moments = frigate.rows(f"SELECT * FROM timeline WHERE source_id = '{event['id']}'")
        assert [row["class_type"] for row in moments] == [
            "visible", "entered_zone", "entered_zone", "gone",
        ]  # fmt: skip
        assert moments[0]["timestamp"] == event["start_time"]
        assert event["start_time"] < moments[-1]["timestamp"] < event["end_time"]
        [review] = frigate.rows(f"SELECT * FROM reviewsegment WHERE data LIKE '%{event['id']}%'")
        assert json.loads(review["data"])["detections"] == [event["id"]]
        assert review["severity"] == json.loads(event["data"])["max_severity"] == "alert"
    for event in frigate.rows("SELECT * FROM event"):
        thumbnail = frigate.media / "clips" / "thumbs" / event["camera"] / f"{event['id']}.webp"
        with thumbnail.open("rb") as file:
            assert file.read(12)[8:] == b"WEBP"
            file.seek(0)
            assert flaw(file) == ""


def test_a_restart_goes_on_where_the_recording_has_ended(tmp_path: Path) -> None:
    frigate = Frigate(tmp_path, events=0)
    try:
        until(lambda: bool(frigate.rows("SELECT * FROM recordings")))
        frigate.stop()
        [before] = frigate.rows("SELECT max(end_time) AS end FROM recordings")
        later = f"SELECT start_time FROM recordings WHERE end_time > {before['end']}"
        frigate.start()
        until(lambda: frigate.rows(later))
        assert frigate.rows(later)[0]["start_time"] == before["end"]
    finally:
        frigate.stop()


def test_the_rig_adds_rows_with_the_columns_that_the_standin_fills(
    frigate: Frigate, tmp_path: Path
) -> None:
    sql = sqlite3.connect(tmp_path / "frigate.db", isolation_level=None)
    sql.executescript(event_table.TABLE)
    movie = SEGMENTS["garage"]
    path = event_table.add_recording(sql, tmp_path, "garage", 1705329022, SECONDS, movie)
    assert path == tmp_path / "recordings/2024-01-15/14/garage/30.22.mp4"
    assert path.read_bytes() == movie.read_bytes()
    event_table.add_moment(sql, "1705329022.5-abcdef", "garage", "gone", 1705329025.25)
    event_table.add_review(sql, "garage", ["1705329022.5-abcdef"], 1705329022.5, None)
    sql.row_factory = sqlite3.Row
    for table in ("recordings", "timeline", "reviewsegment"):
        query = f"SELECT * FROM {table} WHERE camera = 'garage'"
        [ours], [theirs, *_] = sql.execute(query), frigate.rows(query)
        for name in set(theirs) - {"end_time"}:
            assert type(ours[name]) is type(theirs[name]), (table, name)
    sql.close()


def test_the_machines_ffmpeg_makes_segments_like_those_that_are_shipped(tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").symlink_to(ffmpeg.ffmpeg())
    made = tmp_path / "segments"
    subprocess.run(
        ["bash", ROOT / "demo" / "segments.sh", made],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )
    assert {path.stem for path in made.iterdir()} == SEGMENTS.keys()
    for camera, shipped in SEGMENTS.items():
        assert mp4.read(made / f"{camera}.mp4").duration == mp4.read(shipped).duration == SECONDS
        assert len(ffmpeg.pictures(made / f"{camera}.mp4")) == len(ffmpeg.pictures(shipped)) == 20
        assert shipped.stat().st_size < 60_000
