"""The recording backfill in the child as Frigate's hook starts it, with the real command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import frigate_recordings_api as api
from tests.rig.event_table import SEGMENTS, add_recording
from tests.rig.waiting import until
from tests.rig.worlds import Child, World

CAMERA = "front_door"
KEPT = {"enabled": True, "continuous": {"days": 30}, "motion": {"days": 30}}
FRIGATE = {
    "cameras": {CAMERA: {"enabled": True, "record": KEPT}},
    "record": KEPT,
    "safe_mode": False,
}
NO_MIRROR = {"S3_BUCKET": ""}


class House(World):
    """A world with recordings, of which the second has no row. They are two hours old."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        media = folder / "media"
        self.environ |= {
            "FRIGATE_RECORDINGS_DIR": str(media / "recordings"),
            "RECORDINGS_BACKFILL_API": "true",
            "S3_ENDPOINT_URL": "http://127.0.0.1:1",
            "S3_ACCESS_KEY": "a",
            "S3_SECRET_KEY": "b",
        }
        began = int(time.time()) - 7_200
        with self.rows() as sql:
            for start in (began, began + 10):
                path = add_recording(sql, media, CAMERA, start, 4.0, SEGMENTS[CAMERA])
                os.utime(path, (start, start))
            sql.execute("DELETE FROM recordings WHERE path = ?", (str(path),))
            sql.commit()
        self.lost = str(path)

    @contextlib.contextmanager
    def rows(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.database)) as sql:
            yield sql

    @property
    def paths(self) -> set[str]:
        with self.rows() as sql:
            return {path for (path,) in sql.execute("SELECT path FROM recordings")}

    def ask(self, do: str, body: str = "", camera: str = CAMERA) -> tuple[int, dict[str, Any]]:
        request = {"do": do, "camera": camera, "body": body, "frigate": FRIGATE}
        return api.ask(request, api.sockets(self.environ))

    def backfill(self, **body: Any) -> dict[str, Any]:
        """Runs a backfill to its end, and returns the answer."""
        until(lambda: self.ask("status")[0] == 200)
        status, answer = self.ask("backfill", json.dumps(body))
        if status == 202:  # the machine is busy
            last = until(lambda: (told := self.ask("status")[1])["job"] is None and told["last"])
            status, answer = last["status_code"], last["result"]
        assert status == 200, answer
        return answer


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "world")


@pytest.fixture
def start(house: House) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def started(**environ: str) -> Child:
        children.append(Child(house, **environ))
        return children[-1]

    yield started
    for child in children:
        child.kill()


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (NO_MIRROR, "only the API of the recording backfill"),
        ({"MIRROR_ENABLED": "false"}, "only the API of the recording backfill"),
        ({"S3_ENDPOINT_URL": "nowhere", "MIRROR_UPLOAD_THREADS": "many"},
         "wrong setting MIRROR_UPLOAD_THREADS"),
        ({"FRIGATE_URL": "http://127.0.0.1:5000"}, "wrong setting FRIGATE_URL"),
        ({}, "S3 snapshot mirror started"),
    ],
    ids=["no bucket", "switched off", "wrong settings", "a companion's setting", "with the mirror"],
)  # fmt: skip
def test_a_recording_gets_its_row_with_a_mirror_and_without(
    house: House, start: Callable[..., Child], environ: dict[str, str], told: str
) -> None:
    child = start(**environ)
    child.says(told)
    trial = house.backfill(dry_run=True, start_time=0, end_time=4_000_000_000)
    assert trial["files_added"] == 1 and house.lost not in house.paths
    answer = house.backfill()
    assert (answer["total_files_scanned"], answer["files_added"]) == (2, 1)
    assert answer["results"][0]["file_path"] == house.lost and house.lost in house.paths
    assert child.end() == 0
    assert f"backfill of camera {CAMERA}: " in child.log
    assert house.ask("status")[0] == 503


def test_a_state_folder_that_cannot_be_written_is_replaced_for_the_undo_file_too(
    house: House, start: Callable[..., Child]
) -> None:
    blocked = house.folder / "file"
    blocked.touch()
    house.environ["S3_STATE_DIR"] = str(blocked / "state")
    start(**NO_MIRROR)
    answer = house.backfill()
    assert answer["undo_file"].startswith(f"{house.cache}/.s3_mirror/backfill/undo-")


def test_a_directory_outside_of_the_recordings_is_refused(
    house: House, start: Callable[..., Child]
) -> None:
    start(**NO_MIRROR)
    until(lambda: house.ask("status")[0] == 200)
    house.ask("backfill", json.dumps({"directory_path": "/etc"}))
    last = until(lambda: house.ask("status")[1]["last"])
    assert last["status_code"] == 400 and "/etc" in last["result"]["message"]


def test_the_api_answers_while_the_mirror_waits_for_its_turn(
    house: House, start: Callable[..., Child]
) -> None:
    first = start(RECORDINGS_BACKFILL_API="false")
    first.says("S3 snapshot mirror started")
    second = start()
    second.says("waits for an earlier one")
    assert house.backfill()["files_added"] == 1
    assert second.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_child_without_a_mirror_ends_at_a_signal(
    house: House, start: Callable[..., Child], number: int
) -> None:
    child = start(**NO_MIRROR)
    child.says("only the API")
    child.process.send_signal(number)
    assert child.wait() == 0


def test_ids_of_events_are_read_where_nobody_mirrors_them(
    house: House, start: Callable[..., Child]
) -> None:
    child = start(**NO_MIRROR)
    for number in range(20_000):  # more than a pipe holds
        child.offer(f"{number}.5-event")
    assert child.end() == 0


def test_a_value_that_is_neither_true_nor_false_is_told(
    house: House, start: Callable[..., Child]
) -> None:
    child = start(**NO_MIRROR, RECORDINGS_BACKFILL_API="ture")
    assert child.wait() == 78
    assert "wrong setting RECORDINGS_BACKFILL_API" in child.log


def test_a_job_gets_no_secret_of_the_mirror_and_is_not_the_last_in_line_with_a_lock_in_its_hands(
    house: House, start: Callable[..., Child]
) -> None:
    start(S3_SECRET_KEY="a-secret-that-no-job-needs")
    until(lambda: house.ask("status")[0] == 200)
    with house.rows() as sql:
        sql.execute("BEGIN EXCLUSIVE")  # so that the job waits
        status, answer = house.ask("backfill")
        assert status == 202, answer
        jobs = [
            path.parent
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if f"--frigate-config={house.state}".encode() in read(path)
        ]
        [job] = jobs
        environ = read(job / "environ")
        assert b"FRIGATE_DB_PATH" in environ and b"S3_" not in environ.replace(b"S3_MIRROR", b"")
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, int(job.name)) == min(usual + 5, 19)
        sql.rollback()
    assert until(lambda: house.ask("status")[1]["last"])["status_code"] == 200


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""
