"""The fault campaign in its short form: a handful of faults with few events, and that it can fail.

`make campaign` is the long one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.frigate import kinds as kinds_of_files
from frigate_mirror.keys import content_type
from lab.campaign import __main__ as command
from lab.campaign import coverage, events, mounts, prove, report
from lab.campaign.destinations import Folder, Looks
from lab.campaign.events import Event
from lab.campaign.faults import Fault, by_name, groups
from lab.campaign.faults.child import KILLS
from lab.campaign.lab import Lab, open_lab, side_by_side
from lab.campaign.oracle import Oracle, Verdict
from lab.campaign.plan import pairs, plan
from lab.campaign.recordings import Recordings
from lab.campaign.run import Outcome, run
from lab.campaign.sabotage import TABLE, Sabotage, broken_copy, broken_files, is_test
from lab.campaign.sets import SetOracle
from tests.rig import ROOT, ffmpeg, processes
from tests.rig.servers import Bucket, SeaweedFS
from tests.rig.waiting import until
from tests.test_kinds import ENDED, START, Recorder

SHORT = {"lasts": (0.2, 0.5), "bound": 20.0}


@pytest.fixture(scope="module")
def lab(seaweedfs: SeaweedFS) -> Iterator[Lab]:
    with open_lab(seaweedfs) as opened:
        yield opened


def short(name: str) -> Fault:
    """The fault with few blows."""
    fault = by_name()[name]
    return dataclasses.replace(
        fault, strikes=min(fault.strikes, 1 if "Frigate" in name else 3), **SHORT
    )


@pytest.mark.parametrize(
    "names",
    ["503 SlowDown", "success answer lost", "kill -9 at random moments",
     "connection reset + Frigate killed", "ffmpeg does anything", "rclone killed"],
)  # fmt: skip
def test_all_that_was_offered_arrives_once_whatever_happened(lab: Lab, names: str) -> None:
    outcome = run(lab, [short(name) for name in names.split(" + ")], f"1:1:{names}")
    assert outcome.clean, report.line(outcome) + "\n" + "\n".join(outcome.log)
    assert outcome.verdict.offered > 2


def test_a_program_that_sends_half_a_picture_does_not_pass(lab: Lab) -> None:
    [half] = [one for one in TABLE if one.name == "half of the picture is sent"]
    broken = dataclasses.replace(lab, root=broken_copy(half, lab.room() / "program"))
    outcome = run(broken, [dataclasses.replace(short("SIGTERM"), strikes=1)], "1:1:half")
    assert outcome.verdict.wrong
    assert not outcome.clean


@pytest.mark.parametrize("sabotage", TABLE, ids=lambda one: one.name)
def test_every_sabotage_still_fits_the_source(sabotage: Sabotage) -> None:
    for file, text in broken_files(sabotage).items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            compile(text, file, "exec")


def test_a_sabotage_that_no_longer_fits_is_no_proof(lab: Lab) -> None:
    stale = Sabotage("stale", (("s3.py", "a text that s3.py has not", ""),), ("SIGTERM",))
    [proof] = prove.prove(lab, [stale], 1, 1, lambda proof: None)
    assert "0 times in s3.py" in proof.fault


def test_every_sabotage_names_faults_and_tests_that_there_are() -> None:
    named = {name for one in TABLE for name in one.noticed_by}
    faults = {part for name in named if not is_test(name) for part in name.split(" + ")}
    assert faults <= by_name().keys()
    for name in filter(is_test, named):
        file, *_, test = name.partition("[")[0].split("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name
    assert len(TABLE) >= 10


TIMES = "tests/test_keys.py::test_times_are_written_as_people_read_them"
NAMELESS = "tests/test_keys.py::test_a_camera_without_a_name_gets_no_key"


def without_seconds(*noticed_by: str) -> Sabotage:
    return Sabotage(
        "times without seconds",
        (("frigate_mirror/keys.py", '[:19] + "Z"', '[:16] + "Z"'),),
        noticed_by,
    )


def test_a_sabotage_is_proven_by_a_test_that_fails_in_the_broken_copy_only(lab: Lab) -> None:
    sabotage = without_seconds(NAMELESS, TIMES)
    [proof] = prove.prove(lab, [sabotage], 1, 1, lambda proof: None)
    assert not proof.fault
    assert proof.by == TIMES
    assert "2024" in proof.saw
    assert f"| times without seconds | {TIMES} | {proof.saw} |" in prove.markdown([proof])


@pytest.mark.parametrize(
    ("test", "why"),
    [(NAMELESS, f"not noticed by {NAMELESS}"),
     ("tests/test_keys.py::test_nothing_of_the_kind", "pytest ended with 4")],
)  # fmt: skip
def test_a_test_that_passes_or_does_not_exist_proves_nothing(lab: Lab, test: str, why: str) -> None:
    [proof] = prove.prove(lab, [without_seconds(test)], 1, 1, lambda proof: None)
    assert why in proof.fault


def test_no_two_faults_have_one_name() -> None:
    names = [fault.name for members in groups().values() for fault in members]
    assert len(names) == len(set(names))


def test_a_plan_is_the_same_for_the_same_seed_and_sees_every_fault_first() -> None:
    faults = list(by_name().values())
    planned = plan(faults, 7, 1.0)
    assert planned == plan(faults, 7, 1.0)
    names = [fault.name for fault in faults]
    assert {one.faults[0].name for one in planned[: len(names) + 16]} == set(names)
    alone = Counter(one.faults[0].name for one in planned if len(one.faults) == 1)
    assert alone == {fault.name: fault.runs for fault in faults}
    assert alone["kill -9 at random moments"] * KILLS >= 500
    assert all(len(one.faults) == 1 for one in planned[: alone.total()])
    assert pairs(faults, 7, 5) != pairs(faults, 8, 5)


def event(number: int, sha256: str = "") -> Event:
    event_id = f"{number}.5-abcdef"
    return Event(
        id=event_id, camera="garage", label="", kind="api", started=0.0, ended=1.0,
        file=f"garage-{event_id}.jpg", sha256=sha256,
    )  # fmt: skip


def test_the_oracle_tells_what_is_lost_doubled_wrong_or_alien(seaweedfs: SeaweedFS) -> None:
    bucket = seaweedfs.bucket()
    for key in ("p/garage/d/2.5-abcdef-x.jpg", "p/garage/e/2.5-abcdef-y.jpg",
                "garage/d/3.5-abcdef-x.jpg", "p/garage/d/notes.txt"):  # fmt: skip
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    known = {one.id: one for one in (event(1), event(2, empty), event(3, "other"))}
    verdict = Oracle(bucket, "p").judge(known, known)
    assert verdict == Verdict(
        offered=3,
        lost=["1.5-abcdef"],
        duplicated=["2.5-abcdef"],
        wrong=["3.5-abcdef"],
        alien=["garage/d/3.5-abcdef-x.jpg", "p/garage/d/notes.txt"],
    )


def test_what_a_fault_has_put_there_counts_for_nothing_but_has_to_stay(
    seaweedfs: SeaweedFS,
) -> None:
    bucket = seaweedfs.bucket()
    oracle, clip = Oracle(bucket, "p"), "p/garage/d/1.5-abcdef-20260101_000000.mp4"
    oracle.plant(clip, b"a clip")
    known = {"1.5-abcdef": event(1)}
    assert oracle.judge(known, known) == Verdict(offered=1, lost=["1.5-abcdef"])
    bucket.client.put_object(Bucket=bucket.name, Key=clip, Body=b"a picture")
    assert oracle.judge(known, known).wrong == [clip]
    bucket.client.delete_object(Bucket=bucket.name, Key=clip)
    assert oracle.judge(known, known).wrong == [clip]


@dataclasses.dataclass
class FilesOfAnEvent:
    """What a mirror in this process has uploaded of one event, in a real bucket."""

    recorder: Recorder
    bucket: Bucket
    event: Event

    def judge(self) -> Verdict:
        database = self.recorder.world.database
        oracle = SetOracle(self.bucket, "", database, Recordings(database), latest=10.0)
        return oracle.judge({self.event.id: self.event}, {self.event.id: self.event})

    def key(self, ending: str) -> str:
        [key] = [one for one in self.bucket.keys() if one.endswith(ending)]  # noqa: SIM118
        return key

    def put(self, key: str, body: bytes) -> None:
        head = self.bucket.head(key)["ContentType"] if key in self.bucket.keys() else ""  # noqa: SIM118
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=key, Body=body, ContentType=head)

    def change(self, ending: str, changed: Callable[[bytes], bytes]) -> None:
        """Changes a file, and the document so that it agrees."""
        key = self.key(ending)
        body = changed(self.bucket.get(key))
        self.put(key, body)
        digest = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        self.tell(lambda said: [one.update(digest) for one in said["files"] if one["key"] == key])

    def tell(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Changes what the document says."""
        document = json.loads(self.bucket.get(self.key(".json")))
        change(document)
        self.put(self.key(".json"), json.dumps(document).encode())

    def drop(self, ending: str) -> None:
        """Deletes a file, and lets the document say that there is none."""
        key = self.key(ending)
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=key)

        def without(document: dict[str, Any]) -> None:
            [kind] = [one["kind"] for one in document["files"] if one["key"] == key]
            document["files"] = [one for one in document["files"] if one["key"] != key]
            why = "Frigate has no recording of this event"
            document["missing"].append({"kind": kind, "why": why})

        self.tell(without)


@pytest.fixture
def files(
    tmp_path: Path, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FilesOfAnEvent]:
    monkeypatch.setattr(kinds_of_files, "find_ffmpeg", lambda configured: ffmpeg.ffmpeg())
    recorder, bucket = Recorder(tmp_path / "world"), seaweedfs.bucket()
    for path, number in zip(recorder.record(), range(6), strict=True):
        stored = START + 4 * number + 5
        os.utime(path, (stored, stored))
    event_id = recorder.event(thumbnail=False)
    found = Event(
        id=event_id, camera="front_door", label="", kind="api", started=ENDED - 5, ended=ENDED,
        file=f"front_door-{event_id}.jpg",
        sha256=hashlib.sha256(recorder.world.pictures[event_id]).hexdigest(),
    )  # fmt: skip
    events.write_thumbnail(recorder.world.clips, found)
    recorder.mirror.intake.offer(event_id)
    recorder.work()
    for key, body in recorder.sink.objects.items():
        kind = content_type(key)
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, ContentType=kind)
    yield FilesOfAnEvent(recorder, bucket, found)
    recorder.mirror.ledger.close()
    recorder.sql.close()


def test_all_files_of_an_event_pass_if_they_agree(files: FilesOfAnEvent) -> None:
    assert files.judge() == Verdict(offered=1)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda one: one.change(".jpg", lambda body: body[:-1]), "the snapshot is not as Frigate"),
        (lambda one: one.change("-thumb.webp", lambda body: body + b"x"), "the thumbnail is not"),
        (lambda one: one.change(".mp4", lambda body: body[: len(body) // 2]), "does not play"),
        (lambda one: one.put(one.key(".jpg"), b"x"), "has another size or digest"),
        (lambda one: one.drop(".jpg"), "no snapshot, because"),
        (lambda one: one.drop(".mp4"), "are recorded and not in the clip"),
        (lambda one: one.put(one.key(".json")[:-5] + "-part-0002.mp4", b"x"), "but there are"),
        (lambda one: one.tell(lambda said: said.pop("timeline")), "data must contain"),
        (lambda one: one.tell(lambda said: clip(said).update(start=START + 60)), "not in the clip"),
        (lambda one: one.tell(lambda said: clip(said).update(duration=99.0)), "s and not 99.0 s"),
        (lambda one: one.tell(lambda said: clip(said)["gaps"].append([ENDED - 4, ENDED])),
         "are recorded and not in the clip"),
        (lambda one: one.tell(lambda said: clip(said).update(end=ENDED + 30)), "instead of"),
    ],
)  # fmt: skip
def test_files_of_an_event_that_do_not_agree_are_wrong(
    files: FilesOfAnEvent, harm: Callable[[FilesOfAnEvent], None], said: str
) -> None:
    harm(files)
    [wrong] = files.judge().wrong
    assert said in wrong


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda one: one.tell(lambda said: said.update(complete=False)), "not complete, with"),
        (lambda one: one.recorder.sql.execute("UPDATE event SET sub_label = 'Zoë'"),
         "sub_label is None instead of 'Zoë'"),
        (lambda one: one.recorder.sql.execute("DELETE FROM timeline WHERE class_type = 'gone'"),
         "another timeline"),
        (lambda one: one.bucket.client.delete_object(
            Bucket=one.bucket.name, Key=one.key(".json")), "no document"),
    ],
)  # fmt: skip
def test_an_event_whose_document_is_not_complete_or_not_up_to_date_is_lost(
    files: FilesOfAnEvent, harm: Callable[[FilesOfAnEvent], object], said: str
) -> None:
    harm(files)
    [lost] = files.judge().lost
    assert said in lost


def clip(document: dict[str, Any]) -> dict[str, Any]:
    [found] = [one for one in document["files"] if one["kind"] == "clip"]
    file: dict[str, Any] = found
    return file


def test_a_file_that_was_once_shorter_at_a_destination_is_noticed(tmp_path: Path) -> None:
    place = Folder(tmp_path)
    place.put("garage/whole.jpg", b"whole")
    place.put("garage/short.jpg", b"sho")
    looks = Looks(place)
    looks.start()
    until(lambda: len(looks.smallest) == 2)
    looks.stop()
    place.put("garage/short.jpg", b"short")
    assert looks.short() == {"garage/short.jpg"}


def test_pictures_are_whole_and_none_is_like_another() -> None:
    rng = random.Random(1)
    pictures = {events.photograph(rng, webp=webp) for webp in [True, False] * 20}
    assert len(pictures) == 40
    for picture in pictures:
        if picture.startswith(b"RIFF"):
            assert struct.unpack("<I", picture[4:8])[0] == len(picture) - 8
        else:
            assert picture.startswith(b"\xff\xd8\xff\xfe")
            assert picture.endswith(b"\xff\xd9")


def test_the_report_has_a_row_for_each_fault_and_keeps_the_proof(tmp_path: Path) -> None:
    lost = Outcome(("SIGTERM",), "1:0:SIGTERM", Verdict(offered=5, lost=["x"]), seconds=1.5)
    text = report.markdown(report.Made([lost], seed=1), groups())
    assert "| SIGTERM | 1 | 5 | 1 | 0 | 0 | 0 | 1.5 | 1.5 |" in text
    assert "seed '1:0:SIGTERM'" in text
    path = tmp_path / "report.md"
    report.write(path, f"{report.PROOF}\nproven\n", section=report.PROOF)
    report.write(path, text)
    assert path.read_text().startswith("# How reliable it is")
    assert path.read_text().endswith("proven\n")


def test_the_report_begins_with_five_lines_that_have_its_figures() -> None:
    runs = [
        Outcome(("SIGTERM",), "1:0:SIGTERM", Verdict(offered=5), seconds=2.0),
        Outcome(("SIGSTOP", "SIGTERM"), "1:0:x", Verdict(offered=7, lost=["x"]), seconds=4.0),
    ]
    head = report.markdown(report.Made(runs, seed=1), groups()).split("`make campaign` writes")[0]
    assert head.count("\n- ") == 5
    assert "broke 2 different things in 2 runs" in head
    assert "Of 12 snapshots, 1 were missing or wrong" in head
    assert "within 3.0 s in the median" in head


def test_a_campaign_with_a_failed_run_writes_no_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clean_tree: Path
) -> None:
    def runs(campaign: command.Campaign, *_: object) -> None:
        lost = Verdict(offered=5, lost=["x"])
        campaign.outcomes.append(Outcome(("SIGTERM",), "1:0:SIGTERM", lost, seconds=1.5))

    monkeypatch.setattr(command.Campaign, "make", runs)
    monkeypatch.setattr(command, "open_lab", contextlib.nullcontext)
    page = clean_tree / "report.md"
    words = ["--only", "SIGTERM", "--report", str(page)]
    assert command.main(words) == command.EX_FAILED
    assert page.read_text() == "as committed\n"
    said = capsys.readouterr()
    assert "seed '1:0:SIGTERM'" in said.out
    assert "1 run(s) failed, so no report is written" in said.err


def test_a_run_that_is_cut_short_leaves_nothing_behind(lab: Lab) -> None:
    cut = dataclasses.replace(lab, over=threading.Event())
    name = "SIGSTOP for a minute"
    if not mounts.lacking(mounts.MOUNTS):
        name += " + no space at all"
    faults = [by_name()[one] for one in name.split(" + ")]

    def cut_once_it_runs() -> None:
        while not any(map(processes.is_mirror, processes.marked(mark))):
            time.sleep(0.05)
        raise KeyboardInterrupt

    mark, buckets = f"CAMPAIGN_WORLD={lab.folder}/", lab.server.client.list_buckets()["Buckets"]
    with pytest.raises(KeyboardInterrupt):
        side_by_side(cut, 2, [cut_once_it_runs, lambda: run(cut, faults, f"1:1:{name}")])
    assert not processes.marked(mark)
    assert not list(lab.folder.glob("w*/media"))
    assert lab.server.client.list_buckets()["Buckets"] == buckets


def test_a_fault_that_the_machine_cannot_have_is_skipped_and_never_green(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mounts, "lacking", lambda need: f"needs {need}")
    monkeypatch.setattr(command, "open_lab", contextlib.nullcontext)
    assert command.main(["--only", "no space at all"]) == command.EX_INCOMPLETE
    said = capsys.readouterr()
    assert "skipped no space at all: needs mounts (root)" in said.err
    assert "| no space at all | skipped: needs mounts (root) |" in said.out
    assert "1 fault(s) were skipped and prove nothing" in said.out


@pytest.mark.parametrize("words", [["--only", "SIGTERM"], ["--prove"]])
def test_no_report_is_written_from_a_dirty_tree(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clean_tree: Path,
    words: list[str],
) -> None:
    def runs(*_: object) -> list[object]:
        made.append("once")
        (clean_tree / "program.py").write_text("changed during the runs\n")
        return []

    made: list[str] = []
    monkeypatch.setattr(command.Campaign, "make", runs)
    monkeypatch.setattr(prove, "prove", runs)
    monkeypatch.setattr(command, "open_lab", contextlib.nullcontext)
    page = clean_tree / "report.md"
    for _ in range(2):  # the change comes too late for the first, and in time for the second
        assert command.main([*words, "--report", str(page)]) == command.EX_FAILED
        assert "commit the changes of program.py first" in capsys.readouterr().err
        assert page.read_text() == "as committed\n"
    assert made == ["once"]


def test_what_was_not_reached_in_time_is_said() -> None:
    made = report.Made([], seed=1, left_out=[("SIGTERM",), ("SIGTERM", "SIGSTOP")])
    assert made.unproven == {"SIGTERM": "no time"}
    text = report.markdown(made, groups())
    assert "- runs not made for lack of time: 1 of one fault, 1 of two" in text


def test_everything_that_was_asked_is_tried_and_every_fault_was_asked_for() -> None:
    assert coverage.named() - {coverage.EVERYWHERE} == by_name().keys()


def test_an_unknown_fault_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "no such fault"]) == command.EX_USAGE
    assert "no such fault" in capsys.readouterr().err
