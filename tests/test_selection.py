"""The filters select the events that the owner names, and say why they leave others out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from frigate_mirror.intake.selection import Filters, Selection
from frigate_mirror.settings import settings
from frigate_mirror.settings.parse import Names


@dataclass(frozen=True)
class Event:
    camera: str = "front"
    label: str = "person"
    sub_label: str = ""
    zones: tuple[str, ...] = ("porch", "street")
    score: float | None = 0.8
    started: float = 100.0
    ended: float | None = 110.0
    severity: str = "alert"
    has_clip: bool = True
    reviewed: bool = False


def names(*words: str) -> Names:
    never = frozenset(word[1:] for word in words if word.startswith("!"))
    return Names(frozenset(word for word in words if not word.startswith("!")), never)


def test_without_filters_every_event_passes() -> None:
    nothing = Event(label="", zones=(), score=None, ended=None, severity="", has_clip=False)
    assert Filters().why_not(nothing) == ("", "")


@pytest.mark.parametrize(
    ("filters", "event"),
    [
        (Filters(cameras=names("front", "back")), Event()),
        (Filters(cameras=names("!back")), Event()),
        (Filters(labels=names("person", "!car")), Event()),
        (Filters(sub_labels=names("!postman")), Event()),
        (Filters(sub_labels=names("postman")), Event(sub_label="postman")),
        (Filters(zones=names("garden", "street")), Event()),
        (Filters(zones=names("!garden")), Event(zones=())),
        (Filters(min_score=0.8), Event()),
        (Filters(min_duration=10), Event()),
        (Filters(severity="alert"), Event()),
        (Filters(has_clip=True), Event()),
        (Filters(reviewed=False), Event()),
        (Filters(reviewed=True), Event(reviewed=True)),
    ],
)
def test_an_event_that_fits_passes(filters: Filters, event: Event) -> None:
    assert filters.why_not(event) == ("", "")


@pytest.mark.parametrize(
    ("filters", "event", "name", "reason"),
    [
        (Filters(cameras=names("back")), Event(), "cameras", "front is not among back"),
        (Filters(cameras=names("!front")), Event(), "cameras", "front is left out"),
        (Filters(labels=names("car", "dog")), Event(), "labels", "person is not among car, dog"),
        (Filters(sub_labels=names("postman")), Event(), "sub_labels", "none is not among postman"),
        (Filters(zones=names("!street")), Event(), "zones", "street is left out"),
        (Filters(zones=names("street", "!porch")), Event(), "zones", "porch is left out"),
        (Filters(zones=names("garden")), Event(zones=()), "zones", "none is not among garden"),
        (Filters(min_score=0.9), Event(), "min_score", "the score 0.80 is below 0.9"),
        (Filters(min_score=0.1), Event(score=None), "min_score", "no score is below 0.1"),
        (Filters(min_duration=11), Event(), "min_duration", "it took 10.0 s, less than 11 s"),
        (Filters(min_duration=1), Event(ended=None), "min_duration", "it has not ended"),
        (
            Filters(severity="alert"),
            Event(severity=""),
            "severity",
            "it is in no review, not alert",
        ),
        (Filters(severity="detection"), Event(), "severity", "it is alert, not detection"),
        (Filters(has_clip=True), Event(has_clip=False), "has_clip", "it has no recordings"),
        (Filters(reviewed=True), Event(), "reviewed", "nobody has reviewed it"),
    ],
)
def test_an_event_that_does_not_fit_is_left_out_with_the_filter_and_the_reason(
    filters: Filters, event: Event, name: str, reason: str
) -> None:
    assert filters.why_not(event) == (name, reason)


def test_the_first_filter_that_leaves_an_event_out_is_named() -> None:
    filters = Filters(cameras=names("front"), labels=names("car"), severity="detection")
    assert filters.why_not(Event())[0] == "labels"


@pytest.mark.parametrize(
    ("own", "event", "clip"),
    [
        (Filters(), Event(label="car"), ("", "")),
        (
            Filters(labels=names("person")),
            Event(label="car"),
            ("MIRROR_CLIP_LABELS", "car is not among person"),
        ),
        (
            Filters(min_score=0.9),
            Event(),
            ("MIRROR_CLIP_MIN_SCORE", "the score 0.80 is below 0.9"),
        ),
        (
            Filters(labels=names("person")),
            Event(camera="back"),
            ("MIRROR_CAMERAS", "back is left out"),
        ),
        (Filters(cameras=names("back")), Event(camera="back"), ("", "")),
    ],
)
def test_a_filter_for_clips_wins_over_the_general_one_and_the_others_still_count(
    own: Filters, event: Event, clip: Any
) -> None:
    selection = Selection(Filters(cameras=names("!back")), {"clip": own})
    assert selection.why_not("clip", event) == clip
    general = selection.why_not("snapshot", replace(event, camera="front"))
    assert general == ("", "")


def test_the_setting_that_leaves_a_file_out_is_named_as_the_owner_has_set_it() -> None:
    """Every filter of clips has a setting of its own, and only for clips."""
    event = Event(ended=None, severity="", has_clip=False)
    strict = Filters(cameras=names("x"), labels=names("x"), sub_labels=names("x"),
                     zones=names("x"), min_score=1, min_duration=1, severity="alert",
                     has_clip=True, reviewed=True)  # fmt: skip
    for one in fields(Filters):
        filters = Filters(**{one.name: getattr(strict, one.name)})
        own = Selection(Filters(), {"clip": filters}).why_not("clip", event)
        general = Selection(filters, {"clip": Filters()}).why_not("clip", event)
        assert {own[0], general[0]} <= set(settings.VARIABLES)
        assert (own[0], general[0]) == (
            f"MIRROR_CLIP_{one.name.upper()}", f"MIRROR_{one.name.upper()}",
        )  # fmt: skip
        assert own[1] == general[1]


def test_the_filters_of_a_kind_are_its_own_completed_by_the_general_ones() -> None:
    selection = Selection(
        Filters(cameras=names("front"), min_score=0.5), {"clip": Filters(min_score=0.9)}
    )
    assert selection.filters("clip").sentence() == (
        "events with cameras front, a score of at least 0.9"
    )
    assert selection.filters("metadata").sentence() == (
        "events with cameras front, a score of at least 0.5"
    )


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        (Filters(), "all events"),
        (Filters(cameras=names("front", "back")), "events with cameras back, front"),
        (
            Filters(labels=names("person", "!cat"), min_score=0.7, severity="alert"),
            "events with labels person, not cat, a score of at least 0.7, the severity alert",
        ),
        (
            Filters(sub_labels=names("!a"), zones=names("b"), min_duration=3, has_clip=True),
            "events with sub labels not a, zones b, a length of at least 3 s, recordings",
        ),
        (
            Filters(has_clip=False, reviewed=False),
            "events with no recordings, no review yet",
        ),
        (Filters(reviewed=True), "events with a review by anyone"),
    ],
)
def test_a_sentence_says_which_events_pass(filters: Filters, sentence: str) -> None:
    assert filters.sentence() == sentence


def test_the_settings_become_filters() -> None:
    loaded = settings.load(
        {
            "S3_BUCKET": "bucket",
            "MIRROR_CAMERAS": "front, back yard",
            "MIRROR_LABELS": "person,!cat",
            "MIRROR_SUB_LABELS": "",
            "MIRROR_ZONES": " , ",
            "MIRROR_MIN_SCORE": "0.7",
            "MIRROR_MIN_DURATION": "2.5",
            "MIRROR_SEVERITY": "Alert",
            "MIRROR_HAS_CLIP": "true",
            "MIRROR_REVIEWED": "no",
        }
    )
    assert Filters.of(loaded.selection) == Filters(
        cameras=names("front", "back yard"),
        labels=names("person", "!cat"),
        min_score=0.7,
        min_duration=2.5,
        severity="alert",
        has_clip=True,
        reviewed=False,
    )


def test_without_filters_in_the_settings_every_event_passes() -> None:
    assert Filters.of(settings.load({}).selection) == Filters()


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("MIRROR_LABELS", "person,!person", "both names and leaves out person"),
        ("MIRROR_ZONES", "!", "has a `!` without a name"),
        ("MIRROR_MIN_SCORE", "80", "is not a number from 0 to 1"),
        ("MIRROR_SEVERITY", "high", "is none of alert, detection"),
        ("MIRROR_REVIEWED", "maybe", "is neither true nor false"),
    ],
)
def test_a_wrong_filter_is_a_fault_of_the_settings(name: str, text: str, fault: str) -> None:
    with pytest.raises(settings.SettingsError) as told:
        settings.load({name: text})
    assert [fault in one and one.startswith(name) for one in told.value.faults] == [True]
