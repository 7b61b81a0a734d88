"""The report: one document for machines, whatever names and reasons other programs have given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_mirror.faults import Fault
from frigate_mirror.ledger.rows import Counts, Dead
from frigate_mirror.report import homeassistant
from frigate_mirror.report.document import MOST_CAMERAS, OTHERS, cameras_of, report_of
from frigate_mirror.report.status import WORDS, Status
from frigate_mirror.report.survey import MOST_DEAD, Figures
from tests.rig import ROOT
from tests.test_status import NOW, status

SCHEMA = ROOT / "docs" / "report-1.schema.json"
valid = fastjsonschema.compile(json.loads(SCHEMA.read_text()))
EVENT = "1705329022.5-abcdef"
LONGEST_MESSAGE = 60_000  # bytes; some brokers take no more than 64 KB
NOTHING = Figures()
names = st.text(max_size=400)


def report(status: Status, figures: Figures = NOTHING, name: str = "attic") -> dict[str, Any]:
    """Returns the report as who reads it gets it."""
    document: dict[str, Any] = json.loads(json.dumps(report_of(status, figures, name)))
    valid(document)
    return document


def dead(**other: Any) -> Dead:
    values = {"id": f"clip:{EVENT}", "camera": "porch", "started": NOW, "state": "lost"}
    return Dead(**{**values, "reason": "its segments are gone", **other})


def test_a_mirror_that_has_just_started_has_a_report() -> None:
    told = report(status(service_answered=False, last_success=None, counts=Counts()))
    assert (told["status"], told["problem"], told["last_sync"]) == ("UNKNOWN", False, None)
    assert told["today"] == {"date": None, "bytes": None}
    assert told["storage"]["destination"] == {
        "bucket": "pictures", "endpoint": "AWS", "prefix": "", "answers": False, "free": None,
    }  # fmt: skip


def test_the_report_has_the_state_the_counts_the_errors_the_room_and_the_last_round() -> None:
    kinds = {"snapshot": {"uploaded": 3}, "clip": {"pending": 2, "waiting": 1, "lost": 1}}
    told = report(
        status(
            counts=Counts(pending=2, waiting=1, uploaded=3, lost=1, kinds=kinds),
            last_error=Fault(NOW - 5, "put: 403", "correct the key"),
            swept_at=NOW - 10,
            sweep_took=0.25,
            target={"remote": "nas:"},
        ),
        Figures(
            cameras={"porch": {"uploaded": 3, "pending": 2}},
            dead=(dead(),),
            day="2024-01-15",
            bytes_today=12_345,
            spool_free=10**9,
            remote_free=5 * 10**12,
        ),
    )
    assert (told["status"], told["problem"], told["name"]) == ("DEGRADED", True, "attic")
    assert told["reasons"] == [
        "1 file(s) were lost: see .s3_failed_events; `retry` once the cause is gone, "
        "or `acknowledge`"
    ]
    assert (told["last_sync"], told["duration"]) == ("2024-01-15T14:30:53Z", 0.25)
    assert told["last_upload"] == "2024-01-15T14:30:02Z"
    assert (told["backlog"], told["failed"], told["lost"]) == (3, 0, 1)
    assert told["kinds"]["clip"]["pending"] == 2 and told["kinds"]["clip"]["uploaded"] == 0
    assert told["cameras"]["porch"]["uploaded"] == 3
    assert told["today"] == {"date": "2024-01-15", "bytes": 12_345}
    assert told["errors"] == [
        {"kind": "clip", "event": EVENT, "camera": "porch", "started": "2024-01-15T14:31:03Z",
         "fate": "lost", "reason": "its segments are gone"}
    ]  # fmt: skip
    assert told["last_error"] == {
        "at": "2024-01-15T14:30:58Z", "message": "put: 403", "hint": "correct the key",
    }  # fmt: skip
    assert told["storage"] == {
        "destination": {"remote": "nas:", "answers": True, "free": 5 * 10**12},
        "spool": {"files": 5, "bytes": 1_250_000, "free": 10**9},
    }


@pytest.mark.parametrize(
    ("other", "problem"),
    [({}, False), ({"service_down": True}, True), ({"troubles": ["spool full"]}, True),
     ({"service_answered": False}, False)],
)  # fmt: skip
def test_a_problem_is_what_the_owner_has_to_hear_of(other: dict[str, Any], problem: bool) -> None:
    assert report(status(**other))["problem"] is problem


def test_a_flaw_in_the_bucket_is_among_the_errors() -> None:
    flawed = dead(state="uploaded", reason="the clip is short")
    [error] = report(status(), Figures(dead=(flawed,)))["errors"]
    assert (error["fate"], error["reason"]) == ("flawed", "the clip is short")


def test_a_camera_has_one_printable_line_as_its_name_and_two_that_look_alike_are_added_up() -> None:
    found = cameras_of({"a\nb": {"uploaded": 1}, "a b": {"uploaded": 2}, "\x1b[2J": {"lost": 1}})
    assert found["a b"]["uploaded"] == 3
    assert set(found) == {"a b", "?[2J"}


def test_more_cameras_than_anybody_has_are_summed_up() -> None:
    cameras = {f"camera{number:04}": {"uploaded": 1} for number in range(1_000)}
    found = cameras_of(cameras | {"busiest": {"uploaded": 500}})
    assert len(found) == MOST_CAMERAS + 1
    assert found["busiest"]["uploaded"] == 500
    assert sum(states["uploaded"] for states in found.values()) == 1_500
    assert found[OTHERS]["uploaded"] == 1_000 - MOST_CAMERAS + 1


@settings(max_examples=50, deadline=None)
@given(camera=names, reason=names, trouble=names, message=names)
def test_whatever_other_programs_write_the_report_keeps_its_form(
    camera: str, reason: str, trouble: str, message: str
) -> None:
    report(
        status(
            troubles=[trouble] if trouble else [],
            last_error=Fault(NOW, message, reason),
            counts=Counts(uploaded=1, kinds={"snapshot": {"uploaded": 1}}),
        ),
        Figures(cameras={camera: {"uploaded": 1}}, dead=(dead(camera=camera, reason=reason),)),
    )


def test_the_largest_report_fits_into_a_message_of_a_small_broker() -> None:
    long = "ä" * 10_000
    most = 10**12
    kinds = {f"kind{number}": {"uploaded": most} for number in range(4)}
    told = report(
        status(
            troubles=[f"{number} {long}" for number in range(100)],
            last_error=Fault(NOW, long, long),
            counts=Counts(uploaded=most, kinds=kinds),
        ),
        Figures(
            cameras={f"{number}{long}": {"uploaded": most} for number in range(500)},
            dead=tuple(dead(camera=long, reason=long) for _ in range(MOST_DEAD)),
        ),
    )
    assert len(json.dumps(told, ensure_ascii=False).encode()) < LONGEST_MESSAGE


def test_the_page_explains_every_field_of_the_report() -> None:
    page = (ROOT / "docs" / "report.md").read_text()
    assert all(f"`{name}`" in page for name in json.loads(SCHEMA.read_text())["properties"])


# -- Home Assistant


def test_every_template_of_home_assistant_takes_a_field_that_the_report_has() -> None:
    told = report(status())
    message = homeassistant.message("mirror-1", "attic", "status", "availability")
    for component in message["components"].values():
        [path] = {
            word.strip("(){}")
            for word in component["value_template"].replace("(", " ").split()
            if word.startswith("value_json.")
        }
        found: Any = told
        for part in path.removeprefix("value_json.").split("."):
            found = found[part]


def test_the_message_has_what_home_assistant_demands_of_a_device() -> None:
    message = homeassistant.message("mirror-1", "attic", "a/status", "a/availability")
    assert message["device"]["identifiers"] == ["mirror-1"]
    assert message["origin"]["name"]
    assert message["state_topic"] == "a/status"
    assert message["availability"] == [{"topic": "a/availability"}]
    ids = [component["unique_id"] for component in message["components"].values()]
    assert len(set(ids)) == len(ids) and all(one.startswith("mirror-1_") for one in ids)
    assert {component["platform"] for component in message["components"].values()} == {
        "sensor",
        "binary_sensor",
    }
    assert homeassistant.topic_of("homeassistant", "mirror-1") == (
        "homeassistant/device/mirror-1/config"
    )


def test_the_options_of_the_health_are_its_words() -> None:
    message = homeassistant.message("mirror-1", "attic", "a/status", "a/availability")
    assert sorted(message["components"]["health"]["options"]) == sorted(WORDS)


def test_the_schema_is_part_of_the_documentation() -> None:
    assert Path(SCHEMA).name in (ROOT / "docs" / "report.md").read_text()
