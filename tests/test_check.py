"""Doctor: everything that is wrong, at once, each with what to do."""

from __future__ import annotations

import ast
import io
import os
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from frigate_mirror.commands import check
from frigate_mirror.commands.check import FAULT, NOTE, OK, Finding, seam_fault
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Misconfigured, Probe, Receipt, Unavailable
from frigate_s3_patcher import SEAM
from tests.rig.sinks import MemorySink

MAINTAINER = '''
class EventProcessor(threading.Thread):
    """Not a word of it is run."""

    def __init__(self, config, timeline_queue, stop_event):
        pass

    def run(self) -> None:
        pass

    def handle_object_detection(
        self, event_type: str, camera: str, event_data: dict[str, Any]
    ) -> None:
        pass

    def handle_external_detection(self, event_type: EventStateEnum, event_data: dict = {}) -> None:
        pass
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as Frigate has it: database and clips."""
    (tmp_path / "clips").mkdir()
    sql = sqlite3.connect(tmp_path / "frigate.db")
    sql.execute("CREATE TABLE event (id TEXT PRIMARY KEY, camera, start_time, has_snapshot)")
    sql.close()
    return tmp_path


def loaded(place: Path, **other: str) -> Settings:
    environ = {
        "S3_BUCKET": "pictures",
        "FRIGATE_DB_PATH": f"{place}/frigate.db",
        "FRIGATE_CLIPS_DIR": f"{place}/clips",
    }
    return settings.load(environ | other)


def grades(findings: Iterator[Finding]) -> list[str]:
    return [one.grade for one in findings]


def faults(findings: Iterator[Finding]) -> list[Finding]:
    return [one for one in findings if one.grade == FAULT]


# -- settings


def test_a_misspelt_variable_is_noticed_with_the_name_that_was_meant() -> None:
    environ = {"S3_BUKET": "x", "S3_BUCKET": "y", "PATH": "/bin", "S3_ACCESS_KEY_FILE": "/k"}
    (finding,) = check.misspelt(environ)
    assert finding == Finding(
        NOTE, "S3_BUKET is set, but is not a setting", "did you mean S3_BUCKET?"
    )


def test_a_variable_like_no_other_is_noticed_too_and_its_value_never_told() -> None:
    (finding,) = check.misspelt({"S3_QQQQ_XYZZY": "hidden"})
    assert finding.advice == "no setting has this name"
    assert "hidden" not in str(finding)


def test_no_variable_of_ours_counts_as_misspelt() -> None:
    names = [name for one in settings.VARIABLES.values() for name in one.sources]
    assert {"S3_UPLOAD_THREADS", "S3_SECRET_KEY_FILE"} < set(names)
    own = ["S3_MIRROR_INIT", "S3_MIRROR_FRIGATE", "S3_MIRROR_PARENT"]
    frigates = ["FRIGATE_RTSP_PASSWORD"]
    assert list(check.misspelt(dict.fromkeys([*names, *own, *frigates], "x"))) == []


@pytest.mark.parametrize("name", ["MIRROR_UPLOAD_THREAD", "S3_UPLOAD_THREAD"])
def test_the_name_that_was_meant_is_told_as_it_is_today(name: str) -> None:
    (finding,) = check.misspelt({name: "8"})
    assert finding.advice == "did you mean MIRROR_UPLOAD_THREADS?"


def test_it_says_where_the_key_comes_from_and_never_the_key(place: Path) -> None:
    keys = {"S3_ACCESS_KEY": "AKIDhidden", "S3_SECRET_KEY": "hidden"}
    told = [
        str(check.credentials(loaded(place, **environ).s3))
        for environ in ({}, keys, {**keys, "S3_SESSION_TOKEN": "hidden"})
    ]
    assert "standard AWS chain" in told[0]
    assert "credentials: key from" in told[1]
    assert "credentials: temporary key from" in told[2]
    assert "hidden" not in "".join(told)


# -- places


def test_a_sound_place_has_no_fault_and_nothing_is_left_in_it(place: Path) -> None:
    assert grades(check.paths(loaded(place))) == [OK] * 5
    files = [path.name for path in place.rglob("*") if path.is_file()]
    assert files == ["frigate.db"]


def test_every_place_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = faults(check.paths(loaded(tmp_path, MIRROR_STATE_DIR=f"{tmp_path}/file/state")))
    assert len(found) == 3
    assert "frigate.db: " in found[0].what and "FRIGATE_DB_PATH" in found[0].advice
    assert "Not a directory" in found[1].what and "MIRROR_STATE_DIR" in found[1].advice
    assert "no folder" in found[2].what and "FRIGATE_CLIPS_DIR" in found[2].advice


def test_a_database_that_is_none_is_a_fault(place: Path) -> None:
    (place / "frigate.db").write_bytes(b"garbage" * 1000)
    (finding,) = faults(check.paths(loaded(place)))
    assert str(place / "frigate.db") in finding.what


def test_ledgers_in_two_places_are_both_named(place: Path) -> None:
    for folder in loaded(place).state.dirs:
        folder.mkdir(parents=True)
        (folder / "ledger.db").touch()
    [found] = [one for one in check.paths(loaded(place)) if one.grade == NOTE]
    assert all(str(folder) in found.what for folder in loaded(place).state.dirs)


def test_a_folder_that_cannot_be_written_is_a_fault(place: Path) -> None:
    (place / "clips/cache").write_text("a file where a folder should be")
    (finding,) = faults(check.paths(loaded(place)))
    assert finding.what.startswith(f"cannot write {place}/clips/cache (state files)")


def test_without_hard_links_it_remarks_that_pictures_are_copied(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    *_, last = check.paths(loaded(place))
    assert last.grade == NOTE
    assert "no hard links here (Operation not permitted)" in last.what


def test_without_a_spool_links_do_not_matter(place: Path) -> None:
    assert grades(check.paths(loaded(place, MIRROR_SPOOL_LIMIT_MB="0"))) == [OK] * 4


# -- the bucket


class Skewed(MemorySink):
    def __init__(self, skew: float | None) -> None:
        super().__init__()
        self._skew = skew

    def check(self) -> Probe:
        return Probe(took=0.0123, clock_skew=self._skew)


class ListOnly(MemorySink):
    """A bucket whose key may list and not put."""

    def put(
        self, key: str, body: BinaryIO, *, content_type: str, metadata: Mapping[str, str]
    ) -> Receipt:
        raise Misconfigured("put: access denied", hint="grant s3:PutObject")


def test_a_sound_bucket_has_no_fault_and_the_right_to_put_is_proven(place: Path) -> None:
    sink = MemorySink()
    found = list(check.bucket(sink, loaded(place, S3_PATH_PREFIX="a/b").s3, put=True))
    assert grades(iter(found)) == [OK] * 3
    assert "bucket pictures at AWS us-east-1" in found[0].what
    assert list(sink.objects) == ["a/b/.s3-mirror-check"]
    assert "proven with the object a/b/.s3-mirror-check" in found[2].what


def test_without_a_prefix_the_proof_lies_at_the_top(place: Path) -> None:
    sink = MemorySink()
    list(check.bucket(sink, loaded(place).s3, put=True))
    assert list(sink.objects) == [".s3-mirror-check"]


def test_a_right_that_was_not_tried_is_said_to_be_unproven(place: Path) -> None:
    sink = MemorySink()
    *_, last = check.bucket(sink, loaded(place).s3, put=False)
    assert (last.grade, sink.puts) == (NOTE, [])
    assert "unproven" in last.what


def test_a_bucket_that_fails_is_told_with_both_faults_and_hints(place: Path) -> None:
    sink = MemorySink()
    down = Unavailable("connect: timed out", code="ConnectTimeout", hint="look at the network")
    sink.failures = [down, down]
    found = faults(
        check.bucket(sink, loaded(place, S3_ENDPOINT_URL="http://nas:9000").s3, put=True)
    )
    assert [one.advice for one in found] == ["look at the network"] * 2
    assert found[0].what == "bucket pictures at http://nas:9000: connect: timed out"
    assert found[1].what == "right to put: connect: timed out"


def test_a_key_that_may_list_and_not_put_is_a_fault(place: Path) -> None:
    (finding,) = faults(check.bucket(ListOnly(), loaded(place).s3, put=True))
    assert (finding.what, finding.advice) == (
        "right to put: put: access denied",
        "grant s3:PutObject",
    )


@pytest.mark.parametrize(
    ("skew", "grade"),
    [
        (0.0, OK),
        (60.0, OK),
        (-60.0, OK),
        (61.0, NOTE),
        (-900.0, NOTE),
        (901.0, FAULT),
        (-901.0, FAULT),
        (None, NOTE),
    ],
)
def test_a_clock_is_graded_by_what_s3_lets_pass(
    place: Path, skew: float | None, grade: str
) -> None:
    found = list(check.bucket(Skewed(skew), loaded(place).s3, put=False))
    assert found[1].grade == grade
    assert found[1].what.startswith("clock:")


# -- Frigate


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Frigate's source, as far as the doctor looks."""
    folder = tmp_path / "opt"
    (folder / "frigate/events").mkdir(parents=True)
    (folder / "frigate/version.py").write_text('VERSION = "0.17.2-abc1234"\n')
    (folder / "frigate/events/maintainer.py").write_text(MAINTAINER)
    return folder


def test_a_frigate_that_the_hook_fits_is_named_with_its_version(source: Path) -> None:
    running = check.frigate({"health": "OK"}, source, SEAM)
    assert running == Finding(OK, "Frigate 0.17.2-abc1234: the hook fits, and the mirror runs")
    assert check.frigate({"health": "DOWN"}, source, SEAM).what.endswith("the hook fits")


@pytest.mark.parametrize("version", [None, "", "VERSION = None", b"\xff\xfe"])
def test_without_a_frigate_nothing_is_claimed(source: Path, version: str | bytes | None) -> None:
    path = source / "frigate/version.py"
    path.unlink()
    if version is not None:
        path.write_bytes(version if isinstance(version, bytes) else version.encode())
    assert check.frigate({}, source, SEAM).grade == NOTE


def test_a_frigate_that_the_hook_does_not_fit_is_a_fault_with_what_was_found(source: Path) -> None:
    text = MAINTAINER.replace("event_type: str, camera: str", "event_type, camera, frame_name")
    (source / "frigate/events/maintainer.py").write_text(text)
    finding = check.frigate({}, source, SEAM)
    assert finding.grade == FAULT
    assert finding.what == (
        "Frigate 0.17.2-abc1234: handle_object_detection(self, event_type, camera, frame_name, "
        "event_data), expected handle_object_detection(self, event_type, camera, event_data)"
    )
    assert "0.16, 0.17 or 0.18" in finding.advice


def test_a_frigate_with_a_module_for_manual_events_is_too_old(source: Path) -> None:
    (source / "frigate/events/external.py").write_text("")
    assert "expected Frigate 0.16 or later" in check.frigate({}, source, SEAM).what


def seam_of(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return seam_fault(path, SEAM)


def test_the_seam_of_the_right_shape_has_no_fault(tmp_path: Path) -> None:
    assert seam_of(tmp_path / "maintainer.py", MAINTAINER) == ""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("def run(self)", "def runs(self)", "run absent"),
        ("def run(self)", "async def run(self)", "run absent"),
        ("def run(self)", "def run(self, again)", "run(self, again)"),
        ("def run(self)", "def run(self, *args)", "run(self, *args)"),
        ("def run(self)", "def run(self, /)", "run(self, /)"),
        ("event_data: dict = {}", "*, event_data: dict = {}", "event_type, *, event_data)"),
        ("event_data: dict = {}", "event_data, **more: int", "event_type, event_data, **more)"),
        ("class EventProcessor", "class Processor", "run absent"),
        ("camera: str", "cam: str", "handle_object_detection(self, event_type, cam, event_data)"),
    ],
)
def test_any_other_shape_of_the_seam_is_told(
    tmp_path: Path, old: str, new: str, found: str
) -> None:
    changed = MAINTAINER.replace(old, new)
    ast.parse(changed)
    fault = seam_of(tmp_path / "maintainer.py", changed)
    assert found in fault
    assert ", expected " in fault


@pytest.mark.parametrize(
    "text", ["class EventProcessor(", b"\xff\xfe", b"\0", b"def f():\n\treturn 'a\n"]
)
def test_a_source_that_cannot_be_read_is_told(tmp_path: Path, text: str | bytes) -> None:
    assert seam_of(tmp_path / "maintainer.py", text).startswith("cannot read ")


def test_a_source_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file" in seam_fault(tmp_path / "maintainer.py", SEAM)


# -- telling


def test_every_finding_is_said_as_it_is_made_and_the_faults_are_counted() -> None:
    said: list[str] = []
    findings = [Finding(OK, "a"), Finding(FAULT, "b", "mend b"), Finding(NOTE, "c", "see c"),
                Finding(FAULT, "d")]  # fmt: skip
    assert check.tell(iter(findings), said.append) == 2
    assert "\n".join(said) == textwrap.dedent("""\
        ok     a
        FAULT  b
               -> mend b
        note   c
               -> see c
        FAULT  d
        2 fault(s)""")


def test_without_a_fault_that_is_what_it_says() -> None:
    out = io.StringIO()
    assert check.tell(iter([Finding(NOTE, "x")]), lambda line: print(line, file=out)) == 0
    assert out.getvalue().endswith("no fault found\n")
