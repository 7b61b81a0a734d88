"""The command check shows all faults at once, each with advice."""

from __future__ import annotations

import ast
import io
import json
import os
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from frigate_mirror.checks import bucket as checks_bucket
from frigate_mirror.checks import frigate as checks_frigate
from frigate_mirror.checks import notices, places, variables
from frigate_mirror.checks.finding import EX_FAULT, FAULT, NOTE, OK, Finding, tell
from frigate_mirror.checks.frigate import seam_fault
from frigate_mirror.frigate import config
from frigate_mirror.settings import settings
from frigate_mirror.sinks.sink import Misconfigured, Probe, Receipt, Unavailable
from frigate_s3_patcher import SEAM
from tests.rig.sinks import MemorySink
from tests.rig.stub import Reply, Stub
from tests.rig.worlds import DAY, NOW, World, loaded

MAINTAINER = '''
class EventProcessor(threading.Thread):
    """This code is parsed and never run."""

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
def folder(tmp_path: Path) -> Path:
    """A folder with a database and clips, as Frigate has it."""
    (tmp_path / "clips").mkdir()
    sql = sqlite3.connect(tmp_path / "frigate.db")
    sql.execute("CREATE TABLE event (id TEXT PRIMARY KEY, camera, start_time, has_snapshot)")
    sql.close()
    return tmp_path


def grades(findings: Iterator[Finding]) -> list[str]:
    return [finding.grade for finding in findings]


def faults(findings: Iterator[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.grade == FAULT]


# -- settings


def test_a_misspelt_variable_is_noticed_with_the_name_that_was_meant() -> None:
    environ = {"S3_BUKET": "x", "S3_BUCKET": "y", "PATH": "/bin", "S3_ACCESS_KEY_FILE": "/k"}
    (finding,) = variables.misspelt(environ)
    assert finding == Finding(
        NOTE, "S3_BUKET is set, but is not a setting", "did you mean S3_BUCKET?"
    )


def test_an_unknown_variable_is_noticed_and_its_value_is_not_shown() -> None:
    (finding,) = variables.misspelt({"S3_QQQQ_XYZZY": "hidden"})
    assert finding.advice == "no setting has this name"
    assert "hidden" not in str(finding)


def test_no_known_variable_counts_as_misspelt() -> None:
    names = [name for variable in settings.VARIABLES.values() for name in variable.sources]
    assert {"S3_UPLOAD_THREADS", "S3_SECRET_KEY_FILE"} < set(names)
    own = ["S3_MIRROR_INIT", "S3_MIRROR_FRIGATE", "S3_MIRROR_PARENT"]
    others = ["FRIGATE_RTSP_PASSWORD", "NOTIFY_SOCKET"]  # of Frigate and of systemd
    assert list(variables.misspelt(dict.fromkeys([*names, *own, *others], "x"))) == []


@pytest.mark.parametrize("name", ["MIRROR_UPLOAD_THREAD", "S3_UPLOAD_THREAD"])
def test_the_advice_about_a_misspelt_variable_gives_its_newest_name(name: str) -> None:
    (finding,) = variables.misspelt({name: "8"})
    assert finding.advice == "did you mean MIRROR_UPLOAD_THREADS?"


def test_check_says_where_the_key_comes_from_and_never_shows_it(folder: Path) -> None:
    keys = {"S3_ACCESS_KEY": "AKIDhidden", "S3_SECRET_KEY": "hidden"}
    texts = [
        str(checks_bucket.credentials(loaded(folder, **environ).s3))
        for environ in ({}, keys, {**keys, "S3_SESSION_TOKEN": "hidden"})
    ]
    assert "standard AWS chain" in texts[0]
    assert "credentials: key from" in texts[1]
    assert "credentials: temporary key from" in texts[2]
    assert "hidden" not in "".join(texts)


def test_check_says_who_is_told_when_something_is_wrong(folder: Path) -> None:
    [nobody] = notices.notices(loaded(folder))
    assert nobody.grade == NOTE
    assert "nobody is told when uploads fail" in nobody.what
    ways = {"NOTIFY_WEBHOOK_URL": "https://a.test/hidden", "NOTIFY_NTFY_URL": "https://b.test/t"}
    [told] = notices.notices(loaded(folder, **ways, MIRROR_REPORT_MQTT="true", MQTT_HOST="broker"))
    assert told.grade == OK
    assert "a webhook, ntfy, MQTT" in told.what
    assert "hidden" not in str(told)


# -- files and folders


def test_sound_folders_have_no_fault_and_check_leaves_no_file_in_them(folder: Path) -> None:
    assert grades(places.paths(loaded(folder))) == [OK] * 5
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    assert files == ["frigate.db"]


def test_all_wrong_paths_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    findings = faults(places.paths(loaded(tmp_path, MIRROR_STATE_DIR=f"{tmp_path}/file/state")))
    assert len(findings) == 3
    assert "frigate.db: " in findings[0].what and "FRIGATE_DB_PATH" in findings[0].advice
    assert "Not a directory" in findings[1].what and "MIRROR_STATE_DIR" in findings[1].advice
    assert "no folder" in findings[2].what and "FRIGATE_CLIPS_DIR" in findings[2].advice


def test_a_database_that_sqlite_cannot_read_is_a_fault(folder: Path) -> None:
    (folder / "frigate.db").write_bytes(b"garbage" * 1000)
    (finding,) = faults(places.paths(loaded(folder)))
    assert str(folder / "frigate.db") in finding.what


def test_ledgers_in_two_folders_are_both_named(folder: Path) -> None:
    for state in loaded(folder).state.dirs:
        state.mkdir(parents=True)
        (state / "ledger.db").touch()
    [note] = [finding for finding in places.paths(loaded(folder)) if finding.grade == NOTE]
    assert all(str(state) in note.what for state in loaded(folder).state.dirs)


def test_a_folder_that_cannot_be_written_is_a_fault(folder: Path) -> None:
    (folder / "clips/cache").write_text("a file where a folder should be")
    (finding,) = faults(places.paths(loaded(folder)))
    assert finding.what.startswith(f"cannot write {folder}/clips/cache (state files)")


def test_a_folder_without_hard_links_is_noted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    *_, last = places.paths(loaded(folder))
    assert last.grade == NOTE
    assert "no hard links here (Operation not permitted)" in last.what


def test_without_a_spool_check_tries_no_hard_link(folder: Path) -> None:
    assert grades(places.paths(loaded(folder, MIRROR_SPOOL_LIMIT_MB="0"))) == [OK] * 4


# -- the bucket


class Skewed(MemorySink):
    def __init__(self, skew: float | None) -> None:
        super().__init__()
        self._skew = skew

    def check(self) -> Probe:
        return Probe(took=0.0123, clock_skew=self._skew)


class ListOnly(MemorySink):
    """A bucket with a key that may list and not put."""

    def put(
        self, key: str, body: BinaryIO, *, content_type: str, metadata: Mapping[str, str]
    ) -> Receipt:
        raise Misconfigured("put: access denied", hint="grant s3:PutObject")


def test_a_sound_bucket_has_no_fault_and_the_right_to_put_is_proven(folder: Path) -> None:
    sink = MemorySink()
    findings = list(checks_bucket.bucket(sink, loaded(folder, S3_PATH_PREFIX="a/b").s3, put=True))
    assert grades(iter(findings)) == [OK] * 3
    assert "bucket pictures at AWS us-east-1" in findings[0].what
    assert list(sink.objects) == ["a/b/.s3-mirror-check"]
    assert "proven with the object a/b/.s3-mirror-check" in findings[2].what


def test_without_a_prefix_the_object_of_the_check_is_at_the_top_of_the_bucket(folder: Path) -> None:
    sink = MemorySink()
    list(checks_bucket.bucket(sink, loaded(folder).s3, put=True))
    assert list(sink.objects) == [".s3-mirror-check"]


def test_a_right_that_was_not_tried_is_reported_as_unproven(folder: Path) -> None:
    sink = MemorySink()
    *_, last = checks_bucket.bucket(sink, loaded(folder).s3, put=False)
    assert (last.grade, sink.puts) == (NOTE, [])
    assert "unproven" in last.what


def test_a_bucket_that_fails_is_reported_with_both_faults_and_hints(folder: Path) -> None:
    sink = MemorySink()
    down = Unavailable("connect: timed out", code="ConnectTimeout", hint="look at the network")
    sink.failures = [down, down]
    findings = faults(
        checks_bucket.bucket(sink, loaded(folder, S3_ENDPOINT_URL="http://nas:9000").s3, put=True)
    )
    assert [finding.advice for finding in findings] == ["look at the network"] * 2
    assert findings[0].what == "bucket pictures at http://nas:9000: connect: timed out"
    assert findings[1].what == "right to put: connect: timed out"


def test_nothing_is_put_into_a_bucket_that_does_not_exist(folder: Path) -> None:
    sink = MemorySink()
    missing = Misconfigured("list: no such bucket", code="NoSuchBucket", hint="create the bucket")
    sink.failures = [missing, missing]
    (finding,) = checks_bucket.bucket(sink, loaded(folder).s3, put=True)
    assert (finding.grade, finding.advice) == (FAULT, "create the bucket")
    assert checks_bucket.deletion(sink, loaded(folder).s3).code == checks_bucket.EX_UNPROVEN
    assert sink.puts == []


def test_a_key_that_may_list_and_not_put_is_a_fault(folder: Path) -> None:
    (finding,) = faults(checks_bucket.bucket(ListOnly(), loaded(folder).s3, put=True))
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
def test_a_clock_is_graded_by_the_difference_that_s3_accepts(
    folder: Path, skew: float | None, grade: str
) -> None:
    findings = list(checks_bucket.bucket(Skewed(skew), loaded(folder).s3, put=False))
    assert findings[1].grade == grade
    assert findings[1].what.startswith("clock:")


# -- Frigate


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The files of Frigate's source that the check reads."""
    folder = tmp_path / "opt"
    (folder / "frigate/events").mkdir(parents=True)
    (folder / "frigate/version.py").write_text('VERSION = "0.17.2-abc1234"\n')
    (folder / "frigate/events/maintainer.py").write_text(MAINTAINER)
    return folder


def test_a_frigate_that_the_hook_fits_is_named_with_its_version(source: Path) -> None:
    running = checks_frigate.frigate({"health": "OK"}, source, SEAM)
    assert running == Finding(OK, "Frigate 0.17.2-abc1234: the hook fits, and the mirror runs")
    assert checks_frigate.frigate({"health": "DOWN"}, source, SEAM).what.endswith("the hook fits")


@pytest.mark.parametrize("version", [None, "", "VERSION = None", b"\xff\xfe"])
def test_without_a_frigate_check_makes_no_claim_about_the_hook(
    source: Path, version: str | bytes | None
) -> None:
    path = source / "frigate/version.py"
    path.unlink()
    if version is not None:
        path.write_bytes(version if isinstance(version, bytes) else version.encode())
    assert checks_frigate.frigate({}, source, SEAM).grade == NOTE


def test_a_frigate_that_the_hook_does_not_fit_is_a_fault_with_its_signature(source: Path) -> None:
    text = MAINTAINER.replace("event_type: str, camera: str", "event_type, camera, frame_name")
    (source / "frigate/events/maintainer.py").write_text(text)
    finding = checks_frigate.frigate({}, source, SEAM)
    assert finding.grade == FAULT
    assert finding.what == (
        "Frigate 0.17.2-abc1234: handle_object_detection(self, event_type, camera, frame_name, "
        "event_data), expected handle_object_detection(self, event_type, camera, event_data)"
    )
    assert "0.16, 0.17 or 0.18" in finding.advice


def test_a_frigate_with_a_module_for_manual_events_is_too_old(source: Path) -> None:
    (source / "frigate/events/external.py").write_text("")
    assert "expected Frigate 0.16 or later" in checks_frigate.frigate({}, source, SEAM).what


def seam_of(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return seam_fault(path, SEAM)


def test_the_signatures_that_the_hook_expects_have_no_fault(tmp_path: Path) -> None:
    assert seam_of(tmp_path / "maintainer.py", MAINTAINER) == ""


@pytest.mark.parametrize(
    ("old", "new", "shown"),
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
def test_any_other_signature_is_a_fault(tmp_path: Path, old: str, new: str, shown: str) -> None:
    changed = MAINTAINER.replace(old, new)
    ast.parse(changed)
    fault = seam_of(tmp_path / "maintainer.py", changed)
    assert shown in fault
    assert ", expected " in fault


@pytest.mark.parametrize(
    "text", ["class EventProcessor(", b"\xff\xfe", b"\0", b"def f():\n\treturn 'a\n"]
)
def test_a_source_that_cannot_be_read_is_a_fault(tmp_path: Path, text: str | bytes) -> None:
    assert seam_of(tmp_path / "maintainer.py", text).startswith("cannot read ")


def test_a_missing_source_is_a_fault(tmp_path: Path) -> None:
    assert "No such file" in seam_fault(tmp_path / "maintainer.py", SEAM)


# -- what Frigate's own settings and events say


@pytest.fixture
def api() -> Iterator[Stub]:
    """A small server in the place of Frigate's API."""
    server = Stub()
    yield server
    server.stop()


def answer(document: object) -> Reply:
    return Reply(body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


def camera(
    *,
    enabled: bool = True,
    snapshots: bool = True,
    detect: bool = True,
    record: bool = True,
    **retain: float,
) -> dict[str, Any]:
    """The settings of a camera in the form that Frigate 0.16 to 0.18 give them."""
    kept = {"default": 10.0, "mode": "motion", "objects": {}} | retain
    return {
        "enabled": enabled,
        "detect": {"enabled": detect, "fps": 5},
        "snapshots": {"enabled": snapshots, "clean_copy": True, "retain": kept, "quality": 70},
        "record": {"enabled": record, "expire_interval": 60},
        "objects": {"track": ["person", "car"], "filters": {}},
        "zones": {"porch": {"coordinates": "0,0", "color": [1, 2, 3]}},
    }


def of_cameras(
    api: Stub, kinds: tuple[str, ...] = ("snapshot",), **cameras: dict[str, Any]
) -> list[Finding]:
    """Returns the findings about a Frigate with these cameras."""
    api.default = answer({"version": "0.17-0", "cameras": cameras})
    return list(checks_frigate.cameras(partial(config.read, api.endpoint), kinds))


def test_cameras_that_take_snapshots_are_named(api: Stub) -> None:
    findings = of_cameras(api, front=camera(), back=camera(), shed=camera(enabled=False))
    assert findings == [Finding(OK, "Frigate takes snapshots for 2 camera(s): front, back")]
    assert [seen.path for seen in api.seen] == ["/api/config"]


def test_snapshots_that_are_off_everywhere_are_a_fault_with_the_setting_that_is_needed(
    api: Stub,
) -> None:
    fault, note = of_cameras(api, front=camera(snapshots=False), back=camera(snapshots=False))
    assert fault.grade == FAULT and "no camera of Frigate takes snapshots" in fault.what
    assert "`snapshots: enabled: true`" in fault.advice
    assert note == Finding(NOTE, "snapshots are off for the camera(s) front, back")


@pytest.mark.parametrize(
    ("off", "words"), [("snapshots", "snapshots are"), ("detect", "detection is")]
)
def test_a_camera_without_snapshots_or_without_detection_is_noted_by_its_name(
    api: Stub, off: str, words: str
) -> None:
    fine, note = of_cameras(api, front=camera(), back=camera(**{off: False}))
    assert fine == Finding(OK, "Frigate takes snapshots for 1 camera(s): front")
    assert (note.grade, note.what) == (NOTE, f"{words} off for the camera(s) back")
    assert "`detect: enabled: true`" in note.advice


@pytest.mark.parametrize("retain", [{"default": 0.5}, {"objects": {"person": 0}}])
def test_snapshots_that_frigate_deletes_within_a_day_are_noted(
    api: Stub, retain: dict[str, Any]
) -> None:
    _, note = of_cameras(api, front=camera(**retain), back=camera(default=1))
    assert note.grade == NOTE
    assert note.what == "Frigate deletes the snapshots of the camera(s) front within a day"


def test_a_camera_that_does_not_record_is_noted_if_clips_are_mirrored(api: Stub) -> None:
    front, back = camera(), camera(record=False)
    _, fine, note = of_cameras(api, ("clip", "snapshot"), front=front, back=back)
    assert fine == Finding(OK, "Frigate records 1 camera(s): front")
    assert note.grade == NOTE
    assert note.what == "the camera(s) back do not record, so their events have no clip"
    assert "`record: enabled: true`" in note.advice


def test_recordings_that_are_off_everywhere_are_a_fault_if_clips_are_mirrored(api: Stub) -> None:
    (fault,) = of_cameras(api, ("clip",), front=camera(record=False, snapshots=False))
    assert (fault.grade, fault.what) == (
        FAULT, "no camera of Frigate records, so no event has a clip",
    )  # fmt: skip
    assert fault.advice == (
        "Frigate's configuration needs `record: enabled: true` and `detect: enabled: true`, "
        "for all cameras or for each"
    )


def test_what_no_mirrored_file_needs_is_not_noted(api: Stub) -> None:
    silent = camera(snapshots=False, record=False, default=0)
    assert of_cameras(api, ("metadata", "thumbnail"), front=silent) == []
    (note,) = of_cameras(api, ("metadata",), front=camera(detect=False, snapshots=False))
    assert note.what == "detection is off for the camera(s) front"


def test_the_name_of_a_camera_cannot_control_the_terminal(api: Stub) -> None:
    (fine,) = of_cameras(api, **{"a\x1b[2J": camera()})
    assert str(fine).isprintable()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401), "/api/config: Unauthorized"),
        (Reply(200, b"<html>"), "not the settings of Frigate"),
        (Reply(200, b"[" * 100_000), "not the settings of Frigate"),
        (answer({"cameras": {"front": {"enabled": True}}}), "not the settings of Frigate"),
        (answer({"cameras": {"front": camera(default="ten")}}), "not the settings of Frigate"),
        (answer([]), "not the settings of Frigate"),
    ],
    ids=range(6),
)
def test_an_answer_that_is_not_frigates_is_noted_with_the_settings_that_the_mirror_needs(
    api: Stub, reply: Reply, words: str
) -> None:
    api.default = reply
    (note,) = checks_frigate.cameras(partial(config.read, api.endpoint), ["snapshot"])
    assert note.grade == NOTE and words in note.what
    assert "`snapshots: enabled: true`" in note.advice


def test_without_a_running_frigate_check_says_that_its_settings_cannot_be_read() -> None:
    (note,) = checks_frigate.cameras(partial(config.read, "http://127.0.0.1:9"), ["snapshot"])
    assert note.grade == NOTE
    assert note.what == (
        "Frigate's settings cannot be read: http://127.0.0.1:9/api/config: "
        "[Errno 111] Connection refused"
    )


def test_a_proxy_of_the_environment_is_not_asked_for_frigates_settings(
    api: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert of_cameras(api, front=camera())[0].grade == OK


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def of_events(world: World, *kinds: str) -> list[Finding]:
    return list(checks_frigate.events(world.settings().frigate, kinds or ("snapshot",), NOW))


def test_a_week_without_an_event_is_noted(world: World) -> None:
    world.event(started=NOW - 8 * DAY)
    (note,) = of_events(world)
    assert (note.grade, note.what) == (NOTE, "Frigate has no event of the last 7 days")
    assert "`detect: enabled: true`" in note.advice


def test_a_week_in_which_no_event_has_a_snapshot_is_noted(world: World) -> None:
    for _ in range(3):
        world.without_snapshot(world.event())
    (note,) = of_events(world)
    assert note.grade == NOTE
    assert note.what == "none of Frigate's 3 events of the last 7 days has a snapshot"
    assert "`snapshots: enabled: true`" in note.advice


def test_the_events_with_a_snapshot_are_counted(world: World) -> None:
    world.event()
    world.event(picture=False)
    world.without_snapshot(world.event())
    (fine,) = of_events(world)
    assert fine == Finding(OK, "2 of Frigate's 3 events of the last 7 days have a snapshot")


def test_events_need_no_snapshot_if_no_snapshots_are_mirrored(world: World) -> None:
    world.without_snapshot(world.event())
    assert of_events(world, "metadata") == [Finding(OK, "Frigate has 1 events of the last 7 days")]


def test_snapshots_without_any_file_in_the_clips_folder_are_a_fault(world: World) -> None:
    for _ in range(3):
        world.event(picture=False)
    (fault,) = of_events(world)
    assert fault.grade == FAULT
    assert fault.what == f"the newest 3 events with a snapshot have no file in {world.clips}"
    assert "FRIGATE_CLIPS_DIR" in fault.advice


def test_a_database_that_cannot_be_read_is_not_told_twice(world: World) -> None:
    world.database.unlink()
    assert of_events(world) == []


# -- output


def test_every_finding_is_printed_with_its_advice_and_the_faults_are_counted() -> None:
    lines: list[str] = []
    findings = [Finding(OK, "a"), Finding(FAULT, "b", "fix b"), Finding(NOTE, "c", "see c"),
                Finding(FAULT, "d")]  # fmt: skip
    assert tell(iter(findings), lines.append) == EX_FAULT
    assert "\n".join(lines) == textwrap.dedent("""\
        ok     a
        FAULT  b
               -> fix b
        note   c
               -> see c
        FAULT  d
        2 fault(s)""")


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([Finding(NOTE, "a")], 0),
        ([Finding(FAULT, "a")], 1),
        ([Finding(NOTE, "can delete", code=2)], 2),
        ([Finding(FAULT, "a"), Finding(NOTE, "can delete", code=2)], 2),
        ([Finding(NOTE, "unproven", code=3), Finding(OK, "b")], 3),
    ],
)
def test_the_exit_code_is_that_of_the_proof_or_else_says_whether_there_is_a_fault(
    findings: list[Finding], code: int
) -> None:
    assert tell(iter(findings), lambda line: None) == code


def test_a_check_without_a_fault_says_so() -> None:
    out = io.StringIO()
    assert tell(iter([Finding(NOTE, "x")]), lambda line: print(line, file=out)) == 0
    assert out.getvalue().endswith("no fault found\n")
