"""Gives segments that lie in Frigate's recordings folder without a row their rows again.

The way of a segment: its name says when it began; a row of the same path or of the same time ends
its way; a young file is left to Frigate, which stores a file first and its row some seconds later;
the file itself says how long it is; Frigate's settings say whether its next cleanup would delete
it. What is left gets a row.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from frigate_mirror.frigate.record_settings import RecordSettings
from frigate_mirror.frigate.segments import TOLERANCE
from frigate_mirror.restore.fate import Fate
from frigate_mirror.restore.measure import BadSegmentError, Measured, measure
from frigate_mirror.restore.recordings_folder import (
    STREAMS,
    SUB,
    Found,
    Hour,
    RecordingsFolder,
    Strange,
)
from frigate_mirror.restore.recordings_table import (
    BATCH,
    RecordingsTable,
    Row,
    TableError,
    TableLockedError,
    new_id,
)
from frigate_mirror.restore.undo import UndoFile
from frigate_mirror.untrusted import plain

T = TypeVar("T")
log = logging.getLogger("frigate_s3.backfill")
SAFE_AGE = 900.0
"""Seconds. Frigate stores a file about a second before its row. If it then finds a row that is not
its own, the thread ends that stores everything for Frigate's other processes, until a restart."""
AHEAD = 3600.0  # seconds by which the clock of this machine may be behind that of a file's name
LONGEST_ROW = 600.0  # seconds; Frigate stores no longer ones
HOUR = 3600.0
MOST_RESULTS = 1_000
CLOSE = 0.01  # seconds or MiB; a row that differs by less is correct
LOCKED_FOR = 600.0  # seconds; for so long the backfill waits for a locked database
LIKE_THE_SEED = dict.fromkeys(("motion", "objects", "dBFS", "regions"), -1)

ADDED, UPDATED, KNOWN, OVERLAPPING = "added", "updated", "known", "overlapping"
TOO_YOUNG, REFUSED, ERROR = "too_young", "refused_by_fate", "error"
WRITTEN = (ADDED, UPDATED)


@dataclass(frozen=True, slots=True)
class Request:
    """What one run does for one camera. Times are Unix seconds.

    directory        the only folder to look into, or an empty text for all
    force            corrects the rows that are there, too
    forget_measured  with `force`: forgets what Frigate measured of these
    even_if_deleted  adds rows even if Frigate's next cleanup deletes them with their files
    like_seed        writes -1 instead of NULL for what is unknown
    safe_age         the age in seconds that a file must have
    """

    camera: str
    since: float
    until: float
    directory: str = ""
    dry_run: bool = False
    force: bool = False
    forget_measured: bool = False
    even_if_deleted: bool = False
    like_seed: bool = False
    safe_age: float = SAFE_AGE


@dataclass(slots=True)
class Outcome:
    """What became of one file."""

    file_path: str
    status: str
    start_time: float | None = None
    end_time: float | None = None
    duration: float | None = None
    file_size_mb: float | None = None
    reason: str = ""


@dataclass(slots=True)
class Summary:
    """What a run has done for one camera: a count for each status, and the first outcomes of files
    that were not simply known. `young_until` is when the last young file will be old enough."""

    camera: str
    dry_run: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    results: list[Outcome] = field(default_factory=list)
    young_until: float = 0.0
    undo_file: str = ""
    seconds: float = 0.0
    failure: str = ""

    def note(self, outcome: Outcome) -> None:
        self.counts[outcome.status] = self.counts.get(outcome.status, 0) + 1
        if outcome.status != KNOWN and len(self.results) < MOST_RESULTS:
            self.results.append(outcome)

    def take_over(self, earlier: Summary) -> None:
        """Takes over what an earlier run of the same request has written, which seemed known to
        this one."""
        for status in WRITTEN:
            self.counts[status] = self.count(status) + earlier.count(status)
        self.counts[KNOWN] = max(0, self.count(KNOWN) - earlier.count(*WRITTEN))
        written = [one for one in earlier.results if one.status in WRITTEN]
        self.results = (written + self.results)[:MOST_RESULTS]

    def count(self, *statuses: str) -> int:
        return sum(self.counts.get(status, 0) for status in statuses)

    @property
    def message(self) -> str:
        """Says in one line what was done."""
        added = f"{'would add' if self.dry_run else 'added'} {self.count(ADDED)}"
        if self.count(UPDATED):
            added += f", {'would correct' if self.dry_run else 'corrected'} {self.count(UPDATED)}"
        text = (
            f"Backfill {'failed' if self.failure else 'completed'} for camera '{self.camera}'. "
            f"Scanned {sum(self.counts.values())} files, {added}, "
            f"skipped {self.count(KNOWN, OVERLAPPING, TOO_YOUNG, REFUSED)}, "
            f"errors {self.count(ERROR)}"
        )
        return f"{text}: {self.failure}" if self.failure else text

    def document(self) -> dict[str, Any]:
        """Returns the summary as the API and `--json` show it."""
        return {
            "success": not self.failure,
            "message": self.message,
            "camera_name": self.camera,
            "dry_run": self.dry_run,
            "total_files_scanned": sum(self.counts.values()),
            "files_added": self.count(ADDED),
            "files_updated": self.count(UPDATED),
            "files_skipped": self.count(KNOWN, OVERLAPPING, TOO_YOUNG, REFUSED),
            "files_errors": self.count(ERROR),
            "files_already_known": self.count(KNOWN),
            "files_overlapping": self.count(OVERLAPPING),
            "files_too_young": self.count(TOO_YOUNG),
            "files_refused_by_fate": self.count(REFUSED),
            "run_again_at": self.young_until or None,
            "undo_file": self.undo_file or None,
            "results": [
                {key: value for key in Outcome.__slots__ if (value := getattr(one, key)) != ""}
                for one in self.results
            ],
            "processing_time_seconds": round(self.seconds, 2),
        }


Decided = tuple[Row, Outcome]
"""A row that is to be written, and the outcome that is noted once it is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: so many of the folders of hours, and what was found in them."""

    done: int
    hours: int
    summary: Summary


class Backfill:
    """Runs requests. `measure_file` measures a segment, `now` gives Unix seconds, `on_progress` is
    called after each hour, `undo` has the ids of added rows, and `stopping` says whether to end
    early."""

    def __init__(
        self,
        folder: RecordingsFolder,
        table: RecordingsTable,
        settings: RecordSettings,
        undo: UndoFile,
        *,
        measure_file: Callable[[str], Measured] = measure,
        now: Callable[[], float] = time.time,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = folder
        self._table = table
        self._settings = settings
        self._undo = undo
        self._measure = measure_file
        self._now = now
        self._on_progress = on_progress
        self._stopping = stopping

    def run(self, request: Request) -> Summary:
        """Does what is requested. What fails for one file is part of the summary, and so is what
        ends the run early."""
        began = time.monotonic()
        summary = Summary(request.camera, request.dry_run)
        try:
            self._work(request, summary)
        except (TableError, OSError) as error:
            summary.failure = f"{error}; what was added so far stays, run it again for the rest"
        summary.undo_file = str(self._undo.path or "")
        summary.seconds = time.monotonic() - began
        return summary

    def _work(self, request: Request, summary: Summary) -> None:
        run = _Run(request, summary, self._table, self._fates(request), self._undo)
        hours = self._folder.hours(request.since, request.until)
        for done, hour in enumerate(hours, start=1):
            if self._stopping():
                summary.failure = "interrupted; run it again for the rest"
                break
            if isinstance(hour, Strange):
                run.note_strange(hour)
            else:
                self._fill(run, hour)
            self._on_progress(Progress(done, len(hours), summary))
        run.write()
        self._folder.check()

    def _fates(self, request: Request) -> dict[str, Fate]:
        """Returns what foretells the fate of the segments of each stream, or nothing in Frigate's
        safe mode."""
        settings, table = self._settings, self._table
        if settings.is_safe or request.even_if_deleted:
            return {}
        needed = table.bandwidth(settings.cameras)
        room_from = table.oldest(needed) if self._folder.free_mib() < needed else 0.0
        reviews = table.reviews(request.camera)
        return {
            stream: Fate(
                settings.cameras[request.camera],
                reviews,
                self._now() + settings.every,
                counts_later_reviews=table.counts_later_reviews,
                room_from=room_from,
            )
            for stream in STREAMS
        }

    def _fill(self, run: _Run, hour: Hour) -> None:
        request = run.request
        since, until = hour.start - LONGEST_ROW, hour.start + HOUR + TOLERANCE
        run.enter(_patiently(lambda: self._table.known(request.camera, since, until)))
        for found in self._folder.segments(hour, request.camera):
            if isinstance(found, Strange):
                run.note_strange(found)
            elif request.since <= found.start < request.until:
                run.take(found, self._now(), self._measure)


class _Run:
    """The state of one run: the rows of the hour that is at work, and the rows to be written."""

    def __init__(
        self,
        request: Request,
        summary: Summary,
        table: RecordingsTable,
        fates: dict[str, Fate],
        undo: UndoFile,
    ) -> None:
        self.request = request
        self._summary = summary
        self._table = table
        self._fates = fates
        self._undo = undo
        self._by_path: dict[str, Row] = {}
        self._spans: dict[str, list[tuple[float, float]]] = {}
        self._new: dict[str, Decided] = {}
        self._corrected: dict[str, Decided] = {}

    def enter(self, known: Sequence[Row]) -> None:
        """Begins an hour, of which and around which these rows are known."""
        self._by_path = {row.path: row for row in known}
        taken: dict[str, list[tuple[float, float]]] = {stream: [] for stream in STREAMS}
        for row in [*known, *(row for row, _ in self._new.values())]:
            taken.setdefault(row.stream, []).append((row.start, row.end))
        # In a dry run nothing is written, so what the hour before would have added is kept.
        for stream, spans in self._spans.items():
            taken.setdefault(stream, []).extend(spans[-1:])
        self._spans = {stream: sorted(set(spans)) for stream, spans in taken.items()}

    def note_strange(self, strange: Strange) -> None:
        self._note(Outcome(strange.path, ERROR, reason=strange.why))

    def take(self, found: Found, now: float, measure_file: Callable[[str], Measured]) -> None:
        """Decides about one file."""
        request = self.request
        # The row may say another time than the name of the file.
        old = self._by_path.get(found.shown) or _patiently(lambda: self._table.row_of(found.shown))
        outcome = Outcome(found.shown, KNOWN, found.start)
        if old is not None and not request.force:
            self._note(outcome)
            return
        if found.start > now + AHEAD:
            self._end(outcome, ERROR, "has a name with a time that is still to come")
            return
        if now - found.start < request.safe_age:
            self._leave_alone(outcome, found.start)
            return
        try:
            measured = measure_file(found.path)
        except FileNotFoundError:  # Frigate has deleted it meanwhile
            return
        except BadSegmentError as error:
            self._end(outcome, ERROR, str(error))
            return
        except OSError as error:
            self._end(outcome, ERROR, f"cannot be read: {error.strerror or error}")
            return
        if measured.changed > now + AHEAD:
            self._end(outcome, ERROR, "was changed at a time that is still to come")
            return
        if now - measured.changed < request.safe_age:
            self._leave_alone(outcome, measured.changed)
            return
        end = found.start + round(measured.duration, 6)  # Frigate counts in microseconds here
        outcome.end_time, outcome.duration = end, measured.duration
        outcome.file_size_mb = measured.size
        row = Row(
            found.shown, found.stream, found.start, end, measured.duration, measured.size,
            new_id(found.start),
        )  # fmt: skip
        if old is not None:
            self._correct(outcome, row, old)
        else:
            self._add(outcome, row)

    def _correct(self, outcome: Outcome, row: Row, old: Row) -> None:
        # A newer Frigate knows the start better than to the second, which is all that a name says.
        if abs(row.start - old.start) < TOLERANCE:
            row = replace(row, start=old.start, end=old.start + row.duration)
        if _is_same(row, old) and not self.request.forget_measured:
            self._note(outcome)
            return
        self._corrected[row.path] = row, outcome
        if len(self._corrected) >= BATCH:
            self.write()

    def _add(self, outcome: Outcome, row: Row) -> None:
        if row.stream == SUB and not self._table.has_streams:
            self._end(outcome, ERROR, "belongs to a sub stream, which this Frigate does not have")
            return
        spans = self._spans[row.stream]
        if _overlaps(spans, row):
            self._end(outcome, OVERLAPPING, "another recording of this camera has this time")
            return
        fate = self._fates[row.stream].of(row.start, row.end) if self._fates else ""
        if fate:
            self._end(outcome, REFUSED, fate)
            return
        insort(spans, (row.start, row.end))
        self._new[row.path] = row, outcome
        if len(self._new) >= BATCH:
            self.write()

    def write(self) -> None:
        """Writes the rows that are decided, and notes what became of each."""
        new, corrected = self._new, self._corrected
        self._new, self._corrected = {}, {}
        for rows in self._table.batches([row for row, _ in new.values()]):
            added = {row.path for row in rows} if self.request.dry_run else self._added(rows)
            for row in rows:
                # Another program may have added it since the hour was read.
                self._end(new[row.path][1], ADDED if row.path in added else KNOWN)
        for rows in self._table.batches([row for row, _ in corrected.values()]):
            changed = {row.path for row in rows} if self.request.dry_run else self._changed(rows)
            for path in changed:  # Frigate may have deleted others since the hour was read
                self._end(corrected[path][1], UPDATED)

    def _added(self, rows: Sequence[Row]) -> set[str]:
        self._undo.note(rows)  # before they are there, so that a kill loses none of them
        camera, measured = self.request.camera, LIKE_THE_SEED if self.request.like_seed else {}
        return _patiently(lambda: self._table.add(camera, rows, measured))

    def _changed(self, rows: Sequence[Row]) -> set[str]:
        return _patiently(lambda: self._table.update(rows, self.request.forget_measured))

    def _leave_alone(self, outcome: Outcome, changed: float) -> None:
        until = changed + self.request.safe_age
        self._summary.young_until = max(self._summary.young_until, until)
        self._end(outcome, TOO_YOUNG, "is young, so that Frigate may be about to store it itself")

    def _end(self, outcome: Outcome, status: str, reason: str = "") -> None:
        outcome.status, outcome.reason = status, reason
        self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        self._summary.note(outcome)
        level = logging.WARNING if outcome.status == ERROR else logging.DEBUG
        if log.isEnabledFor(level):
            why = f": {outcome.reason}" if outcome.reason else ""
            log.log(
                level, "backfill %s: %s%s", plain(outcome.file_path), outcome.status, plain(why)
            )


def _overlaps(spans: Sequence[tuple[float, float]], row: Row) -> bool:
    """Returns whether the row shows a time that one of these spans, which are sorted, shows too.
    Rows of an unbroken recording overlap by up to a second, because starts are cut to seconds."""
    at = bisect_left(spans, (row.end, row.end))
    for start, end in reversed(spans[:at]):
        if start < row.start - LONGEST_ROW:
            break
        if int(start) == int(row.start) or min(end, row.end) - max(start, row.start) > TOLERANCE:
            return True
    return False


def _is_same(row: Row, other: Row) -> bool:
    return all(
        abs(one - another) < CLOSE
        for one, another in (
            (row.start, other.start),
            (row.end, other.end),
            (row.duration, other.duration),
            (row.size, other.size),
        )
    )


def _patiently(ask: Callable[[], T]) -> T:
    """Calls `ask`, again and again while another program has the database locked. Raises
    TableError."""
    until, told = time.monotonic() + LOCKED_FOR, False
    while True:
        try:
            return ask()
        except TableLockedError as error:
            if time.monotonic() > until:
                raise
            if not told:
                log.warning("backfill waits for the database: %s", error)
            told = True
