"""The campaign of the recording backfill in its short form, and that its judge can find fault.

`python -m lab.campaign.backfill` is the long one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.campaign import backfill, mounts
from lab.campaign.backfill import TRIALS, Trial
from lab.campaign.rowless import CAMERA, Scene


@pytest.mark.parametrize("trial", TRIALS, ids=lambda one: one.name)
def test_each_row_is_right_and_each_run_tells_the_truth(tmp_path: Path, trial: Trial) -> None:
    if trial.needs and (why := mounts.lacking(trial.needs)):
        pytest.skip(why)
    folder = tmp_path / "recorder"
    folder.mkdir()
    saw, complaints = backfill.make(trial, folder, "1", trial.little)
    assert complaints == []
    assert saw


# -- the judge


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A recorder that has three files, and rows for all of them."""
    folder = tmp_path / "recorder"
    folder.mkdir()
    made = Scene(folder, random.Random(1))
    made.open()
    made.owe(3)
    made.run()
    yield made
    made.close()


def told(scene: Scene) -> str:
    scene.judge(complete=True)
    return "; ".join(scene.complaints)


def test_the_judge_has_nothing_to_say_of_what_is_right(scene: Scene) -> None:
    assert scene.judge(complete=True) == 3
    assert told(scene) == ""
    scene.finished()
    assert scene.complaints == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("DELETE FROM recordings WHERE start_time = {}", "1 files have no row"),
        ("UPDATE recordings SET end_time = end_time + 1 WHERE start_time = {}", "a wrong row"),
        ("UPDATE recordings SET motion = 0 WHERE start_time = {}", "a wrong row"),
        ("UPDATE recordings SET camera = 'yard' WHERE start_time = {}", "a wrong row"),
        ("UPDATE recordings SET id = 'x' WHERE start_time = {}", "no undo file has the row"),
        ("UPDATE recordings SET path = '/x.mp4' WHERE start_time = {}", "there never was"),
    ],
)
def test_the_judge_finds_a_row_that_is_missing_wrong_or_strange(
    scene: Scene, change: str, fault: str
) -> None:
    scene.recorder.database.execute(change.format(scene.start + 10))
    assert fault in told(scene)


def test_the_judge_finds_two_rows_of_one_file(scene: Scene) -> None:
    database = scene.recorder.database
    database.execute("DROP INDEX recordings_path")
    database.execute("CREATE TABLE other AS SELECT * FROM recordings WHERE id NOT LIKE 'known-%'")
    database.execute("UPDATE other SET id = id || '-2'")
    database.execute("INSERT INTO recordings SELECT * FROM other")
    assert "3 files have more than one row" in told(scene)


@pytest.mark.parametrize("lines", [b"no line at all\n", b'{"id": "1", "path": "/x.mp4"}'])
def test_the_judge_finds_a_line_that_undoes_nothing(scene: Scene, lines: bytes) -> None:
    [file] = scene.undo_files()
    file.write_bytes(lines + file.read_bytes() if lines.endswith(b"\n") else lines)
    assert "line" in told(scene)


def test_the_judge_finds_a_row_of_frigate_that_is_gone(scene: Scene) -> None:
    with scene.storing():
        scene.store([scene.start + 1_000_000])
        scene.recorder.database.execute(
            "UPDATE recordings SET id = 'frigate-x' WHERE path LIKE ?",
            (scene.recorder.shown(scene.start + 1_000_000, CAMERA),),
        )
    assert "Frigate stored" in "; ".join(scene.complaints)
