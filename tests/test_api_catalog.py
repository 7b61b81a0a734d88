"""Frigate's events over its HTTP API: the same as its database gives, whatever it answers."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.frigate import api as api_module
from frigate_mirror.frigate import api_catalog
from frigate_mirror.frigate.api import ApiError, FrigateApi
from frigate_mirror.frigate.api_catalog import ApiCatalog
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.frigate.segments import Segment
from frigate_mirror.keys import is_event_id
from tests.rig import event_table
from tests.rig.api import ANSWERS, VERSIONS, Answer, Fault, FrigateStandin, as_json
from tests.rig.worlds import DAY, NOW, World


class Bench:
    """A world, its stand-in API, and the catalog that asks it."""

    def __init__(self, folder: Path, version: str = "0.17.2", **options: Any) -> None:
        self.world = World(folder)
        self.sql = sqlite3.connect(self.world.database, isolation_level=None)
        self.standin = FrigateStandin(
            self.world.database, self.world.clips.parent, version, **options
        )
        self.api = FrigateApi(self.standin.url)

    def catalog(self, batch: int = 50, **options: Any) -> ApiCatalog:
        return ApiCatalog(self.api, batch, **{"version": lambda: self.standin.version, **options})

    def close(self) -> None:
        self.api.close()
        self.standin.stop()
        self.sql.close()

    def answers(self, path: str, *documents: Any) -> None:
        """Lets the next questions with this path get these answers."""
        for document in documents:
            self.standin.fail(path, Fault(as_json(document)))

    def event(self, started: float, **options: Any) -> str:
        """An event with a timeline."""
        event_id = self.world.event(started=started, **options)
        for what, at in (("gone", started + 3), ("visible", started + 1)):
            event_table.add_moment(self.sql, event_id, "front_door", what, at)
        return event_id


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "world")
    yield made
    made.close()


@pytest.fixture(params=VERSIONS)
def of_version(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(tmp_path / "world", request.param)
    yield made
    made.close()


def listed(catalog: ApiCatalog, since: float, until: float = math.inf) -> list[str]:
    return [event_id for page in catalog.window(since, until) for event_id in page]


# -- the same as the database


def test_an_event_is_the_same_as_the_one_that_the_database_gives(of_version: Bench) -> None:
    world = of_version.world
    ids = [of_version.event(NOW - 100 * n) for n in range(1, 6)]
    ids.append(of_version.event(NOW - 5, lasted=None))
    ids.append(of_version.event(NOW - 2 * DAY, kind="api"))
    of_version.sql.execute(
        """UPDATE event SET sub_label = 'Zoë', retain_indefinitely = 1, has_clip = 0,
               data = '{"type": "object", "top_score": 0.83, "max_severity": "detection"}'
           WHERE id = ?""",
        (ids[0],),
    )
    world.review(ids[:2], NOW - 300, "alert")
    world.review([ids[1], ids[2]], NOW - 301, "detection", ended=None)
    world.reviewed(ids[0], "anonymous")
    by_database = FrigateDatabase(world.database, whole=True).subjects(ids)
    by_api = of_version.catalog(3, whole=True).subjects(ids)
    assert {event.id: event for event in by_api} == {event.id: event for event in by_database}
    assert {event.id for event in by_api if event.reviewed} == set(ids[:2])
    assert all(len(event.timeline) == 2 for event in by_api)


def test_the_real_answers_of_each_version_can_be_read(of_version: Bench) -> None:
    folder = ANSWERS / of_version.standin.version
    answers = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    [row] = answers["event_ids"]
    [moment, *_] = answers["timeline"]
    items = answers["review"]
    items[0]["data"]["detections"] = [row["id"]]  # they were not of the same moment
    items[0] |= {"start_time": row["start_time"], "has_been_reviewed": True}
    for path, name in (("/event_ids", "event_ids"), ("/review", "review"),
                       ("/timeline", "timeline"), ("/recordings", "recordings")):  # fmt: skip
        of_version.answers(path, answers[name])
    [event] = of_version.catalog(whole=True).subjects([row["id"]])
    assert (event.camera, event.label, event.tracked, event.has_clip) == (
        "back", "person", True, True
    )  # fmt: skip
    assert event.score == pytest.approx(0.9) and event.ended == row["end_time"]
    assert (event.severity, event.reviewed) == ("alert", True)
    assert event.row.keys() == row.keys() - {"thumbnail"}
    assert [one["class_type"] for one in event.timeline] == [
        one["class_type"] for one in answers["timeline"]
    ]
    assert moment["source_id"] == event.id
    rows = answers["recordings"]
    found = of_version.catalog().recordings("back", 0, NOW)
    assert [(one.start, one.end) for one in found] == [
        (one["start_time"], one["end_time"]) for one in rows
    ]


def test_the_stand_in_answers_with_the_fields_of_the_real_frigate(of_version: Bench) -> None:
    event_id = of_version.event(NOW - 60)
    source = event_table.SEGMENTS["front_door"]
    event_table.add_recording(
        of_version.sql, of_version.world.clips.parent, "front_door", int(NOW) - 60, 4.0, source
    )
    event_table.add_review(of_version.sql, "front_door", [event_id], NOW - 60, None)
    asked = {
        "events": of_version.api.json("/api/events"),
        "event_ids": of_version.api.json("/api/event_ids", ids=event_id),
        "timeline": of_version.api.json("/api/timeline", source_id=event_id),
        "review": of_version.api.json("/api/review", after=NOW - 100, before=NOW),
        "recordings": of_version.api.json(
            "/api/front_door/recordings", after=NOW - 100, before=NOW
        ),
    }
    for name, answer in asked.items():
        real = json.loads((ANSWERS / of_version.standin.version / f"{name}.json").read_text())
        assert list(answer[0]) == list(real[0]), name
        for key, value in answer[0].items():
            if value is not None and real[0][key] is not None:
                numbers = isinstance(value, (int, float)) and isinstance(real[0][key], (int, float))
                assert numbers or type(value) is type(real[0][key]), (name, key)


# -- subjects


def test_ids_that_frigate_does_not_know_are_left_out(bench: Bench) -> None:
    event_id = bench.world.event()
    asked = [event_id, "1705329022.5-nosuch", "../../etc/passwd", "a,b", ""]
    assert [event.id for event in bench.catalog().subjects(asked)] == [event_id]
    [question] = bench.standin.questions
    assert question.parameters["ids"].split(",") == sorted(["1705329022.5-nosuch", event_id])


def test_events_that_nobody_asked_for_are_left_out(bench: Bench) -> None:
    event_id = bench.world.event()
    row = bench.api.json("/api/event_ids", ids=event_id)[0]
    bench.answers("/event_ids", [row | {"id": "1.0-other"}, row, row | {"id": "../x"}])
    assert [event.id for event in bench.catalog().subjects([event_id])] == [event_id]


def test_events_are_asked_for_in_batches(bench: Bench) -> None:
    ids = [bench.world.event(started=NOW - n) for n in range(7)]
    assert len(bench.catalog(3).subjects(ids)) == 7
    assert len(bench.standin.paths("/event_ids")) == 3
    assert bench.standin.paths("/review") == bench.standin.paths("/timeline") == []


def test_frigate_016_is_asked_for_each_timeline_and_others_for_all_at_once(
    of_version: Bench,
) -> None:
    ids = [of_version.event(NOW - n) for n in range(4)]
    events = of_version.catalog(whole=True).subjects(ids)
    assert [len(event.timeline) for event in events] == [2] * 4
    is_016 = of_version.standin.version.startswith("0.16")
    assert len(of_version.standin.paths("/timeline")) == (4 if is_016 else 1)


def test_events_without_a_timeline_are_asked_for_together_too(bench: Bench) -> None:
    ids = [bench.world.event(started=NOW - n) for n in range(4)]
    assert [event.timeline for event in bench.catalog(whole=True).subjects(ids)] == [()] * 4
    assert len(bench.standin.paths("/timeline")) == 1


def test_a_frigate_of_unknown_version_is_asked_for_each_timeline(bench: Bench) -> None:
    ids = [bench.event(NOW - n) for n in range(4)]
    events = bench.catalog(whole=True, version=lambda: "").subjects(ids)
    assert [len(event.timeline) for event in events] == [2] * 4


def test_an_event_that_the_account_may_not_see_hides_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.standin.cameras = ["front_door"]
    seen = [bench.world.event(started=NOW - n) for n in range(5)]
    hidden = bench.world.event("garage", NOW - 2.5)
    with caplog.at_level(logging.INFO):
        events = bench.catalog().subjects([*seen, hidden])
    assert {event.id for event in events} == set(seen)
    assert [hidden in record.message for record in caplog.records] == [True]
    assert set(listed(bench.catalog(), NOW - 60)) == set(seen)


def test_a_page_of_events_that_is_too_large_is_asked_for_in_halves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bench.world.event(started=NOW - n) for n in range(6)]
    long = json.dumps({"type": "object", "path_data": ["x" * 5_000]})
    bench.sql.execute("UPDATE event SET data = ? WHERE id = ?", (long, ids[0]))
    monkeypatch.setattr(api_module, "MOST_JSON", 4_000)
    assert {event.id for event in bench.catalog().subjects(ids)} == set(ids[1:])
    assert set(listed(bench.catalog(), NOW - 60, NOW)) == set(ids[1:])


def test_a_failure_of_frigate_is_an_error_of_the_catalog(bench: Bench) -> None:
    event_id = bench.world.event()
    bench.standin.fail("/api", Fault(Answer(500, b"Internal Server Error")), times=math.inf)
    for ask in (
        lambda: bench.catalog().subjects([event_id]),
        lambda: listed(bench.catalog(), 0),
        lambda: bench.catalog().ended_since(NOW, 0, 9),
        lambda: bench.catalog().recordings("front_door", 0, NOW),
        lambda: bench.catalog().last_seen(event_id),
    ):
        with pytest.raises(ApiError, match="status 500: Internal Server Error"):
            ask()


def test_reviews_far_from_each_other_are_not_asked_for_together(bench: Bench) -> None:
    ids = [bench.world.event(started=NOW - day * DAY) for day in (0, 1, 5)]
    for event_id in ids:
        bench.world.review([event_id], float(event_id.partition("-")[0]) - 1)
    events = bench.catalog(reviews=True).subjects(ids)
    assert [event.severity for event in events] == ["detection"] * 3
    asked = [one.parameters for one in bench.standin.questions if one.path == "/api/review"]
    assert len(asked) == 3
    assert all(float(one["before"]) - float(one["after"]) < 60 for one in asked)


def test_all_pages_of_review_items_are_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_catalog, "MOST_REVIEWS", 2)
    ids = [bench.world.event(started=NOW - 100 + n) for n in range(7)]
    for event_id in ids:
        bench.world.review([event_id], float(event_id.partition("-")[0]))
    events = bench.catalog(reviews=True).subjects(ids)
    assert [len(event.reviews) for event in events] == [1] * 7


# -- the window


@pytest.mark.parametrize("page", [1, 2, 3, 4, 100])
def test_the_window_has_each_event_once_and_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(api_catalog, "PAGE", page)
    starts = [NOW - 10, NOW - 10, NOW - 20, NOW - 20.5, NOW - 30, NOW - 40, NOW - 40, NOW - 50]
    ids = [bench.world.event(started=at) for at in starts]
    inside = [
        event_id for event_id, at in zip(ids, starts, strict=True) if NOW - 40 <= at < NOW - 10
    ]
    found = listed(bench.catalog(without_snapshot=True), NOW - 40, NOW - 10)
    if page > 1:
        assert sorted(found) == sorted(inside)
    else:  # it cannot tell two events apart that start in the same microsecond
        assert len(found) == len(set(found)) == len(inside) - 1


def test_the_window_has_only_events_with_a_snapshot_unless_told_otherwise(bench: Bench) -> None:
    ids = [bench.world.event(started=NOW - n) for n in range(4)]
    bench.world.without_snapshot(ids[1])
    assert set(listed(bench.catalog(), NOW - 60)) == {ids[0], ids[2], ids[3]}
    assert set(listed(bench.catalog(without_snapshot=True), NOW - 60)) == set(ids)


def test_what_ended_before_a_time_is_left_out_of_the_lists(bench: Bench) -> None:
    early = bench.world.event(started=NOW - 100, lasted=50)
    late = bench.world.event(started=NOW - 100, lasted=60)
    running = bench.world.event(started=NOW - 100, lasted=None)
    catalog = bench.catalog(ended_from=NOW - 45)
    assert set(listed(catalog, NOW - 200)) == {late, running}
    assert catalog.ended_since(NOW - 1000, NOW - DAY, 9) == [late]
    assert [event.id for event in catalog.subjects([early])] == [early]


def test_the_events_that_ended_last_are_found(bench: Bench) -> None:
    lasted = {
        bench.world.event(started=NOW - 600, lasted=n): n for n in (10.0, 300.0, 200.0, 100.0)
    }
    bench.world.event(started=NOW - 5, lasted=None)
    by_end = sorted(lasted, key=lambda event_id: -lasted[event_id])
    assert bench.catalog().ended_since(NOW - 550, NOW - DAY, 2) == by_end[:2]
    assert bench.catalog().ended_since(NOW - 550, NOW - DAY, 9) == by_end[:3]
    assert bench.catalog().ended_since(NOW - 550, NOW - 300, 9) == []


@pytest.mark.parametrize("width", [200, 1])
def test_a_list_without_an_end_is_given_up(bench: Bench, width: int) -> None:
    page = [{"id": f"{NOW}-{n:06}", "start_time": NOW, "end_time": NOW} for n in range(width)]
    bench.standin.fail("/api/events", Fault(as_json(page * (200 // width))), times=math.inf)
    with pytest.raises(ApiError, match="does not come to an end"):
        listed(bench.catalog(), NOW - 60)
    assert len(bench.standin.questions) < 5


def test_a_list_that_goes_on_for_ever_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_catalog, "PAGE", 2)
    monkeypatch.setattr(api_catalog, "MOST_PAGES", 50)
    pages = [
        [{"id": f"{NOW}-{n:03}{m}", "start_time": NOW - n - m / 2} for m in (0, 1)]
        for n in range(60)
    ]
    bench.answers("/api/events", *pages)
    with pytest.raises(ApiError, match="does not come to an end"):
        listed(bench.catalog(), NOW - 1000)


def test_events_outside_the_window_are_ignored_although_frigate_lists_them(bench: Bench) -> None:
    rows = [{"id": f"{at}-a", "start_time": at} for at in (NOW + 5, NOW - 5, NOW - 500)]
    bench.answers("/api/events", rows)
    assert listed(bench.catalog(), NOW - 60, NOW) == [f"{NOW - 5}-a"]


# -- recordings and the timeline


def test_the_segments_of_a_span_are_those_of_the_database(bench: Bench) -> None:
    source = event_table.SEGMENTS["front_door"]
    media = bench.world.clips.parent
    for camera in ("front_door", "garage"):
        for n in range(6):
            event_table.add_recording(bench.sql, media, camera, int(NOW) + 4 * n, 4.0, source)
    span = ("front_door", NOW + 5, NOW + 13)
    by_database = FrigateDatabase(bench.world.database).recordings(*span)
    by_api = bench.catalog().recordings(*span)
    assert by_api == [Segment("", one.start, one.end) for one in by_database]
    assert len(by_api) == 3
    assert bench.catalog().recordings("../events", *span[1:]) == []


def test_the_segments_of_a_long_span_are_asked_for_in_pieces(bench: Bench) -> None:
    source = event_table.SEGMENTS["front_door"]
    starts = [int(NOW) + 1_800 * n - 2 for n in range(10)]
    for start in starts:
        event_table.add_recording(
            bench.sql, bench.world.clips.parent, "front_door", start, 4.0, source
        )
    catalog = bench.catalog()
    assert [one.start for one in catalog.recordings("front_door", NOW, NOW + 18_000)] == starts
    assert len(bench.standin.paths("/recordings")) == 5
    assert len(catalog.recordings("front_door", 0.0, NOW + 18_000)) == len(starts)
    assert len(bench.standin.paths("/recordings")) <= 5 + 49


def test_a_timeline_that_is_too_large_is_cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    event_id = bench.world.event(started=NOW - 60)
    for n in range(400):
        event_table.add_moment(bench.sql, event_id, "front_door", "visible", NOW + n)
    monkeypatch.setattr(api_module, "MOST_JSON", 40_000)
    [event] = bench.catalog(whole=True).subjects([event_id])
    assert len(event.timeline) == 100


def test_review_items_that_are_too_large_together_are_asked_for_in_smaller_pages(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bench.world.event(started=NOW - 100 + n) for n in range(9)]
    for event_id in ids:
        bench.world.review([event_id], float(event_id.partition("-")[0]))
    monkeypatch.setattr(api_catalog, "MOST_REVIEWS", 8)
    monkeypatch.setattr(api_module, "MOST_JSON", 1_000)
    events = bench.catalog(2, reviews=True).subjects(ids)
    assert [len(event.reviews) for event in events] == [1] * 9


def test_when_an_object_was_last_seen_stands_in_the_timeline(bench: Bench) -> None:
    event_id = bench.event(NOW - 60)
    assert bench.catalog().last_seen(event_id) == NOW - 57
    assert bench.catalog().last_seen("1.0-nosuch") is None


# -- hostile answers


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
names = st.sampled_from(["1705329022.5-abc123", "1.0-b"])
values = documents | names | st.just(NOW) | st.just(10**400)
hostile_rows = st.dictionaries(
    st.sampled_from(
        ["id", "camera", "label", "start_time", "end_time", "data", "zones", "has_clip",
         "source_id", "timestamp", "class_type", "severity", "has_been_reviewed"]
    ),
    values,
) | st.fixed_dictionaries(
    {"id": names, "camera": st.text(max_size=5), "start_time": st.just(NOW) | values,
     "data": st.fixed_dictionaries({"detections": values | st.lists(values)}) | values},
    optional={"end_time": values, "source_id": names, "zones": values, "severity": values},
)  # fmt: skip


@hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow
    ],
)  # fmt: skip
@given(documents | st.lists(hostile_rows | documents, max_size=4))
def test_no_answer_does_harm(bench: Bench, answer: Any) -> None:
    bench.standin.heal()
    bench.standin.fail("/api/", Fault(Answer(body=json.dumps(answer).encode())), times=math.inf)
    catalog = bench.catalog(whole=True)
    asked = ["1705329022.5-abc123", "1.0-b"]
    if not isinstance(answer, list):
        with pytest.raises(ApiError, match="the answer is not a list"):
            catalog.subjects(asked)
        return
    for event in catalog.subjects(asked):
        assert event.id in asked
        assert math.isfinite(event.started)
        assert "thumbnail" not in event.row
    assert all(map(is_event_id, listed(catalog, 0)))
    assert all(map(is_event_id, catalog.ended_since(0, 0, 9)))
    assert all(map(math.isfinite, (one.start for one in catalog.recordings("a", 0, NOW))))
    seen = catalog.last_seen("1.0-b")
    assert seen is None or math.isfinite(seen)
