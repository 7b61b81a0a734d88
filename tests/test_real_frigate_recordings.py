"""Frigate's own cleanup and its own sync after a recording backfill: what was foretold happens.

tests/rig/real_frigate.py says what these tests need.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.frigate.record_settings import of_api
from frigate_mirror.restore.backfill import (
    ADDED,
    REFUSED,
    SAFE_AGE,
    Backfill,
    Request,
    Summary,
)
from frigate_mirror.restore.recordings_folder import RecordingsFolder
from frigate_mirror.restore.recordings_table import RecordingsTable
from frigate_mirror.restore.undo import UndoFile
from tests.rig import real_frigate
from tests.rig.recorder import SECONDS, SEGMENT

pytestmark = real_frigate.needs_frigate

WORLDS = 200
CAMERAS = ("front_door", "garage", "yard")
DAYS = (0, 0.25, 1, 2.5, 5, 10)
"""For how many days something may be kept."""
MODES = ("all", "motion", "active_objects")
DAY = 86_400.0
NOW = 1_800_000_000.0
CLEANUP = NOW + 60
"""When the cleanup runs: one `expire_interval` of these worlds after the backfill."""

FORWARD, BACK = "STD-1DST,J13/3,J200/3", "STD-1DST,J5/3,J13/3"
"""Time zones whose clock is put forward, or back, two days before NOW. Frigate counts days by its
local clock."""

# The first argument is a folder, and each further one a folder of a world in it, with a world.json.
MAKE = """
import json, shutil, sys
from pathlib import Path
try:
    from frigate.config import FrigateConfig
    from frigate.config.camera.record import RecordConfig
    from frigate.db.sqlitevecq import SqliteVecQueueDatabase
    from frigate import models
    from frigate.record.cleanup import RecordingCleanup
    from peewee_migrate import Router
    from playhouse.sqlite_ext import SqliteExtDatabase
except ImportError as error:
    print(error)
    raise SystemExit(77)

TABLES = [
    models.Recordings, models.RecordingsToDelete, models.ReviewSegment, models.UserReviewStatus,
    models.Previews, models.Event,
]
# Up to 0.16 there is one time for all recordings, later there are two.
OLD = "retain" in RecordConfig.model_fields

def record(world):
    kept, mode, continuous, motion, reviews = (
        world[name] for name in ("kept", "mode", "continuous", "motion", "reviews")
    )
    times = {"retain": {"days": kept, "mode": mode}} if OLD else {
        "continuous": {"days": continuous}, "motion": {"days": motion},
    }
    return {"enabled": True, "expire_interval": 1, **times, **reviews}

def config(place):
    world = json.loads((place / "world.json").read_text())
    return world, FrigateConfig.parse_object({
        "mqtt": {"enabled": False},
        "database": {"path": str(place / "frigate.db")},
        "detectors": {"none": {"type": "deepstack", "api_url": "http://127.0.0.1:1/"}},
        "model": {"labelmap_path": "labelmap.txt"},
        "record": record(world["everywhere"]),
        "cameras": {
            name: {
                "ffmpeg": {"inputs": [{"path": "rtsp://127.0.0.1:1/x", "roles": ["detect"]}]},
                "detect": {"enabled": True, "width": 1280, "height": 720, "fps": 5},
                "record": record(camera),
            }
            for name, camera in world["cameras"].items()
        },
    })

def opened(place):
    database = SqliteVecQueueDatabase(str(place / "frigate.db"), timeout=60)
    database.bind(TABLES)
    return database

def make(folder, places):
    template = folder / "template.db"
    migrated = SqliteExtDatabase(str(template))
    Router(migrated).run()
    migrated.close()
    for place in places:
        shutil.copyfile(template, place / "frigate.db")
        world, made = config(place)
        answer = made.model_dump(mode="json", warnings="none", exclude_none=True)
        (place / "answer.json").write_text(json.dumps(answer))
        database = opened(place)
        if world["items"]:
            models.ReviewSegment.insert_many([
                {
                    "id": str(number), "camera": camera, "start_time": start, "end_time": end,
                    "severity": severity, "thumb_path": str(place / f"{number}.webp"), "data": {},
                }
                for number, (camera, start, end, severity) in enumerate(world["items"])
            ]).execute()
        database.stop()
"""
CLEAN = """
import datetime, multiprocessing, types
from frigate.record import cleanup

class Clock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromtimestamp(float(sys.argv[2]), zone)

folder, places = Path(sys.argv[1]), [Path(sys.argv[1], name) for name in sys.argv[3:]]
if sys.argv[2] == "make":
    make(folder, places)
else:
    cleanup.datetime = types.SimpleNamespace(datetime=Clock, timedelta=datetime.timedelta)
    for place in places:
        database = opened(place)
        RecordingCleanup(config(place)[1], multiprocessing.Event()).expire_recordings()
        database.stop()
"""
SYNC = """
folder = Path(sys.argv[1])
if sys.argv[2] == "make":
    make(folder, [folder])
else:
    try:
        from frigate.record import util as syncing
    except ImportError:  # 0.18
        from frigate.util import media as syncing
    syncing.RECORD_DIR = str(folder / "recordings")
    database = opened(folder)
    syncing.sync_recordings(limited=sys.argv[2] == "limited")
    database.stop()
"""


# -- worlds


def settings(dice: random.Random) -> dict[str, Any]:
    return {
        "kept": dice.choice(DAYS),
        "mode": dice.choice(MODES),
        "continuous": dice.choice(DAYS),
        "motion": dice.choice(DAYS),
        "reviews": {
            severity: {
                "pre_capture": dice.randint(0, 60),
                "post_capture": dice.randint(0, 60),
                "retain": {"days": dice.choice(DAYS), "mode": dice.choice(MODES)},
            }
            for severity in ("alerts", "detections")
        },
    }


def moment(dice: random.Random, edges: list[float]) -> float:
    """Returns a time of the last days, which is often one of the edges or close to one."""
    if edges and dice.random() < 0.7:
        return dice.choice(edges) + dice.choice((0, 0, dice.randint(-70, 70), dice.uniform(-9, 9)))
    return CLEANUP - dice.uniform(0.1, 12) * DAY


def world(dice: random.Random) -> dict[str, Any]:
    """Makes settings, review items, and the starts of segments of each camera."""
    cameras = {name: settings(dice) for name in CAMERAS}
    items: list[tuple[str, float, float | None, str]] = []
    starts: dict[str, list[int]] = {name: [] for name in CAMERAS}
    for name, camera in cameras.items():
        expiries = [CLEANUP - days * DAY for days in DAYS if days]
        edges = [at - SECONDS for at in expiries]
        for _ in range(dice.randint(0, 12)):
            start = moment(dice, [*expiries, *edges])
            ends = [at for at in expiries if at > start]
            lasts = dice.choice((1, 20, 300, 4_000)) * dice.random()
            end = dice.choice((start + lasts, start + lasts, moment(dice, ends), None))
            if end is not None and end < start:
                continue
            severity = dice.choice(("alert", "detection"))
            captures = camera["reviews"][f"{severity}s"]
            edges += [start - captures["pre_capture"] - SECONDS]
            edges += [] if end is None else [end + captures["post_capture"]]
            items.append((name, start, end, severity))
        for at in sorted(int(moment(dice, edges)) for _ in range(40)):
            # Segments that show the same time would get no row, and young ones neither.
            if at < NOW - SAFE_AGE and (not starts[name] or at >= starts[name][-1] + SECONDS):
                starts[name].append(at)
    return {"everywhere": settings(dice), "cameras": cameras, "items": items, "starts": starts}


def put(root: Path, camera: str, start: int, template: Path) -> None:
    at = datetime.fromtimestamp(start, UTC)
    place = root / f"{at:%Y-%m-%d}" / f"{at:%H}" / camera
    place.mkdir(parents=True, exist_ok=True)
    os.link(template, place / f"{at:%M.%S}.mp4")


class Place:
    """The folder of a world: its recordings, its database, and Frigate's answer about its
    settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "recordings"

    def backfill(self, now: Callable[[], float] = lambda: NOW, **options: Any) -> list[Summary]:
        """Runs the backfill of all cameras."""
        table = RecordingsTable(self.folder / "frigate.db", sleep=lambda seconds: None)
        found = of_api(json.loads((self.folder / "answer.json").read_text()))
        undo = UndoFile(self.folder / "state")
        try:
            folder = RecordingsFolder(self.root, str(self.root))
            run = Backfill(folder, table, found, undo, now=now).run
            return [run(Request(camera, -1e12, 1e12, **options)) for camera in found.cameras]
        finally:
            undo.close()
            table.close()

    def files(self) -> set[str]:
        return {str(path) for path in self.root.rglob("*.mp4")}

    def rows(self, camera: str = "") -> set[str]:
        table = RecordingsTable(self.folder / "frigate.db")
        try:
            names = [camera] if camera else CAMERAS
            return {row.path for name in names for row in table.known(name, -1e12, 1e12)}
        finally:
            table.close()


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A whole segment that was changed long ago."""
    path = tmp_path / "template.mp4"
    shutil.copyfile(SEGMENT, path)
    os.utime(path, (0, 0))
    return path


@pytest.fixture
def worlds(tmp_path: Path, template: Path) -> Iterator[list[Place]]:
    """Random worlds with a database that Frigate's own migrations have made."""
    places = []
    for number in range(WORLDS):
        made = world(random.Random(number))
        place = Place(tmp_path / str(number))
        place.root.mkdir(parents=True)
        (place.folder / "world.json").write_text(json.dumps(made))
        for camera, starts in made["starts"].items():
            for start in starts:
                put(place.root, camera, start, template)
        places.append(place)
    names = [place.folder.name for place in places]
    real_frigate.run(MAKE + CLEAN, tmp_path, "make", *names, timeout=600)
    yield places
    for place in places:
        shutil.rmtree(place.folder)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process."""

    def put(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


# -- what Frigate does


@pytest.mark.parametrize(
    ("zone", "like_seed"), [("UTC", False), ("UTC", True), (FORWARD, False), (BACK, False)]
)
def test_frigates_cleanup_deletes_exactly_the_segments_that_the_backfill_refuses(
    tmp_path: Path, worlds: list[Place], clock: Callable[[str], None], zone: str, like_seed: bool
) -> None:
    clock(zone)
    refused: dict[Place, set[str]] = {}
    for place in worlds:
        outcomes = [one for summary in place.backfill(dry_run=True) for one in summary.results]
        assert {one.status for one in outcomes} <= {ADDED, REFUSED}
        refused[place] = {one.file_path for one in outcomes if one.status == REFUSED}
        place.backfill(even_if_deleted=True, like_seed=like_seed)
        assert place.rows() == place.files()

    before = {place: place.files() for place in worlds}
    names = [place.folder.name for place in worlds]
    real_frigate.run(MAKE + CLEAN, tmp_path, str(CLEANUP), *names, timeout=600, TZ=zone)

    for place in worlds:
        assert before[place] - place.files() == refused[place], place.folder.name
        assert place.rows() == place.files(), place.folder.name
    count = Counter({"all": sum(map(len, before.values()))})
    count["refused"] = sum(map(len, refused.values()))
    assert count["all"] > 50 * WORLDS
    assert count["all"] / 5 < count["refused"] < count["all"] * 4 / 5


@pytest.mark.parametrize("extent", ["limited", "full"])
def test_frigates_sync_leaves_each_row_and_each_file_of_the_backfill_alone(
    tmp_path: Path, template: Path, extent: str
) -> None:
    place = Place(tmp_path)
    forever = {"days": 10_000, "mode": "all"}
    quiet = {name: {"retain": forever} for name in ("alerts", "detections")}
    made: dict[str, Any] = {"kept": 10_000, "mode": "all", "reviews": quiet}
    made |= {"continuous": 10_000, "motion": 10_000}
    (tmp_path / "world.json").write_text(
        json.dumps({"everywhere": made, "cameras": dict.fromkeys(CAMERAS, made), "items": []})
    )
    newest = int(time.time()) - 7_200
    for camera in CAMERAS:
        for number in range(400):
            put(place.root, camera, newest - 10 * number, template)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(template.read_bytes()[:-100])
    os.utime(cut, (0, 0))
    put(place.root, CAMERAS[0], newest + 60, cut)
    whole = place.files()
    real_frigate.run(MAKE + SYNC, tmp_path, "make")
    place.backfill(time.time)
    [rowless] = place.files() - place.rows()

    real_frigate.run(MAKE + SYNC, tmp_path, extent)

    # Frigate's sync deletes files without a row, so it did run.
    assert place.files() == place.rows() == whole - {rowless}
