"""The recording backfill: which files get a row, which not, and what the rows say."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror import mp4
from frigate_mirror.frigate import record_settings
from frigate_mirror.restore import recordings_table
from frigate_mirror.restore.backfill import MOST_RESULTS, SAFE_AGE, Backfill, Request, Summary
from frigate_mirror.restore.measure import BadSegmentError, Measured, measure
from frigate_mirror.restore.recordings_folder import RecordingsFolder
from frigate_mirror.restore.recordings_table import RecordingsTable, Row
from frigate_mirror.restore.undo import UndoError, UndoFile, rows_of, undo
from tests.rig.recorder import IN_FRIGATE, SECONDS, SEGMENT, Recorder

NOW = 1_800_000_000.0
START = 1_799_900_000  # a whole number of tens, in the middle of an hour
ALL = Request("front_door", -1e12, 1e12)
WHOLE = SEGMENT.read_bytes()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path)
    yield made
    made.database.close()


def backfill(
    recorder: Recorder,
    request: Request = ALL,
    table: RecordingsTable | None = None,
    **options: Any,
) -> Summary:
    """Runs a request at NOW, without the pauses between transactions."""
    table = table or RecordingsTable(recorder.database_path, sleep=lambda seconds: None)
    undo_file = UndoFile(recorder.state)
    options.setdefault("now", lambda: NOW)
    try:
        return Backfill(
            RecordingsFolder(recorder.root, IN_FRIGATE),
            table,
            record_settings.of_file(recorder.settings),
            undo_file,
            **options,
        ).run(request)
    finally:
        undo_file.close()
        table.close()


def counts(summary: Summary) -> dict[str, int]:
    return {status: count for status, count in summary.counts.items() if count}


def reasons(summary: Summary) -> list[str]:
    return [one.reason for one in summary.results]


# -- what a row says


def test_a_file_without_a_row_gets_one_as_frigate_would_have_made_it(recorder: Recorder) -> None:
    recorder.file(START)
    summary = backfill(recorder)
    assert counts(summary) == {"added": 1}
    [(id, camera, path, start, end, seconds, size)] = recorder.rows(
        "id, camera, path, start_time, end_time, duration, segment_size"
    )
    assert id.startswith(f"{float(START)}-")
    assert len(id) == len(f"{float(START)}-") + 6
    assert (camera, path) == ("front_door", recorder.shown(START))
    assert (start, end, seconds) == (START, START + SECONDS, SECONDS)
    assert size == round(len(WHOLE) / 2**20, 2)


def test_the_end_is_rounded_to_microseconds_as_frigate_does(recorder: Recorder) -> None:
    recorder.file(START)
    seconds = 1.4333333333333333
    backfill(recorder, measure_file=lambda path: Measured(seconds, 0.04, float(START)))
    end = (datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)).timestamp()
    assert recorder.rows("end_time, duration") == [(end, seconds)]


def test_what_frigate_would_have_measured_is_unknown(recorder: Recorder) -> None:
    recorder.file(START)
    backfill(recorder)
    assert recorder.rows("motion, objects, dBFS, regions") == [(None, None, None, None)]


def test_like_the_seed_it_is_minus_one(recorder: Recorder) -> None:
    recorder.file(START)
    backfill(recorder, replace(ALL, like_seed=True))
    assert recorder.rows("motion, objects, dBFS, regions") == [(-1, -1, -1, -1)]


def test_columns_are_taken_as_this_database_has_them(recorder: Recorder) -> None:
    recorder.database.execute("ALTER TABLE recordings DROP COLUMN dBFS")
    recorder.database.execute("ALTER TABLE recordings ADD COLUMN motion_heatmap JSON")
    recorder.database.execute("ALTER TABLE recordings ADD COLUMN soft INTEGER NOT NULL DEFAULT 5")
    recorder.file(START)
    assert counts(backfill(recorder, replace(ALL, like_seed=True))) == {"added": 1}
    assert recorder.rows("motion, motion_heatmap, soft") == [(-1, None, 5)]


def test_a_column_that_nobody_knows_and_that_needs_a_value_is_refused(recorder: Recorder) -> None:
    recorder.database.execute("CREATE TABLE other AS SELECT * FROM recordings")
    recorder.database.execute("DROP TABLE recordings")
    recorder.database.execute("ALTER TABLE other RENAME TO recordings")
    recorder.database.execute("ALTER TABLE recordings RENAME COLUMN regions TO planet")
    table = "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = replace(sql, 'planet INT', "
    recorder.database.executescript(table + "'planet INT NOT NULL'); PRAGMA writable_schema=RESET;")
    recorder.file(START)
    with pytest.raises(recordings_table.TableError, match=r"planet.*newer"):
        backfill(recorder)


def test_a_database_without_the_table_is_refused(recorder: Recorder) -> None:
    recorder.database.execute("DROP TABLE recordings")
    with pytest.raises(recordings_table.TableError, match="start Frigate once"):
        backfill(recorder)


# -- which files


def test_only_files_without_a_row_get_one_and_a_second_run_adds_nothing(
    recorder: Recorder,
) -> None:
    for at in range(START, START + 100, 10):
        recorder.file(at)
    recorder.row(START + 20)
    recorder.row(START + 50)
    before = recorder.rows("*")
    summary = backfill(recorder)
    assert counts(summary) == {"added": 8, "known": 2}
    assert len(summary.results) == 8
    assert set(before) <= set(recorder.rows("*"))
    assert counts(backfill(recorder)) == {"known": 10}
    assert len(recorder.rows()) == 10


def test_a_dry_run_writes_nothing_and_says_the_same(recorder: Recorder) -> None:
    for at in range(START, START + 30, 10):
        recorder.file(at)
    recorder.row(START)
    foretold = backfill(recorder, replace(ALL, dry_run=True))
    assert recorder.rows() == [(recorder.shown(START),)]
    assert not recorder.state.exists()
    assert foretold.counts == backfill(recorder).counts
    assert "would add 2" in foretold.message


def test_a_span_is_from_its_start_to_before_its_end_over_any_midnight(recorder: Recorder) -> None:
    midnight = START - START % 86_400 + 86_400
    for at in (midnight - 20, midnight - 10, midnight, midnight + 10):
        recorder.file(at)
    backfill(recorder, replace(ALL, since=midnight - 10, until=midnight + 10))
    assert recorder.rows("start_time") == [(midnight - 10,), (midnight,)]


def test_another_camera_is_left_alone(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START, "front_door_2")
    assert counts(backfill(recorder)) == {"added": 1}


@pytest.mark.parametrize("old", ["name", "file"])
def test_a_file_that_is_young_by_its_name_or_by_its_change_is_left_to_frigate(
    recorder: Recorder, old: str
) -> None:
    border = int(NOW - SAFE_AGE)
    start = border - 3_000 if old == "name" else border + 1
    recorder.file(start, changed=NOW - SAFE_AGE + 1 if old == "name" else NOW - 5_000)
    summary = backfill(recorder)
    assert counts(summary) == {"too_young": 1}
    assert summary.young_until == pytest.approx(NOW + 1, abs=1)
    assert recorder.rows() == []
    assert counts(backfill(recorder, now=lambda: NOW + 2)) == {"added": 1}


@pytest.mark.parametrize("what", ["name", "file"])
def test_a_time_that_is_still_to_come_is_an_error(recorder: Recorder, what: str) -> None:
    later = int(NOW) + 10_000
    recorder.file(later if what == "name" else START, changed=later)
    summary = backfill(recorder)
    assert counts(summary) == {"error": 1}
    assert "still to come" in reasons(summary)[0]


def test_a_recording_of_a_time_that_another_row_shows_is_not_added(recorder: Recorder) -> None:
    recorder.row(START - 4, 20, path="/media/frigate/recordings/elsewhere.mp4")
    for at in (START - 20, START, START + 10, START + 20):
        recorder.file(at)
    summary = backfill(recorder)
    assert counts(summary) == {"added": 2, "overlapping": 2}
    assert recorder.rows("start_time")[0] == (START - 20,)


def test_neighbours_overlap_by_up_to_a_second_because_names_are_whole_seconds(
    recorder: Recorder,
) -> None:
    for at in (START, START + 3, START + 6):
        recorder.file(at)
    assert counts(backfill(recorder)) == {"added": 3}


def test_two_files_of_one_time_do_not_both_get_a_row_not_even_in_a_dry_run(
    recorder: Recorder,
) -> None:
    hour = START - START % 3600
    recorder.file(hour - 2)
    recorder.file(hour)
    for dry_run in (True, False):
        summary = backfill(recorder, replace(ALL, dry_run=dry_run))
        assert counts(summary) == {"added": 1, "overlapping": 1}


def test_a_dry_run_knows_what_it_would_have_added_in_the_hour_before(recorder: Recorder) -> None:
    """The rows of the hour before fill a batch, so the run has decided about them already."""
    hour = START - START % 3600
    for at in range(hour - 2, hour - 2 - 10 * recordings_table.BATCH, -10):
        recorder.file(at)
    recorder.file(hour)
    for dry_run in (True, False):
        summary = backfill(recorder, replace(ALL, dry_run=dry_run))
        assert counts(summary) == {"added": recordings_table.BATCH, "overlapping": 1}


def test_a_row_of_another_time_with_the_same_path_is_the_files_own(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.row(START - 50_000, path=recorder.shown(START))
    assert counts(backfill(recorder)) == {"known": 1}


def test_a_sub_stream_has_rows_of_its_own_where_frigate_has_streams(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START, "front_door@sub")
    summary = backfill(recorder)
    assert counts(summary) == {"added": 1, "error": 1}
    assert "sub stream" in reasons(summary)[0]
    recorder.database.execute(
        "ALTER TABLE recordings ADD COLUMN stream_type VARCHAR(8) NOT NULL DEFAULT 'main'"
    )
    assert counts(backfill(recorder)) == {"known": 1, "added": 1}
    sub = recorder.shown(START, "front_door@sub")
    assert recorder.rows("camera, path, stream_type") == [
        ("front_door", recorder.shown(START), "main"),
        ("front_door", sub, "sub"),
    ]


def test_a_row_counts_the_pictures_that_the_file_hides_as_frigate_does(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = replace(mp4.read(SEGMENT), duration=3.9, media_duration=4.05)
    monkeypatch.setattr("frigate_mirror.mp4.read", lambda file: movie)
    recorder.file(START)
    backfill(recorder)
    assert recorder.rows("duration") == [(4.05,)]


# -- files that are no segments


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (WHOLE[: len(WHOLE) // 2], "is no whole mp4"),
        (b"no mp4 at all" * 50, "is no whole mp4"),
        (WHOLE.replace(b"avc1", b"mp4v"), "mp4v, which Frigate cannot play"),
    ],
)
def test_a_bad_file_costs_one_line_and_the_others_go_on(
    recorder: Recorder, data: bytes, why: str
) -> None:
    recorder.file(START, data=data)
    recorder.file(START + 10)
    summary = backfill(recorder)
    assert counts(summary) == {"added": 1, "error": 1}
    assert why in reasons(summary)[0]


def test_a_file_that_cannot_be_read_costs_one_line(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START + 10)

    def measured(path: str) -> Measured:
        if path == str(recorder.place(START)):
            raise PermissionError(13, "Permission denied")
        return measure(path)

    summary = backfill(recorder, measure_file=measured)
    assert counts(summary) == {"added": 1, "error": 1}
    assert "Permission denied" in reasons(summary)[0]


def test_a_file_that_frigate_deletes_meanwhile_is_no_error(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START + 10)

    def measured(path: str) -> Measured:
        recorder.place(START).unlink(missing_ok=True)
        return measure(path)

    assert counts(backfill(recorder, measure_file=measured)) == {"added": 1}


@pytest.mark.parametrize("seconds", [0.0, 600.5])
def test_a_length_that_frigate_cannot_play_is_an_error(
    recorder: Recorder, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.file(START)
    movie = replace(mp4.read(SEGMENT), media_duration=seconds)
    monkeypatch.setattr("frigate_mirror.mp4.read", lambda file: movie)
    assert "Frigate plays up to 600 s" in reasons(backfill(recorder))[0]


def test_only_what_our_reader_cannot_judge_is_given_to_ffprobe(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    probe = tmp_path / "ffprobe"
    answer = '{"streams": [{"codec_name": "h264", "duration": "9.5"}]}'
    probe.write_text(f"#!/bin/sh\necho \"$@\" >>{asked}\necho '{answer}'\n")
    probe.chmod(0o755)
    many = b"\0\0\0\x08free" * 2_000_001
    path = tmp_path / "many.mp4"
    path.write_bytes(many)
    assert measure(str(SEGMENT), str(probe)).duration == SECONDS
    assert not asked.exists()
    with pytest.raises(BadSegmentError, match="cannot be judged without ffprobe"):
        measure(str(path))
    assert measure(str(path), str(probe)).duration == 9.5
    assert asked.read_text().strip().endswith(f"file:{path}")
    path.write_bytes(WHOLE[:-100])
    with pytest.raises(BadSegmentError, match="is no whole mp4"):
        measure(str(path), str(probe))


def test_results_are_bounded_and_counts_are_not(recorder: Recorder) -> None:
    folder = recorder.place(START).parent
    folder.mkdir(parents=True)
    for number in range(MOST_RESULTS + 50):
        (folder / f"{number}.txt").touch()
    summary = backfill(recorder)
    assert counts(summary) == {"error": MOST_RESULTS + 50}
    assert len(summary.results) == MOST_RESULTS


# -- corrections


def test_force_corrects_a_row_and_keeps_its_id_and_what_frigate_measured(
    recorder: Recorder,
) -> None:
    recorder.file(START)
    recorder.row(START, 60, id="their-own", motion=41)
    assert counts(backfill(recorder)) == {"known": 1}
    assert counts(backfill(recorder, replace(ALL, force=True))) == {"updated": 1}
    [row] = recorder.rows("id, end_time, duration, motion, objects, regions")
    assert row == ("their-own", START + SECONDS, SECONDS, 41, 3, 2)
    assert counts(backfill(recorder, replace(ALL, force=True))) == {"known": 1}


def test_force_forgets_what_frigate_measured_only_if_told_so(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.row(START)
    backfill(recorder, replace(ALL, force=True, forget_measured=True))
    assert recorder.rows("motion, objects, regions") == [(None, None, None)]


def test_force_keeps_a_start_that_is_more_exact_than_the_name(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.row(START + 0.6, 9, path=recorder.shown(START))
    backfill(recorder, replace(ALL, force=True))
    assert recorder.rows("start_time, end_time") == [(START + 0.6, START + 0.6 + SECONDS)]


def test_force_in_a_dry_run_corrects_nothing(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.row(START, 60)
    summary = backfill(recorder, replace(ALL, force=True, dry_run=True))
    assert "would correct 1" in summary.message
    assert recorder.rows("duration") == [(60,)]


# -- the way back


def test_undo_removes_exactly_the_rows_that_were_added(recorder: Recorder) -> None:
    for at in range(START, START + 2_500, 10):
        recorder.file(at)
    recorder.row(START)
    summary = backfill(recorder)
    recorder.row(START + 9_000)
    # Frigate stores one of them anew, so the id is another one.
    recorder.database.execute("UPDATE recordings SET id = 'x' WHERE start_time = ?", (START + 10,))
    table = RecordingsTable(recorder.database_path, sleep=lambda seconds: None)
    assert undo(Path(summary.undo_file), table) == (248, 249)
    table.close()
    assert recorder.rows("start_time") == [(START,), (START + 10,), (START + 9_000,)]
    assert recorder.place(START + 500).exists()


def test_an_undo_file_that_is_damaged_in_the_middle_removes_nothing(
    recorder: Recorder, tmp_path: Path
) -> None:
    lines = []
    for at in range(START, START + 2_500, 10):
        recorder.row(at, id=f"id-{at}")
        lines.append(json.dumps({"id": f"id-{at}", "path": recorder.shown(at)}))
    lines[200] = "half a li"
    path = tmp_path / "undo.jsonl"
    path.write_text("\n".join(lines) + "\n")
    table = RecordingsTable(recorder.database_path, sleep=lambda seconds: None)
    with pytest.raises(UndoError, match="line 201"):
        undo(path, table)
    table.close()
    assert len(recorder.rows()) == 250


def test_an_undo_leaves_a_row_of_the_same_id_that_has_another_path(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.row(START, id="id-1", path=recorder.shown(START + 10))
    path = tmp_path / "undo.jsonl"
    path.write_text(json.dumps({"id": "id-1", "path": recorder.shown(START)}) + "\n")
    table = RecordingsTable(recorder.database_path, sleep=lambda seconds: None)
    assert undo(path, table) == (0, 1)
    table.close()
    assert recorder.rows() == [(recorder.shown(START + 10),)]


def test_the_undo_file_is_on_the_disk_before_its_rows_are_in_the_database(
    recorder: Recorder, synced: dict[int, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(START, START + 1_500, 10):
        recorder.file(at)
    seen = []
    real = RecordingsTable.add

    def add(table: RecordingsTable, *arguments: Any) -> int:
        seen.append([size for name, size in synced.values() if "undo" in name])
        return real(table, *arguments)

    monkeypatch.setattr(RecordingsTable, "add", add)
    backfill(recorder)
    [[first], [second]] = seen
    assert 0 < first < second


def test_a_disk_that_is_full_adds_nothing_that_cannot_be_undone(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.file(START)
    monkeypatch.setattr(os, "fsync", fails_with(OSError(28, "No space left on device")))
    summary = backfill(recorder)
    assert "No space left on device" in summary.failure
    assert "added 0" in summary.message
    assert recorder.rows() == []


def test_a_line_that_a_full_disk_has_cut_does_not_spoil_later_ones(tmp_path: Path) -> None:
    first, second, third = (
        Row(f"/rec/{name}.mp4", "main", 0, 1, 1, 1, f"id-{name}") for name in "abc"
    )
    undo_file = UndoFile(tmp_path)
    undo_file.note([first])
    assert undo_file.path is not None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (undo_file.path.stat().st_size + 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            undo_file.note([second])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    undo_file.note([third])
    undo_file.close()
    assert [id for id, _ in rows_of(undo_file.path)] == ["id-a", "id-c"]


def fails_with(error: Exception) -> Callable[..., None]:
    def fail(*arguments: Any) -> None:
        raise error

    return fail


# -- beside Frigate


def test_a_row_that_frigate_stores_meanwhile_stays_as_it_is(recorder: Recorder) -> None:
    recorder.file(START)

    def measured(path: str) -> Measured:
        if path == str(recorder.place(START)):
            recorder.row(START, motion=99, id="frigate")
        return measure(path)

    recorder.file(START + 10)
    summary = backfill(recorder, measure_file=measured)
    assert recorder.rows("id, motion")[0] == ("frigate", 99)
    assert counts(summary) == {"known": 1, "added": 1}
    assert [one.file_path for one in summary.results] == [recorder.shown(START + 10)]


def test_a_row_that_frigate_deletes_meanwhile_is_not_counted_as_corrected(
    recorder: Recorder,
) -> None:
    recorder.file(START)
    recorder.row(START, 60)

    def measured(path: str) -> Measured:
        recorder.database.execute("DELETE FROM recordings")
        return measure(path)

    summary = backfill(recorder, replace(ALL, force=True), measure_file=measured)
    assert counts(summary) == {}
    assert recorder.rows() == []


def test_what_was_decided_but_not_written_is_not_counted_as_added(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START + 3600)

    def measured(path: str) -> Measured:
        recorder.database.execute("ALTER TABLE recordings RENAME TO other")
        return measure(path)

    summary = backfill(recorder, measure_file=measured)
    assert "no such table" in summary.failure
    assert (counts(summary), summary.results) == ({}, [])


def test_a_transaction_has_at_most_a_hundred_rows_and_a_pause_follows(recorder: Recorder) -> None:
    for at in range(START, START + 2_500, 10):
        recorder.file(at)
    pauses: list[tuple[float, int]] = []
    table = RecordingsTable(
        recorder.database_path,
        sleep=lambda seconds: pauses.append((seconds, len(recorder.rows()))),
    )
    backfill(recorder, table=table)
    assert [rows for _, rows in pauses] == [100, 200, 250]
    assert min(pause for pause, _ in pauses) >= 0.05
    assert len(table.lock_times) == 3


def test_a_batch_shrinks_when_one_held_the_lock_too_long(recorder: Recorder) -> None:
    for at in range(START, START + 4_000, 10):
        recorder.file(at)
    ticks = iter(range(10_000))
    pauses: list[int] = []
    table = RecordingsTable(
        recorder.database_path,
        clock=lambda: float(next(ticks)),  # each transaction seems to take a second
        sleep=lambda seconds: pauses.append(len(recorder.rows())),
    )
    backfill(recorder, table=table)
    assert pauses[:3] == [100, 150, 175]
    assert pauses[-1] == 400
    assert max(after - before for before, after in pairwise(pauses[6:])) == 1


def test_after_a_slow_transaction_frigate_has_as_long_a_pause_and_batches_grow_again(
    recorder: Recorder,
) -> None:
    for at in range(START, START + 4_000, 10):
        recorder.file(at)
    times = iter([0.0, 2.0, *([2.0] * 10_000)])
    pauses: list[tuple[float, int]] = []
    table = RecordingsTable(
        recorder.database_path,
        clock=lambda: next(times),  # the first transaction takes two seconds, the others none
        sleep=lambda seconds: pauses.append((seconds, len(recorder.rows()))),
    )
    backfill(recorder, table=table)
    rows = [0, *(rows for _, rows in pauses)]
    # Rows are written as soon as there are a hundred, so each second batch is what is left of them.
    batches = [after - before for before, after in pairwise(rows)]
    assert batches == [100, 50, 50, 70, 30, 90, 10]
    assert [seconds for seconds, _ in pauses] == [2.0, *[recordings_table.PAUSE] * 6]


def test_a_database_that_is_locked_is_waited_for(recorder: Recorder) -> None:
    recorder.file(START)
    other = sqlite3.connect(recorder.database_path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    table = RecordingsTable(recorder.database_path, busy=0.01, sleep=lambda seconds: None)
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    summary = backfill(recorder, table=table)
    timer.join()
    other.close()
    assert counts(summary) == {"added": 1}
    assert len(recorder.rows()) == 1


def test_a_database_that_is_replaced_ends_the_run(recorder: Recorder) -> None:
    for at in range(START, START + 1_500, 10):
        recorder.file(at)
    other = recorder.database_path.with_name("other.db")

    def replaced(path: str) -> Measured:
        if not other.exists() and len(recorder.rows()) == 100:
            sqlite3.connect(other).close()
            other.touch()
            recorder.database_path.rename(recorder.database_path.with_name("old.db"))
            other.rename(recorder.database_path)
        return measure(path)

    summary = backfill(recorder, measure_file=replaced)
    assert "was replaced by another file" in summary.failure
    assert "added 100" in summary.message


def test_a_recordings_folder_that_is_unmounted_meanwhile_is_told(recorder: Recorder) -> None:
    recorder.file(START)
    recorder.file(START + 3600)

    def measured(path: str) -> Measured:
        recorder.root.rename(recorder.root.with_name("disk"))
        recorder.root.mkdir()
        return measure(path.replace("/recordings/", "/disk/"))

    summary = backfill(recorder, measure_file=measured)
    assert "another folder has taken its place" in summary.failure
    assert counts(summary) == {"added": 1}


def test_a_folder_whose_name_is_no_text_ends_the_run(recorder: Recorder) -> None:
    recorder.file(START)
    table = RecordingsTable(recorder.database_path, sleep=lambda seconds: None)
    summary = Backfill(
        RecordingsFolder(recorder.root, os.fsdecode(b"/media/\xff")),
        table,
        record_settings.of_file(recorder.settings),
        UndoFile(recorder.state),
        now=lambda: NOW,
    ).run(ALL)
    table.close()
    assert "is no text" in summary.failure


def test_a_run_that_is_interrupted_writes_what_it_has_and_says_so(recorder: Recorder) -> None:
    for hour in range(5):
        recorder.file(START + hour * 3600)
    seen: list[int] = []
    summary = backfill(
        recorder,
        on_progress=lambda progress: seen.append(progress.done),
        stopping=lambda: len(seen) == 2,
    )
    assert "interrupted" in summary.failure
    assert len(recorder.rows()) == 2


# -- fate


def test_what_the_next_cleanup_would_delete_with_its_file_is_refused(recorder: Recorder) -> None:
    recorder.configure({"continuous": {"days": 1}, "motion": {"days": 2}})
    old = int(NOW) - 3 * 86_400
    recorder.file(old)
    recorder.file(START)
    summary = backfill(recorder)
    assert counts(summary) == {"added": 1, "refused_by_fate": 1}
    assert "keeps recordings of this camera for 2 day(s)" in reasons(summary)[0]
    assert "raise the retention to 4 days" in reasons(summary)[0]
    assert recorder.rows("start_time") == [(START,)]
    assert counts(backfill(recorder, replace(ALL, even_if_deleted=True))) == {
        "added": 1,
        "known": 1,
    }


def test_rows_that_make_no_sense_do_no_harm(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordingsFolder, "free_mib", lambda folder: -1.0)  # so all rows are read
    recorder.file(START)
    recorder.row(START - 100, path="/media/1.mp4")
    recorder.row(START - 90, path="/media/2.mp4")
    recorder.row(START - 80, path="/media/3.mp4")
    change = "UPDATE recordings SET {} WHERE path = '/media/{}.mp4'"
    recorder.database.execute(change.format("segment_size = 'much'", 1))
    recorder.database.execute(change.format("start_time = 'soon', end_time = x'ff'", 2))
    recorder.database.execute(change.format("end_time = 9e999, duration = -9e999", 3))
    recorder.review(START, None)
    recorder.database.execute("UPDATE reviewsegment SET start_time = 'yesterday'")
    summary = backfill(recorder)
    assert summary.failure == ""
    assert counts(summary) == {"overlapping": 1}


def test_in_safe_mode_frigate_deletes_nothing(recorder: Recorder) -> None:
    recorder.configure({"continuous": {"days": 0}}, safe_mode=True)
    recorder.file(START)
    assert counts(backfill(recorder)) == {"added": 1}


def test_a_review_item_keeps_the_recordings_around_it(recorder: Recorder) -> None:
    recorder.configure({"continuous": {"days": 0}})
    for at in range(START, START + 100, 10):
        recorder.file(at)
    recorder.review(START + 42, START + 48)
    backfill(recorder)
    assert recorder.rows("start_time") == [(START + at,) for at in (40, 50)]


def test_a_disk_with_less_than_an_hour_of_room_refuses_the_oldest(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(START + 1_000, START + 2_000, 10):
        recorder.row(at, 10)
    recorder.file(START)
    recorder.file(START + 5_000)
    # A hundred rows of 0.04 MiB in 1,000 s make 14.4 MiB an hour.
    monkeypatch.setattr(RecordingsFolder, "free_mib", lambda folder: 14.5)
    assert counts(backfill(recorder, replace(ALL, dry_run=True))) == {"added": 2}
    monkeypatch.setattr(RecordingsFolder, "free_mib", lambda folder: 14.3)
    summary = backfill(recorder)
    assert counts(summary) == {"added": 1, "refused_by_fate": 1}
    assert "make room first" in reasons(summary)[0]
