"""The policy of retention: what its owner may write, and what it decides about an event."""

from __future__ import annotations

import math
import re

import pytest

from frigate_mirror.policy import DAY, Facts, Policy, parse

RULES = "alert:90d detection:20d label=person:30d camera=garden:3d *:7d"


def policy(text: str) -> Policy:
    found = parse(text)
    assert found is not None
    return found


def facts(label: str = "car", severity: str = "", camera: str = "front") -> Facts:
    return Facts(camera, label, severity, retained=False)


def days(text: str, camera: str, known: Facts | None) -> int | None:
    rule = policy(text).rule_for(camera, known)
    return rule.days if rule else None


def test_an_empty_text_is_no_policy() -> None:
    assert parse("") is None and parse("  ") is None


def test_an_age_alone_is_the_rule_for_all_events() -> None:
    for text in ("7d", "*:7d"):
        assert days(text, "front", facts()) == days(text, "front", None) == 7


@pytest.mark.parametrize(
    ("camera", "known", "expected"),
    [
        ("front", facts(), 7),
        ("front", facts("person"), 30),
        ("front", facts("person", "alert"), 90),
        ("front", facts("car", "detection"), 20),
        ("garden", facts(), 3),
        ("garden", facts("person"), 30),
        ("front", None, 7),
        ("garden", None, 3),
        ("", facts(camera="garden"), 3),
        ("", None, 7),
    ],
)
def test_the_longest_rule_that_fits_wins_and_the_rest_follows_the_star(
    camera: str, known: Facts | None, expected: int
) -> None:
    assert days(RULES, camera, known) == expected


def test_an_event_that_no_rule_fits_has_no_rule() -> None:
    assert days("alert:90d", "front", facts()) is None
    assert days("size:500G", "front", facts()) is None


def test_a_rule_that_fits_counts_although_the_star_is_longer() -> None:
    assert days("camera=garden:3d *:70d", "garden", facts()) == 3


@pytest.mark.parametrize(
    ("text", "camera", "expected"),
    [
        (RULES, "front", 7),
        (RULES, "garden", 3),
        (RULES, "", 3),
        ("label=person:5d *:7d", "front", 5),
        ("camera=garden:3d", "front", math.inf),
        ("camera=garden:30d label=person:3d", "garden", 30),
        ("size:5G", "front", math.inf),
    ],
)
def test_the_least_age_is_the_lowest_that_any_json_could_lead_to(
    text: str, camera: str, expected: float
) -> None:
    assert policy(text).least_seconds(camera) == expected * DAY


def test_a_size_is_counted_in_thousands() -> None:
    assert policy("size:500G").most_bytes == 500_000_000_000
    assert policy("7d size:3T").most_bytes == 3_000_000_000_000
    assert policy("size:20M").most_bytes == 20_000_000
    assert policy("7d").most_bytes is None


def test_a_name_can_have_a_blank_and_letters_of_any_script() -> None:
    found = policy("label=traffic%20light:3d camera=гараж:4d")
    assert [rule.value for rule in found.rules] == ["traffic light", "гараж"]


def test_only_rules_about_labels_and_severity_need_the_json() -> None:
    assert policy("alert:9d").needs_documents and policy("label=cat:9d *:3d").needs_documents
    assert not policy("camera=front:9d *:3d size:5G").needs_documents


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("7", "'7'"),
        ("7D", "'7D'"),
        ("7 d", "'7'"),
        ("7days", "'7days'"),
        ("-7d", "'-7d'"),
        ("0d", "'0d'"),
        ("07d", "'07d'"),
        ("1.5d", "'1.5d'"),
        ("12h", "'12h'"),
        ("1m", "'1m'"),
        ("36501d", "'36501d'"),
        ("999999999999999999999d", "'999999999999999999999d'"),
        ("٧d", "'٧d'"),
        ("alert", "'alert'"),
        ("alert:", "'alert:'"),
        ("alert=90d", "'alert=90d' is no rule: a colon stands before its age"),
        ("label=person=30d", "'label=person=30d' is no rule: a colon stands before its age"),
        ("alert:90d,detection:30d", "with blanks between them"),
        ("alerts:90d", "'alerts'"),
        ("Alert:90d", "'Alert'"),
        (":7d", "''"),
        ("person:30d", "'person'"),
        ("zone=porch:30d", "'zone=porch'"),
        ("label:person:30d", "'label:person'"),
        ("label=:30d", "'label=:30d'"),
        ("label=a,b:30d", "'label=a,b:30d'"),
        ("label=*:30d", "'label=*:30d'"),
        ("label='a':30d", "needs one name"),
        ("label=a%2:30d", "'label=a%2:30d'"),
        ("label=%ff:30d", "'label=%ff:30d'"),
        ("alert:90d, *:7d", "'alert:90d,'"),
        ("alert:90d;*:7d", "is no rule"),
        ("7d alert:90d", "write *:7d"),
        ("7d 8d", "'7d' and '8d'"),
        ("7d *:8d", "'7d' and '*:8d'"),
        ("camera=a:3d camera=a:3d", "'camera=a:3d' and 'camera=a:3d'"),
        ("label=a:3d label=%61:4d", "'label=a:3d' and 'label=%61:4d'"),
        ("size:500", "'size:500'"),
        ("size:500g", "'size:500g'"),
        ("size:500GB", "'size:500GB'"),
        ("size:0G", "'size:0G'"),
        ("size:1.5G", "'size:1.5G'"),
        ("size:", "'size:'"),
        ("size=5G", "'size=5G'"),
        ("Size:5G", "'Size:5G'"),
        ("500G", "'500G'"),
        ("size:1G size:1G", "size: stands there twice"),
    ],
)
def test_every_slip_of_the_pen_is_refused_and_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        parse(text)
    assert str(caught.value).isprintable()
