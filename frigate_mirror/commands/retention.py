"""`retention`: deletes at the destination what its owner does not want to keep any longer."""

from __future__ import annotations

import argparse
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import frigate_mirror
from frigate_mirror.commands.loading import (
    EX_LEFT,
    EX_OK,
    complain,
    sink_of,
    with_destination,
)
from frigate_mirror.notify.notice import View
from frigate_mirror.notify.notices import Notices
from frigate_mirror.notify.ways import ways_of
from frigate_mirror.process import system
from frigate_mirror.process.life import Stop
from frigate_mirror.process.rounds import rounds_of
from frigate_mirror.report.status import DEGRADED, OK
from frigate_mirror.retention import daily
from frigate_mirror.retention.errors import Refused, RetentionError
from frigate_mirror.retention.run import Job, run
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings, SettingsError
from frigate_mirror.sinks.sink import Archive, SinkError

LOOK = (
    "run `frigate-mirror retention --dry-run --list` where the retention runs, and read its lines"
)
STOP_WITHIN = 10.0  # seconds, in which a batch is finished; the next run finishes it otherwise
FOLDER = Path(frigate_mirror.__file__).parent
_CREDENTIALS = re.compile(r"\b(S3_(ACCESS_KEY|SECRET_KEY|SESSION_TOKEN)|RCLONE_CONFIG(_PASS)?)\b")
PRINTED = {"unit": "retention.service", "timer": "retention.timer"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=["run", "daily", "health", *PRINTED],
        default="run",
        help="run (the default): delete once; daily: delete once a day until a signal comes; "
        "health: say what became of the last daily run; unit, timer: print a unit of systemd",
    )
    parser.add_argument("--dry-run", action="store_true", help="run: only say what it would delete")
    parser.add_argument(
        "--list", action="store_true", help="run: name each object that it would delete"
    )
    parser.add_argument(
        "--max-deletes",
        type=int,
        metavar="N",
        help="run: delete up to N objects this time, also if they are more than half of all events",
    )


def main(arguments: argparse.Namespace) -> int:
    if arguments.what in PRINTED:
        print((FOLDER / PRINTED[arguments.what]).read_text(encoding="utf-8"), end="")
        return EX_OK
    own = arguments.dry_run or arguments.list or arguments.max_deletes is not None
    if arguments.what != "run" and own:
        arguments.parser.error("--dry-run, --list and --max-deletes belong to run")
    if arguments.max_deletes is not None and arguments.max_deletes < 0:
        arguments.parser.error("--max-deletes needs a number that is not negative")
    job = _job(_loaded())
    if arguments.what == "health":
        fault = daily.health(job.folder, time.time())
        print(fault or "the last run of the retention was well")
        return EX_LEFT if fault else EX_OK
    if arguments.what == "daily":
        return _every_day(job)
    return _once(job, arguments)


def _once(job: Job, arguments: argparse.Namespace) -> int:
    system.set_up_logging("WARNING")
    try:
        with _opened() as archive:
            deleted = run(
                job,
                archive,
                lambda line: print(line, flush=True),
                once=arguments.max_deletes,
                dry=arguments.dry_run,
                named=arguments.list,
            )
    except Refused as error:
        print(f"nothing was deleted: {error}", flush=True)
        return EX_LEFT
    except (RetentionError, SinkError) as error:
        return complain(str(error))
    if deleted.left:
        return EX_LEFT
    if not arguments.dry_run:
        daily.note_by_hand(job.folder, time.time())
    return EX_OK


def _every_day(job: Job) -> int:
    loaded = _loaded()
    system.set_up_logging(loaded.report.log_level)
    with_access(loaded, os.environ)  # tells at once what is wrong with the settings
    part, stop = daily.Retention(job, _opened_again), Stop()
    unsent = job.folder / "retention.notices"  # a companion may have its own in this folder
    with suppress(OSError):  # the run tells why it cannot write there
        unsent.mkdir(mode=0o700, parents=True, exist_ok=True)
    notices = Notices(
        lambda: _view(part),
        unsent,
        ways_of(loaded),
        name=f"{loaded.report.name} (retention)",
        after=loaded.notify.after,
        digest_at=None,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # The main thread only waits, so that a signal ends a run between two batches.
    rounds = rounds_of([*part.tasks(), *notices.tasks()], lambda name, fault: None)
    for one in rounds:
        one.start()
    while all(one.is_alive() for one in rounds) and not stop.wanted:
        time.sleep(0.5)
    part.finish()
    notices.finish()
    for one in rounds:
        one.stop()
    rounds[0].join(STOP_WITHIN)
    return EX_OK if stop.wanted else EX_LEFT


def _view(part: daily.Retention) -> View:
    """Returns how the daily runs are, as the notices see it."""
    troubles = part.troubles()
    return View(DEGRADED if troubles else OK, troubles, LOOK)


def _loaded() -> Settings:
    return with_destination(settings.load(os.environ))


def _job(loaded: Settings) -> Job:
    try:
        job = Job.of(loaded)
    except ValueError as fault:
        raise SettingsError([str(fault)]) from None
    if loaded.companion.url or settings.VARIABLES["MIRROR_STATE_DIR"].is_set(os.environ):
        return job
    # Beside Frigate's database is no place on another machine.
    home = os.environ.get("HOME") or "/"
    return replace(job, folder=Path(home, ".local/state/frigate-mirror"))


@contextmanager
def _opened() -> Iterator[Archive]:
    """Gives the destination, with the credentials as they are now. Raises SettingsError."""
    loaded, environ = with_access(_loaded(), os.environ)
    sink = sink_of(loaded, environ)
    try:
        yield sink.archive()
    except SinkError as error:
        error.hint = _of_retention(error.hint)
        raise
    finally:
        if close := getattr(sink, "close", None):  # of rclone
            close()


def _of_retention(hint: str) -> str:
    """Returns the hint of a destination with the names of the variables that count here."""
    access = settings.load_retention_access(os.environ)
    if access.access_key or access.config:
        return _CREDENTIALS.sub(r"RETENTION_\g<0>", hint)
    return hint


@contextmanager
def _opened_again() -> Iterator[Archive]:
    """Does the same while the process runs, in which time the file of a secret may be replaced.
    Raises RetentionError."""
    try:
        with _opened() as archive:
            yield archive
    except SettingsError as error:
        raise RetentionError(str(error)) from None


def with_access(loaded: Settings, environ: Mapping[str, str]) -> tuple[Settings, Mapping[str, str]]:
    """Returns the settings and the environment with the credentials of the retention in the place
    of the mirror's, where they are set. Raises SettingsError."""
    access = settings.load_retention_access(environ)
    if loaded.rclone.remote:
        if not access.config:
            return loaded, environ
        theirs = {"RCLONE_CONFIG_PASS", "RCLONE_CONFIG_PASS_FILE"}
        environ = {name: text for name, text in environ.items() if name not in theirs}
        if access.config_pass:
            environ["RCLONE_CONFIG_PASS"] = access.config_pass.reveal()
        rclone = replace(loaded.rclone, config=access.config, config_pass=access.config_pass)
        return replace(loaded, rclone=rclone), environ
    if not access.access_key:
        return loaded, environ
    s3 = replace(
        loaded.s3,
        access_key=access.access_key,
        secret_key=access.secret_key,
        session_token=access.session_token,
    )
    names = ("access_key", "secret_key", "session_token")
    own = {f"S3_{name.upper()}": getattr(s3, name).reveal() for name in names}
    return replace(loaded, s3=s3), own
