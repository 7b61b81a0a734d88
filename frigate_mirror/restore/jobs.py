"""The jobs of the recording backfill: a queue on disk, of which one job runs at a time.

A job is one run of the command `recordings backfill`. Each camera has at most one job that is not
done, and the answer of its last one is kept. Jobs that were queued or running when the process
ended run again at its next start. That is safe, because a backfill adds only what is missing.

    jobs.json              the jobs that are not done, the first one first
    config-JOB.json        what Frigate said of its cameras when it passed the request on
    last-CAMERA.json       the answer of the last job of a camera
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frigate_mirror.files import open_regular, replacing
from frigate_mirror.restore import bodies
from frigate_mirror.restore.bodies import Wanted
from frigate_mirror.restore.runner import Outcome, Run
from frigate_mirror.untrusted import plain

MOST_TRIES = 3  # starts of a job; one that is cut off each time may be what ends the process
MOST_RESULTS = 1_000  # entries of `results` in an answer that is kept
CAMERA = re.compile(r"[a-zA-Z0-9_-]{1,60}")
"""The name of a camera in Frigate (REGEX_CAMERA_NAME of frigate.const), so it can name a file."""
ALL_WELL, SOME_ERRORS, REFUSED = 0, 1, 2  # exit codes of the command
STATUS_OF_REFUSAL = {"camera": 404, "request": 400, "state": 409}

log = logging.getLogger("frigate_s3.backfill")


class Busy(Exception):
    """The camera has a job already. The text says so; `job_id` names the job."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"A backfill of camera '{job.camera}' {job.state_in_words} already; its status tells "
            "how far it is"
        )
        self.job_id = job.id


@dataclass(slots=True)
class Job:
    """One job. `by` is who asked for it: `request` or `schedule`. Times are Unix seconds."""

    id: str
    camera: str
    by: str
    wanted: Wanted
    queued_at: float
    tries: int = 0
    started_at: float | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return "queued" if self.started_at is None else "running"

    @property
    def state_in_words(self) -> str:
        return "waits for its turn" if self.started_at is None else "is running"

    @property
    def kept(self) -> dict[str, Any]:
        """What the file of jobs has of it."""
        one = {"id": self.id, "camera": self.camera, "by": self.by, "queued_at": self.queued_at}
        return one | {"tries": self.tries, "wanted": bodies.as_json(self.wanted)}

    @property
    def shown(self) -> dict[str, Any]:
        """What the status of the camera tells of it."""
        times = {"queued_at": self.queued_at, "started_at": self.started_at}
        about = {"job_id": self.id, "state": self.state, "by": self.by, **times}
        return about | {"request": bodies.as_json(self.wanted), "progress": self.progress}


class Jobs:
    """The jobs in `folder`, each of which runs `command` with its own options in the environment
    `environ`. Only one process at a time may use the folder. Any thread may call all but `give_up`
    and `run_next`."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._command = command
        self._environ = environ
        self._clock = clock
        self._changed = threading.Condition()
        self._stopping = False
        self._running: Run | None = None
        self._jobs = self._left()

    def submit(self, camera: str, by: str, wanted: Wanted, config: Any = None) -> Job:
        """Queues a job of a camera whose name fits CAMERA. `config` is what Frigate says of its
        cameras; without it, the command asks Frigate. Raises Busy, and OSError if the job cannot be
        written to disk."""
        with self._changed:
            for other in self._jobs:
                if other.camera == camera:
                    raise Busy(other)
            now = self._clock()
            job = Job(f"{now:.0f}-{secrets.token_hex(3)}", camera, by, wanted, now)
            self._jobs.append(job)
            try:
                if config is not None:
                    _write(self._config(job), config)
                self._save()
            except OSError:
                self._jobs.remove(job)
                self._config(job).unlink(missing_ok=True)
                raise
            self._changed.notify()
        return job

    def of(self, camera: str) -> Job | None:
        """Returns the job of this camera that is not done."""
        with self._changed:
            return next((job for job in self._jobs if job.camera == camera), None)

    def last(self, camera: str) -> dict[str, Any] | None:
        """Returns how the last job of this camera ended, or None if it had none. Raises OSError."""
        return read(self._last(camera)) if CAMERA.fullmatch(camera) else None

    def wake(self) -> None:
        """Ends the waiting of `run_next`."""
        with self._changed:
            self._changed.notify()

    def stop(self) -> None:
        """Ends the job that runs. It runs again at the next start."""
        with self._changed:
            self._stopping = True
            if self._running:
                self._running.stop()
            self._changed.notify()

    def run_next(self, within: float) -> Job | None:
        """Runs the first job to its end; returns it. Returns None if none came within so many
        seconds."""
        with self._changed:
            if not self._jobs and not self._stopping:
                self._changed.wait(within)
            if not self._jobs or self._stopping:
                return None
            job = self._jobs[0]
            job.tries += 1
            job.started_at = self._clock()
            self._save_if_possible()
        outcome = self._outcome(job)
        if self._stopping:  # it was not the job that ended this process
            job.tries -= 1
            self._save_if_possible()
            return None
        self._finish(job, *answer(job.camera, outcome))
        return job

    def _outcome(self, job: Job) -> Outcome:
        options = [f"--camera={job.camera}", *job.wanted.options, "--json", "--progress-json"]
        config = self._config(job)
        if config.exists():
            options.append(f"--frigate-config={config}")
        log.info("backfill of camera %s begins", job.camera)
        try:
            run = Run([*self._command, *options], job.progress.update, self._environ)
        except OSError as error:
            return Outcome(-1, words=f"the process cannot be started: {error}")
        with self._changed:
            self._running = run
            if self._stopping:
                run.stop()
        try:
            return run.wait()
        finally:
            with self._changed:
                self._running = None

    def _finish(self, job: Job, status: int, body: dict[str, Any]) -> None:
        """Keeps the answer, and takes the job off the queue. If the disk is full, the answer is
        told but not kept, and a restart runs the job again."""
        log.log(logging.INFO if body.get("success") else logging.WARNING,
                "backfill of camera %s: %s", job.camera, body.get("message"))  # fmt: skip
        about = {"job_id": job.id, "by": job.by, "started_at": job.started_at}
        ended = about | {"finished_at": self._clock(), "status_code": status, "result": body}
        with self._changed:
            try:
                _write(self._last(job.camera), ended)
            except OSError as error:
                log.warning("backfill: the result of camera %s cannot be kept: %s",
                            job.camera, error)  # fmt: skip
            self._jobs.remove(job)
            self._save_if_possible()
            with suppress(OSError):
                self._config(job).unlink(missing_ok=True)
        job.status, job.body = status, body
        job.done.set()

    # -- on disk

    def _left(self) -> list[Job]:
        """Returns the jobs that an earlier process has left. Raises OSError."""
        found = read(self._folder / "jobs.json") or {}
        try:
            left = [_job(one) for one in found.get("jobs", [])]
        except (KeyError, TypeError, ValueError) as error:
            log.warning("backfill: the queue in %s cannot be read and is empty now: %r",
                        self._folder, error)  # fmt: skip
            left = []
        for job in left:
            log.info("backfill of camera %s was cut off or waited, and is queued again", job.camera)
        configs = {self._config(job) for job in left}
        for path in self._folder.glob("config-*.json"):
            if path not in configs:
                path.unlink(missing_ok=True)
        return left

    def give_up(self) -> list[Job]:
        """Ends the jobs that were cut off too often, and returns them. Not called while one
        runs."""
        given_up = [job for job in self._jobs if job.tries >= MOST_TRIES]
        for job in given_up:
            words = f"The backfill of camera '{job.camera}' was cut off {job.tries} times"
            message = f"{words}, because the process ended; ask for it again"
            body = {"success": False, "message": message, "camera_name": job.camera}
            self._finish(job, 500, body)
        return given_up

    def _save(self) -> None:
        _write(self._folder / "jobs.json", {"jobs": [job.kept for job in self._jobs]})

    def _save_if_possible(self) -> None:
        try:
            self._save()
        except OSError as error:
            log.warning("backfill: the queue cannot be written: %s", error)

    def _config(self, job: Job) -> Path:
        return self._folder / f"config-{job.id}.json"

    def _last(self, camera: str) -> Path:
        return self._folder / f"last-{camera}.json"


def answer(camera: str, outcome: Outcome) -> tuple[int, dict[str, Any]]:
    """Returns the HTTP status and the body that tell how a job ended."""
    summary = outcome.summary
    if summary and outcome.code in (ALL_WELL, SOME_ERRORS):
        results = summary.get("results")
        if isinstance(results, list):
            summary["results"] = results[:MOST_RESULTS]
        return 200 if summary.get("success") else 500, summary
    if summary and outcome.code == REFUSED:
        return STATUS_OF_REFUSAL.get(str(summary.get("refused")), 409), summary
    how = f"exit code {outcome.code}" if outcome.code >= 0 else f"signal {-outcome.code}"
    words = f": {outcome.words}" if outcome.words else ""
    message = f"The backfill of camera '{camera}' did not end well ({how}){words}"
    return 500, {"success": False, "message": plain(message, 2_000), "camera_name": camera}


def read(path: Path) -> dict[str, Any] | None:
    """Returns the JSON object in a file, or None if there is none. Raises OSError."""
    try:
        with open_regular(path) as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        log.warning("backfill: %s is damaged and is not used", path)
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(document).encode())


def _job(kept: Any) -> Job:
    """Reads a job from the file of jobs. Raises KeyError, TypeError, ValueError."""
    if not CAMERA.fullmatch(kept["camera"]):
        raise ValueError("a camera with a name that Frigate does not allow")
    return Job(
        str(kept["id"]),
        str(kept["camera"]),
        str(kept["by"]),
        Wanted(**kept["wanted"]),
        float(kept["queued_at"]),
        int(kept["tries"]),
    )
