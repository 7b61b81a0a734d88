"""The service of the recording backfill: requests over a real socket, jobs as real processes.

The command that a job runs is a small program here, so that the tests decide how a job goes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import frigate_recordings_api as api
from frigate_mirror.ledger.lock import RunLock
from frigate_mirror.restore import bodies
from frigate_mirror.restore.bodies import Interval, Wanted, WrongBody
from frigate_mirror.restore.jobs import Job, Jobs
from frigate_mirror.restore.listener import Listener, address
from frigate_mirror.restore.runner import Run
from frigate_mirror.restore.schedule import RETRY, Schedules
from frigate_mirror.restore.service import Desk, Service
from frigate_mirror.settings import settings
from tests.rig import ROOT
from tests.rig.processes import kill, parents
from tests.rig.waiting import PATIENCE, until
from tests.rig.worlds import Clock

FRIGATE = {
    "cameras": {
        name: {"enabled": True, "record": {"enabled": True}}
        for name in ("front", "back", "plus", "recordings", "-odd")
    },
    "record": {"enabled": True},
    "safe_mode": False,
}
# A backfill whose camera has a script in the folder of the program runs this script. Any other
# prints a summary. All of them write down their command line and their process id.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
here = Path(__file__).parent
options = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[3:])
camera = options["camera"]
config = options.get("frigate-config")
about = {"pid": os.getpid(), "words": sys.argv[1:], "nice": os.nice(0)}
if config:
    about["mode"] = Path(config).stat().st_mode & 0o777
    about["config"] = json.loads(Path(config).read_text())
with open(here / "starts", "a") as starts: starts.write(json.dumps(about) + "\\n")

def tell(**line): print(json.dumps(line), file=sys.stderr, flush=True)
def end(code=0, **more):
    print(json.dumps({"success": True, "message": "all well", "camera_name": camera,
                      "total_files_scanned": 0, "results": []} | more), flush=True)
    sys.exit(code)

script = here / f"{camera}.py"
if script.exists(): exec(script.read_text())
end()
"""
# Runs until the test makes a file.
SLOW = """
tell(hours_done=3, hours=48, files=1200, added=10, errors=0, remaining_seconds=12.5)
print("backfill: a line for people", file=sys.stderr, flush=True)
while not (here / f"{camera}.go").exists(): time.sleep(0.01)
"""
# A service as the child process has it. It ends at the end of its stdin.
KEEPER = """
import logging, sys
from pathlib import Path
logging.basicConfig(level="INFO")
from frigate_mirror.restore.service import Service
service = Service([Path(sys.argv[1])], sys.argv[2:], frigate_needs=0)
service.start()
sys.stdin.read()
service.stop()
"""


class Place:
    """A state folder, and the program that the jobs there run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "s3_mirror"
        self._program = folder / "program"
        self._program.mkdir()
        self.command = [sys.executable, str(self._program / "p.py"), "recordings", "backfill"]
        (self._program / "p.py").write_text(PROGRAM)

    def script(self, camera: str, code: str) -> None:
        (self._program / f"{camera}.py").write_text(code)

    def go(self, camera: str) -> None:
        """Lets a slow backfill go on."""
        (self._program / f"{camera}.go").touch()

    @property
    def starts(self) -> list[dict[str, Any]]:
        """What each process noted at its start."""
        path = self._program / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def ask(
        self, do: str, camera: str = "front", body: Any = "", frigate: Any = FRIGATE
    ) -> tuple[int, dict[str, Any]]:
        text = body if isinstance(body, str) else json.dumps(body)
        request = {"do": do, "camera": camera, "body": text, "frigate": frigate}
        return api.ask(request, [self.folder / api.SOCKET_NAME], 2 * PATIENCE)

    def backfill(self, camera: str = "front", **body: Any) -> tuple[int, dict[str, Any]]:
        return self.ask("backfill", camera, body)

    def status(self, camera: str = "front") -> dict[str, Any]:
        status, body = self.ask("status", camera)
        assert status == 200, body
        return body

    def last(self, camera: str = "front") -> dict[str, Any]:
        """Waits until the camera's job is done, and returns how it ended."""
        until(lambda: self.status(camera)["job"] is None)
        last: dict[str, Any] = self.status(camera)["last"]
        return last


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def served(place: Place, caplog: pytest.LogCaptureFixture) -> Iterator[Place]:
    """A place with a service in this process, which waits for the end of each job."""
    caplog.set_level(logging.INFO, "frigate_s3.backfill")
    with serving(place, at_once=PATIENCE):
        yield place


@pytest.fixture
def hasty(place: Place, caplog: pytest.LogCaptureFixture) -> Iterator[Place]:
    """A place with a service in this process, which waits for no job."""
    caplog.set_level(logging.INFO, "frigate_s3.backfill")
    with serving(place, at_once=0):
        yield place


@contextlib.contextmanager
def serving(place: Place, at_once: float) -> Iterator[None]:
    service = Service([place.folder], place.command, frigate_needs=0, at_once=at_once)
    service.start()
    until(lambda: place.ask("status")[0] == 200)
    yield
    service.stop(PATIENCE)


class Keeper:
    """A service in a process of its own."""

    def __init__(self, place: Place) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(place.folder), *place.command],
            stdin=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )
        self._place = place

    def ready(self) -> Keeper:
        until(lambda: self._place.ask("status")[0] == 200)
        return self

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture
def keep(place: Place) -> Iterator[Callable[[], Keeper]]:
    keepers: list[Keeper] = []

    def start() -> Keeper:
        keepers.append(Keeper(place))
        return keepers[-1]

    yield start
    for keeper in keepers:
        keeper.kill()
        assert keeper.process.stdin
        keeper.process.stdin.close()
    for start_of in place.starts:
        kill(start_of["pid"])


# -- a request and its job


def test_a_small_backfill_is_answered_with_the_summary_of_the_command(served: Place) -> None:
    result = {"file_path": "/media/frigate/recordings/2022-01-01/12/front/30.00.mp4"}
    served.script("front", f"end(files_added=1, results=[{result!r}])")
    status, body = served.backfill(
        start_time=1640995200, end_time=1641081600.5, directory_path="/media/frigate/recordings/x",
        dry_run=True, force=True,
    )  # fmt: skip
    assert status == 200
    assert body["camera_name"] == "front" and body["results"] == [result]
    [start] = served.starts
    assert start["words"][:2] == ["recordings", "backfill"]
    *words, config = start["words"][2:]
    assert words == [
        "--camera=front", "--start-time=1640995200.0", "--end-time=1641081600.5",
        "--directory=/media/frigate/recordings/x", "--dry-run", "--force", "--json",
        "--progress-json",
    ]  # fmt: skip
    assert config.startswith(f"--frigate-config={served.folder}/backfill/")
    assert start["config"] == FRIGATE and start["mode"] == 0o600
    assert start["nice"] == min(os.nice(0) + 5, 19)
    until(lambda: not list((served.folder / "backfill").glob("config-*")))


def test_without_a_body_everything_has_its_default(served: Place) -> None:
    assert served.ask("backfill")[0] == 200
    words = served.starts[0]["words"][2:]
    assert words[:3] == ["--camera=front", "--json", "--progress-json"] and len(words) == 4


def test_a_camera_whose_name_looks_like_an_option_is_none(served: Place) -> None:
    assert served.backfill("-odd")[0] == 200
    assert served.starts[0]["words"][2] == "--camera=-odd"


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("end(1, message='2 files had errors')", 200, "2 files had errors"),
        ("end(2, success=False, refused='camera', message='no such camera')", 404, "no such cam"),
        ("end(2, success=False, refused='request', message='outside')", 400, "outside"),
        ("end(2, success=False, refused='state', message='no database')", 409, "no database"),
        ("end(2, success=False, message='no reason')", 409, "no reason"),
        ("print('backfill: a fault', file=sys.stderr); sys.exit(70)", 500,
         "did not end well (exit code 70): backfill: a fault"),
        ("os.kill(os.getpid(), 9)", 500, "did not end well (signal 9)"),
        ("print('no JSON'); sys.exit(0)", 500, "did not end well (exit code 0)"),
        ("print('[1]'); sys.exit(0)", 500, "did not end well (exit code 0)"),
        ("print('[' * 100000); sys.exit(2)", 500, "did not end well (exit code 2)"),
    ],
)  # fmt: skip
def test_the_answer_tells_how_the_command_ended(
    served: Place, code: str, status: int, told: str
) -> None:
    served.script("front", code)
    answered, body = served.backfill()
    assert (answered, body["success"]) == (status, status == 200)
    assert told in body["message"] and body["camera_name"] == "front"
    last = served.last()
    assert (last["status_code"], last["result"]) == (status, body)


def test_a_long_backfill_is_answered_by_its_job_and_the_status_tells_how_far_it_is(
    hasty: Place, caplog: pytest.LogCaptureFixture
) -> None:
    hasty.script("front", SLOW)
    status, body = hasty.backfill(dry_run=True)
    assert (status, body["success"]) == (202, True) and body["state"] in ("queued", "running")
    assert "/api/recordings/front/backfill/status" in body["message"]
    job = until(lambda: (job := hasty.status()["job"]) and job["progress"] and job)
    assert (job["job_id"], job["state"], job["by"]) == (body["job_id"], "running", "request")
    assert job["progress"]["hours"] == 48 and job["request"]["dry_run"]
    assert hasty.status()["last"] is None
    hasty.go("front")
    last = hasty.last()
    assert last["job_id"] == body["job_id"] and last["result"]["message"] == "all well"
    assert last["started_at"] <= last["finished_at"]
    assert "backfill: a line for people" in caplog.text
    assert "hours_done" not in caplog.text


def test_a_camera_has_one_job_and_those_of_others_wait_for_their_turn(hasty: Place) -> None:
    hasty.script("front", SLOW)
    _, first = hasty.backfill()
    until(lambda: hasty.starts)
    status, body = hasty.backfill()
    assert status == 409 and not body["success"] and body["job_id"] == first["job_id"]
    assert "is running already" in body["message"]
    status, body = hasty.backfill("back")
    assert (status, body["state"]) == (202, "queued")
    assert hasty.backfill("back")[0] == 409
    assert len(hasty.starts) == 1
    hasty.go("front")
    assert hasty.last("back")["job_id"] == body["job_id"]
    assert hasty.last("front")["job_id"] == first["job_id"]


def test_a_camera_that_frigate_does_not_know_is_answered_with_those_that_it_knows(
    served: Place,
) -> None:
    for do in ("backfill", "status", "schedule"):
        for camera in ("garage", "", "../../etc", "x" * 5_000, "front\n", "é" * 60, "\udc80"):
            status, body = served.ask(do, camera, "no JSON")
            assert status == 404 and not body["success"]
            assert body["known_cameras"] == sorted(FRIGATE["cameras"])
            assert "front" in body["message"] and len(body["message"]) < 300
    assert not served.starts


def test_a_request_of_another_form_is_refused(served: Place) -> None:
    wrong: tuple[Any, ...] = ([], {}, {"cameras": []}, None)
    for frigate in wrong:
        assert served.ask("backfill", frigate=frigate)[0] == 400
    assert served.ask("remove everything")[0] == 400


def test_a_result_is_kept_with_its_first_thousand_files(served: Place) -> None:
    served.script("front", "end(results=[{'file_path': str(n)} for n in range(50_000)])")
    served.backfill()
    results = served.last()["result"]["results"]
    assert len(results) == 1_000 and results[-1]["file_path"] == "999"


def test_a_job_that_cannot_be_written_down_is_refused_and_does_not_run(
    served: Place, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(served.folder / "backfill")  # whatever the fault of the disk is
    status, body = served.backfill()
    assert status == 503 and "state folder" in body["message"]
    assert served.status()["job"] is None and not served.starts
    assert served.ask("schedule", body={"interval_hours": 1, "retention_days": 1})[0] == 503
    assert "state folder" in caplog.text
    (served.folder / "backfill").mkdir()
    assert served.backfill()[0] == 200


def test_an_answer_is_kept_before_its_job_leaves_the_queue(
    served: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends in between runs the job again, and loses no answer."""
    written: list[str] = []
    real = os.replace

    def replace(partial: Path, path: Path) -> None:
        real(partial, path)
        written.append(path.name)

    monkeypatch.setattr(os, "replace", replace)
    assert served.backfill()[0] == 200
    assert written[-2:] == ["last-front.json", "jobs.json"]


def test_an_answer_that_cannot_be_kept_is_told_nevertheless(served: Place) -> None:
    served.script("front", f"import shutil; shutil.rmtree({str(served.folder / 'backfill')!r})")
    assert served.backfill()[0] == 200
    (served.folder / "backfill").mkdir()
    assert served.backfill("back")[0] == 200


@pytest.mark.parametrize("silent", [0.05])
def test_a_command_that_tells_nothing_is_ended(silent: float) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(1000)"]
    outcome = Run(words, lambda progress: None, silent=silent).wait()
    assert outcome.code == -signal.SIGKILL and "it told nothing for 0.05 s" in outcome.words


def test_a_command_that_goes_on_telling_may_take_as_long_as_it_needs() -> None:
    clock = Clock()

    def tell(progress: dict[str, Any]) -> None:
        clock.now += 8

    program = "import sys\nfor n in range(9):\n print('{\"n\": 1}', file=sys.stderr, flush=True)"
    words = [sys.executable, "-c", program]
    assert Run(words, tell, silent=10, clock=clock).wait().code == 0
    assert clock.now == Clock().now + 9 * 8


# -- bodies


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", ["the body is no JSON"]),
        ("no JSON", ["the body is no JSON"]),
        ("\x00", ["the body is no JSON"]),
        ("[" * 100_000, ["the body is no JSON"]),
        ('{"start_time": ' + "9" * 5_000 + "}", ["the body is no JSON"]),
        ("[]", ["the body is no JSON object"]),
        ('"text"', ["the body is no JSON object"]),
        ('{"start_time": "yesterday", "dry_run": 1, "force": "no", "speed": 3}',
         ["start_time: expected Unix seconds", "dry_run: expected true", "force: expected true",
          "speed: there is no such field"]),
        ('{"start_time": 1640995200000}', ["start_time: expected Unix seconds"]),
        ('{"start_time": NaN, "end_time": -1}', ["start_time: ", "end_time: "]),
        ('{"start_time": true}', ["start_time: "]),
        ('{"start_time": 1e400}', ["start_time: "]),
        ('{"start_time": 5, "end_time": 5}', ["end_time: it is not later than start_time"]),
        ('{"directory_path": "recordings"}', ["directory_path: expected an absolute path"]),
        ('{"directory_path": "/a\\u0000b"}', ["directory_path: expected an absolute path"]),
        ('{"directory_path": "/a\\ud800"}', ["directory_path: expected an absolute path"]),
        ('{"directory_path": "/' + "a" * 5_000 + '"}', ["directory_path: the path has more"]),
        ('{"\\u001b[31m": 1}', ["there is no such field"]),
    ],
)  # fmt: skip
def test_all_faults_of_a_body_are_told_at_once(text: str, told: list[str]) -> None:
    with pytest.raises(WrongBody) as caught:
        bodies.wanted(text)
    for words in told:
        assert words in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["", "  \n", "{}", '{"start_time": null, "force": null}'])
def test_what_a_body_leaves_out_has_its_default(text: str) -> None:
    assert bodies.wanted(text) == Wanted()
    assert Wanted().options == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, ["interval_hours: missing", "retention_days: missing"]),
        ({"interval_hours": 0.5, "retention_days": 3651}, ["from 1 to 8760", "from 1 to 3650"]),
        ({"interval_hours": 8761, "retention_days": 0}, ["from 1 to 8760", "from 1 to 3650"]),
        ({"interval_hours": "24", "retention_days": [7]}, ["interval_hours: ", "retention_days: "]),
        ({"interval_hours": 24, "retention_days": 7, "enabled": "yes"}, ["enabled: expected"]),
        ({"interval_hours": 24, "retention_days": 7, "camera_name": "back"},
         ["camera_name: it is not the camera of the address, which is front"]),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_refused_with_all_its_faults(
    body: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(WrongBody) as caught:
        bodies.interval(json.dumps(body), "front")
    for words in told:
        assert words in str(caught.value)
    assert str(caught.value).count("interval_hours") <= 1


def test_a_schedule_may_have_fractions_and_name_its_camera() -> None:
    text = '{"camera_name": "front", "interval_hours": 1.5, "retention_days": 7, "enabled": false}'
    expected = Interval(interval_hours=1.5, retention_days=7.0, enabled=False)
    assert bodies.interval(text, "front") == expected


# -- the schedule


def test_a_schedule_runs_is_shown_survives_a_restart_and_can_be_removed(
    place: Place, keep: Callable[[], Keeper]
) -> None:
    keeper = keep().ready()
    now = time.time()
    status, body = place.ask("schedule", body={"interval_hours": 24, "retention_days": 7})
    assert status == 200 and body["enabled"] and "Frigate's own retention" in body["message"]
    until(lambda: (last := place.status()["last"]) and last["by"] == "schedule")
    [start] = place.starts
    assert start["words"][2] == "--camera=front" and "config" not in start
    started = float(start["words"][3].removeprefix("--start-time="))
    assert 0 <= started - (now - 7 * 86_400) < PATIENCE
    until(lambda: place.status()["schedule"]["next_run_at"] >= now + 24 * 3_600)
    shown = place.status()["schedule"]
    keeper.end()
    keep().ready()
    assert place.status()["schedule"] == shown and len(place.starts) == 1
    assert place.ask("unschedule")[0] == 200
    assert place.status()["schedule"] is None
    assert place.ask("unschedule")[0] == 404


def test_the_schedule_of_a_camera_that_frigate_no_longer_knows_is_shown_and_removed(
    served: Place,
) -> None:
    served.ask("schedule", body={"interval_hours": 1, "retention_days": 1, "enabled": False})
    without: dict[str, Any] = {"cameras": {}}
    assert served.ask("status", frigate=without)[0] == 200
    assert served.ask("unschedule", frigate=without)[0] == 200
    assert served.ask("status", frigate=without)[0] == 404


@pytest.fixture
def schedules(tmp_path: Path) -> tuple[Schedules, Clock]:
    clock = Clock()
    return Schedules(tmp_path / "schedule.json", clock), clock


def due(of: Schedules) -> list[str]:
    return [camera for camera, _ in of.due()]


def test_a_schedule_is_due_at_once_and_then_after_its_interval(
    schedules: tuple[Schedules, Clock],
) -> None:
    of, clock = schedules
    of.put("front", Interval(interval_hours=2, retention_days=1))
    assert due(of) == ["front"]
    of.settle("front", success=True)
    clock.now += 7_199
    assert due(of) == []
    clock.now += 2
    assert due(of) == ["front"]


def test_after_a_job_that_did_not_end_well_the_next_is_due_soon(
    schedules: tuple[Schedules, Clock],
) -> None:
    of, clock = schedules
    of.put("front", Interval(interval_hours=24, retention_days=1))
    of.settle("front", success=False)
    assert due(of) == []
    clock.now += RETRY + 1
    assert due(of) == ["front"]


def test_a_schedule_that_is_switched_off_is_kept_and_never_due(
    schedules: tuple[Schedules, Clock],
) -> None:
    of, clock = schedules
    of.put("front", Interval(interval_hours=1, retention_days=1, enabled=False))
    clock.now += 1e6
    assert due(of) == []
    kept = of.of("front")
    assert kept and kept.shown["next_run_at"] is None


def test_a_clock_that_is_set_back_does_not_stop_a_schedule(
    schedules: tuple[Schedules, Clock],
) -> None:
    of, clock = schedules
    of.put("front", Interval(interval_hours=1, retention_days=1))
    of.settle("front", success=True)
    clock.now -= 1e7
    assert due(of) == ["front"]


def test_the_same_schedule_again_does_not_run_again_at_once(
    schedules: tuple[Schedules, Clock],
) -> None:
    of, _ = schedules
    for hours in (24, 24, 48):
        of.put("front", Interval(interval_hours=hours, retention_days=1))
        of.settle("front", success=True)
        of.put("front", Interval(interval_hours=hours, retention_days=1))
        assert due(of) == []


def test_a_shorter_interval_counts_from_the_moment_at_which_it_is_set(
    schedules: tuple[Schedules, Clock],
) -> None:
    of, clock = schedules
    of.put("front", Interval(interval_hours=48, retention_days=1))
    of.settle("front", success=True)
    made = of.put("front", Interval(interval_hours=2, retention_days=1))
    assert made.shown["next_run_at"] == clock.now + 2 * 3_600
    assert due(of) == []


@pytest.mark.parametrize("text", ["", "[]", '{"front": 3}', '{"front": {"enabled": true}}', "{"])
def test_damaged_schedules_are_told_and_do_not_stop_the_service(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "schedule.json").write_text(text)
    of = Schedules(tmp_path / "schedule.json")
    assert of.due() == [] and (text == "[]" or "backfill" in caplog.text)


# -- a process that ends


def test_a_job_ends_with_a_killed_process_and_runs_again_with_the_next(
    place: Place, keep: Callable[[], Keeper]
) -> None:
    place.script("front", SLOW)
    first = keep().ready()
    _, asked = place.backfill(force=True)
    place.ask("backfill", "back")
    until(lambda: len(place.starts) == 1)
    first.kill()
    until(lambda: place.starts[0]["pid"] not in parents())
    assert place.ask("status")[0] == 503
    keep().ready()
    until(lambda: len(place.starts) == 2)
    job = place.status()["job"]
    assert job["job_id"] == asked["job_id"] and job["state"] == "running"
    assert place.starts[1]["words"] == place.starts[0]["words"]
    assert place.starts[1]["config"] == FRIGATE
    place.go("front")
    assert place.last()["status_code"] == 200
    assert place.last("back")["status_code"] == 200


def test_a_job_that_is_cut_off_three_times_has_failed(
    place: Place, keep: Callable[[], Keeper]
) -> None:
    place.script("front", SLOW)
    for number in (1, 2, 3):
        keeper = keep().ready()
        if number == 1:
            place.backfill()
        until(lambda number=number: len(place.starts) == number)  # type: ignore[misc]
        keeper.kill()
    keep().ready()
    last = place.last()
    assert last["status_code"] == 500 and "cut off 3 times" in last["result"]["message"]
    place.backfill("back")
    assert place.last("back")["status_code"] == 200 and len(place.starts) == 4


def test_a_scheduled_job_that_is_cut_off_three_times_is_not_due_at_once(
    place: Place, keep: Callable[[], Keeper]
) -> None:
    place.script("front", SLOW)
    for number in (1, 2, 3):
        keeper = keep().ready()
        if number == 1:
            place.ask("schedule", body={"interval_hours": 24, "retention_days": 7})
        until(lambda number=number: len(place.starts) == number)  # type: ignore[misc]
        keeper.kill()
    now = time.time()
    keep().ready()
    assert "cut off 3 times" in place.last()["result"]["message"]
    until(lambda: place.status()["schedule"]["next_run_at"] >= now + RETRY)
    assert len(place.starts) == 3


def test_a_job_that_frigates_end_cuts_off_runs_again_as_often_as_it_takes(
    place: Place, keep: Callable[[], Keeper]
) -> None:
    place.script("front", SLOW)
    for number in (1, 2, 3, 4):
        keeper = keep().ready()
        if number == 1:
            place.backfill()
        until(lambda number=number: len(place.starts) == number)  # type: ignore[misc]
        keeper.end()
        assert place.starts[-1]["pid"] not in parents()
    keep().ready()
    place.go("front")
    assert place.last()["status_code"] == 200


def test_a_process_waits_for_an_earlier_one_with_the_same_folder(
    place: Place, keep: Callable[[], Keeper]
) -> None:
    place.script("front", SLOW)
    first = keep().ready()
    place.backfill()
    second = keep()
    until(lambda: (place.folder / "backfill.lock").exists())
    assert place.status()["job"]["state"] == "running"
    first.kill()
    second.ready()
    until(lambda: len(place.starts) == 2)
    place.go("front")
    assert place.last()["status_code"] == 200


def test_a_service_that_is_stopped_while_it_waits_ends_without_a_complaint(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "frigate_s3.backfill")
    place.folder.mkdir()
    lock = RunLock(place.folder / "backfill.lock")
    assert lock.acquire()
    service = Service([place.folder], place.command)
    service.start()
    until(lambda: "waits for an earlier mirror to end" in caplog.text)
    service.stop(PATIENCE)
    lock.release()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"jobs": 3}', '{"jobs": [{}]}', '{"jobs": [{"id": "1"}]}']
)
def test_a_damaged_queue_is_told_and_is_empty(
    place: Place, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = place.folder / "backfill"
    own.mkdir(parents=True)
    (own / "jobs.json").write_text(text)
    (own / "config-1.json").write_text("{}")
    jobs = Jobs(own, place.command)
    assert jobs.of("front") is None and (text == "[]" or "backfill" in caplog.text)
    assert not (own / "config-1.json").exists(), "what belongs to no job is removed"


# -- the socket


def test_only_the_owner_of_the_process_can_connect(served: Place) -> None:
    mode = (served.folder / api.SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_the_folders_and_files_are_for_the_owner_of_the_process_alone(served: Place) -> None:
    served.ask("schedule", body={"interval_hours": 1, "retention_days": 1, "enabled": False})
    served.backfill()
    own = served.folder / "backfill"
    until(lambda: (own / "last-front.json").exists() and not list(own.glob("config-*")))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in served.folder.rglob("*")}
    assert stat.S_IMODE(served.folder.stat().st_mode) == modes.pop("backfill") == 0o700
    assert set(modes.values()) == {0o600}


def test_a_folder_may_have_a_longer_path_than_a_socket(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a_folder_with_a_long_name"] * 8)
    folder.mkdir(parents=True)
    deep = Place(folder)
    with serving(deep, at_once=PATIENCE):
        assert deep.backfill()[0] == 200


def test_a_folder_that_cannot_be_used_is_told_and_the_next_one_is_used(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    service = Service([blocked / "s3_mirror", place.folder], place.command)
    service.start()
    try:
        places = [blocked / "s3_mirror" / api.SOCKET_NAME, place.folder / api.SOCKET_NAME]
        request = {"do": "status", "camera": "front", "body": "", "frigate": FRIGATE}
        until(lambda: api.ask(request, places)[0] == 200)
        assert f"backfill: the folder {blocked}/s3_mirror cannot be used" in caplog.text
    finally:
        service.stop(PATIENCE)


@contextlib.contextmanager
def listening(path: Path, to_ask: float = PATIENCE, to_tell: float = PATIENCE) -> Iterator[Path]:
    """The socket of a listener that answers with the request."""
    listener = Listener(path, lambda request: (200, request), to_ask=to_ask, to_tell=to_tell)
    listener.start()
    yield path
    listener.stop()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Path]:
    with listening(tmp_path / "socket") as path:
        yield path


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Path]:
    """A listener that waits for a request for a moment, which is too short on a busy machine."""
    with listening(tmp_path / "socket", to_ask=0.3) as path:
        yield path


def answers(path: Path) -> bool:
    return api.ask({"do": "x"}, [path], PATIENCE) == (200, {"do": "x"})


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    with address(path) as short:
        connection.connect(short)
    return connection


@pytest.mark.parametrize("begin", [b"", b'{"do"'])
def test_clients_that_say_nothing_or_half_keep_no_other_from_being_answered(
    impatient: Path, begin: bytes
) -> None:
    silent = [connected(impatient) for _ in range(20)]
    for connection in silent:
        with contextlib.suppress(BrokenPipeError):  # it is left already
            connection.sendall(begin)
    until(lambda: answers(impatient))
    for connection in silent:
        assert connection.recv(1) == b""
        connection.close()


def test_a_client_that_sends_for_ever_byte_by_byte_is_left_in_time(impatient: Path) -> None:
    with connected(impatient) as connection, contextlib.suppress(BrokenPipeError):
        for _ in range(400):
            connection.sendall(b" ")
            if select.select([connection], [], [], 0.05)[0]:  # it is closed
                break
        else:
            pytest.fail("a byte now and then keeps the connection open")


def test_clients_that_take_no_answer_keep_no_other_from_being_answered(tmp_path: Path) -> None:
    with listening(tmp_path / "socket", to_tell=0.3) as path:
        lazy = [connected(path) for _ in range(8)]
        for connection in lazy:
            connection.sendall(json.dumps({"much": "x" * 2_000_000}).encode() + b"\n")
        assert answers(path)
        for connection in lazy:
            connection.close()


def test_a_request_that_is_too_large_is_not_read(patient: Path) -> None:
    with connected(patient) as connection, pytest.raises(OSError):
        for _ in range(200):
            connection.sendall(b"x" * 65_536)


@pytest.mark.parametrize("line", [b"\n", b"no JSON\n", b"[]\n", b"\xff\n", b"[" * 100_000 + b"\n"])
def test_a_request_that_is_no_object_is_refused(patient: Path, line: bytes) -> None:
    with connected(patient) as connection:
        connection.sendall(line)
        answer = json.loads(connection.makefile().readline())
    assert answer["status"] == 400


def test_a_fault_of_the_service_closes_the_connection_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: dict[str, Any]) -> Any:
        raise RuntimeError("a fault of ours")

    listener = Listener(tmp_path / "socket", fail)
    listener.start()
    try:
        for _ in range(20):  # more than it has threads
            status, body = api.ask({}, [tmp_path / "socket"])
            assert status == 503 and "it ended before its answer" in body["message"]
    finally:
        listener.stop()
    assert "backfill: a request failed" in caplog.text


# -- Frigate's side of the socket


def test_without_a_service_the_answer_is_503_and_says_where_to_look(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    (tmp_path / "stale").mkdir()
    with address(tmp_path / "stale" / "s") as short:
        stale.bind(short)
    stale.close()
    for places in ([], [tmp_path / "none" / "s"], [tmp_path / "stale" / "s"], [tmp_path / "s"]):
        status, body = api.ask({}, places)
        assert (
            status == 503
            and not body["success"]
            and "search it for `backfill`" in (body["message"])
        )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"", "it ended before its answer"),
        (b'{"status": 200', "it ended before its answer"),
        (b"[]\n", ""),
        (b"no JSON\n", ""),
        (b'{"status": "x", "body": {}}\n', ""),
        (b'{"status": 200, "body": 3}\n', ""),
        (b'{"body": {}}\n', ""),
        (None, "timed out"),
    ],
)
def test_a_child_that_answers_wrongly_or_not_at_all_is_a_503(
    tmp_path: Path, line: bytes | None, told: str
) -> None:
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        with address(tmp_path / "s") as short:
            server.bind(short)
        server.listen()

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.makefile("rb").readline()
                connection.sendall(line or b"")
                if line is None:
                    over.wait(PATIENCE)

        thread = threading.Thread(target=answer)
        thread.start()
        patience = PATIENCE if line is not None else 0.2
        status, body = api.ask({}, [tmp_path / "s"], patience)
        over.set()
        thread.join(PATIENCE)
    assert status == 503 and told in body["message"]


def test_a_child_that_says_nothing_takes_few_of_frigates_threads(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        with address(tmp_path / "s") as short:
            server.bind(short)
        server.listen(100)
        silent: list[int] = []

        def ask() -> None:
            silent.append(api.ask({}, [tmp_path / "s"], PATIENCE)[0])

        waiting = [threading.Thread(target=ask) for _ in range(api.AT_A_TIME)]
        for thread in waiting:
            thread.start()
        taken = [server.accept()[0] for _ in waiting]
        status, body = api.ask({}, [tmp_path / "s"], PATIENCE)
        assert status == 503 and "Too many requests" in body["message"]
        for connection in taken:
            connection.close()
        for thread in waiting:
            thread.join(PATIENCE)
        assert silent == [503] * api.AT_A_TIME
    assert "does not answer" in api.ask({}, [tmp_path / "s"])[1]["message"]


def test_a_child_that_takes_no_request_is_left_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        with address(tmp_path / "s") as short:
            server.bind(short)
        server.listen()
        status, body = api.ask({"much": "x" * 5_000_000}, [tmp_path / "s"], 0.2)
    assert status == 503 and "timed out" in body["message"]


def test_a_child_that_answers_byte_by_byte_is_left_in_time(tmp_path: Path) -> None:
    over = threading.Event()
    answers: list[tuple[int, dict[str, Any]]] = []
    with socket.socket(socket.AF_UNIX) as server:
        with address(tmp_path / "s") as short:
            server.bind(short)
        server.listen()

        def trickle() -> None:
            with server.accept()[0] as connection, contextlib.suppress(OSError):
                while not over.wait(0.02):
                    connection.sendall(b" ")

        def ask() -> None:
            answers.append(api.ask({}, [tmp_path / "s"], 0.5))

        threads = [threading.Thread(target=work) for work in (trickle, ask)]
        for thread in threads:
            thread.start()
        threads[1].join(PATIENCE)
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    [(status, body)] = answers
    assert status == 503 and "timed out" in body["message"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MIRROR_STATE_DIR": "/state"},
        {"S3_STATE_DIR": " /older "},
        {"FRIGATE_DB_PATH": "/db/frigate.db"},
        {"FRIGATE_DB_PATH": "  ", "FRIGATE_CLIPS_DIR": "{tmp}/clips"},
    ],
    ids=str,
)
def test_both_sides_look_for_the_socket_in_the_same_folders(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "clips").mkdir()
    given = {"FRIGATE_CLIPS_DIR": str(tmp_path / "clips")}
    given |= {name: value.format(tmp=tmp_path) for name, value in environ.items()}
    folders = [path.parent for path in api.sockets(given)]
    assert tuple(folders) == settings.load(given).state.dirs


def test_frigates_own_paths_count_where_the_owner_has_set_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Thing:
        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields)

    monkeypatch.setitem(sys.modules, "frigate.const", Thing(CLIPS_DIR="/m/clips"))
    config = Thing(database=Thing(path="/c/f.db"))
    assert api.sockets({}, config) == [
        Path("/c/s3_mirror/backfill.sock"),
        Path("/m/clips/cache/.s3_mirror/backfill.sock"),
    ]


def test_a_desk_without_a_job_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, ["nothing"])  # nobody runs them
    desk = Desk(jobs, Schedules(tmp_path / "schedule.json"), at_once=0.01)
    request = {"do": "backfill", "camera": "front", "body": "", "frigate": FRIGATE}
    status, body = desk.answer(request)
    assert (status, body["state"]) == (202, "queued")
    job = jobs.of("front")
    assert isinstance(job, Job) and job.id == body["job_id"]
