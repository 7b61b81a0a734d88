"""The retention: what a run deletes, what it keeps, and when it refuses to delete anything.

The events are written by code of its own: their keys and their JSON as the mirror writes them. An
oracle of a few lines reads the policy in its own way.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.keys import INSIDE, READABLE, KeyCodec
from frigate_mirror.policy import parse
from frigate_mirror.retention.errors import Refused, RetentionError, Stopped
from frigate_mirror.retention.purge import Deleted
from frigate_mirror.retention.run import CACHE, LISTING, NOTE, Job, run
from frigate_mirror.sinks.sink import Misconfigured, SinkError, Unavailable
from tests.rig.sinks import MemoryArchive

NOW = 1_795_000_000.0
DAY = 86_400.0
FOREIGN = (
    "holiday.jpg",
    "frigate",
    "frigate/front/notes.txt",
    "frigate/front/2020-01-01/1577836800.5-abcdef-20200101_000000.txt",
    "frigate/front/2020-01-02/1577836800.5-abcdef-20200101_000000.jpg",
    "frigate/front/2020-01-01/deeper/1577836800.5-abcdef-20200101_000000.jpg",
    "frigate/.s3-mirror-check",
    "other/front/2020-01-01/1577836800.5-abcdef-20200101_000000.jpg",
    "frigate/front/2020-01-01/1577836800.5-abcdef-20200101_000000.jpg.bak",
)
UNDER_THE_PREFIX = 6


def stem_of(event_id: str, started: float, camera: str = "front") -> str:
    """Returns the key of an event without its ending."""
    day = datetime.fromtimestamp(int(started), UTC)
    return f"frigate/{camera}/{day:%Y-%m-%d}/{event_id}-{day:%Y%m%d_%H%M%S}"


def document_of(event_id: str, camera: str, **row: Any) -> dict[str, Any]:
    """Returns the JSON of an event. `severity` is that of its review, `max_severity` is Frigate's
    own."""
    severity, noted = row.pop("severity", ""), row.pop("max_severity", None)
    event = {"id": event_id, "camera": camera, "label": "car", "data": {"max_severity": noted}}
    return {
        "schema": "event/1",
        "complete": True,
        "table": {"event": event | row},
        "reviews": [{"id": "1.5-r", "severity": severity}] if severity else [],
    }


class Place:
    """An archive in memory, a folder of the run, and events in it."""

    def __init__(self, folder: Path, batch: int = 1_000) -> None:
        self.archive = MemoryArchive(batch)
        self.folder = folder
        self.said: list[str] = []

    def event(
        self,
        days: float = 10,
        camera: str = "front",
        *,
        now: float = NOW,
        kinds: str = ".jpg .mp4",
        size: int = 10,
        document: bool = True,
        **row: Any,
    ) -> str:
        """Adds an event that started so many days ago, and returns its id."""
        started = now - days * DAY
        event_id = f"{started:.6f}-{len(self.archive.objects):06d}"
        stem = stem_of(event_id, started, camera)
        for ending in kinds.split():
            self.archive.objects[stem + ending] = b"x" * size
        if document:
            text = json.dumps(document_of(event_id, camera, **row))
            self.archive.objects[f"{stem}.json"] = text.encode()
        return event_id

    def job(self, policy: str, most: int = 10_000, keys: KeyCodec | None = None) -> Job:
        found = parse(policy)
        assert found is not None
        keys = keys or KeyCodec("frigate")
        return Job(policy=found, keys=keys, most=most, folder=self.folder, where="bucket cams")

    def run(self, policy: str = "7d", *, now: float = NOW, **options: Any) -> Deleted:
        most, keys = options.pop("most", 10_000), options.pop("keys", None)
        self.said.clear()
        return run(
            self.job(policy, most, keys), self.archive, self.said.append, clock=lambda: now,
            **options,
        )  # fmt: skip

    def refusal(self, policy: str = "7d", **options: Any) -> str:
        """Returns why a run refuses, after it has proved that nothing is deleted."""
        before = dict(self.archive.objects)
        with pytest.raises(Refused) as caught:
            self.run(policy, **options)
        assert self.archive.objects == before
        return str(caught.value)

    def has(self, event_id: str) -> bool:
        return any(event_id in key for key in self.archive.objects)

    def whole(self) -> set[str]:
        """Returns the ids of all events, after it has checked that each has all of its files."""
        files: dict[str, set[str]] = {}
        for key in self.archive.objects:
            event_id = key.rpartition("/")[2][:24]
            files.setdefault(event_id, set()).add(key[key.rindex(".") :])
        assert {frozenset(one) for one in files.values()} <= {frozenset({".jpg", ".mp4", ".json"})}
        return set(files)

    @property
    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state")


# -- what is deleted and what stays


def test_what_is_older_than_the_rule_goes_and_what_is_younger_stays(place: Place) -> None:
    old, young, fresh = place.event(7.001), place.event(6.999), place.event(0.1)
    deleted = place.run("7d")
    assert (place.has(old), place.has(young), place.has(fresh)) == (False, True, True)
    assert (deleted.totals.events, deleted.totals.objects) == (1, 3)
    assert "deleted 3 objects of 1 event" in place.text


def test_foreign_objects_are_never_touched(place: Place) -> None:
    for key in FOREIGN:
        place.archive.objects[key] = b"mine"
    old = place.event(10)
    place.event(1), place.event(1)
    place.run("7d")
    assert not place.has(old)
    assert set(FOREIGN) <= place.archive.objects.keys()
    assert f"not the mirror's and are left alone: {UNDER_THE_PREFIX}" in place.text


def test_what_somebody_wants_to_keep_stays_whatever_the_rules_say(place: Place) -> None:
    kept = [place.event(99, retain_indefinitely=yes) for yes in (1, True)]
    gone = [place.event(99, retain_indefinitely=no) for no in (0, False, None)]
    for _ in range(9):
        place.event(1)
    place.run("7d size:1M")
    assert all(map(place.has, kept)) and not any(map(place.has, gone))
    assert "because Frigate was told to keep them: 2" in place.text


def test_severity_is_that_of_the_reviews_and_else_what_frigate_has_noted(place: Place) -> None:
    alert = place.event(50, severity="alert", max_severity="detection")
    noted = place.event(50, max_severity="alert")
    detection = place.event(50, severity="detection", max_severity="alert")
    for _ in range(4):
        place.event(1)
    place.run("alert:90d *:7d")
    assert (place.has(alert), place.has(noted), place.has(detection)) == (True, True, False)


def test_an_event_without_json_follows_its_camera_and_its_age_and_is_counted(place: Place) -> None:
    plain, garden = place.event(8, document=False), place.event(4, "garden", document=False)
    young = place.event(6, document=False)
    for _ in range(5):
        place.event(1)
    place.run("label=person:30d camera=garden:3d *:7d")
    assert (place.has(plain), place.has(garden), place.has(young)) == (False, False, True)
    assert "without a JSON, of which only the camera and the age count: 3" in place.text


def test_an_event_that_no_rule_fits_is_kept(place: Place) -> None:
    strange, garden = place.event(900), place.event(900, "garden")
    place.event(1)
    place.run("camera=garden:3d")
    assert place.has(strange) and not place.has(garden)


def test_all_files_of_an_event_go_together_whatever_their_kinds(place: Place) -> None:
    endings = ".webp -thumb.webp .mp4 -part-0002.mp4 -part-0003.mp4 -thumb.jpg .png .jpg"
    old = place.event(9, kinds=endings)
    place.event(1)
    assert place.run("7d").totals.objects == 9
    assert not place.has(old)


def test_the_size_deletes_the_oldest_first_whatever_their_age(place: Place) -> None:
    ages = [0.5, 5, 3, 4, 2]
    events = {age: place.event(age, size=1_000_000, document=False) for age in ages}
    place.run("size:6M")
    assert {age for age in ages if place.has(events[age])} == {0.5, 2, 3}


def test_the_size_counts_what_the_ages_have_left(place: Place) -> None:
    old, older = place.event(10, size=4_000_000), place.event(20, size=4_000_000)
    young = [place.event(day, size=100_000) for day in (1, 2, 3, 4)]
    place.run("7d size:1M")
    assert not place.has(old) and not place.has(older) and all(map(place.has, young))


def test_the_size_skips_what_must_be_kept(place: Place) -> None:
    kept = place.event(9, size=1_000_000, retain_indefinitely=1)
    damaged = place.event(8, size=1_000_000)
    damage(place, damaged, b"{")
    events = [place.event(day, size=1_000_000) for day in (5, 4, 3, 2)]
    place.run("size:9M")
    assert place.has(kept) and place.has(damaged)
    assert list(map(place.has, events)) == [False, False, True, True]


def test_a_label_of_another_script_and_one_with_a_blank_can_have_rules(place: Place) -> None:
    events = [place.event(8, label=label) for label in ("traffic light", "кошка", "car")]
    for _ in range(4):
        place.event(1)
    place.run("label=traffic%20light:30d label=кошка:30d *:7d")
    assert list(map(place.has, events)) == [True, True, False]


@pytest.mark.parametrize("template", [
    READABLE, "{event_id}{kind_ending}",
    "{year}/{month}/{day}/{hour}/{camera}-{event_id}{kind_ending}",
    "{prefix}/{date}/{camera}/{label}/{event_id}{kind_ending}",
])  # fmt: skip
def test_events_under_any_template_are_found(place: Place, template: str) -> None:
    keys = KeyCodec("frigate", "Europe/Paris", template)
    for days in (9, 5, 4):
        started = NOW - days * DAY
        event_id = f"{started:.6f}-abc{days}"
        for ending in (".jpg", "-thumb.webp", "-part-0002.mp4"):
            place.archive.objects[keys.key("front", event_id, started, ending, "cat")] = b"x"
        text = json.dumps(document_of(event_id, "front")).encode()
        place.archive.objects[keys.key("front", event_id, started, ".json", "cat")] = text
    assert place.run("camera=front:7d", keys=keys).totals.objects == 4
    assert len(place.archive.objects) == 8


def test_events_under_an_older_template_are_found(place: Place) -> None:
    old = place.event(9)
    place.event(2)
    place.run("7d", keys=KeyCodec("frigate", template=READABLE, old=(INSIDE,)))
    assert not place.has(old)


def test_a_time_zone_moves_no_event_across_its_cut_off(place: Place) -> None:
    keys = KeyCodec("frigate", "Pacific/Kiritimati")
    for days in (7.01, 6.99):
        started = NOW - days * DAY
        key = keys.key("front", f"{started:.6f}-abcdef", started, ".jpg")
        place.archive.objects[key] = b"x"
    assert place.run("7d", keys=keys).totals.events == 1


def test_nobody_who_may_only_put_can_make_an_event_older(place: Place) -> None:
    event_id = place.event(2)
    place.archive.objects[f"{stem_of(event_id, NOW - 90 * DAY)}.png"] = b"a decoy"
    place.archive.objects[f"{stem_of(event_id, NOW - 90 * DAY, 'garden')}.png"] = b"a decoy"
    place.event(1)
    place.run("7d")
    assert place.has(event_id)
    assert sum(event_id in key for key in place.archive.objects) == 4, "the other camera's is gone"


def test_an_event_of_a_clock_that_was_wrong_by_decades_is_kept_and_counted(place: Place) -> None:
    place.archive.objects["frigate/front/1970-01-01/12.5-abcdef-19700101_000012.jpg"] = b"x"
    place.event(1)
    assert place.run("7d").totals.events == 0
    assert "their date is before 2018 and therefore wrong: 1" in place.text


def test_an_id_without_a_time_is_kept_under_a_template_without_a_time(place: Place) -> None:
    place.archive.objects["strange.jpg"] = b"x"
    place.archive.objects[f"{NOW - 100:.6f}-abcdef.jpg"] = b"x"
    keys = KeyCodec("", template="{event_id}{kind_ending}")
    assert place.run("7d", keys=keys).totals.events == 0


def test_the_oldest_go_first_and_the_json_of_an_event_last(place: Place) -> None:
    place.archive.batch = 3
    order: list[str] = []
    place.archive.before = lambda what, key: order.append(key) if what == "delete" else None
    events = [place.event(days) for days in (8, 10, 9)]
    for _ in range(4):
        place.event(1)
    place.run("7d")
    ids = [next(one for one in events if one in key) for key in order]
    assert ids == sorted(ids) and len(ids) == 9
    assert [key[-5:] == ".json" for key in order] == [False, False, True] * 3


def test_day_folders_that_may_be_empty_are_removed_and_no_others(place: Place) -> None:
    place.event(9), place.event(9, "garden")
    for _ in range(3):
        place.event(1)
    place.run("7d")
    day = f"{datetime.fromtimestamp(NOW - 9 * DAY, UTC):%Y-%m-%d}"
    assert place.archive.removed == [f"frigate/front/{day}", f"frigate/garden/{day}"]
    keys = KeyCodec("", template="{camera}/{event_id}{kind_ending}")
    place.archive.objects[f"front/{NOW - 9 * DAY:.6f}-abcdef.jpg"] = b"x"
    place.archive.objects[f"front/{NOW - 1 * DAY:.6f}-abcdef.jpg"] = b"x"
    place.archive.removed.clear()
    assert place.run("7d", keys=keys).totals.events == 1
    assert place.archive.removed == [], "somebody may be writing to the folder of a camera"


# -- the JSON


def damage(place: Place, event_id: str, data: bytes) -> None:
    """Replaces the JSON of an event."""
    (key,) = (key for key in place.archive.objects if event_id in key and key.endswith(".json"))
    place.archive.objects[key] = data


HOSTILE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "empty": lambda document: b"",
    "cut": lambda document: json.dumps(document).encode()[:-9],
    "not text": lambda document: b"\xff\xfe\x00",
    "a list": lambda document: b"[]",
    "a number": lambda document: b"7",
    "deep": lambda document: b"[" * 200_000,
    "large": lambda document: json.dumps(document | {"x": "y" * 2_000_000}).encode(),
    "a huge number": lambda document: b'{"schema": ' + b"9" * 10_000 + b"}",
    "another schema": lambda document: json.dumps(document | {"schema": "event/2"}).encode(),
    "another event": lambda document: changed(document, id="1.5-abcdef"),
    "no label": lambda document: changed(document, label=None),
    "label of a wrong type": lambda document: changed(document, label=["person"]),
    "a lone surrogate": lambda document: changed(document, label="\ud800"),
    "data of a wrong type": lambda document: changed(document, data=[1]),
    "kept perhaps": lambda document: changed(document, retain_indefinitely="perhaps"),
    "kept twice": lambda document: changed(document, retain_indefinitely=2),
    "reviews of a wrong type": lambda document: json.dumps(document | {"reviews": {}}).encode(),
    "no table": lambda document: json.dumps(document | {"table": None}).encode(),
}


def changed(document: dict[str, Any], **row: Any) -> bytes:
    document["table"]["event"] |= row
    return json.dumps(document).encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_an_event_whose_json_cannot_be_used_is_kept_and_named(place: Place, name: str) -> None:
    strange, old = place.event(99), place.event(99)
    damage(place, strange, HOSTILE[name](document_of(strange, "front")))
    for _ in range(4):
        place.event(1)
    place.run("alert:30d *:7d")
    assert place.has(strange) and not place.has(old)
    assert "because their JSON cannot be used: 1, such as" in place.text
    assert strange in place.text and all(line.isprintable() for line in place.said)


def test_a_json_that_is_listed_as_too_large_is_not_even_asked_for(place: Place) -> None:
    strange = place.event(99)
    place.event(1)
    damage(place, strange, b"x" * 2_000_000)
    place.run("7d")
    assert place.has(strange) and place.archive.reads == []


@pytest.mark.parametrize("key", [
    "frigate/front/2020-01-01/00-00-00-\ud800-1577836800.5-abcdef.jpg",
    "frigate/%ED%A0%80/2020-01-01/1577836800.5-abcdef-20200101_000000.jpg",
])  # fmt: skip
def test_a_name_that_is_no_text_is_left_alone(place: Place, key: str) -> None:
    place.archive.objects[key] = b"x"
    place.event(8), place.event(1)
    assert place.run("7d", keys=KeyCodec("frigate", template=READABLE, old=(INSIDE,))).left == {}
    assert key in place.archive.objects and "left alone: 1" in place.text


def test_a_json_is_read_only_where_it_can_change_the_decision(place: Place) -> None:
    young, old, garden = place.event(6), place.event(8), place.event(2, "garden")
    place.event(9, document=False), place.event(0.1), place.event(0.1)
    place.run("alert:90d camera=garden:3d *:7d", dry=True)
    (read,) = place.archive.reads
    assert old in read and young not in read and garden not in read


def test_a_json_is_read_again_only_when_it_has_changed(place: Place) -> None:
    kept = place.event(8, severity="alert")
    place.event(1)
    place.run("alert:90d *:7d")
    place.run("alert:90d *:7d")
    assert len(place.archive.reads) == 1
    damage(place, kept, json.dumps(document_of(kept, "front")).encode())
    place.run("alert:90d *:7d")
    assert len(place.archive.reads) == 2 and not place.has(kept)


@pytest.mark.parametrize("damaged", [b"", b"not a database", b"SQLite format 3\0" + b"x" * 5_000])
def test_the_cache_is_disposable(place: Place, damaged: bytes) -> None:
    kept = place.event(8, severity="alert")
    place.event(1)
    place.run("alert:90d *:7d")
    (place.folder / CACHE).write_bytes(damaged)
    place.run("alert:90d *:7d")
    assert place.has(kept) and len(place.archive.reads) == 2
    place.run("alert:90d *:7d")
    assert len(place.archive.reads) == 2


def test_the_cache_forgets_what_is_gone(place: Place) -> None:
    for _ in range(3):
        place.event(8)
    for _ in range(4):
        place.event(1)
    place.run("7d")
    place.run("7d")
    with sqlite3.connect(place.folder / CACHE) as cache:
        assert cache.execute("SELECT count(*) FROM documents").fetchone() == (0,)
    cache.close()


def test_an_event_whose_json_vanishes_meanwhile_is_kept_this_time(place: Place) -> None:
    event_id = place.event(8)
    place.event(1)

    def vanish(operation: str, what: str) -> None:
        if operation == "read":
            del place.archive.objects[what]

    place.archive.before = vanish
    assert place.run("7d").totals.events == 0
    assert place.has(event_id)
    place.archive.before = lambda operation, what: None
    assert place.run("7d").totals.events == 1


# -- refusals


def test_seven_days_pass_daily_over_sixty_days_of_events_without_a_refusal(place: Place) -> None:
    chance = random.Random(7)
    for day in range(60):
        now = NOW + day * DAY
        for _ in range(chance.randint(5, 30)):
            place.event(chance.random(), chance.choice(("front", "garden")), now=now)
        place.run("7d", now=now)
        ages = [now - float(event_id.split("-")[0]) for event_id in place.whole()]
        assert max(ages) <= 7 * DAY + 1
    assert 35 <= len(place.whole()) <= 240


def test_a_run_that_would_delete_too_many_objects_deletes_nothing(place: Place) -> None:
    for days in (8, 9, 1, 2, 3, 4):
        place.event(days)
    why = place.refusal("7d", most=5)
    assert "6 objects, more than MIRROR_RETENTION_MAX_DELETES allows (5)" in why
    assert "--max-deletes 6" in why
    assert "more than --max-deletes allows (5)" in place.refusal("7d", once=5)
    assert "to delete: 6 objects of 2 events" in place.text
    assert place.run("7d", most=5, once=6).totals.objects == 6
    assert "deleted 6 objects of 2 events" in place.text


def test_a_run_that_would_delete_more_than_half_of_all_events_deletes_nothing(
    place: Place,
) -> None:
    for days in (8, 9, 1):
        place.event(days)
    why = place.refusal("7d")
    assert "2 of 3 events, more than half of them" in why and "--max-deletes 6" in why
    assert place.run("7d", once=6).totals.events == 2


def test_half_of_all_events_is_not_too_much(place: Place) -> None:
    place.event(8), place.event(1)
    assert place.run("7d").totals.events == 1


def test_a_run_refuses_if_nothing_is_newer_than_the_shortest_rule(place: Place) -> None:
    place.event(8), place.event(40, "garden")
    why = place.refusal("7d camera=garden:90d".replace("7d ", "*:7d "), once=1_000)
    assert "nothing at the destination is newer than the shortest rule *:7d" in why
    place.event(6.9)
    assert place.run("*:7d camera=garden:90d").totals.events == 1


@pytest.mark.parametrize("ahead", [1.1 / 24, 3, 3_650])
def test_a_run_refuses_if_an_event_is_in_the_future(place: Place, ahead: float) -> None:
    place.event(8), place.event(1), place.event(-ahead)
    assert "more than an hour in the future" in place.refusal("7d", once=1_000)


def test_an_event_may_be_a_little_ahead(place: Place) -> None:
    place.event(8), place.event(1), place.event(-0.9 / 24)
    assert place.run("7d").totals.events == 1


@pytest.mark.parametrize("hours", [1.1, -1.1, 24 * 3_650])
def test_a_run_refuses_if_the_service_has_another_time(place: Place, hours: float) -> None:
    place.event(8), place.event(1)
    place.archive.clock_skew = 3_600 * hours
    assert f"differs from this machine's by {hours:+.1f} hours" in place.refusal("7d", once=99)


@pytest.mark.parametrize("skew", [None, 3_500.0, -3_500.0])
def test_a_time_that_is_unknown_or_nearly_the_same_is_no_refusal(
    place: Place, skew: float | None
) -> None:
    place.event(8), place.event(1)
    place.archive.clock_skew = skew
    assert place.run("7d").totals.events == 1


@pytest.mark.parametrize("years", [-30, -2, 2, 30])
def test_a_clock_of_ours_that_is_off_by_years_deletes_nothing(place: Place, years: int) -> None:
    place.archive.clock_skew = None  # a remote of rclone
    for days in range(1, 20):
        place.event(days)
    place.refusal("7d", now=NOW + years * 365 * DAY, once=1_000)


def test_an_empty_destination_is_no_refusal(place: Place) -> None:
    assert place.run("7d").totals.events == 0
    assert "to delete: nothing" in place.text


def test_a_size_alone_has_no_shortest_rule(place: Place) -> None:
    old = place.event(900, size=3_000_000)
    place.event(800, size=3_000_000), place.event(700, size=1_000_000)
    place.run("size:9M")
    assert not place.has(old)


# -- what is told


def test_a_dry_run_tells_all_and_deletes_nothing(place: Place) -> None:
    place.event(8), place.event(4, "garden")
    for _ in range(3):
        place.event(1)
    before = dict(place.archive.objects)
    place.run("label=person:30d camera=garden:3d *:7d size:500G", dry=True)
    assert place.archive.objects == before and place.archive.removed == []
    cut, earlier = (datetime.fromtimestamp(NOW - days * DAY, UTC) for days in (7, 30))
    for words in (
        "bucket cams", f"label=person:30d deletes what started before {earlier:%Y-%m-%dT%H:%M:%SZ}",
        "camera=garden:3d deletes what started before",
        f"*:7d deletes what started before {cut:%Y-%m-%dT%H:%M:%SZ}",
        "500,000,000,000 bytes are left", "there are 15 objects of 5 events",
        "to delete: 6 objects of 2 events", "by *:7d: 3 objects of 1 event",
        "by camera=garden:3d: 3 objects of 1 event", "this is a dry run",
    ):  # fmt: skip
        assert words in place.text


def test_a_rule_for_a_camera_that_does_not_exist_is_told(place: Place) -> None:
    place.event(1)
    place.run("camera=gardne:3d *:7d", dry=True)
    assert "camera=gardne:3d fits nothing: there is no event of a camera 'gardne'" in place.text


def test_a_rule_for_a_label_that_no_event_has_is_told(place: Place) -> None:
    place.event(8), place.event(1), place.event(2)
    place.run("label=persn:30d *:7d", dry=True)
    said = "label=persn:30d fits nothing: none of the 1 event(s) whose JSON was read has the label"
    assert f"{said} 'persn'" in place.text
    place.run("label=car:30d *:7d", dry=True)
    assert "label=car:30d fits nothing" not in place.text


def test_a_destination_without_any_event_makes_the_owner_compare_the_settings(place: Place) -> None:
    place.archive.objects["frigate/notes.txt"] = b"mine"
    place.run("7d")
    assert "no name of an object is one of the mirror's" in place.text
    assert "S3_PATH_PREFIX" in place.text


def test_what_becomes_of_deleted_objects_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.event(8), place.event(1)
    monkeypatch.setattr(place.archive, "fate", lambda: "they go to the trash")
    place.run("7d", dry=True)
    assert "they go to the trash" in place.text


# -- an adversary


def failing(at: int, operation: str, error: Exception) -> Callable[[str, str], None]:
    """Returns a `before` that raises `error` at the operation of this number."""
    count = 0

    def before(what: str, about: str) -> None:
        nonlocal count
        count += what == operation
        if what == operation and count == at:
            raise error

    return before


@pytest.mark.parametrize("operation", ["list", "read"])
def test_an_error_while_it_lists_or_reads_deletes_nothing(place: Place, operation: str) -> None:
    for days in range(8, 30):
        place.event(days), place.event(1), place.event(1)
    for at in (1, 5, 11, 22):
        before = dict(place.archive.objects)
        place.archive.before = failing(at, operation, Unavailable("broken off"))
        with pytest.raises(Unavailable):
            place.run("7d")
        assert place.archive.objects == before


def test_a_missing_right_to_delete_ends_the_run_at_once(place: Place) -> None:
    for days in range(8, 30):
        place.event(days), place.event(1), place.event(1)
    tried: list[str] = []

    def refuse(operation: str, what: str) -> None:
        if operation == "delete":
            tried.append(what)
            raise Misconfigured("no right")

    place.archive.before = refuse
    with pytest.raises(Misconfigured):
        place.run("7d")
    assert len(tried) == 1


def test_the_json_stays_while_another_file_of_its_event_stays(place: Place) -> None:
    stuck, other = place.event(9), place.event(8)
    for _ in range(4):
        place.event(1)
    (key,) = (key for key in place.archive.objects if stuck in key and key.endswith(".mp4"))
    place.archive.undeletable[key] = "it is locked"
    deleted = place.run("7d")
    assert deleted.totals.events == 1 and not place.has(other)
    endings = {key[-4:] for key in place.archive.objects if stuck in key}
    assert endings == {".mp4", "json"}
    assert f"{key}: it is locked" in place.text
    place.archive.undeletable.clear()
    assert place.run("7d").totals.events == 1 and not place.has(stuck)


def test_a_run_gives_up_when_too_much_cannot_be_deleted(place: Place) -> None:
    place.archive.batch = 2
    for number in range(200):
        place.event(9 + number / 1_000, document=False, kinds=".jpg")
        place.event(1, document=False, kinds=".jpg")
    place.archive.undeletable = dict.fromkeys(place.archive.objects, "it is locked")
    with pytest.raises(RetentionError, match="more than 100 objects cannot be deleted"):
        place.run("7d")


def test_what_arrives_while_it_deletes_stays_until_the_next_run(place: Place) -> None:
    old = place.event(8, document=False)
    place.event(1, document=False), place.event(1, document=False)
    late = f"{stem_of(old, NOW - 8 * DAY)}-thumb.webp"

    def arrive(operation: str, what: str) -> None:
        if operation == "delete":
            place.archive.objects[late] = b"late"

    place.archive.before = arrive
    place.run("7d")
    assert [key for key in place.archive.objects if old in key] == [late]
    place.archive.before = lambda operation, what: None
    place.run("7d")
    assert not place.has(old)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("policy", ["7d", "size:1M", "alert:30d *:7d"])
def test_after_a_run_that_was_killed_the_next_one_leaves_no_half_event(
    tmp_path: Path, policy: str
) -> None:
    chance = random.Random(policy)
    for number in range(100):
        place = Place(tmp_path / str(number), batch=chance.choice((1, 4, 7, 1_000)))
        for days in range(1, 25):
            size = 60_000 if policy.startswith("size") else 10
            place.event(days, size=size, document=chance.random() < 0.7 or days < 7)
            if days < 7:
                place.event(days), place.event(days)
        whole = {event_id: keys_of(place, event_id) for event_id in ids_of(place)}
        place.archive.before = failing(chance.randint(1, 40), "delete", Killed())
        try:
            place.run(policy, once=1_000)
        except Killed:
            place.archive.before = lambda operation, what: None
        place.run(policy, once=1_000)
        for event_id, keys in whole.items():
            assert keys_of(place, event_id) in (set(), keys), (number, event_id)
        assert not (place.folder / NOTE).exists() and not (place.folder / LISTING).exists()


def ids_of(place: Place) -> set[str]:
    return {key.rpartition("/")[2][:24] for key in place.archive.objects}


def keys_of(place: Place, event_id: str) -> set[str]:
    return {key for key in place.archive.objects if event_id in key}


@pytest.mark.parametrize("note", [
    b"", b"[]", b'{"events": 7, "folders": []}',
    b'{"events": [["front", "../x", 9]], "folders": []}',
    b'{"events": [["front", "1.5-abcdef", "x"]]}', b"\xff", b"[" * 100_000,
])  # fmt: skip
def test_a_damaged_note_of_the_last_run_changes_nothing(place: Place, note: bytes) -> None:
    place.folder.mkdir()
    (place.folder / NOTE).write_bytes(note)
    old = place.event(8)
    place.event(1)
    assert place.run("7d").totals.events == 1 and not place.has(old)


def test_a_note_deletes_no_event_that_still_has_all_of_its_files(place: Place) -> None:
    place.folder.mkdir()
    whole, half, kept = place.event(2), place.event(2), place.event(2, retain_indefinitely=1)
    place.archive.objects[f"{stem_of(half, NOW - 90 * DAY)}.png"] = b"an older name"
    place.event(1), place.event(1)
    folders = ["frigate/front/2026-01-02", "../2026-01-02", "frigate/front", "/2026-01-02"]
    events = [["front", whole, 3], ["front", half, 5], ["front", kept, 4], ["front", "1-x", 9]]
    (place.folder / NOTE).write_text(json.dumps({"events": events, "folders": folders}))
    place.run("7d")
    assert (place.has(whole), place.has(half), place.has(kept)) == (True, False, True)
    assert folders[0] in place.archive.removed
    assert not set(folders[1:]) & set(place.archive.removed)


def test_two_runs_at_once_do_not_overlap(place: Place) -> None:
    place.event(8), place.event(1)
    told: list[str] = []

    def another(operation: str, what: str) -> None:
        if operation == "delete" and not told:
            with pytest.raises(RetentionError) as caught:
                run(place.job("7d"), place.archive, print, clock=lambda: NOW)
            told.append(str(caught.value))

    place.archive.before = another
    assert place.run("7d").totals.events == 1
    assert "another run of the retention is under way" in told[0]
    assert place.run("7d").totals.events == 0, "the lock is free again"


def test_two_machines_at_once_delete_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path / "one", batch=3)
    old = [place.event(8) for _ in range(5)]
    for _ in range(9):
        place.event(1)
    began: list[Deleted] = []

    def another(operation: str, what: str) -> None:
        if operation == "delete" and not began:
            began.append(Deleted())
            elsewhere = Job(**{
                name: getattr(place.job("7d"), name)
                for name in ("policy", "keys", "most", "where")
            }, folder=tmp_path / "two")  # fmt: skip
            began[0] = run(elsewhere, place.archive, lambda line: None, clock=lambda: NOW)

    place.archive.before = another
    place.run("7d")
    assert began[0].totals.events == 5
    assert not any(map(place.has, old)) and len(place.whole()) == 9


def test_a_run_that_is_to_end_ends_between_two_batches(place: Place) -> None:
    place.archive.batch = 3
    for _ in range(9):
        place.event(8), place.event(1)
    asked: list[str] = []
    place.archive.before = lambda operation, what: asked.append(operation)
    with pytest.raises(Stopped):
        place.run("7d", stop=lambda: asked.count("delete") >= 6)
    assert len(place.whole()) == 16
    assert place.run("7d").totals.events == 7


def test_a_folder_that_cannot_be_written_is_told(place: Place) -> None:
    place.folder.parent.joinpath("file").write_text("")
    place.folder = place.folder.parent / "file" / "state"
    with pytest.raises(RetentionError, match="set MIRROR_STATE_DIR"):
        place.run("7d")


# -- against an independent reading


def plain_reading(policy: str, objects: dict[str, bytes], now: float) -> set[str]:
    """Returns the keys that the policy deletes, by reading it as it stands on its page."""
    name = re.compile(r"frigate/(\w+)/[\d-]+/((\d+)\.\d+-\d{6})-\d+_\d+(?:-\w+)*\.\w+")
    events: dict[str, list[str]] = {}
    for key in objects:
        if match := name.fullmatch(key):
            events.setdefault(match[2], []).append(key)
    gone: set[str] = set()
    left = sum(len(objects[key]) for keys in events.values() for key in keys)
    kept = []
    for event_id, keys in sorted(events.items()):
        camera, age = keys[0].split("/")[1], (now - int(event_id.split(".")[0])) / DAY
        document = next((json.loads(objects[key]) for key in keys if key.endswith("json")), None)
        row = document["table"]["event"] if document else {}
        words = {f"camera={camera}", f"label={row.get('label')}"}
        words |= {review["severity"] for review in document["reviews"]} if document else set()
        limits, other = [], None
        for rule in policy.split():
            who, _, days = rule.rpartition(":")
            if who in words:
                limits.append(int(days[:-1]))
            elif who in ("", "*"):
                other = int(days[:-1])
        limit = max(limits) if limits else other
        if row.get("retain_indefinitely"):
            continue
        if limit is not None and age > limit:
            gone |= set(keys)
            left -= sum(len(objects[key]) for key in keys)
        else:
            kept.append(keys)
    for keys in kept:
        if "size:" in policy and left > int(policy.split("size:")[1][:-1]) * 10**6:
            gone |= set(keys)
            left -= sum(len(objects[key]) for key in keys)
    return gone


POLICIES = (
    "7d", "alert:20d *:7d", "alert:3d *:9d", "label=person:15d", "camera=garden:2d *:12d",
    "alert:20d detection:5d label=person:15d camera=garden:3d *:7d", "size:2M", "6d size:1M",
    "alert:25d camera=front:4d size:3M", "label=cat:1d label=person:2d *:30d size:4M",
)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_deleted_is_what_the_policy_says(tmp_path: Path, policy: str) -> None:
    for seed in range(25):
        chance = random.Random(f"{policy} {seed}")
        place = Place(tmp_path / str(seed), batch=chance.choice((1, 5, 1_000)))
        for number in range(chance.randint(1, 60)):
            place.event(
                0.1 if number == 0 else chance.uniform(0.2, 30),
                chance.choice(("front", "garden", "yard")),
                kinds=" ".join(chance.sample([".jpg", "-thumb.webp", ".mp4", "-part-0002.mp4"], 2)),
                size=chance.choice((10, 40_000, 200_000)),
                document=chance.random() < 0.7,
                label=chance.choice(("person", "car", "cat")),
                severity=chance.choice(("", "alert", "detection")),
                retain_indefinitely=int(chance.random() < 0.1),
            )
        for key in FOREIGN:
            place.archive.objects[key] = b"mine"
        before = dict(place.archive.objects)
        expected = plain_reading(policy, before, NOW)
        place.run(policy, once=100_000)
        assert before.keys() - place.archive.objects.keys() == expected, seed
        place.run(policy, once=100_000)
        assert before.keys() - place.archive.objects.keys() == expected, "a second run adds nothing"


def test_a_sink_error_is_no_error_of_the_retention() -> None:
    assert not issubclass(RetentionError, SinkError)
