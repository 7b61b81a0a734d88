"""`check` says which events the filters select, and explains a single event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.checks.selection import explain, selection
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
        "objects": {"track": ["person", "car"]},
        "zones": {"porch": {"coordinates": "0,0"}},
    }
    body = json.dumps({"cameras": {"front_door": front}}).encode()
    server = Stub()
    server.default = Reply(body=body, headers={"Content-Type": "application/json"})
    yield server
    server.stop()


def findings(world: World, api: Stub, **environ: Any) -> list[Finding]:
    return list(selection(world.settings(**environ), api.endpoint, NOW))


def test_without_filters_all_events_are_mirrored(world: World, api: Stub) -> None:
    assert findings(world, api) == [Finding(OK, "the mirror uploads the snapshots of all events")]


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
    ],
)  # fmt: skip
def test_one_event_is_explained(
    world: World, environ: dict[str, str], grade: str, words: str
) -> None:
    event = world.event()
    world.review([event], NOW - 70, severity="alert")
    finding = explain(world.settings(**environ), event)
    assert finding.grade == grade
    assert finding.what.startswith(f"event {event} (front_door, person) {words}")


def test_an_event_that_frigate_does_not_have_is_a_fault(world: World) -> None:
    assert explain(world.settings(), "1-none") == Finding(
        FAULT, "Frigate's database has no event '1-none'"
    )


def test_an_event_without_a_snapshot_is_explained(world: World) -> None:
    event = world.event()
    world.without_snapshot(event)
    finding = explain(world.settings(), event)
    assert finding.grade == NOTE and finding.what.endswith("is selected, and has no snapshot")
