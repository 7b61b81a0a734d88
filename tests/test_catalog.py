"""Catalog: Frigate's real SQLite file, whatever state it is in, read and never touched."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.frigate import database as events
from frigate_mirror.frigate.database import Catalog, CatalogError, Event

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
def catalog(path: Path) -> Catalog:
    return Catalog(path, batch=7)


def ids(catalog: Catalog, since: float = 0.0, **until: float) -> list[str]:
    return [event_id for page in catalog.window(since, **until) for event_id in page]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one.getMessage() for one in caplog.records]
    return [text for text in found if text.startswith("Successfully reconnected to database")]


# -- what a row becomes


def test_a_row_is_an_event(frigate: Frigate, catalog: Catalog) -> None:
    frigate.put(sub_label="Zoë")
    assert catalog.event("1705329022.5-abc123") == Event(
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
    )


def test_an_event_without_a_row_is_none(frigate: Frigate, catalog: Catalog) -> None:
    assert catalog.event("1-none") is None
    assert catalog.events([]) == []


@pytest.mark.parametrize(
    ("values", "final"),
    [
        ({}, True),
        ({"end_time": None}, False),
        ({"end_time": 99_999_999_999.0}, True),
        ({"end_time": 1.0}, True),
        ({"has_snapshot": 0}, False),
        ({"end_time": None, "data": '{"type": "api"}'}, True),
        ({"end_time": None, "data": '{"type": "audio"}'}, True),
        ({"end_time": None, "data": "{}"}, False),
        ({"end_time": None, "data": '{"type": "api"}', "has_snapshot": 0}, False),
    ],
)
def test_a_picture_is_final_once_its_event_ended_or_was_made_by_hand(
    frigate: Frigate, catalog: Catalog, values: dict[str, Any], final: bool
) -> None:
    frigate.put(**values)
    (event,) = catalog.events([ROW["id"]])
    assert event.picture_is_final is final


@pytest.mark.parametrize(
    ("values", "field", "wanted"),
    [
        ({"top_score": 0.5}, "score", 0.5),
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
    ],
)
def test_a_row_with_one_odd_column_is_still_an_event(
    frigate: Frigate, catalog: Catalog, values: dict[str, Any], field: str, wanted: Any
) -> None:
    frigate.put(**values)
    (event,) = catalog.events([ROW["id"]])
    assert getattr(event, field) == wanted


def test_a_row_that_makes_no_sense_hides_no_other(frigate: Frigate, catalog: Catalog) -> None:
    frigate.put(id="1-text", start_time="yesterday")
    frigate.put(id="2-blob", camera=b"\x00\xff")
    frigate.sql.execute("INSERT INTO event (id, label, camera, start_time, zones, has_clip,"
                        " has_snapshot, retain_indefinitely, data)"
                        " VALUES ('3-latin', 'person', CAST(x'67e4' AS TEXT), 3.0, '[]', 0, 1, 0,"
                        " '{}')")  # fmt: skip
    good = frigate.put()
    found = catalog.events(["1-text", "2-blob", "3-latin", good])
    assert {(one.id, one.camera) for one in found} == {("3-latin", "g\ufffd"), (good, "front_door")}


def test_a_camera_that_is_null_is_no_event(path: Path) -> None:
    frigate = Frigate(path, EVENT_TABLE.replace(" NOT NULL", ""))
    frigate.put(camera=None)
    frigate.put(id="2-start", start_time=None)
    catalog = Catalog(path)
    assert catalog.events([ROW["id"], "2-start"]) == []
    assert ids(catalog) == [ROW["id"]]
    frigate.sql.close()


# -- the window


def test_the_window_is_everything_that_started_in_it_oldest_first(
    frigate: Frigate, catalog: Catalog
) -> None:
    for n in (30, 10, 20):
        frigate.put(id=f"{n}-a", start_time=float(n))
    assert ids(catalog) == ["10-a", "20-a", "30-a"]
    assert ids(catalog, 20.0) == ["20-a", "30-a"]
    assert ids(catalog, 10.0, until=30.0) == ["10-a", "20-a"]


def test_only_events_with_a_snapshot_are_in_the_window(frigate: Frigate, catalog: Catalog) -> None:
    for n, flag in enumerate((0, 1, "1", "0", 2, True, False)):
        frigate.put(id=f"{n}-a", start_time=float(n), has_snapshot=flag)
    assert ids(catalog) == ["1-a", "2-a", "4-a", "5-a"]


Read = tuple[str, int]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """Each query of the table, and how many rows of it SQLite handed out."""
    found: list[Read] = []
    connect = events._Database._connect

    def count(cursor: Any, row: Any) -> Any:
        found[-1] = (found[-1][0], found[-1][1] + 1)
        return row

    def counting(self: Any) -> Any:
        connection = connect(self)
        connection.set_trace_callback(lambda statement: found.append((statement, 0)))
        connection.row_factory = count
        return connection

    monkeypatch.setattr(events._Database, "_connect", counting)
    return found


def test_the_batch_bounds_each_read_and_never_what_is_found(
    frigate: Frigate, catalog: Catalog, reads: list[Read]
) -> None:
    made = frigate.many(100)
    assert ids(catalog) == made
    assert len(catalog.events(made)) == 100
    counts = [rows for statement, rows in reads if statement.startswith("SELECT")]
    assert max(counts) == 7
    assert sum(counts) == 216, "the last row of each full page of the window is read again"


def test_thousands_of_events_that_started_at_once_are_all_found(
    frigate: Frigate, path: Path
) -> None:
    frigate.sql.execute("BEGIN")
    made = {frigate.put(id=f"9.5-{n:06}", start_time=9.5) for n in range(3000)}
    made |= {frigate.put(id="9.25-a", start_time=9.25), frigate.put(id="10-a", start_time=10.0)}
    frigate.sql.execute("COMMIT")
    catalog = Catalog(path, batch=50)
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
    found = ids(Catalog(path, batch))
    assert sorted(found) == sorted(made)
    assert [made[one] for one in found] == sorted(starts)


def test_rows_that_come_and_go_between_two_reads_hide_no_other(
    frigate: Frigate, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGES_AT_ONCE", 1)
    made = frigate.many(30)
    pages = catalog.window(0.0)
    first = next(pages)
    frigate.sql.execute("DELETE FROM event WHERE id IN (?, ?)", (first[0], first[3]))
    late = frigate.put(id="99-late", start_time=99.0)
    rest = [event_id for page in pages for event_id in page]
    assert first + rest == [*made, late]


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_ids_and_times_that_are_no_text_or_number_neither_stop_nor_repeat_the_window(
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
    catalog = Catalog(path, batch)
    found = ids(catalog)
    assert [found[0], *sorted(found[1:3]), *found[3:]] == ["1-a", "\ufffda", "\ufffd\ufffd", "4-a"]


def test_a_page_of_a_large_table_is_found_by_its_index(
    frigate: Frigate, catalog: Catalog, reads: list[Read]
) -> None:
    ids(catalog, 5.0, until=9.0)
    statement = reads[-1][0]
    plan = [row[3] for row in frigate.sql.execute(f"EXPLAIN QUERY PLAN {statement}")]
    [search] = plan  # and nothing is sorted
    assert search.endswith("event_start_time_end_time (start_time>? AND start_time<?)")


# -- a database that lives


def test_a_row_is_seen_as_soon_as_another_process_has_committed_it(
    frigate: Frigate, catalog: Catalog, path: Path
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
        while catalog.event("7-new") is None:
            assert writer.poll() is None
        assert ids(catalog) == ["0-a", "7-new"]
        writer.communicate(b"")
    assert writer.returncode == 0


def test_an_open_transaction_of_frigates_neither_blocks_us_nor_shows(
    frigate: Frigate, catalog: Catalog
) -> None:
    frigate.put(id="0-a", start_time=0.0)
    frigate.sql.execute("BEGIN IMMEDIATE")
    frigate.put(id="1-b", start_time=1.0)
    assert ids(catalog) == ["0-a"]
    frigate.sql.execute("COMMIT")
    assert ids(catalog) == ["0-a", "1-b"]


def test_the_catalog_holds_nothing_open_that_would_keep_frigates_wal_alive(
    frigate: Frigate, catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGES_AT_ONCE", 2)
    frigate.many(30)
    pages = catalog.window(0.0)
    assert len(next(pages)) == 12
    frigate.sql.close()
    assert not path.with_name("frigate.db-wal").exists(), "the last to close takes it away"
    assert [len(page) for page in pages] == [12, 6]


def test_it_stays_open_until_frigate_is_about_to_close_its_own(
    frigate: Frigate, catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.stay_open()
    frigate.put(id="0-a", start_time=0.0)
    assert ids(catalog) == ["0-a"]
    with monkeypatch.context() as patched:
        patched.setattr(events._Database, "connect", None)
        frigate.put(id="1-b", start_time=1.0)
        assert catalog.event("1-b") is not None, "and what is committed meanwhile is seen"
    catalog.let_go()
    frigate.sql.close()
    assert not path.with_name("frigate.db-wal").exists(), "the last to close takes it away"
    assert ids(catalog) == ["0-a", "1-b"]
    assert catalog._database.is_closed()


def test_whoever_reads_while_it_is_let_go_closes_it_when_done(
    frigate: Frigate, catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LET_GO_WITHIN", 0.01)
    catalog.stay_open()
    frigate.put()
    with catalog._reading():
        catalog.let_go()  # is not held up by a disk that is
        assert not catalog._database.is_closed()
    assert catalog._database.is_closed()
    frigate.sql.close()
    assert not path.with_name("frigate.db-wal").exists()


def test_while_it_stays_open_frigate_can_write_back_and_cut_its_wal(
    frigate: Frigate, catalog: Catalog, path: Path
) -> None:
    catalog.stay_open()
    made = frigate.many(100)
    assert len(ids(catalog)) == 100
    assert catalog.event(made[0]) is not None
    [(busy, *_)] = frigate.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, path.with_name("frigate.db-wal").stat().st_size) == (0, 0)
    catalog.let_go()


def test_while_it_stays_open_columns_may_come_and_go(frigate: Frigate, catalog: Catalog) -> None:
    catalog.stay_open()

    def seen() -> str:
        event = catalog.event(ROW["id"])
        assert event is not None
        return event.sub_label

    frigate.put(sub_label="Zoë")
    assert seen() == "Zoë"
    frigate.sql.execute("ALTER TABLE event DROP COLUMN sub_label")
    with pytest.raises(CatalogError, match="sub_label"):
        seen()
    assert seen() == ""
    frigate.sql.execute("ALTER TABLE event ADD COLUMN sub_label")
    frigate.sql.execute("UPDATE event SET sub_label = 'Ann'")
    assert seen() == "Ann"
    catalog.let_go()


def test_an_error_closes_what_was_open_and_the_next_read_opens_it_anew(
    frigate: Frigate, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    catalog.stay_open()
    made = frigate.put()
    assert catalog.event(made) is not None
    frigate.sql.execute("ALTER TABLE event RENAME TO aside")
    with pytest.raises(CatalogError, match="no such table"):
        catalog.event(made)
    assert catalog._database.is_closed()
    frigate.sql.execute("ALTER TABLE aside RENAME TO event")
    assert catalog.event(made) is not None
    assert len(said(caplog)) == 1
    catalog.let_go()


def test_the_database_cannot_be_written_through_the_catalog(
    frigate: Frigate, catalog: Catalog
) -> None:
    frigate.put()
    catalog._database.connect()
    with contextlib.closing(catalog._database) as database:
        for statement in ("DELETE FROM event", "CREATE TABLE t (x)", "PRAGMA user_version = 7"):
            with pytest.raises(Exception, match="readonly"):
                database.execute_sql(statement)


def test_a_read_that_runs_out_of_memory_half_way_does_not_spoil_the_next(
    frigate: Frigate, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = frigate.put()
    connect = events._Database.connect

    def half_way(self: Any) -> None:
        connect(self)
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(events._Database, "connect", half_way)
        with pytest.raises(MemoryError):
            catalog.event(made)
    assert catalog.event(made) is not None


def test_the_catalog_never_makes_a_database(catalog: Catalog, path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        ids(catalog)
    assert not path.exists()


def test_reading_a_stopped_frigates_database_leaves_its_content_alone(path: Path) -> None:
    frigate = Frigate(path)
    frigate.put()
    frigate.sql.close()
    before = path.read_bytes()
    assert not path.with_name("frigate.db-wal").exists()
    catalog = Catalog(path)
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
    monkeypatch.setattr(events, "BUSY_SECONDS", 0.01)
    frigate = Frigate(path)
    frigate.put()
    frigate.sql.execute("PRAGMA journal_mode = DELETE")
    frigate.sql.execute("BEGIN EXCLUSIVE")
    catalog = Catalog(path)
    with pytest.raises(CatalogError, match="locked"):
        ids(catalog)
    frigate.sql.execute("COMMIT")
    assert ids(catalog) == [ROW["id"]]
    assert len(said(caplog)) == 1
    frigate.sql.close()


def test_several_threads_can_read_at_once(frigate: Frigate, catalog: Catalog) -> None:
    made = frigate.many(40)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(catalog))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [made] * 4


def test_two_catalogs_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    catalogs = []
    for name in ("a", "b"):
        frigate = Frigate(tmp_path / f"{name}.db")
        frigate.put(id=f"1-{name}")
        frigate.sql.close()
        catalogs.append(Catalog(tmp_path / f"{name}.db"))
    pages = [one.window(0.0) for one in catalogs]
    assert [next(one) for one in pages] == [["1-a"], ["1-b"]]
    assert [one.event(f"1-{name}") is None for one, name in zip(catalogs, "ba", strict=True)] == [
        True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a b", "what?mode=rw", "a#b", "50%25", "日本", "\udcff"])
def test_any_path_that_a_file_can_have_will_do(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    frigate = Frigate(folder / "frigate.db")
    frigate.put()
    frigate.sql.close()
    catalog = Catalog(folder / "frigate.db")
    assert ids(catalog) == [ROW["id"]]


def test_a_path_that_begins_with_two_slashes_will_do(frigate: Frigate, path: Path) -> None:
    frigate.put()
    catalog = Catalog(Path(f"/{path}"))
    assert ids(catalog) == [ROW["id"]]


# -- a database that changes


def test_columns_that_are_gone_cost_only_what_they_told(path: Path) -> None:
    table = "CREATE TABLE event (id TEXT PRIMARY KEY, camera, start_time, has_snapshot, new_thing)"
    frigate = Frigate(path, table)
    frigate.sql.execute("INSERT INTO event VALUES ('1-a', 'yard', 1.5, 1, 'x')")
    catalog = Catalog(path)
    assert ids(catalog) == ["1-a"]
    event = catalog.event("1-a")
    assert event == Event("1-a", "yard", "", "", 1.5, None, None, (), True, True)
    frigate.sql.close()


@pytest.mark.parametrize("column", ["camera", "start_time", "has_snapshot"])
def test_without_a_column_that_it_needs_the_catalog_says_which(path: Path, column: str) -> None:
    frigate = Frigate(path, EVENT_TABLE.split(";")[0].replace(f'"{column}"', '"renamed"'))
    catalog = Catalog(path)
    with pytest.raises(CatalogError, match=f"no {column} in table event"):
        ids(catalog)
    with pytest.raises(CatalogError):
        catalog.event("1-a")
    frigate.sql.close()


def test_a_database_without_the_table_is_a_catalog_error(path: Path) -> None:
    Frigate(path, "CREATE TABLE recordings (id)").sql.close()
    with pytest.raises(CatalogError, match="in table event"):
        ids(Catalog(path))


def test_a_migration_between_two_reads_is_no_trouble(frigate: Frigate, catalog: Catalog) -> None:
    frigate.put(sub_label="Zoë")
    assert catalog.event(ROW["id"]) is not None
    frigate.sql.execute("ALTER TABLE event DROP COLUMN sub_label")
    frigate.sql.execute("ALTER TABLE event ADD COLUMN new_thing TEXT NOT NULL DEFAULT 'x'")
    event = catalog.event(ROW["id"])
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


def test_the_first_connection_is_no_reconnection(
    frigate: Frigate, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ids(catalog)
    ids(catalog)
    assert said(caplog) == []


@pytest.mark.parametrize("stays", [False, True])
def test_a_database_replaced_while_open_is_opened_anew_and_that_is_said(
    frigate: Frigate, catalog: Catalog, caplog: pytest.LogCaptureFixture, stays: bool
) -> None:
    caplog.set_level(logging.INFO)
    if stays:
        catalog.stay_open()
    frigate.put(id="1-old")
    assert ids(catalog) == ["1-old"]
    replaced_by(frigate, {"id": "2-new"})
    assert ids(catalog) == ["2-new"]
    assert ids(catalog) == ["2-new"]
    assert said(caplog) == [f"Successfully reconnected to database {frigate.path}"]
    catalog.let_go()


def test_a_database_that_goes_away_is_an_error_until_it_is_back_which_is_said_once(
    frigate: Frigate, catalog: Catalog, path: Path, caplog: pytest.LogCaptureFixture
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
def test_what_is_no_file_is_an_error_and_not_waited_for(
    catalog: Catalog, path: Path, make: Any
) -> None:
    make(path)
    with pytest.raises(CatalogError, match="no regular file"):
        ids(catalog)


def test_a_file_damaged_in_the_middle_is_a_catalog_error(frigate: Frigate, path: Path) -> None:
    made = frigate.many(2000, label="x" * 200)
    frigate.sql.close()
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xa5" * len(data[8192:-4096])
    path.write_bytes(data)
    catalog = Catalog(path)
    with pytest.raises(CatalogError):
        ids(catalog)
        catalog.events(made)
    with contextlib.suppress(CatalogError):
        catalog.events(made[:3])


def test_of_the_events_that_ended_lately_those_that_ended_last_come_first(
    frigate: Frigate, catalog: Catalog
) -> None:
    for n in (3, 1, 4, 2, 5):
        frigate.put(id=f"{n}-a", start_time=float(n), end_time=100.0 + n)
    frigate.put(id="6-a", start_time=6.0, end_time=None)
    frigate.put(id="7-a", start_time=7.0, end_time=107.0, has_snapshot=0)
    assert catalog.ended_since(102.0, 0.0, 100) == ["5-a", "4-a", "3-a", "2-a"]
    assert catalog.ended_since(102.0, 0.0, 2) == ["5-a", "4-a"]
    assert catalog.ended_since(102.0, 4.0, 100) == ["5-a", "4-a"]
