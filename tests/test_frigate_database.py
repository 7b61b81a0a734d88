"""FrigateDatabase reads Frigate's SQLite file, whatever state it is in, and never changes it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.catalog import CatalogError
from frigate_mirror.frigate import database
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.events import Event
from tests.rig.worlds import NOW, World

# The columns of Frigate 0.16 to 0.18, whose event tables are alike.
EVENT_TABLE = """
CREATE TABLE "event" (
    "id" VARCHAR(30) NOT NULL PRIMARY KEY, "label" VARCHAR(20) NOT NULL,
    "camera" VARCHAR(20) NOT NULL, "start_time" DATETIME NOT NULL, "end_time" DATETIME,
    "top_score" REAL, "false_positive" INTEGER, "zones" JSON NOT NULL, "thumbnail" TEXT,
    "has_clip" INTEGER NOT NULL, "has_snapshot" INTEGER NOT NULL, "region" JSON, "box" JSON,
    "area" INTEGER, "retain_indefinitely" INTEGER NOT NULL, "sub_label" VARCHAR(100), "ratio" REAL,
    "plus_id" VARCHAR(30), "score" REAL, "model_hash" VARCHAR(32), "detector_type" VARCHAR(32),
    "model_type" VARCHAR(32), "data" JSON NOT NULL);
CREATE INDEX "event_camera" ON "event" ("camera");
CREATE INDEX "event_start_time_end_time" ON "event" ("start_time" DESC, "end_time" DESC);
"""
ROW: dict[str, Any] = {
    "id": "1705329022.5-abc123",
    "label": "person",
    "camera": "front_door",
    "start_time": 1705329022.5,
    "end_time": 1705329030.25,
    "top_score": None,
    "zones": '["yard", "gate"]',
    "has_clip": 1,
    "has_snapshot": 1,
    "retain_indefinitely": 0,
    "sub_label": None,
    "data": '{"type": "object", "top_score": 0.875}',
}


class Frigate:
    """The writer of a database: WAL, as Frigate has it."""

    def __init__(self, path: Path, table: str = EVENT_TABLE) -> None:
        self.path = path
        self.sql = sqlite3.connect(path, isolation_level=None)
        self.sql.execute("PRAGMA journal_mode = WAL")
        self.sql.executescript(table)

    def put(self, **values: Any) -> str:
        row = ROW | values
        marks = ", ".join("?" * len(row))
        names = ", ".join(f'"{name}"' for name in row)
        self.sql.execute(f"INSERT INTO event ({names}) VALUES ({marks})", tuple(row.values()))
        return str(row["id"])

    def many(self, count: int, **values: Any) -> list[str]:
        self.sql.execute("BEGIN")
        made = [self.put(id=f"{n}.5-aaaaaa", start_time=n + 0.5, **values) for n in range(count)]
        self.sql.execute("COMMIT")
        return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "frigate.db"


@pytest.fixture
def frigate(path: Path) -> Iterator[Frigate]:
    made = Frigate(path)
    yield made
    made.sql.close()


@pytest.fixture
def catalog(path: Path) -> FrigateDatabase:
    return FrigateDatabase(path, batch=7)


def ids(catalog: FrigateDatabase, since: float = 0.0, **until: float) -> list[str]:
    return [event_id for page in catalog.window(since, **until) for event_id in page]


def event_in(catalog: FrigateDatabase, event_id: str) -> Event | None:
    """Returns the event with this id, or None."""
    return next(iter(catalog.subjects([event_id])), None)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one.getMessage() for one in caplog.records]
    return [text for text in found if text.startswith("Successfully reconnected to database")]


# -- what a row becomes


def test_a_row_is_an_event(frigate: Frigate, catalog: FrigateDatabase) -> None:
    frigate.put(sub_label="Zoë")
    assert event_in(catalog, "1705329022.5-abc123") == Event(
        id="1705329022.5-abc123",
        camera="front_door",
        label="person",
        sub_label="Zoë",
        started=1705329022.5,
        ended=1705329030.25,
        score=0.875,
        zones=("yard", "gate"),
        has_snapshot=True,
        tracked=True,
        has_clip=True,
    )


def test_an_event_without_a_row_is_none(frigate: Frigate, catalog: FrigateDatabase) -> None:
    assert event_in(catalog, "1-none") is None
    assert catalog.subjects([]) == []


@pytest.mark.parametrize(
    ("values", "field", "wanted"),
    [
        ({"top_score": 0.5}, "score", 0.875),
        ({"top_score": 0.5, "data": "{}"}, "score", 0.5),
        ({"score": 0.25, "data": "{}"}, "score", 0.25),
        ({"has_clip": 0}, "has_clip", False),
        ({"data": '{"max_severity": "alert"}'}, "severity", "alert"),
        ({"data": "{"}, "score", None),
        ({"data": "[1]"}, "score", None),
        ({"data": '{"top_score": 1' + "0" * 400 + "}"}, "score", None),
        ({"data": '{"top_score": NaN}'}, "score", None),
        ({"data": "[" * 100_000}, "tracked", True),
        ({"data": b"\xff\xfe"}, "score", None),
        ({"zones": "yard"}, "zones", ()),
        ({"zones": '{"a": 1}'}, "zones", ()),
        ({"zones": '[1, null, "a"]'}, "zones", ("1", "None", "a")),
        ({"label": b"\xff"}, "label", "b'\\xff'"),
        ({"end_time": "soon"}, "ended", None),
        ({"end_time": "1705329030.25"}, "ended", 1705329030.25),
        ({"end_time": None}, "ended", None),
        ({"end_time": 99_999_999_999.0}, "ended", 99_999_999_999.0),
        ({"has_snapshot": 0}, "has_snapshot", False),
        ({"data": '{"type": "api"}'}, "tracked", False),
        ({"data": '{"type": "audio"}'}, "tracked", False),
        ({"data": "{}"}, "tracked", True),
    ],
)
def test_a_row_is_an_event_whatever_its_optional_columns_hold(
    frigate: Frigate, catalog: FrigateDatabase, values: dict[str, Any], field: str, wanted: Any
) -> None:
    frigate.put(**values)
    (event,) = catalog.subjects([ROW["id"]])
    assert getattr(event, field) == wanted


def test_a_row_that_makes_no_sense_hides_no_other_row(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    frigate.put(id="1-text", start_time="yesterday")
    frigate.put(id="2-blob", camera=b"\x00\xff")
    frigate.sql.execute("INSERT INTO event (id, label, camera, start_time, zones, has_clip,"
                        " has_snapshot, retain_indefinitely, data)"
                        " VALUES ('3-latin', 'person', CAST(x'67e4' AS TEXT), 3.0, '[]', 0, 1, 0,"
                        " '{}')")  # fmt: skip
    good = frigate.put()
    found = catalog.subjects(["1-text", "2-blob", "3-latin", good])
    assert {(one.id, one.camera) for one in found} == {("3-latin", "g\ufffd"), (good, "front_door")}


def test_a_camera_that_is_null_is_no_event(path: Path) -> None:
    frigate = Frigate(path, EVENT_TABLE.replace(" NOT NULL", ""))
    frigate.put(camera=None)
    frigate.put(id="2-start", start_time=None)
    catalog = FrigateDatabase(path)
    assert catalog.subjects([ROW["id"], "2-start"]) == []
    assert ids(catalog) == [ROW["id"]]
    frigate.sql.close()


# -- the window


def test_the_window_has_every_event_that_started_in_it_oldest_first(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    for n in (30, 10, 20):
        frigate.put(id=f"{n}-a", start_time=float(n))
    assert ids(catalog) == ["10-a", "20-a", "30-a"]
    assert ids(catalog, 20.0) == ["20-a", "30-a"]
    assert ids(catalog, 10.0, until=30.0) == ["10-a", "20-a"]


def test_only_events_with_a_snapshot_are_in_the_window(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    for n, flag in enumerate((0, 1, "1", "0", 2, True, False)):
        frigate.put(id=f"{n}-a", start_time=float(n), has_snapshot=flag)
    assert ids(catalog) == ["1-a", "2-a", "4-a", "5-a"]


Read = tuple[str, int]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """Each query of the table, and how many rows of it SQLite handed out."""
    found: list[Read] = []
    connect = database.Database._connect

    def count(cursor: Any, row: Any) -> Any:
        found[-1] = (found[-1][0], found[-1][1] + 1)
        return row

    def counting(self: Any) -> Any:
        connection = connect(self)
        connection.set_trace_callback(lambda statement: found.append((statement, 0)))
        connection.row_factory = count
        return connection

    monkeypatch.setattr(database.Database, "_connect", counting)
    return found


def test_the_batch_limits_each_read_but_not_what_is_found(
    frigate: Frigate, catalog: FrigateDatabase, reads: list[Read]
) -> None:
    made = frigate.many(200)
    assert ids(catalog) == made
    assert len(catalog.subjects(made)) == 200
    counts = [rows for statement, rows in reads if statement.startswith("SELECT")]
    assert counts == [140, 60, *[7] * 28, 4], "20 times more ids than events fit into one read"


def test_thousands_of_events_that_started_at_once_are_all_found(
    frigate: Frigate, path: Path
) -> None:
    frigate.sql.execute("BEGIN")
    made = {frigate.put(id=f"9.5-{n:06}", start_time=9.5) for n in range(3000)}
    made |= {frigate.put(id="9.25-a", start_time=9.25), frigate.put(id="10-a", start_time=10.0)}
    frigate.sql.execute("COMMIT")
    catalog = FrigateDatabase(path, batch=50)
    found = ids(catalog)
    assert (len(found), set(found)) == (len(made), made)
    assert (found[0], found[-1]) == ("9.25-a", "10-a")


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_events_that_share_their_starts_are_found_once_each_and_oldest_first(
    frigate: Frigate, path: Path, batch: int
) -> None:
    chance = random.Random(batch)
    starts = [float(chance.randrange(12)) for _ in range(60)]
    made = {frigate.put(id=f"{at}-{n:03}", start_time=at): at for n, at in enumerate(starts)}
    found = ids(FrigateDatabase(path, batch))
    assert sorted(found) == sorted(made)
    assert [made[one] for one in found] == sorted(starts)


def test_rows_that_come_and_go_between_two_reads_hide_no_other(
    frigate: Frigate, catalog: FrigateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDS_PER_EVENT", 1)
    made = frigate.many(30)
    pages = catalog.window(0.0)
    first = next(pages)
    frigate.sql.execute("DELETE FROM event WHERE id IN (?, ?)", (first[0], first[3]))
    late = frigate.put(id="99-late", start_time=99.0)
    rest = [event_id for page in pages for event_id in page]
    assert first + rest == [*made, late]


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_broken_ids_and_start_times_neither_stop_nor_repeat_the_window(
    frigate: Frigate, path: Path, batch: int
) -> None:
    frigate.put(id="1-a", start_time=1.0)
    for broken in (b"\xff\xfe", b"\xffa"):
        frigate.sql.execute("INSERT INTO event (id, label, camera, start_time, zones, has_clip,"
                            " has_snapshot, retain_indefinitely, data) VALUES (CAST(? AS TEXT),"
                            " 'p', 'c', 2.0, '[]', 0, 1, 0, '{}')", (broken,))  # fmt: skip
    frigate.put(id=b"\x00blob", start_time=3.0)
    frigate.put(id="4-a", start_time=4.0)
    frigate.put(id="5-text", start_time="yesterday")
    frigate.put(id="6-blob", start_time=b"\xff")
    catalog = FrigateDatabase(path, batch)
    found = ids(catalog)
    assert [found[0], *sorted(found[1:3]), *found[3:]] == ["1-a", "\ufffda", "\ufffd\ufffd", "4-a"]


def test_a_page_of_a_large_table_is_found_by_its_index(
    frigate: Frigate, catalog: FrigateDatabase, reads: list[Read]
) -> None:
    ids(catalog, 5.0, until=9.0)
    statement = reads[-1][0]
    plan = [row[3] for row in frigate.sql.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert plan[0].endswith("event_start_time_end_time (start_time>? AND start_time<?)")
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan, "only equal start times need sorting"


# -- a database that lives


def test_a_row_is_seen_as_soon_as_another_process_has_committed_it(
    frigate: Frigate, catalog: FrigateDatabase, path: Path
) -> None:
    frigate.put(id="0-a", start_time=0.0)
    assert ids(catalog) == ["0-a"]
    write = (
        "import sqlite3, sys; sql = sqlite3.connect(sys.argv[1]);"
        "sql.execute('INSERT INTO event (id, label, camera, start_time, zones, has_clip,"
        " has_snapshot, retain_indefinitely, data) VALUES (?, ?, ?, 7.0, ?, 0, 1, 0, ?)',"
        " ('7-new', 'cat', 'yard', '[]', '{}')); sql.commit(); sys.stdin.read()"
    )
    command = [sys.executable, "-c", write + "\nsql.close()", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
        while event_in(catalog, "7-new") is None:
            assert writer.poll() is None
        assert ids(catalog) == ["0-a", "7-new"]
        writer.communicate(b"")
    assert writer.returncode == 0


def test_an_open_transaction_of_frigate_neither_blocks_a_read_nor_is_seen(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    frigate.put(id="0-a", start_time=0.0)
    frigate.sql.execute("BEGIN IMMEDIATE")
    frigate.put(id="1-b", start_time=1.0)
    assert ids(catalog) == ["0-a"]
    frigate.sql.execute("COMMIT")
    assert ids(catalog) == ["0-a", "1-b"]


def open_files(path: Path) -> list[str]:
    """Returns which of the database's files this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [name for name in found if name.startswith(str(path))]


READS: dict[str, Callable[[FrigateDatabase], object]] = {
    "subjects": lambda catalog: catalog.subjects([ROW["id"]]),
    "window": lambda catalog: next(catalog.window(0.0)),
    "ended_since": lambda catalog: catalog.ended_since(0.0, 0.0, 10),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_each_read_leaves_nothing_open_so_that_frigate_can_remove_its_log(
    frigate: Frigate, catalog: FrigateDatabase, path: Path, read: Callable[..., object]
) -> None:
    frigate.put()
    assert read(catalog)
    frigate.sql.close()
    assert not path.with_name("frigate.db-wal").exists(), "whoever closes last removes it"
    assert open_files(path) == []


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_that_fails_leaves_nothing_open(
    catalog: FrigateDatabase, path: Path, read: Callable[..., object]
) -> None:
    Frigate(path, "CREATE TABLE recordings (id)").sql.close()
    with pytest.raises(CatalogError):
        read(catalog)
    assert open_files(path) == []


def test_a_window_that_is_half_read_holds_nothing_open(
    frigate: Frigate, catalog: FrigateDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDS_PER_EVENT", 2)
    frigate.many(30)
    pages = catalog.window(0.0)
    assert len(next(pages)) == 14
    frigate.sql.close()
    assert not path.with_name("frigate.db-wal").exists(), "whoever closes last removes it"
    assert [len(page) for page in pages] == [14, 2]


def test_between_two_reads_frigate_can_write_back_and_empty_its_log(
    frigate: Frigate, catalog: FrigateDatabase, path: Path
) -> None:
    assert len(frigate.many(100)) == len(ids(catalog))
    [(busy, *_)] = frigate.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, path.with_name("frigate.db-wal").stat().st_size) == (0, 0)


def test_a_table_that_is_away_for_a_while_is_an_error_until_it_is_back(
    frigate: Frigate, catalog: FrigateDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = frigate.put()
    assert event_in(catalog, made) is not None
    frigate.sql.execute("ALTER TABLE event RENAME TO aside")
    with pytest.raises(CatalogError, match="in table event"):
        event_in(catalog, made)
    assert said(caplog) == []
    frigate.sql.execute("ALTER TABLE aside RENAME TO event")
    assert event_in(catalog, made) is not None
    assert len(said(caplog)) == 1


def test_the_database_cannot_be_written_through_the_catalog(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    frigate.put()
    with contextlib.closing(catalog._database._connect()) as connection:
        for statement in ("DELETE FROM event", "CREATE TABLE t (x)", "PRAGMA user_version = 7"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute(statement)


def test_a_read_that_runs_out_of_memory_half_way_does_not_spoil_the_next(
    frigate: Frigate, catalog: FrigateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = frigate.put()
    connect = database.Database.connect

    def half_way(self: Any) -> None:
        connect(self)
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(database.Database, "connect", half_way)
        with pytest.raises(MemoryError):
            event_in(catalog, made)
    assert event_in(catalog, made) is not None


def test_the_catalog_never_makes_a_database(catalog: FrigateDatabase, path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        ids(catalog)
    assert not path.exists()


def test_reading_a_stopped_frigates_database_leaves_its_content_alone(path: Path) -> None:
    frigate = Frigate(path)
    frigate.put()
    frigate.sql.close()
    before = path.read_bytes()
    assert not path.with_name("frigate.db-wal").exists()
    catalog = FrigateDatabase(path)
    assert ids(catalog) == [ROW["id"]]
    assert path.read_bytes() == before
    # SQLite itself leaves these two behind on a read-only connection; both hold nothing.
    left = {one.name for one in path.parent.iterdir()} - {"frigate.db"}
    assert left <= {"frigate.db-wal", "frigate.db-shm"}
    assert not left or path.with_name("frigate.db-wal").stat().st_size == 0


def test_a_locked_database_is_a_catalog_error_and_readable_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    frigate = Frigate(path)
    frigate.put()
    frigate.sql.execute("PRAGMA journal_mode = DELETE")
    frigate.sql.execute("BEGIN EXCLUSIVE")
    catalog = FrigateDatabase(path)
    with pytest.raises(CatalogError, match="locked"):
        ids(catalog)
    frigate.sql.execute("COMMIT")
    assert ids(catalog) == [ROW["id"]]
    assert len(said(caplog)) == 1
    frigate.sql.close()


def test_several_threads_can_read_at_once_and_leave_nothing_open(
    frigate: Frigate, catalog: FrigateDatabase, path: Path
) -> None:
    made = frigate.many(40)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(catalog))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [made] * 4
    frigate.sql.close()
    assert open_files(path) == []


def test_two_catalogs_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    catalogs = []
    for name in ("a", "b"):
        frigate = Frigate(tmp_path / f"{name}.db")
        frigate.put(id=f"1-{name}")
        frigate.sql.close()
        catalogs.append(FrigateDatabase(tmp_path / f"{name}.db"))
    pages = [one.window(0.0) for one in catalogs]
    assert [next(one) for one in pages] == [["1-a"], ["1-b"]]
    assert [event_in(catalogs[0], "1-b"), event_in(catalogs[1], "1-a")] == [None, None]


@pytest.mark.parametrize("name", ["a b", "what?mode=rw", "a#b", "50%25", "日本", "\udcff"])
def test_the_database_can_have_any_path_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    frigate = Frigate(folder / "frigate.db")
    frigate.put()
    frigate.sql.close()
    catalog = FrigateDatabase(folder / "frigate.db")
    assert ids(catalog) == [ROW["id"]]


def test_the_path_can_begin_with_two_slashes(frigate: Frigate, path: Path) -> None:
    frigate.put()
    catalog = FrigateDatabase(Path(f"/{path}"))
    assert ids(catalog) == [ROW["id"]]


# -- a database that changes


def test_a_missing_optional_column_costs_only_its_own_value(path: Path) -> None:
    table = "CREATE TABLE event (id TEXT PRIMARY KEY, camera, start_time, has_snapshot, new_thing)"
    frigate = Frigate(path, table)
    frigate.sql.execute("INSERT INTO event VALUES ('1-a', 'yard', 1.5, 1, 'x')")
    catalog = FrigateDatabase(path)
    assert ids(catalog) == ["1-a"]
    event = event_in(catalog, "1-a")
    assert event == Event("1-a", "yard", "", "", 1.5, None, None, (), True, True)
    frigate.sql.close()


@pytest.mark.parametrize("column", ["camera", "start_time", "has_snapshot"])
def test_the_error_names_a_needed_column_that_is_missing(path: Path, column: str) -> None:
    frigate = Frigate(path, EVENT_TABLE.split(";")[0].replace(f'"{column}"', '"renamed"'))
    catalog = FrigateDatabase(path)
    with pytest.raises(CatalogError, match=f"no {column} in table event"):
        event_in(catalog, "1-a")
    if column in database.WINDOW:
        with pytest.raises(CatalogError, match=f"no such column: {column}"):
            ids(catalog)
    frigate.sql.close()


def test_a_database_without_the_table_is_a_catalog_error(path: Path) -> None:
    Frigate(path, "CREATE TABLE recordings (id)").sql.close()
    with pytest.raises(CatalogError, match="no such table: event"):
        ids(FrigateDatabase(path))


def test_columns_may_come_and_go_between_two_reads(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    frigate.put(sub_label="Zoë")
    assert event_in(catalog, ROW["id"]) is not None
    frigate.sql.execute("ALTER TABLE event DROP COLUMN sub_label")
    frigate.sql.execute("ALTER TABLE event ADD COLUMN new_thing TEXT NOT NULL DEFAULT 'x'")
    event = event_in(catalog, ROW["id"])
    assert event is not None and event.sub_label == ""


def replaced_by(frigate: Frigate, values: dict[str, Any]) -> None:
    """Another database file takes the place of this one, by rename."""
    frigate.sql.close()
    for ending in ("-wal", "-shm"):  # there only while somebody else has it open
        Path(f"{frigate.path}{ending}").unlink(missing_ok=True)
    aside = Frigate(frigate.path.with_name("new.db"))
    aside.put(**values)
    aside.sql.close()
    aside.path.replace(frigate.path)


def test_the_first_connection_is_not_logged_as_a_reconnection(
    frigate: Frigate, catalog: FrigateDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ids(catalog)
    ids(catalog)
    assert said(caplog) == []


def test_a_database_that_was_replaced_is_read_by_the_next_read(
    frigate: Frigate, catalog: FrigateDatabase
) -> None:
    frigate.put(id="1-old")
    assert ids(catalog) == ["1-old"]
    replaced_by(frigate, {"id": "2-new"})
    assert ids(catalog) == ["2-new"]


def test_a_database_that_goes_away_is_an_error_until_it_is_back_which_is_logged_once(
    frigate: Frigate, catalog: FrigateDatabase, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    frigate.put(id="1-old")
    assert ids(catalog) == ["1-old"]
    frigate.sql.close()
    for one in path.parent.iterdir():
        one.unlink()
    for trouble in (lambda: None, path.touch, lambda: path.write_bytes(b"garbage" * 1000)):
        trouble()
        with pytest.raises(CatalogError, match=str(path)):
            ids(catalog)
        assert said(caplog) == []
    replaced_by(frigate, {"id": "2-new"})
    assert ids(catalog) == ["2-new"]
    assert ids(catalog) == ["2-new"]
    assert len(said(caplog)) == 1


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_pipe_or_a_folder_is_an_error_at_once(
    catalog: FrigateDatabase, path: Path, make: Any
) -> None:
    make(path)
    with pytest.raises(CatalogError, match="not a regular file"):
        ids(catalog)


def test_a_file_damaged_in_the_middle_is_a_catalog_error(frigate: Frigate, path: Path) -> None:
    made = frigate.many(2000, label="x" * 200)
    frigate.sql.close()
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xa5" * len(data[8192:-4096])
    path.write_bytes(data)
    catalog = FrigateDatabase(path)
    with pytest.raises(CatalogError):
        ids(catalog)
        catalog.subjects(made)
    with contextlib.suppress(CatalogError):
        catalog.subjects(made[:3])


def test_the_events_that_ended_last_come_first(frigate: Frigate, catalog: FrigateDatabase) -> None:
    for n in (3, 1, 4, 2, 5):
        frigate.put(id=f"{n}-a", start_time=float(n), end_time=100.0 + n)
    frigate.put(id="6-a", start_time=6.0, end_time=None)
    frigate.put(id="7-a", start_time=7.0, end_time=107.0, has_snapshot=0)
    assert catalog.ended_since(102.0, 0.0, 100) == ["5-a", "4-a", "3-a", "2-a"]
    assert catalog.ended_since(102.0, 0.0, 2) == ["5-a", "4-a"]
    assert catalog.ended_since(102.0, 4.0, 100) == ["5-a", "4-a"]


# -- review items


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[World, FrigateDatabase]:
    world = World(tmp_path / "reviews")
    return world, FrigateDatabase(world.database, reviews=True)


def seen_in(catalog: FrigateDatabase, *ids: str) -> list[tuple[str, bool]]:
    found = {event.id: (event.severity, event.reviewed) for event in catalog.subjects(ids)}
    return [found[one] for one in ids]


def test_an_event_has_the_severity_and_the_review_of_its_review_items(
    reviews: tuple[World, FrigateDatabase],
) -> None:
    world, catalog = reviews
    alert, detection, both, alone = (world.event(started=NOW - 60 - n) for n in range(4))
    world.review([alert], NOW - 70, severity="alert")
    world.review([detection], NOW - 70)
    world.review([both], NOW - 70, severity="alert")
    world.review([f"other-{both}", both], NOW - 70)
    assert seen_in(catalog, alert, detection, both, alone) == [
        ("alert", False), ("detection", False), ("alert", False), ("", False),
    ]  # fmt: skip
    world.reviewed(detection, user="somebody")
    assert seen_in(catalog, detection, both) == [("detection", True), ("alert", False)]


def test_a_review_item_that_goes_on_counts_for_an_event_in_progress(
    reviews: tuple[World, FrigateDatabase],
) -> None:
    world, catalog = reviews
    event = world.event(started=NOW - 600, lasted=None)
    world.review([event], NOW - 600, severity="alert", ended=None)
    assert seen_in(catalog, event) == [("alert", False)]


def test_without_a_filter_that_needs_them_no_review_items_are_read(tmp_path: Path) -> None:
    world = World(tmp_path / "reviews")
    event = world.event()
    world.review([event], NOW - 70, severity="alert")
    assert seen_in(FrigateDatabase(world.database), event) == [("", False)]
