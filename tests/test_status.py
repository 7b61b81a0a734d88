"""Health as one line, one word and one document, and a reader that trusts no status file."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import os
import re
import resource
import string
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_mirror.faults import Fault, Troubles
from frigate_mirror.ledger.lock import RunLock, is_locked
from frigate_mirror.ledger.rows import Counts
from frigate_mirror.report import status as report_status
from frigate_mirror.report.status import DEGRADED, DOWN, OK, UNKNOWN, WORDS, Status, report, span

NOW = 1_705_329_063.0
GOOD = Status(
    written_at=NOW,
    started_at=NOW - 3600,
    pid=42,
    successes=1523,
    failures=2,
    counts=Counts(waiting=1, pending=5, uploaded=1523, gone=4, retrying=2, acknowledged=3),
    kept_for=8 * 86_400.0,
    behind=12.0,
    last_success=NOW - 61,
    last_error=None,
    service_down=False,
    service_answered=True,
    service_since=NOW - 3600,
    spool_files=5,
    spool_bytes=1_250_000,
    versions={"mirror": "0.1.0", "frigate": "0.17.2"},
    target={"bucket": "pictures", "endpoint": "AWS", "prefix": ""},
    paths={"database": "/config/frigate.db", "ledger": "/config/s3_mirror/ledger.db"},
)


AND = ": see .s3_failed_events; `retry` once the cause is gone, or `acknowledge`"
NO_BUCKET = "the bucket cannot be reached or denies access"
SEE_LOG = "search its log, which inside Frigate is Frigate's, for `S3 snapshot mirror`"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".s3_status.json"


def status(**other: Any) -> Status:
    return dataclasses.replace(GOOD, **other)


def test_the_statistics_line_has_exactly_the_form_that_people_grep_for() -> None:
    form = (
        r"S3 Upload Stats - Success: \d+, Failed: \d+, Retry Queue: \d+, Tracked Events: \d+, "
        r"Failed Events: \d+, Health: (OK|DEGRADED|UNKNOWN|DOWN)"
    )
    assert re.fullmatch(form, GOOD.line(4, 0))
    assert GOOD.line(1523, 0) == (
        "S3 Upload Stats - Success: 1523, Failed: 2, Retry Queue: 2, Tracked Events: 1523, "
        "Failed Events: 0, Health: OK"
    )


@pytest.mark.parametrize(
    ("other", "word", "reasons"),
    [
        ({}, OK, []),
        ({"behind": 900.0}, OK, []),
        (
            {"behind": 901.0},
            DEGRADED,
            ["the oldest file in the queue has been waiting for 15 min 1 s"],
        ),
        ({"troubles": ["spool full"]}, DEGRADED, ["spool full"]),
        ({"counts": Counts(failed=2)}, DEGRADED, ["2 file(s) failed for good" + AND]),
        ({"counts": Counts(lost=30)}, DEGRADED, ["30 file(s) were lost" + AND]),
        (
            {"counts": Counts(flawed=1)},
            DEGRADED,
            [
                "1 file(s) are in the bucket, but incomplete or in an earlier version: "
                "see .s3_failed_events, then `acknowledge`"
            ],
        ),
        ({"service_answered": False}, UNKNOWN, []),
        ({"service_answered": False, "service_down": True}, DOWN, [NO_BUCKET]),
        (
            {"service_down": True, "troubles": ["spool full"]},
            DOWN,
            [NO_BUCKET, "spool full"],
        ),
    ],
)
def test_health_is_down_without_a_bucket_degraded_with_a_reason_and_otherwise_ok(
    other: dict[str, Any], word: str, reasons: list[str]
) -> None:
    current = status(**other)
    assert (current.health, current.reasons) == (word, reasons)
    assert current.line(1, 0).endswith(f"Health: {word}")
    assert current.document()["health"] == word
    assert current.document()["reasons"] == reasons


# -- the status file


def test_the_document_is_written_and_read_back(path: Path) -> None:
    written = status(last_error=Fault(NOW - 5, "no such bucket", "make it"))
    report_status.write(written.document() | {"stopped": ""}, path)
    document = report_status.read(path, NOW + 60)
    added = {"stopped": "", "running": True}
    assert document == json.loads(json.dumps(written.document())) | added
    assert document["counts"]["uploaded"] == 1523
    assert document["last_error"] == {"at": NOW - 5, "message": "no such bucket", "hint": "make it"}


def test_the_status_file_is_for_its_owner_only_and_leaves_no_temporary_file(path: Path) -> None:
    path.with_name(f"{path.name}.part").write_text("left by a crash")
    report_status.write(GOOD.document(), path)
    report_status.write(GOOD.document(), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_writing_the_status_follows_no_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name(f"{path.name}.part").symlink_to(victim)
    path.symlink_to(victim)
    report_status.write(GOOD.document(), path)
    assert victim.read_text() == "precious"
    assert report_status.read(path, NOW)["health"] == OK


def test_a_reader_never_sees_half_a_document(path: Path) -> None:
    report_status.write(GOOD.document(), path)
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.add(report_status.read(path, NOW)["health"])

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(200):
        report_status.write(GOOD.document(), path)
    ended.set()
    reader.join()
    assert seen == {OK}


def test_a_document_that_cannot_be_written_is_an_error_and_the_old_one_stays(path: Path) -> None:
    report_status.write(GOOD.document(), path)
    with pytest.raises(TypeError):
        report_status.write({"health": object()}, path)
    assert report_status.read(path, NOW)["health"] == OK
    with pytest.raises(OSError, match="Not a directory"):
        report_status.write(GOOD.document(), path / "deeper")


@pytest.mark.parametrize(
    ("at", "word"),
    [(NOW + 60, OK), (NOW + 61, DOWN), (NOW + 86_400, DOWN), (NOW - 60, OK), (NOW - 3600, DOWN)],
)
def test_a_document_from_another_time_means_that_the_mirror_does_not_run(
    path: Path, at: float, word: str
) -> None:
    report_status.write(GOOD.document(), path)
    document = report_status.read(path, at)
    assert document["health"] == word
    if word == DOWN:
        assert document["reasons"][0].startswith("the mirror is not running: its last status is")
        assert document["counts"]["uploaded"] == 1523, "the last known numbers stay"


def test_a_mirror_that_was_stopped_is_down(path: Path) -> None:
    report_status.write(GOOD.document() | {"stopped": "Frigate has stopped"}, path)
    document = report_status.read(path, NOW)
    assert (document["health"], document["reasons"]) == (DOWN, ["Frigate has stopped"])
    assert document["running"] is False


@pytest.mark.parametrize(
    ("service", "words"),
    [({}, "up then"), ({"service_answered": False}, "no answer yet then"),
     ({"service_down": True}, "down then")],
)  # fmt: skip
def test_the_bucket_of_a_mirror_that_has_ended_is_shown_as_it_was_and_not_as_it_is(
    path: Path, service: dict[str, Any], words: str
) -> None:
    report_status.write(status(**service).document() | {"stopped": "it has stopped"}, path)
    lines = report_lines(report_status.read(path, NOW + 25))
    assert lines["bucket"] == f"pictures at AWS, {words}"
    assert lines["last status"] == "0 s ago; everything below is from then"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def test_a_mirror_that_has_released_its_lock_is_down_at_once(path: Path, state: Path) -> None:
    lock = RunLock(state / "mirror.lock")
    assert lock.acquire()
    report_status.write(status(paths={"state": str(state)}).document(), path)
    assert report_status.read(path, NOW + 7)["health"] == OK
    lock.release()
    document = report_status.read(path, NOW + 7)
    assert document["health"] == DOWN
    assert document["reasons"] == ["the mirror is not running: it died in the last 7 s; " + SEE_LOG]
    assert document["counts"]["uploaded"] == 1523, "the last known numbers stay"


def test_reading_the_state_of_the_lock_does_not_keep_a_mirror_from_taking_it(state: Path) -> None:
    lock = RunLock(state / "mirror.lock")
    assert lock.acquire()
    lock.release()
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.001):
            is_locked(state / "mirror.lock")

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        for _ in range(500):
            assert lock.acquire()
            assert is_locked(state / "mirror.lock") is True
            lock.release()
    finally:
        over.set()
        asking.join()


@pytest.mark.parametrize("lay", [
    lambda lock: None,
    lambda lock: lock.mkdir(),
    lambda lock: os.mkfifo(lock),
    lambda lock: lock.symlink_to(__file__),
])  # fmt: skip
def test_without_a_usable_lock_file_the_age_of_the_status_counts(
    path: Path, state: Path, lay: Any
) -> None:
    lay(state / "mirror.lock")
    report_status.write(status(paths={"state": str(state)}).document(), path)
    assert report_status.read(path, NOW + 60)["health"] == OK
    assert report_status.read(path, NOW + 61)["health"] == DOWN


def test_without_a_status_file_no_mirror_has_run_here(path: Path) -> None:
    document = report_status.read(path, NOW)
    assert document["health"] == DOWN
    assert document["reasons"] == [f"no mirror has run here yet: there is no status file ({path})"]


GARBAGE = [
    b"",
    b"{",
    b"[]",
    b"7",
    b'"text"',
    b"null",
    b"{}",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"written_at": %d}' % NOW,
    b'{"written_at": "now"}',
    b'{"written_at": null}',
    b'{"written_at": 1' + b"0" * 400 + b"}",
    json.dumps(GOOD.document() | {"written_at": -(10**400)}).encode(),
    json.dumps(GOOD.document() | {"written_at": float("nan")}).encode(),
    json.dumps({k: v for k, v in GOOD.document().items() if k != "counts"}).encode(),
    json.dumps(GOOD.document()).encode() + b" " * report_status.LARGEST_DOCUMENT,
    json.dumps(GOOD.document() | {"health": "FINE"}).encode(),
    json.dumps(GOOD.document() | {"reasons": "none"}).encode(),
    json.dumps(GOOD.document() | {"written_at": True}).encode(),
    json.dumps(GOOD.document() | {"counts": {"uploaded": "7"}}).encode(),
    json.dumps(GOOD.document() | {"behind": 1e300}).encode(),
    json.dumps(GOOD.document() | {"behind": 10**300}).encode(),
    json.dumps(GOOD.document() | {"versions": {"mirror": ["0"]}}).encode(),
    json.dumps(GOOD.document() | {"last_error": {"at": NOW}}).encode(),
    json.dumps(GOOD.document()).encode("utf-16")[:-1],
]


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
def test_a_garbled_status_file_is_reported_as_down(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    document = report_status.read(path, NOW)
    assert document["health"] == DOWN
    assert report(document, NOW).startswith("S3 mirror: DOWN\n  because      ")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_folder_a_pipe_or_a_device_in_place_of_the_status_file_is_down(
    path: Path, make: Any
) -> None:
    make(path)
    assert report_status.read(path, NOW)["health"] == DOWN


def test_a_file_of_100_megabytes_is_not_read(path: Path) -> None:
    report_status.write(GOOD.document(), path)
    os.truncate(path, 100_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "too large" in report_status.read(path, NOW)["reasons"][0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, (
        "it needs more than 50 MB"
    )


# Control characters, escape sequences, changes of direction, half characters and long texts.
TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "\x1b[2J\x1b]0;owned\x07",
        "a\nS3 mirror: OK",
        "\x9b31m",
        "\u202eevil",
        "\ud800",
        "x" * 100_000,
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), -(2**63), 1e308])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
FULL = json.loads(
    json.dumps(status(last_error=Fault(NOW, "no", "do"), troubles=["full"]).document())
)


def places(document: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path to every value in a document."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in inner:
        yield (*here, name)
        if isinstance(value, (dict, list)):
            yield from places(value, (*here, name))


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A real document in which some values are changed, removed or added."""
    document = copy.deepcopy(FULL)
    for way in draw(st.lists(st.sampled_from(list(places(FULL))), max_size=3)):
        at = document
        try:
            for name in way[:-1]:
                at = at[name]
            if draw(st.booleans()):
                at[way[-1]] = draw(ANYTHING)
            else:
                del at[way[-1]]
        except (LookupError, TypeError):
            continue  # an earlier change has removed it
    return document | draw(st.dictionaries(TEXTS, ANYTHING, max_size=2))


@settings(deadline=None)
@given(document=ANYTHING | mutated(), now=st.floats(0, 1e10))
def test_any_json_is_reported_without_an_error_and_without_control_characters(
    tmp_path_factory: pytest.TempPathFactory, document: Any, now: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.json"
    path.write_text(json.dumps(document))
    for moment in (now, NOW):
        shown = report_status.read(path, moment)
        lines = report(shown, moment).split("\n")
        assert lines[0].removeprefix("S3 mirror: ") in WORDS
        assert all(line.isprintable() and len(line) < 600 for line in lines)
        assert len(lines) < 40
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown


@settings(deadline=None)
@given(raw=st.binary() | st.integers(1, 10_000).map(lambda deep: b"[" * deep + b"]" * deep))
def test_any_other_bytes_are_reported_as_down(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.json"
    path.write_bytes(raw)
    assert report(report_status.read(path, NOW), NOW).startswith("S3 mirror: DOWN\n")


def test_no_text_of_a_hostile_document_can_forge_a_line_or_control_the_terminal(path: Path) -> None:
    hostile = {"mirror": "\x1b[32m0.1\r\nS3 mirror: OK\u202e"}
    report_status.write(status(versions=hostile).document(), path)
    last = report(report_status.read(path, NOW), NOW).splitlines()[-1]
    assert last == "  versions     mirror ?[32m0.1  S3 mirror: OK?"


def test_only_valid_paths_of_a_status_file_are_kept(path: Path) -> None:
    paths = {"database": "/config/frigate.db", "state": "state", "a": "/a\x1b[2J", "b": "/b\0"}
    report_status.write(status(paths=paths).document(), path)
    assert report_status.read(path, NOW)["paths"]["database"] == "/config/frigate.db"


def test_the_reason_why_no_mirror_runs_is_shown_until_one_runs(path: Path) -> None:
    report_status.write_why_not_running("the state folder is another's\x1b[2J", path)
    document = report_status.read(path)
    assert document["health"] == DOWN and document["reasons"][0].startswith("the state folder")
    assert "\x1b" not in report(document, NOW)
    report_status.write(GOOD.document(), path)
    assert report_status.read(path, NOW)["health"] == OK


# -- for people


FIGURES = Counts().__dataclass_fields__.keys() - {"kinds"}


def shown(current: Status, path: Path) -> str:
    """Returns the report of a mirror that runs."""
    report_status.write(current.document(), path)
    return report(report_status.read(path, NOW), NOW)


def report_lines(document: dict[str, Any]) -> dict[str, str]:
    lines = report(document, NOW).splitlines()[1:]
    return {line[:15].strip(): line[15:] for line in lines}


def test_the_report_shows_health_bucket_uploads_queue_and_versions(path: Path) -> None:
    assert shown(GOOD, path) == "\n".join(
        [
            "S3 mirror: OK",
            "  bucket       pictures at AWS, up for 1 h",
            "  uploaded     1,523 in the last 8 d, the last one 1 min 1 s ago",
            "  pending      5 (retrying 2), behind by 12 s",
            "  waiting      1 for a file that is not there yet or incomplete",
            "  failed       0 for good, lost 0, flawed 0, acknowledged 3",
            "  gone         4 without a file",
            "  attempts     successes 1,523, failures 2 since the start 1 h ago",
            "  spool        5 files, 1.2 MB",
            "  ledger       /config/s3_mirror/ledger.db",
            "  versions     frigate 0.17.2, mirror 0.1.0",
        ]
    )


def test_uploads_that_the_ledger_has_forgotten_are_still_counted_beside_the_others(
    path: Path,
) -> None:
    text = shown(status(counts=Counts(uploaded=7, forgotten=41_200)), path)
    assert "  uploaded     7 in the last 8 d, " in text
    assert "  forgotten    41,200 older uploads, which the ledger no longer remembers" in text


def test_with_several_kinds_the_report_says_how_many_files_of_each_are_where(path: Path) -> None:
    kinds = {"snapshot": {"uploaded": 1_523}, "clip": {"uploaded": 9, "waiting": 2, "gone": 1}}
    text = shown(status(counts=Counts(uploaded=1_532, waiting=2, gone=1, kinds=kinds)), path)
    assert "\n  clip         1 gone, 9 uploaded, 2 waiting\n  snapshot     1,523 uploaded\n" in text


def test_the_report_fits_80_columns(path: Path) -> None:
    largest = dict.fromkeys(FIGURES, 12_345)
    text = shown(status(counts=Counts(**largest), successes=12_345, failures=12_345), path)
    assert max(len(line) for line in text.splitlines() if "because" not in line) <= 80


def test_each_figure_has_the_same_name_and_value_in_the_text_and_in_the_json(path: Path) -> None:
    names = FIGURES
    counts = Counts(**{name: 1_000 + number for number, name in enumerate(names)})
    report_status.write(
        status(counts=counts, successes=2_001, failures=2_002, spool_files=2_003).document(), path
    )
    document = report_status.read(path, NOW)
    figures = {name: document["counts"][name] for name in names} | {
        name: document[name] for name in ("successes", "failures")
    }
    text = report(document, NOW)
    for name, value in figures.items():
        assert re.search(rf"\b{name} +{value:,}\b", text), name
    assert f"  spool        {document['spool_files']:,} files" in text
    assert f"behind by {span(document['behind'])}" in text
    assert f"in the last {span(document['kept_for'])}" in text
    numbers = {int(number.replace(",", "")) for number in re.findall(r"\b\d,\d{3}\b", text)}
    assert numbers == {*figures.values(), document["spool_files"]}, "and the text has no others"


def test_the_report_of_an_outage_says_what_happened_and_what_to_do() -> None:
    fault = Fault(NOW - 30, "list bucket pictures: access denied", "grant s3:ListBucket")
    down = status(service_down=True, last_success=None, last_error=fault)
    lines = report_lines(down.document() | {"running": True})
    assert lines["because"] == "the bucket cannot be reached or denies access"
    assert lines["bucket"].endswith("down for 1 h")
    assert lines["uploaded"].endswith("the last one never")
    assert lines["last error"] == "30 s ago: list bucket pictures: access denied"
    assert lines["what to do"] == "grant s3:ListBucket"


def test_a_bucket_that_has_not_answered_yet_is_not_shown_as_up() -> None:
    lines = report_lines(status(service_answered=False).document() | {"running": True})
    assert lines["bucket"].endswith("no answer yet for 1 h")


def test_an_error_without_a_hint_is_shown_without_advice() -> None:
    document = status(last_error=Fault(NOW, "timed out", "")).document()
    assert "what to do" not in report_lines(document | {"running": True})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3601, "1 h 1 s"),
        (86_400 * 3 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)
def test_a_length_of_time_is_shown_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


# -- troubles


def test_a_trouble_is_logged_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    troubles = Troubles()
    for trouble in ("locked", "locked", "", "", "locked"):
        troubles.note("database", trouble)
    troubles.note("ledger", "")
    assert troubles.all() == ["locked"]
    troubles.note("database", "")
    assert troubles.all() == []
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "S3 snapshot mirror: locked"),
        (logging.INFO, "S3 snapshot mirror: this is over: locked"),
    ] * 2


def test_each_cause_of_a_trouble_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for trouble in (
        "ask http://frigate/api/events: [Errno 111] Connection refused",
        "ask http://frigate/api/timeline: [Errno 111] Connection refused",
        "ask http://frigate/api/events: the certificate has the fingerprint ab12",
        "ask http://frigate/api/timeline: [Errno 111] Connection refused",
    ):
        troubles.note("database", trouble)
    logged = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert logged == ["[Errno 111] Connection refused", "the certificate has the fingerprint ab12"]


def test_a_trouble_whose_cause_always_changes_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles = Troubles()
    for letter in string.ascii_letters:
        troubles.note("database", letter)
    assert len(caplog.records) == 10
    assert troubles.all() == ["Z"]


def test_troubles_can_be_read_while_another_thread_notes_one() -> None:
    troubles = Troubles()

    class Interrupted(str):
        """A trouble that notes a new one while it is read, as another thread would."""

        def __bool__(self) -> bool:
            troubles._now[f"new {len(troubles._now)}"] = ""
            return True

    troubles._now["old"] = Interrupted("old")
    assert troubles.all() == ["old"]
