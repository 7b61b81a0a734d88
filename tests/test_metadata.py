"""Text in any script becomes ASCII headers of at most 2 KB and is read back unchanged."""

from __future__ import annotations

import re
from email.header import decode_header

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.metadata import LIMIT, decode, encode, least

unhurried = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

NAMES = ["event-id", "camera", "label", "start-time", "end-time", "score", "sub-label"]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [" ", "   ", " a ", "a  b", "a,b", "50%", "%20", "=?UTF-8?B?eA==?=", "\t", "\r\nx: y", "日本語"]
)
values_of = st.dictionaries(st.sampled_from(NAMES), texts, max_size=7)


def size_of(encoded: dict[str, str]) -> int:
    """Returns the size as MinIO and rclone count it, with `x-amz-meta-` before each name."""
    return sum(11 + len(name.encode()) + len(text.encode()) for name, text in encoded.items())


@unhurried
@given(values_of, st.lists(texts, max_size=5))
def test_names_in_any_script_survive_the_round_trip(
    values: dict[str, str], zones: list[str]
) -> None:
    encoded = encode(values, zones)
    if "left-out" not in encoded:
        wanted = {name: text for name, text in values.items() if text}
        assert decode(encoded) == (wanted, [zone for zone in zones if zone])


@unhurried
@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=700), max_size=7),
       st.lists(st.text(max_size=300), max_size=30))  # fmt: skip
def test_metadata_fits_into_2_kb_and_names_what_was_left_out(
    values: dict[str, str], zones: list[str]
) -> None:
    encoded = encode(values, zones)
    assert size_of(encoded) <= LIMIT
    kept, kept_zones = decode(encoded)
    left_out = encoded.get("left-out", "").split(",")
    assert {name for name, text in values.items() if text} - kept.keys() == set(left_out) - {
        "", "zones",
    }  # fmt: skip
    assert ("zones" in left_out) == (len(kept_zones) < len([zone for zone in zones if zone]))


def test_metadata_uses_nearly_all_of_the_2_kb_and_no_more() -> None:
    short = dict.fromkeys(NAMES, "x")
    sizes = [size_of(encode(short | {"sub-label": "x" * n}, ["yard"])) for n in range(1, LIMIT)]
    assert max(sizes) <= LIMIT
    assert max(sizes) > LIMIT - 100


@unhurried
@given(values_of, st.lists(texts, max_size=5))
def test_no_value_is_changed_by_trimming_folding_or_decoding_of_headers(
    values: dict[str, str], zones: list[str]
) -> None:
    for text in encode(values, zones).values():
        assert re.fullmatch(r"[\x20-\x7e]+", text)
        assert " ".join(text.split()) == text, "the signature makes one blank of several"
        assert [part for part, charset in decode_header(text) if charset] == []


def test_plain_text_stays_readable() -> None:
    encoded = encode({"camera": "front_door", "sub-label": "Anna's dog (brown)"}, ["yard", "gate"])
    assert encoded == {
        "camera": "front_door", "sub-label": "Anna's dog (brown)", "zones": "yard,gate",
    }  # fmt: skip


def test_a_zone_with_a_comma_stays_one_zone() -> None:
    assert decode(encode({}, ["a,b", "c"])) == ({}, ["a,b", "c"])


def test_zones_are_left_out_first_when_there_is_no_room() -> None:
    encoded = encode({"event-id": "1-a", "sub-label": "x" * 1900}, ["near", "z" * 100, "far"])
    assert encoded["sub-label"] == "x" * 1900
    assert decode(encoded)[1] == ["near"]
    assert encoded["left-out"] == "zones"


def test_a_value_that_is_too_long_is_left_out_and_the_next_one_is_kept() -> None:
    encoded = encode({"event-id": "1-a", "label": "日" * 300, "score": "0.9"})
    assert encoded == {"event-id": "1-a", "score": "0.9", "left-out": "label"}


@pytest.mark.parametrize("broken", ["\ud800", "a\udcffb"])
def test_half_a_character_is_replaced_by_a_question_mark(broken: str) -> None:
    assert decode(encode({"camera": broken}))[0]["camera"] == broken.replace("\ud800", "?").replace(
        "\udcff", "?"
    )


def test_empty_values_make_no_metadata() -> None:
    assert encode({"sub-label": "", "end-time": ""}, [""]) == {}


@given(values_of, st.lists(texts, max_size=5))
def test_the_least_metadata_is_the_id_and_the_names_of_what_is_missing(
    values: dict[str, str], zones: list[str]
) -> None:
    encoded = encode(values | {"event-id": "1-a"}, zones)
    smallest = least(encoded)
    assert smallest["event-id"] == "1-a"
    assert smallest.keys() <= {"event-id", "left-out"}
    missing = set(smallest.get("left-out", "").split(",")) - {""}
    assert missing == encoded.keys() - {"event-id", "left-out"}
    assert least(smallest) == smallest


def test_the_least_metadata_still_names_what_did_not_fit_before() -> None:
    encoded = encode({"event-id": "1-a", "label": "日" * 300, "score": "0.9"})
    assert least(encoded) == {"event-id": "1-a", "left-out": "label,score"}


def test_the_least_metadata_of_nothing_is_empty() -> None:
    assert least({}) == {}
