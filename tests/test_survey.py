"""What the report says beyond the status: bytes of the day, cameras, dead letters, free space."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from frigate_mirror.artifact import Artifact
from frigate_mirror.faults import Troubles
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.ledger.rows import Priority, Settled
from frigate_mirror.report import survey
from frigate_mirror.report.status import Status
from frigate_mirror.report.survey import Survey
from frigate_mirror.sinks.sink import Unavailable
from tests.rig.worlds import DAY, NOW, Clock
from tests.test_status import status


class Roomy:
    """A destination that tells its free space, or fails first."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.answers = list(answers)

    def free(self) -> int | None:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    """A survey of a ledger in `folder`."""

    def __init__(self, folder: Path, zone: Any = UTC, sink: object = None) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.db")
        self.clock = Clock(NOW)
        self.zone, self.sink = zone, sink
        self.troubles = Troubles()
        self.survey = self.surveying()

    def surveying(self) -> Survey:
        return Survey(
            self.newest, self.ledger, self.folder, self.sink, self.zone, self.troubles, self.clock
        )

    def newest(self) -> Status | None:
        return status(counts=self.ledger.counts())

    def uploads(self, number: int, size: int, camera: str = "porch") -> None:
        one = artifact(number, camera)
        self.ledger.add(one, Priority.LIVE, self.clock.now)
        self.ledger.settle([Settled(self.clock.now, one.id, one.key, version="1", size=size)])

    def buries(self, number: int, why: str) -> None:
        one = artifact(number)
        self.ledger.add(one, Priority.LIVE, self.clock.now)
        self.ledger.bury(one.id, why, self.clock.now)

    def today(self) -> tuple[str, int]:
        self.survey.look()
        found = self.survey.found
        assert found.bytes_today is not None
        return found.day, found.bytes_today


def artifact(number: int, camera: str = "porch") -> Artifact:
    event_id = f"{NOW + number:.6f}-abcdef"
    return Artifact(
        f"snapshot:{event_id}", camera, NOW + number, f"{camera}/{event_id}.jpg", "/origin",
        3, "image/jpeg", metadata={}, version="1",
    )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


def test_the_bytes_of_the_day_begin_anew_at_midnight_and_those_of_all_time_do_not(
    bench: Bench,
) -> None:
    assert bench.today() == ("2024-01-15", 0)
    bench.uploads(1, 100)
    bench.uploads(2, 50)
    assert bench.today() == ("2024-01-15", 150)
    bench.clock.now += DAY
    assert bench.today() == ("2024-01-16", 0)
    bench.uploads(3, 7)
    assert bench.today() == ("2024-01-16", 7)
    assert bench.survey.found.bytes == 157


def test_what_is_uploaded_at_midnight_is_counted_for_one_of_the_days(bench: Bench) -> None:
    bench.today()
    bench.uploads(1, 100)
    _, before = bench.today()
    bench.uploads(2, 50)  # the survey has not looked again when the day ends
    bench.clock.now += DAY
    _, after = bench.today()
    assert before + after == 150


def test_a_restart_forgets_no_bytes_also_not_those_of_a_day_that_ended_meanwhile(
    bench: Bench,
) -> None:
    bench.today()
    bench.uploads(1, 100)
    bench.survey = bench.surveying()
    assert bench.today() == ("2024-01-15", 100)
    bench.clock.now += DAY
    bench.survey = bench.surveying()
    assert bench.today() == ("2024-01-16", 0)


def test_a_day_is_one_of_the_owners_time_zone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ZoneInfo("Pacific/Auckland"))  # 3 o'clock in the morning, at +13
    assert bench.today()[0] == "2024-01-16"
    bench.ledger.close()


def test_a_note_that_makes_no_sense_is_no_fault(bench: Bench) -> None:
    for note in ("2024-01-15 many", "2024-01-15", "2024-01-15 99999999", "\x00"):
        bench.ledger.set_note(survey.DAY_NOTE, note)
        bench.survey = bench.surveying()
        assert bench.today() == ("2024-01-15", 0)


def test_cameras_and_dead_letters_are_those_of_the_ledger(bench: Bench) -> None:
    bench.uploads(1, 100)
    bench.uploads(2, 100, camera="ga\nrage")
    bench.buries(3, "too large")
    bench.survey.look()
    found = bench.survey.found
    assert found.cameras == {
        "porch": {"uploaded": 1, "failed": 1}, "ga\nrage": {"uploaded": 1},
    }  # fmt: skip
    [dead] = found.dead
    assert (dead.camera, dead.state, dead.reason) == ("porch", "failed", "too large")
    bench.ledger.acknowledge()
    bench.survey.look()
    assert bench.survey.found.dead == ()


def test_only_the_newest_dead_letters_are_told(bench: Bench) -> None:
    for number in range(survey.MOST_DEAD + 5):
        bench.buries(number, f"reason {number}")
    bench.survey.look()
    told = [dead.reason for dead in bench.survey.found.dead]
    assert told == [f"reason {number}" for number in range(survey.MOST_DEAD + 4, 4, -1)]


def test_cameras_are_counted_now_and_then_only(bench: Bench) -> None:
    bench.uploads(1, 100)
    bench.survey.look()
    bench.uploads(2, 100)
    bench.survey.look()
    assert bench.survey.found.cameras["porch"]["uploaded"] == 1


def test_before_the_first_status_the_ledger_is_not_counted(bench: Bench) -> None:
    bench.newest = lambda: None  # type: ignore[method-assign]
    bench.survey = bench.surveying()
    bench.uploads(1, 100)
    bench.survey.look()
    assert bench.survey.found.cameras == {}
    assert bench.survey.found.bytes == 100


def test_a_ledger_that_cannot_be_read_is_a_trouble(bench: Bench) -> None:
    bench.ledger.close()
    bench.survey.look()
    assert bench.troubles.noted("survey")
    bench.ledger = Ledger(bench.folder / "ledger.db")
    bench.survey = bench.surveying()
    bench.survey.look()
    assert bench.troubles.all() == []


def test_the_free_space_of_the_disk_is_known_unless_its_folder_is_gone(bench: Bench) -> None:
    bench.survey.look()
    assert (bench.survey.found.spool_free or 0) > 0
    gone = Survey(
        bench.newest, bench.ledger, bench.folder / "gone", None, UTC, bench.troubles, bench.clock
    )
    gone.look()
    assert gone.found.spool_free is None


# -- the room of the destination


def test_a_destination_that_tells_its_room_is_asked_and_a_bucket_is_not(tmp_path: Path) -> None:
    asked = Bench(tmp_path, sink=Roomy(123))
    asked.survey.look_at_room()
    assert asked.survey.found.remote_free == 123
    assert [task.thread for task in asked.survey.tasks()] == ["survey", "room"]
    asked.sink = object()
    assert [task.thread for task in asked.surveying().tasks()] == ["survey"]
    asked.ledger.close()


def test_a_destination_is_asked_once_an_hour(tmp_path: Path) -> None:
    roomy = Roomy(123, 456)
    bench = Bench(tmp_path, sink=roomy)
    for _ in range(5):
        bench.survey.look_at_room()
    assert roomy.answers == [456]
    bench.ledger.close()


def test_a_destination_that_fails_is_asked_again_sooner_and_keeps_what_it_has_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "ROOM_EVERY", 0.0)
    monkeypatch.setattr(survey, "ROOM_AGAIN", 0.0)
    bench = Bench(tmp_path, sink=Roomy(123, Unavailable("no answer"), 456))
    found = []
    for _ in range(3):
        bench.survey.look_at_room()
        found.append(bench.survey.found.remote_free)
    assert found == [123, 123, 456]
    bench.ledger.close()


def test_a_destination_that_never_answers_keeps_nothing_else_waiting(tmp_path: Path) -> None:
    gate = threading.Event()

    class Silent:
        def free(self) -> int | None:
            gate.wait(30)
            return None

    bench = Bench(tmp_path, sink=Silent())
    waiting = threading.Thread(target=bench.survey.look_at_room, daemon=True)
    waiting.start()
    bench.uploads(1, 100)
    began = time.monotonic()
    bench.survey.look()
    assert bench.survey.found.bytes == 100
    assert time.monotonic() - began < 10
    gate.set()
    waiting.join(30)
    bench.ledger.close()
