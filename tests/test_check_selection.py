"""`check` says which files of which events are mirrored, and explains a single event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.checks.selection import explain, selection
from frigate_mirror.frigate import config
from frigate_mirror.frigate.database import FrigateDatabase
from tests.rig.stub import Reply, Stub
from tests.rig.worlds import DAY, NOW, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def api() -> Iterator[Stub]:
    """Frigate's API, as it answers for one camera."""
    retain = {"default": 10.0, "objects": {}}
    front = {
        "enabled": True,
        "detect": {"enabled": True},
        "snapshots": {"enabled": True, "retain": retain},
        "record": {"enabled": True},
        "objects": {"track": ["person", "car"]},
        "zones": {"porch": {"coordinates": "0,0"}},
    }
    body = json.dumps({"cameras": {"front_door": front}}).encode()
    server = Stub()
    server.default = Reply(body=body, headers={"Content-Type": "application/json"})
    yield server
    server.stop()


def catalog(world: World) -> FrigateDatabase:
    return FrigateDatabase(world.database, reviews=True)


def findings(world: World, api: Stub, **environ: Any) -> list[Finding]:
    ask = partial(config.read, api.endpoint)
    return list(selection(world.settings(**environ), ask, catalog(world), NOW))


def test_without_filters_all_events_are_mirrored(world: World, api: Stub) -> None:
    assert findings(world, api) == [Finding(OK, "the mirror uploads the snapshot of all events")]


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"MIRROR_KINDS": "metadata,clip,snapshot", "MIRROR_LABELS": "person"},
         "the snapshot, the clip and the metadata of events with labels person"),
        ({"MIRROR_KINDS": "snapshot,thumbnail,clip,metadata", "MIRROR_CLIP_LABELS": "person"},
         "the snapshot, the thumbnail and the metadata of all events, "
         "and the clip of events with labels person"),
        ({"MIRROR_KINDS": "clip", "MIRROR_LABELS": "car", "MIRROR_CLIP_MIN_SCORE": "0.8"},
         "the clip of events with labels car, a score of at least 0.8"),
        ({"MIRROR_KINDS": "clip,snapshot", "MIRROR_LABELS": "car", "MIRROR_CLIP_LABELS": "car"},
         "the snapshot and the clip of events with labels car"),
    ],
)  # fmt: skip
def test_a_sentence_says_which_files_of_which_events_are_mirrored(
    world: World, api: Stub, environ: dict[str, str], sentence: str
) -> None:
    assert findings(world, api, **environ) == [Finding(OK, f"the mirror uploads {sentence}")]


def test_filters_for_clips_are_noted_while_no_clips_are_mirrored(world: World, api: Stub) -> None:
    _, note = findings(world, api, MIRROR_CLIP_LABELS="dog")
    assert note.grade == NOTE and "MIRROR_KINDS has no clip" in note.what


def test_names_that_frigates_configuration_does_not_have_are_noted(world: World, api: Stub) -> None:
    environ = {"MIRROR_CAMERAS": "front_door,!shed", "MIRROR_LABELS": "dog",
               "MIRROR_ZONES": "porch,gate"}  # fmt: skip
    sentence, *notes = findings(world, api, **environ)
    assert sentence.what.endswith(
        "events with cameras front_door, not shed, labels dog, zones gate, porch"
    )
    assert notes == [
        Finding(NOTE, "MIRROR_CAMERAS: Frigate has no camera shed",
                "Frigate's configuration has front_door"),
        Finding(NOTE, "MIRROR_LABELS: no camera of Frigate tracks dog",
                "Frigate's configuration has car, person"),
        Finding(NOTE, "MIRROR_ZONES: no camera of Frigate has a zone gate",
                "Frigate's configuration has porch"),
    ]  # fmt: skip


def test_unknown_names_in_a_filter_for_clips_are_noted_with_its_own_setting(
    world: World, api: Stub
) -> None:
    environ = {"MIRROR_KINDS": "clip", "MIRROR_LABELS": "car", "MIRROR_CLIP_LABELS": "dog"}
    _, note = findings(world, api, **environ)
    assert note.what == "MIRROR_CLIP_LABELS: no camera of Frigate tracks dog"


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"MIRROR_CLIP_REVIEWED": "true"}, "MIRROR_CLIP_REVIEWED"),
        ({"MIRROR_REVIEWED": "true"}, "MIRROR_REVIEWED"),
        ({"MIRROR_REVIEWED": "true", "MIRROR_CLIP_REVIEWED": "true"},
         "MIRROR_REVIEWED and MIRROR_CLIP_REVIEWED"),
    ],
)  # fmt: skip
def test_a_filter_by_review_is_named_as_the_owner_has_set_it(
    world: World, api: Stub, environ: dict[str, str], name: str
) -> None:
    *_, note = findings(world, api, MIRROR_KINDS="snapshot,clip", **environ)
    assert note.what.startswith(f"{name}: nobody has reviewed anything")


def test_a_filter_by_review_is_noted_while_nobody_reviews(world: World, api: Stub) -> None:
    old, event = world.event(started=NOW - 20 * DAY), world.event(started=NOW - DAY)
    world.review([old], NOW - 20 * DAY)
    world.review([event], NOW - DAY)
    world.reviewed(old)
    _, note = findings(world, api, MIRROR_REVIEWED="true")
    assert note.grade == NOTE and "nobody has reviewed anything" in note.what
    world.reviewed(event)
    _, fine = findings(world, api, MIRROR_REVIEWED="true")
    assert fine.grade == OK and "whoever made it" in fine.what


@pytest.mark.parametrize(
    ("environ", "grade", "words"),
    [
        ({}, OK, "is selected"),
        ({"MIRROR_LABELS": "car"}, NOTE,
         "is left out by MIRROR_LABELS: person is not among car"),
        ({"MIRROR_REVIEWED": "true"}, NOTE, "is left out by MIRROR_REVIEWED: nobody has"),
        ({"MIRROR_SEVERITY": "alert"}, OK, "is selected"),
        ({"MIRROR_CLIP_LABELS": "car"}, OK, "is selected"),
    ],
)  # fmt: skip
def test_one_event_is_explained(
    world: World, environ: dict[str, str], grade: str, words: str
) -> None:
    event = world.event()
    world.review([event], NOW - 70, severity="alert")
    [finding] = explain(world.settings(**environ), catalog(world), event)
    assert finding.grade == grade
    assert finding.what.startswith(f"event {event} (front_door, person): the snapshot {words}")


def test_each_kind_of_file_is_explained_by_the_filter_that_decides_about_it(world: World) -> None:
    event = world.event()
    environ = {"MIRROR_KINDS": "clip,metadata,snapshot", "MIRROR_CAMERAS": "!back",
               "MIRROR_CLIP_LABELS": "car"}  # fmt: skip
    told = [
        finding.what.split("): ")[1]
        for finding in explain(world.settings(**environ), catalog(world), event)
    ]
    assert told == [
        "the snapshot is selected",
        "the clip is left out by MIRROR_CLIP_LABELS: person is not among car",
        "the metadata is selected",
    ]


def test_an_event_that_frigate_does_not_have_is_a_fault(world: World) -> None:
    assert list(explain(world.settings(), catalog(world), "1-none")) == [
        Finding(FAULT, "Frigate has no event '1-none'")
    ]


def test_without_a_database_no_event_can_be_explained(world: World) -> None:
    world.database.unlink()
    [finding] = explain(world.settings(), catalog(world), "1-none")
    assert finding.grade == FAULT and str(world.database) in finding.what


def test_what_frigate_lacks_of_a_selected_event_is_noted(world: World) -> None:
    event = world.event()
    world.without_snapshot(event)
    kinds = {"MIRROR_KINDS": "snapshot,thumbnail,clip"}
    snapshot, thumbnail, clip = explain(world.settings(**kinds), catalog(world), event)
    assert snapshot.grade == NOTE
    assert snapshot.what.endswith("is selected, but Frigate has no snapshot of the event")
    assert (thumbnail.grade, clip.grade) == (OK, OK)
    world.without_recordings(event)
    *_, clip = explain(world.settings(**kinds), catalog(world), event)
    assert clip.grade == NOTE
    assert clip.what.endswith("is selected, but Frigate has no recordings of the event")
