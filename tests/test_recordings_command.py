"""The command `recordings` as people run it, and its short name in scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.frigate.config import ConfigError
from frigate_mirror.restore.prepare import prepare
from frigate_mirror.settings import settings
from tests.rig import ROOT
from tests.rig.recorder import IN_FRIGATE, Recorder
from tests.rig.terminal import on_a_terminal
from tests.rig.waiting import until

SCRIPT = [sys.executable, str(ROOT / "scripts" / "backfill_recordings.py")]
COMMAND = [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "recordings"]
NOW = int(time.time())
START = NOW - 100_000 - NOW % 3600
SHOWN = ("--recordings-path-in-frigate", IN_FRIGATE)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path, "front_door", "garage")
    yield made
    made.database.close()


def environ_of(recorder: Recorder) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(recorder.root.parent)} | recorder.environ


def command_of(recorder: Recorder, *words: str) -> list[str]:
    """Returns the command line for a folder that Frigate sees elsewhere, as in its container."""
    usual = (*SHOWN, "--frigate-config", str(recorder.settings))
    return [*SCRIPT, *usual, *words]  # of an option that is there twice, the last one counts


def run(
    recorder: Recorder, *words: str, command: list[str] | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Runs the script with the settings of this Frigate, or another command."""
    return subprocess.run(
        command or command_of(recorder, *words), env=environ_of(recorder) | environ,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def start(recorder: Recorder, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_of(recorder, *words), env=environ_of(recorder), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert len(done.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- what it prints


def test_it_says_what_it_did_and_how_to_take_it_back(recorder: Recorder) -> None:
    for at in range(START, START + 50, 10):
        recorder.file(at)
    recorder.row(START)
    done = run(recorder, "--camera", "front_door")
    assert done.returncode == 0
    first, way_back = done.stdout.splitlines()
    assert first == (
        "Backfill completed for camera 'front_door'. Scanned 5 files, added 4, skipped 1, errors 0"
    )
    undo_file = way_back.rpartition(" ")[2]
    assert len(recorder.rows()) == 5
    back = run(recorder, command=[*COMMAND, "undo", undo_file])
    assert (back.returncode, back.stdout) == (
        0,
        "backfill: 4 of 4 row(s) removed; the files stay where they are\n",
    )
    assert recorder.rows("start_time") == [(START,)]


def test_its_json_has_the_fields_of_the_seed_and_what_the_seed_did_not_know(
    recorder: Recorder,
) -> None:
    path = recorder.file(START)
    recorder.file(START + 10, data=b"")
    recorder.row(START + 20)
    recorder.file(START + 20)
    done = run(recorder, "--camera", "front_door", "--json")
    assert done.returncode == 1
    found = summary_of(done)
    assert found.pop("processing_time_seconds") < 60
    assert Path(found.pop("undo_file")).is_file()
    found["results"].sort(key=lambda one: one["start_time"])
    assert found == {
        "success": True,
        "message": "Backfill completed for camera 'front_door'. Scanned 3 files, added 1, "
        "skipped 1, errors 1",
        "camera_name": "front_door",
        "dry_run": False,
        "total_files_scanned": 3,
        "files_added": 1,
        "files_updated": 0,
        "files_skipped": 1,
        "files_errors": 1,
        "files_already_known": 1,
        "files_overlapping": 0,
        "files_too_young": 0,
        "files_refused_by_fate": 0,
        "run_again_at": None,
        "results": [
            {
                "file_path": recorder.shown(START),
                "status": "added",
                "start_time": START,
                "end_time": START + 4.0,
                "duration": 4.0,
                "file_size_mb": round(path.stat().st_size / 2**20, 2),
            },
            {
                "file_path": recorder.shown(START + 10),
                "status": "error",
                "start_time": START + 10,
                "end_time": None,
                "duration": None,
                "file_size_mb": None,
                "reason": "is empty",
            },
        ],
    }


def test_all_cameras_or_some_have_a_summary_each(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START, "garage")
    recorder.row(START - 500)
    both = run(recorder, "--all-cameras", "--dry-run", "--json")
    assert [json.loads(line)["camera_name"] for line in both.stdout.splitlines()] == [
        "front_door",
        "garage",
    ]
    named = run(recorder, "--camera", "garage", "--camera", "front_door", "--camera", "garage")
    assert named.stdout.count("added 1") == 2


@pytest.mark.parametrize("form", ["unix", "iso", "zone"])
def test_a_span_is_given_in_unix_seconds_or_iso_8601(recorder: Recorder, form: str) -> None:
    for at in (START, START + 10, START + 20):
        recorder.file(at)
    recorder.row(START - 500)

    def said(at: int) -> str:
        if form == "unix":
            return str(at)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        return text if form == "iso" else f"{text}+00:00"

    done = run(
        recorder, "--camera", "front_door", "--start-time", said(START + 10),
        "--end-time", said(START + 20), TZ="UTC",
    )  # fmt: skip
    assert done.returncode == 0
    assert recorder.rows("start_time") == [(START - 500,), (START + 10,)]


def test_what_was_left_out_is_said_with_its_reason(recorder: Recorder) -> None:
    recorder.configure({"continuous": {"days": 2}})
    recorder.row(START - 50)
    recorder.file(NOW - 30 * 86_400)
    recorder.file(START)
    recorder.file(NOW - 60, changed=NOW)
    recorder.row(START - 3, 20, path=f"{IN_FRIGATE}/other.mp4")
    recorder.file(START + 60, data=b"cut")
    done = run(recorder, "--camera", "front_door")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[1] == "  1 show a time that another recording of the camera shows"
    assert re.fullmatch(
        r"  1 are too young; run it again at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, or with --wait",
        lines[2],
    )
    assert "raise the retention to 31 days first, or add them all the same" in lines[3]
    assert recorder.shown(START + 60) in lines[4]


def test_frigates_sync_is_named_as_the_one_that_deletes_files_without_rows(
    recorder: Recorder,
) -> None:
    recorder.configure({"continuous": {"days": 9}, "sync_recordings": True})
    recorder.row(START - 50)
    recorder.file(START, data=b"")
    done = run(recorder, "--camera", "front_door")
    assert "sync_recordings is on in Frigate, so it deletes the 1 file(s)" in done.stdout


def test_like_the_seed_says_what_minus_one_does(recorder: Recorder) -> None:
    recorder.row(START - 50)
    recorder.file(START)
    done = run(recorder, "--camera", "front_door", "--like-seed")
    assert "-1 counts in sums of motion and objects" in done.stdout
    assert recorder.rows("motion")[-1] == (-1,)


def test_verbose_has_a_line_for_each_file_and_says_how_long_the_lock_was_held(
    recorder: Recorder,
) -> None:
    recorder.row(START - 50)
    recorder.file(START)
    done = run(recorder, "--camera", "front_door", "--verbose")
    assert f"backfill {recorder.shown(START)}: added" in done.stderr
    assert re.search(r"backfill held the lock 1 times: median \d+\.\d ms", done.stderr)


def test_a_terminal_shows_a_bar_and_keeps_only_the_result(recorder: Recorder) -> None:
    recorder.row(START - 50)
    for hour in range(400):
        recorder.file(START - hour * 3600)
    command = command_of(recorder, "--camera", "front_door")
    seen = on_a_terminal(command, environ_of(recorder), columns=200)
    assert seen.code == 0
    assert re.search(r"front_door \[#+ *\] \d+ files, \d+/s, \d+ s left", seen.text)
    assert "Scanned 400 files" in seen.text


def test_progress_can_be_read_by_a_program(recorder: Recorder) -> None:
    recorder.row(START - 50)
    for hour in range(3_000):
        recorder.place(START - hour * 3600).parent.mkdir(parents=True)
    recorder.file(START)
    done = run(recorder, "--camera", "front_door", "--progress-json", "--json")
    assert summary_of(done)["files_added"] == 1
    for line in done.stderr.splitlines():
        if line.startswith("{"):
            assert json.loads(line).keys() == {
                "hours_done", "hours", "files", "added", "errors", "remaining_seconds",
            }  # fmt: skip


# -- what it refuses


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("backfill refused: ")
    return done.stderr


def test_a_camera_that_frigate_does_not_know_is_refused_with_those_that_it_knows(
    recorder: Recorder,
) -> None:
    recorder.file(START, "porch")
    done = run(recorder, "--camera", "porch", "--json")
    assert "does not know the camera 'porch'; it knows front_door, garage" in refused(done)
    answer = summary_of(done)
    assert (answer["success"], answer["refused"]) == (False, "camera")
    assert answer["known_cameras"] == ["front_door", "garage"]
    assert recorder.rows() == []


def test_paths_that_do_not_look_like_those_of_the_rows_are_refused(recorder: Recorder) -> None:
    recorder.row(START - 500)
    recorder.file(START)
    done = run(recorder, "--camera", "front_door", "--recordings-path-in-frigate", "/elsewhere")
    assert f"add --recordings-path-in-frigate {IN_FRIGATE}" in refused(done)
    assert len(recorder.rows()) == 1


def test_rows_of_a_folder_whose_name_begins_the_same_are_those_of_another(
    recorder: Recorder,
) -> None:
    recorder.row(START - 500, path=f"{IN_FRIGATE}-old/2026-01-01/00/front_door/00.00.mp4")
    recorder.file(START)
    done = run(recorder, "--camera", "front_door", "--recordings-path-in-frigate", IN_FRIGATE)
    assert f"add --recordings-path-in-frigate {IN_FRIGATE}-old" in refused(done)
    assert len(recorder.rows()) == 1


def test_an_empty_database_does_not_say_how_frigate_sees_the_folder(recorder: Recorder) -> None:
    recorder.file(START)
    command = [*SCRIPT, "--camera", "front_door", "--frigate-config", str(recorder.settings)]
    assert "add --recordings-path-in-frigate" in refused(run(recorder, command=command))
    assert recorder.rows() == []
    assert run(recorder, command=[*command, *SHOWN]).returncode == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--directory", "/etc"], "is not in the recordings folder"),
        (["--start-time", "2026-01-02", "--end-time", "2026-01-01"], "is not after the start"),
        (["--frigate-config", "/no/such/file"], "name its configuration by --frigate-config"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    recorder: Recorder, words: list[str], why: str
) -> None:
    recorder.row(START - 50)
    assert why in refused(run(recorder, "--camera", "front_door", *words))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("FRIGATE_DB_PATH", "/no/such.db", "FRIGATE_DB_PATH names Frigate's database"),
        ("FRIGATE_RECORDINGS_DIR", "/no/such", "set FRIGATE_RECORDINGS_DIR"),
    ],
)
def test_a_place_that_is_not_there_is_refused_with_its_setting(
    recorder: Recorder, name: str, value: str, why: str
) -> None:
    done = run(recorder, "--camera", "front_door", **{name: value})
    assert why in refused(done)


def test_a_file_that_is_no_database_is_refused(recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 1_000)
    done = run(recorder, "--camera", "front_door", FRIGATE_DB_PATH=str(tmp_path / "text.db"))
    assert "file is not a database" in refused(done)


@pytest.mark.parametrize(
    "words", [[], ["--camera", "a", "--all-cameras"], ["--camera", "a", "--start-time", "soon"]]
)
def test_a_wrong_command_line_is_64(recorder: Recorder, words: list[str]) -> None:
    assert run(recorder, command=[*SCRIPT, *words]).returncode == 64


@pytest.mark.parametrize("content", ["", "{}\n", "[]\n", '{"id": 5, "path": "x"}\n', "what?\n"])
def test_a_file_that_is_no_undo_file_removes_nothing(
    recorder: Recorder, tmp_path: Path, content: str
) -> None:
    recorder.row(START)
    path = tmp_path / "undo"
    path.write_text(f'{{"id": "1", "path": "{recorder.shown(START)}"}}\n' + content)
    done = run(recorder, command=[*COMMAND, "undo", str(path)])
    assert len(recorder.rows()) == 1
    if content:
        assert done.returncode == 70
        assert "line 2 of" in done.stderr
    else:
        assert "0 of 1 row(s) removed" in done.stdout


# -- Frigate's settings


def test_a_frigate_that_is_stopped_is_known_by_the_file_beside_its_database(
    recorder: Recorder,
) -> None:
    recorder.row(START - 50)
    recorder.file(START)
    recorder.settings.rename(recorder.settings.with_name("config.yml"))
    done = run(recorder, command=[*COMMAND, "backfill", "--camera", "front_door", *SHOWN])
    assert (done.returncode, done.stderr) == (0, "")
    assert "added 1" in done.stdout


@pytest.mark.parametrize("answers", [True, False])
def test_a_frigate_that_answers_is_asked_and_else_its_file_is_read(
    recorder: Recorder, answers: bool
) -> None:
    recorder.row(START, path=str(recorder.place(START)))
    recorder.configure({"continuous": {"days": 5}})
    recorder.settings.rename(recorder.settings.with_name("config.yaml"))
    fixture = ROOT / "tests" / "fixtures" / "frigate_config" / "0.17.2.json"

    def ask() -> Any:
        if answers:
            return json.loads(fixture.read_text())
        raise ConfigError("http://127.0.0.1:5000/api/config: Connection refused")

    found = prepare(settings.load(recorder.environ), ["front_door"], ask=ask)
    found.table.close()
    assert found.settings.source == (
        "Frigate's API" if answers else str(recorder.settings.with_name("config.yaml"))
    )
    assert found.settings.cameras["front_door"].days == (0 if answers else 5)


# -- waiting, and the end


def test_wait_goes_on_when_the_young_files_are_old_enough(recorder: Recorder) -> None:
    recorder.row(START - 50)
    recorder.file(START)
    recorder.file(START + 10, changed=time.time() + 5)  # still young on a slow machine
    done = run(recorder, "--camera", "front_door", "--wait", "--youngest", "1")
    assert done.returncode == 0
    assert "1 file(s) of front_door are too young; goes on in" in done.stderr
    assert "Scanned 2 files, added 2, skipped 0, errors 0" in done.stdout
    assert len(recorder.rows()) == 3


def test_waiting_in_a_dry_run_counts_no_file_twice(recorder: Recorder) -> None:
    recorder.row(START - 50)
    recorder.file(START)
    recorder.file(START + 10, changed=time.time() + 5)  # still young on a slow machine
    done = run(recorder, "--camera", "front_door", "--wait", "--youngest", "1", "--dry-run")
    assert "Scanned 2 files, would add 2, skipped 0, errors 0" in done.stdout


def test_what_cannot_be_begun_is_told_for_each_camera(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "front_door", "yard")
    recorder.row(START - 50)
    recorder.file(START)
    recorder.database.execute("DROP TABLE reviewsegment")
    done = run(recorder, "--all-cameras")
    recorder.database.close()
    assert done.returncode == 1
    for camera in ("front_door", "yard"):
        assert f"Backfill failed for camera '{camera}'" in done.stdout
    assert "no such table" in done.stdout


def test_files_that_would_be_deleted_are_told_behind_any_number_of_others(
    recorder: Recorder,
) -> None:
    recorder.configure({"continuous": {"days": 0.001}})
    recorder.row(START - 50)
    folder = recorder.file(START).parent
    for number in range(1_000):
        (folder / f"{number}.txt").touch()
    done = run(recorder, "--camera", "front_door")
    assert "  1 would be deleted: raise the retention first" in done.stdout


def test_it_cannot_be_stopped_while_it_may_hold_the_lock(recorder: Recorder) -> None:
    recorder.row(START - 50)
    for at in range(START, START + 1_500, 10):
        recorder.file(at)
    # In a group of its own whose parent is in the same session: Ctrl-Z does nothing otherwise.
    running = subprocess.Popen(
        command_of(recorder, "--camera", "front_door"), env=environ_of(recorder),
        stdout=subprocess.PIPE, process_group=0,
    )  # fmt: skip
    try:
        until(lambda: len(recorder.rows()) > 1, "the first rows")
        running.send_signal(signal.SIGTSTP)
        out, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert b"added 150" in out


def test_a_path_in_the_database_cannot_write_to_the_terminal(recorder: Recorder) -> None:
    recorder.row(START, path="/media/\x1b[2J/2026-01-01/00/front_door/00.00.mp4")
    done = run(recorder, "--camera", "front_door")
    assert done.returncode == 2
    assert "paths such as /media/?[2J/" in done.stderr


def test_a_signal_ends_the_waiting(recorder: Recorder) -> None:
    recorder.row(START - 50)
    recorder.file(START, changed=time.time())
    running = start(recorder, "--camera", "front_door", "--wait")
    assert running.stderr is not None
    assert "too young; goes on in" in running.stderr.readline()
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=20)
    assert "run it again at" in out
    assert running.returncode == 0


def test_two_at_once_add_each_row_once(recorder: Recorder) -> None:
    recorder.row(START - 50)
    for at in range(START, START + 3_000, 10):
        recorder.file(at)
    both = [start(recorder, "--camera", "front_door", "--json") for _ in range(2)]
    found = [json.loads(one.communicate(timeout=60)[0]) for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sum(one["files_added"] for one in found) == 300
    assert sum(one["files_already_known"] for one in found) == 300
    assert len(recorder.rows()) == 301
