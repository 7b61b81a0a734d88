"""The service of the recording backfill in the child process: it answers requests and runs jobs.

Requests come from frigate_recordings_api.py, which runs in Frigate's process, over a Unix socket:

    {"do": "backfill", "camera": "front", "body": "{...}", "frigate": {"cameras": {...}, ...}}

`do` is backfill, status, schedule or unschedule. `body` is the body of the HTTP request as it came,
and `frigate` has those parts of Frigate's running configuration that a backfill needs, in the form
of Frigate's own GET /api/config. The answer has an HTTP status and a body.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frigate_mirror.ledger.lock import RunLock
from frigate_mirror.restore import bodies
from frigate_mirror.restore.bodies import Interval, Wanted, WrongBody
from frigate_mirror.restore.jobs import CAMERA, Busy, Jobs
from frigate_mirror.restore.listener import Listener
from frigate_mirror.restore.schedule import DAY, Schedules
from frigate_mirror.settings.settings import VARIABLES
from frigate_mirror.untrusted import plain

PROGRAM = Path(__file__).resolve().parents[2] / "s3_snapshot_mirror.py"
COMMAND = (sys.executable or "python3", str(PROGRAM), "recordings", "backfill")
SOCKET_NAME, LOCK_NAME, FOLDER_NAME = "backfill.sock", "backfill.lock", "backfill"
AT_ONCE = 2.0  # seconds; a job that takes longer is answered by its number
FRIGATE_NEEDS = 60.0  # seconds after the start, until Frigate answers what a scheduled job asks it
LOOK = 30.0  # seconds between two looks at the schedules
SHOWN = 60  # characters of an unknown camera's name in an answer
AGAIN = 30.0  # seconds until the next try to find a folder

log = logging.getLogger("frigate_s3.backfill")
Answer = tuple[int, dict[str, Any]]


class Desk:
    """Answers requests. It knows the jobs and the schedules, and no sockets."""

    def __init__(self, jobs: Jobs, schedules: Schedules, at_once: float = AT_ONCE) -> None:
        self._jobs = jobs
        self._schedules = schedules
        self._at_once = at_once
        self._answers: dict[str, Callable[[str, str, dict[str, Any]], Answer]] = {
            "backfill": self._backfill,
            "status": self._status,
            "schedule": self._schedule,
            "unschedule": self._unschedule,
        }

    def answer(self, request: dict[str, Any]) -> Answer:
        """Returns the HTTP status and the body for a request."""
        camera, body, frigate = (request.get(name) for name in ("camera", "body", "frigate"))
        do = self._answers.get(str(request.get("do")))
        if (
            do is None
            or not (isinstance(camera, str) and isinstance(body, str))
            or not (isinstance(frigate, dict) and isinstance(frigate.get("cameras"), dict))
        ):
            return 400, {"success": False, "message": "The request has another form than expected"}
        try:
            return do(camera, body, frigate)
        except WrongBody as error:
            return _refusal(400, camera, f"Wrong request: {error}")
        except Busy as error:
            return _refusal(409, camera, str(error), job_id=error.job_id)
        except OSError as error:
            message = f"The state folder of the mirror cannot be used: {error}"
            log.warning("backfill of camera %s: %s", plain(camera, SHOWN), message)
            return _refusal(503, camera, message)

    def _backfill(self, camera: str, body: str, frigate: dict[str, Any]) -> Answer:
        if refused := _unknown(camera, frigate):
            return refused
        job = self._jobs.submit(camera, "request", bodies.wanted(body), frigate)
        if job.done.wait(self._at_once):
            return job.status, job.body
        message = (
            f"The backfill of camera '{camera}' {job.state_in_words}; "
            f"GET /api/recordings/{camera}/backfill/status tells how far it is"
        )
        about = {"camera_name": camera, "job_id": job.id, "state": job.state}
        return 202, {"success": True, "message": message, **about}

    def _status(self, camera: str, body: str, frigate: dict[str, Any]) -> Answer:
        job, last = self._jobs.of(camera), self._jobs.last(camera)
        schedule = self._schedules.of(camera)
        refused = _unknown(camera, frigate)
        if refused and not (job or last or schedule):  # a removed camera may have left something
            return refused
        words = job.state_in_words if job else "does not run"
        return 200, {
            "success": True,
            "message": f"The backfill of camera '{camera}' {words}",
            "camera_name": camera,
            "job": job.shown if job else None,
            "last": last,
            "schedule": schedule.shown if schedule else None,
        }

    def _schedule(self, camera: str, body: str, frigate: dict[str, Any]) -> Answer:
        if refused := _unknown(camera, frigate):
            return refused
        interval = bodies.interval(body, camera)
        schedule = self._schedules.put(camera, interval)
        self._jobs.wake()
        message = _schedule_in_words(camera, interval)
        log.info("%s", message)
        return 200, {"success": True, "message": message, "camera_name": camera, **schedule.shown}

    def _unschedule(self, camera: str, body: str, frigate: dict[str, Any]) -> Answer:
        if not self._schedules.remove(camera):
            return _refusal(404, camera, "This camera has no backfill schedule")
        message = f"The backfill of camera '{plain(camera, SHOWN)}' has no schedule any longer"
        log.info("%s", message)
        return 200, {"success": True, "message": message, "camera_name": camera}


def _schedule_in_words(camera: str, interval: Interval) -> str:
    if not interval.enabled:
        return f"The backfill of camera '{camera}' has a schedule that is switched off"
    return (
        f"The backfill of camera '{camera}' runs every {interval.interval_hours:g} hour(s) and "
        f"looks back {interval.retention_days:g} day(s). Frigate's own retention decides what "
        "stays: a recording that Frigate would delete gets no row"
    )


def _refusal(status: int, camera: str, message: str, **more: Any) -> Answer:
    name = plain(camera, SHOWN)
    return status, {"success": False, "message": message, "camera_name": name, **more}


def _unknown(camera: str, frigate: dict[str, Any]) -> Answer | None:
    """Returns the answer for a camera that Frigate does not know, or None if it knows it."""
    known = sorted(frigate["cameras"])
    if camera in known and CAMERA.fullmatch(camera):
        return None
    named = ", ".join(known) or "none"
    message = f"Camera '{plain(camera, SHOWN)}' not found; Frigate knows: {named}"
    return _refusal(404, camera, message, known_cameras=known)


def _with_state_in(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns `environ` with `folder` as the mirror's state folder, because the one that the owner
    chose may be one that cannot be written."""
    name, *older = VARIABLES["MIRROR_STATE_DIR"].names
    return {one: value for one, value in environ.items() if one not in older} | {name: str(folder)}


class Service:
    """The service in the first of `folders` that can have a socket. It works as soon as an earlier
    process has ended that used the same folder."""

    def __init__(
        self,
        folders: Sequence[Path],
        command: Sequence[str] = COMMAND,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
        frigate_needs: float = FRIGATE_NEEDS,
        at_once: float = AT_ONCE,
    ) -> None:
        self._folders = folders
        self._command = command
        self._environ = environ
        self._clock = clock
        self._frigate_needs = frigate_needs
        self._at_once = at_once
        self._stopping = threading.Event()
        self._jobs: Jobs | None = None
        self._thread = threading.Thread(target=self._live, name="backfill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within: float = 2.0) -> None:
        """Ends the job that runs, which runs again at the next start."""
        self._stopping.set()
        if self._jobs:
            self._jobs.stop()
        self._thread.join(within)

    def _live(self) -> None:
        """Serves in the first folder that can be used, until `stop`."""
        told: set[str] = set()
        while not self._stopping.is_set():
            for folder in self._folders:
                try:
                    lock, jobs, schedules, listener = self._open(folder)
                except OSError as error:
                    if str(error) not in told and not self._stopping.is_set():
                        told.add(str(error))
                        log.warning("backfill: the folder %s cannot be used: %s", folder, error)
                    continue
                self._work(jobs, schedules, listener)
                lock.release()
                return
            self._stopping.wait(AGAIN)

    def _open(self, folder: Path) -> tuple[RunLock, Jobs, Schedules, Listener]:
        """Takes the folder for this process, as soon as no other has it. Raises OSError."""
        own = folder / FOLDER_NAME
        for made in (folder, own):  # one after the other, because `parents` knows no mode
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = RunLock(folder / LOCK_NAME)
        if not lock.acquire():
            log.info("backfill: its API waits for an earlier mirror to end, which uses %s", folder)
            while not lock.acquire():
                if self._stopping.wait(0.2):
                    raise InterruptedError("the mirror stops")
        try:
            jobs = Jobs(own, self._command, _with_state_in(folder, self._environ), self._clock)
            schedules = Schedules(own / "schedule.json", self._clock)
            desk = Desk(jobs, schedules, self._at_once)
            listener = Listener(folder / SOCKET_NAME, desk.answer)
        except OSError:
            lock.release()
            raise
        return lock, jobs, schedules, listener

    def _work(self, jobs: Jobs, schedules: Schedules, listener: Listener) -> None:
        self._jobs = jobs
        began = time.monotonic()
        listener.start()
        log.info("backfill: its API takes requests")
        while not self._stopping.is_set():
            try:
                ended = jobs.give_up()
                if not ended and time.monotonic() - began >= self._frigate_needs:
                    self._queue_due(jobs, schedules)
                if not ended and (job := jobs.run_next(LOOK)):
                    ended = [job]
                for job in ended:
                    if job.by == "schedule":
                        schedules.settle(job.camera, bool(job.body.get("success")))
            except MemoryError:
                raise
            except Exception:
                log.exception("backfill: a job failed, the next one runs in a while")
                self._stopping.wait(AGAIN)
        listener.stop()

    def _queue_due(self, jobs: Jobs, schedules: Schedules) -> None:
        """Queues a job for each camera whose turn it is, unless it has one already."""
        for camera, schedule in schedules.due():
            start = self._clock() - schedule.retention_days * DAY
            try:
                jobs.submit(camera, "schedule", Wanted(start_time=start))
            except Busy:
                continue
            except OSError as error:
                log.warning("backfill of camera %s cannot be queued: %s", camera, error)
                schedules.settle(camera, success=False)
