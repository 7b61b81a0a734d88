"""`recordings`: gives recordings on the disk their rows in Frigate's database again."""

from __future__ import annotations

import argparse
import json
import logging
import math
import signal
import sys
import time
from pathlib import Path

from frigate_mirror.commands.loading import EX_LEFT, EX_OK, complain, load_any
from frigate_mirror.commands.moments import moment
from frigate_mirror.frigate.ffmpeg import find_ffmpeg
from frigate_mirror.process import system
from frigate_mirror.report.status import span
from frigate_mirror.restore.backfill import (
    ADDED,
    ERROR,
    OVERLAPPING,
    REFUSED,
    SAFE_AGE,
    TOO_YOUNG,
    Backfill,
    Progress,
    Request,
    Summary,
)
from frigate_mirror.restore.measure import beside, measure
from frigate_mirror.restore.prepare import REQUEST, RefusedError, prepare
from frigate_mirror.restore.recordings_table import RecordingsTable, TableError
from frigate_mirror.restore.undo import UndoError, UndoFile, undo
from frigate_mirror.settings.settings import Settings
from frigate_mirror.untrusted import plain

log = logging.getLogger("frigate_s3.backfill")
EX_REFUSED = 2
TELL_EVERY = 10.0  # seconds between two lines about the progress where there is no terminal
JSON_EVERY = 1.0  # seconds between two of them with --progress-json
SHOWN = 20  # lines about files at the end, for each kind of trouble


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the commands `backfill` and `undo`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    about = "add a row for each recording that lies on the disk without one"
    fill = commands.add_parser("backfill", help=about, description=about)
    fill.set_defaults(act=_backfill)
    which = fill.add_mutually_exclusive_group(required=True)
    which.add_argument("--camera", action="append", help="a camera, as Frigate names it; repeat it")
    which.add_argument("--all-cameras", action="store_true", help="all cameras that Frigate knows")
    form = "Unix seconds, ISO 8601 (local time unless it names a zone), or an age such as 3d"
    fill.add_argument("--start-time", type=moment, default=-math.inf, metavar="T", help=form)
    fill.add_argument("--end-time", type=moment, default=math.inf, metavar="T", help="the same")
    fill.add_argument(
        "--directory", default="", help="look only into this folder of the recordings folder"
    )
    fill.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    fill.add_argument("--force", action="store_true", help="correct the rows that are there, too")
    fill.add_argument(
        "--forget-measured",
        action="store_true",
        help="with --force: forget motion and objects of these rows",
    )
    fill.add_argument(
        "--even-if-deleted",
        action="store_true",
        help="add rows even if Frigate's next cleanup deletes them together with their files",
    )
    fill.add_argument(
        "--like-seed", action="store_true", help="write -1 for unknown values, which spoils sums"
    )
    fill.add_argument(
        "--wait", action="store_true", help="wait for files that are too young, and add them, too"
    )
    fill.add_argument(
        "--recordings-path-in-frigate",
        default="",
        metavar="PATH",
        help="the recordings folder as Frigate sees it, if it is not FRIGATE_RECORDINGS_DIR",
    )
    fill.add_argument(
        "--frigate-config",
        type=Path,
        metavar="FILE",
        help="Frigate's configuration; the default is to ask Frigate, or config.yml beside its "
        "database if Frigate is stopped",
    )
    fill.add_argument("--json", action="store_true", help="print a JSON object for each camera")
    fill.add_argument("--verbose", action="store_true", help="say what becomes of each file")
    fill.add_argument("--progress-json", action="store_true", help=argparse.SUPPRESS)
    fill.add_argument("--youngest", type=float, default=SAFE_AGE, help=argparse.SUPPRESS)
    about = "remove exactly the rows that a backfill has added; the files stay"
    back = commands.add_parser("undo", help=about, description=about)
    back.set_defaults(act=_undo)
    back.add_argument("file", type=Path, help="the undo file that the backfill has named")
    back.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)


def main(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code. Raises SettingsError."""
    loaded = load_any()
    system.set_up_logging("DEBUG" if arguments.verbose else "WARNING")
    # A process that Ctrl-Z stops within a transaction would keep Frigate's database locked.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    code: int = arguments.act(loaded, arguments)
    return code


# -- undo


def _undo(loaded: Settings, arguments: argparse.Namespace) -> int:
    try:
        table = RecordingsTable(loaded.frigate.db_path)
        removed, named = undo(arguments.file, table)
    except (UndoError, TableError, OSError) as error:
        return complain(f"backfill cannot be undone: {error}")
    print(f"backfill: {removed} of {named} row(s) removed; the files stay where they are")
    return EX_OK


# -- backfill


def _backfill(loaded: Settings, arguments: argparse.Namespace) -> int:
    shown = _json_refusal if arguments.json else _text_refusal
    try:
        if not arguments.start_time < arguments.end_time:
            raise RefusedError(REQUEST, "the end time is not after the start time")
        prepared = prepare(
            loaded,
            arguments.camera or (),
            directory=arguments.directory,
            shown=arguments.recordings_path_in_frigate,
            config_file=arguments.frigate_config,
        )
    except RefusedError as refusal:
        shown((arguments.camera or [""])[0], refusal)
        return EX_REFUSED
    log.info("backfill knows Frigate's settings from %s", prepared.settings.source)
    cameras = list(dict.fromkeys(arguments.camera or sorted(prepared.settings.cameras)))
    undo_file = UndoFile(loaded.state.folder / "backfill")
    interrupted = _Interrupted()
    bar = _bar(arguments)
    ffprobe = beside(find_ffmpeg())
    backfill = Backfill(
        prepared.folder,
        prepared.table,
        prepared.settings,
        undo_file,
        measure_file=lambda path: measure(path, ffprobe),
        on_progress=bar.show,
        stopping=lambda: interrupted.wanted,
    )
    summaries = [_run(backfill, camera, arguments, bar, interrupted) for camera in cameras]
    undo_file.close()
    for summary in summaries:
        _print(summary, arguments)
    _print_end(prepared.table, undo_file, summaries, prepared.settings.syncs, arguments)
    bad = any(summary.failure or summary.count(ERROR) for summary in summaries)
    return EX_LEFT if bad else EX_OK


def _run(
    backfill: Backfill, camera: str, arguments: argparse.Namespace, bar: _Bar, stop: _Interrupted
) -> Summary:
    """Runs the backfill of one camera and, with --wait, once more when the young files are old
    enough."""
    request = Request(
        camera,
        arguments.start_time,
        min(arguments.end_time, time.time() + 1) if arguments.wait else arguments.end_time,
        directory=arguments.directory,
        dry_run=arguments.dry_run,
        force=arguments.force,
        forget_measured=arguments.forget_measured,
        even_if_deleted=arguments.even_if_deleted,
        like_seed=arguments.like_seed,
        safe_age=arguments.youngest,
    )
    bar.begin(camera)
    summary = backfill.run(request)
    while arguments.wait and summary.young_until and not summary.failure:
        left = summary.young_until - time.time()
        print(
            f"backfill: {summary.count(TOO_YOUNG)} file(s) of {camera} are too young; goes on in "
            f"{span(left)}",
            file=sys.stderr,
            flush=True,
        )
        stop.wait(left + 1)
        if stop.wanted:
            break
        again = backfill.run(request)
        if not arguments.dry_run:
            again.take_over(summary)
        summary = again
    bar.end()
    return summary


class _Interrupted:
    """Whether a signal has asked this process to end. A batch that is at work ends first."""

    def __init__(self) -> None:
        self.wanted = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.wanted = True

    def wait(self, seconds: float) -> None:
        """Waits, but not beyond a signal."""
        until = time.monotonic() + seconds
        while not self.wanted and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))


def _text_refusal(camera: str, refusal: RefusedError) -> None:
    print(f"backfill refused: {refusal}", file=sys.stderr)


def _json_refusal(camera: str, refusal: RefusedError) -> None:
    document = {
        "success": False,
        "message": str(refusal),
        "camera_name": camera,
        "refused": refusal.kind,
        "known_cameras": refusal.cameras,
    }
    print(json.dumps(document), flush=True)
    _text_refusal(camera, refusal)


def _print(summary: Summary, arguments: argparse.Namespace) -> None:
    """Prints what was done for one camera."""
    if arguments.json:
        print(json.dumps(summary.document()), flush=True)
        return
    print(summary.message)
    reasons = (
        (OVERLAPPING, "show a time that another recording of the camera shows"),
        (TOO_YOUNG, "are too young"),
        (REFUSED, "would be deleted"),
    )
    for status, what in reasons:
        if count := summary.count(status):
            print(f"  {count} {what}{_why(summary, status)}")
    for outcome in [one for one in summary.results if one.status == ERROR][:SHOWN]:
        print(f"  {plain(outcome.file_path)} {plain(outcome.reason)}")
    if (more := summary.count(ERROR) - SHOWN) > 0:
        print(f"  and {more} more with errors; --json lists the first 1,000")


def _why(summary: Summary, status: str) -> str:
    """Returns what to say about the files of this status."""
    if status == TOO_YOUNG:
        again = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.young_until))
        return f"; run it again at {again}, or with --wait"
    if status == REFUSED:
        # The oldest file needs the longest retention, and comes first, unless there are too many
        # other results.
        reasons = (one.reason for one in summary.results if one.status == REFUSED)
        reason = next(reasons, "raise the retention first")
        return f": {reason}, or add them all the same by --even-if-deleted"
    return ""


def _print_end(
    table: RecordingsTable,
    undo_file: UndoFile,
    summaries: list[Summary],
    syncs: bool,
    arguments: argparse.Namespace,
) -> None:
    """Prints what concerns all cameras, to stderr with --json."""
    out = sys.stderr if arguments.json else sys.stdout
    rowless = sum(one.count(OVERLAPPING, REFUSED, ERROR) for one in summaries)
    if rowless and syncs:
        print(
            f"backfill warning: sync_recordings is on in Frigate, so it deletes the {rowless} "
            "file(s) that got no row at its next sync",
            file=out,
        )
    if arguments.like_seed and any(one.count(ADDED) for one in summaries):
        print(
            "backfill warning: -1 counts in sums of motion and objects, one less for each row",
            file=out,
        )
    if undo_file.path is not None:
        print(f"to remove the added rows again: recordings undo {undo_file.path}", file=out)
    if arguments.verbose and table.lock_times:
        times = sorted(table.lock_times)
        print(
            f"backfill held the lock {len(times)} times: median {_ms(times, 0.5)} ms, "
            f"99 % within {_ms(times, 0.99)} ms, at most {_ms(times, 1)} ms",
            file=sys.stderr,
        )


def _ms(times: list[float], part: float) -> str:
    return f"{1000 * times[min(len(times) - 1, int(part * len(times)))]:.1f}"


# -- progress


def _bar(arguments: argparse.Namespace) -> _Bar:
    if arguments.progress_json:
        return _JsonLines()
    return _Terminal() if sys.stderr.isatty() else _Lines()


class _Bar:
    """Shows the progress of one camera after the other on stderr."""

    every = TELL_EVERY

    def __init__(self) -> None:
        self.camera = ""
        self._began = self._told = time.monotonic()

    def begin(self, camera: str) -> None:
        self.camera = camera
        self._began = self._told = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Tells the progress if it is time."""
        now = time.monotonic()
        if now - self._told >= self.every:
            self._told = now
            took = now - self._began
            files = sum(progress.summary.counts.values())
            left = took * (progress.hours - progress.done) / progress.done
            self.tell(progress, files, files / took, left)

    def tell(self, progress: Progress, files: int, rate: float, left: float) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """Ends the progress of this camera."""


class _Lines(_Bar):
    def tell(self, progress: Progress, files: int, rate: float, left: float) -> None:
        print(
            f"backfill {self.camera}: {progress.done} of {progress.hours} hours, {files} files, "
            f"{rate:.0f}/s, {span(left)} left",
            file=sys.stderr,
            flush=True,
        )


class _Terminal(_Bar):
    every = 0.2

    def __init__(self) -> None:
        super().__init__()
        self._shown = False

    def tell(self, progress: Progress, files: int, rate: float, left: float) -> None:
        width = 30 * progress.done // progress.hours
        self._shown = True
        print(
            f"\r{self.camera} [{'#' * width:<30}] {files} files, {rate:.0f}/s, {span(left)} left"
            "\x1b[K",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._shown = False


class _JsonLines(_Bar):
    every = JSON_EVERY

    def tell(self, progress: Progress, files: int, rate: float, left: float) -> None:
        document = {
            "hours_done": progress.done,
            "hours": progress.hours,
            "files": files,
            "added": progress.summary.count(ADDED),
            "errors": progress.summary.count(ERROR),
            "remaining_seconds": round(left, 1),
        }
        print(json.dumps(document), file=sys.stderr, flush=True)
