"""State files: readable with `cat`, never replaced in part, and readable after damage."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.artifact import Artifact, subject_of
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.rows import Priority, Settled
from frigate_mirror.ledger.statefiles import StateFile, StateFiles
from tests.rig import ROOT

unhurried = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


def done(number: int, tries: int = 0, error: str = "") -> Settled:
    event_id = f"17053290{number:02}.5-abc12{number % 10}"
    key = f"p/front_door/2024-01-15/{event_id}-20240115_143022.jpg"
    return Settled(1705329063.0 + number, f"snapshot:{event_id}", key, tries, error)


ROWS = [done(number) for number in range(5)]


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / ".s3_uploaded_events", with_errors=False)


@pytest.fixture
def failed(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / ".s3_failed_events", with_errors=True)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_line_names_the_time_the_artifact_and_the_key(file: StateFile) -> None:
    file.append(ROWS[:1])
    assert file.path.read_text() == (
        "2024-01-15T14:31:03Z\tsnapshot:1705329000.5-abc120\t"
        "p/front_door/2024-01-15/1705329000.5-abc120-20240115_143022.jpg\n"
    )


def test_a_new_file_is_durable_before_it_replaces_the_old_one(
    file: StateFile, synced: dict[int, tuple[str, int]]
) -> None:
    file.append(ROWS)
    file.replace(ROWS[:2])
    name, size = synced[file.path.stat().st_ino]
    assert name != str(file.path) and size == file.path.stat().st_size > 0


def test_the_line_of_a_dead_letter_also_names_the_tries_and_the_error(failed: StateFile) -> None:
    failed.replace([done(1, 3, "too large\n\tFORGED 2024-01-15T14:31:03Z  snapshot:x")])
    (line,) = failed.path.read_text().splitlines()
    assert line.split("\t")[3:] == ["3", "too large FORGED 2024-01-15T14:31:03Z snapshot:x"]


def test_appended_and_replaced_lines_are_read_back(file: StateFile, failed: StateFile) -> None:
    file.append(ROWS[:2])
    file.append([])
    file.append(ROWS[2:])
    assert list(file.read()) == ROWS
    file.replace(ROWS[3:])
    file.append(ROWS[:1])
    assert list(file.read()) == [*ROWS[3:], ROWS[0]]
    letters = [done(1, 3, "too large"), done(2, 1, ""), done(3, 999, "日本 é")]
    failed.replace(letters)
    assert list(failed.read()) == letters


def test_only_the_owner_can_read_the_files(file: StateFile, failed: StateFile) -> None:
    file.append(ROWS)
    failed.replace(ROWS)
    assert {path.stat().st_mode & 0o777 for path in (file.path, failed.path)} == {0o600}


def test_a_long_error_is_cut_so_that_its_line_stays_readable(failed: StateFile) -> None:
    failed.replace([done(1, 3, "日" * 10_000)])
    (read,) = failed.read()
    assert read.error == "日" * 1000


def test_a_key_in_any_script_is_read_back(file: StateFile) -> None:
    row = Settled(0.0, "snapshot:1-a", "日本 ü/cam/1970-01-01/1-a-19700101_000000.jpg")
    file.append([row])
    assert list(file.read()) == [row]


def test_a_missing_file_is_empty_and_logs_nothing(
    file: StateFile, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(file.read()) == []
    assert warnings(caplog) == []


# -- damage


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "2024-01-15T14:31:03Z\tsnapshot:1-a",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\t",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\tp/c/d/2-b-20240115_143022.jpg",
        "2024-01-15T14:31:03Z\tsnapshot:../x\tp/c/d/../x-20240115_143022.jpg",
        "2024-01-15T14:31:03Z\t:1-a\tp/c/d/1-a-20240115_143022.jpg",
        "2024-01-15T14:31:03Z\t1-a\tp/c/d/1-a-20240115_143022.jpg",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jqg",
        "2024-13-15T14:31:03Z\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jpg",
        "yesterday\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jpg",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jpg\t-3\tx",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jpg\tmany\tx",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jpg\t" + "9" * 5000 + "\tx",
        "2024-01-15T14:31:03Z\tsnapshot:1-a\tp/c/d/1-a-20240115_143022.jpg" + "x" * 20_000,
    ],
)
def test_a_damaged_line_is_left_out_and_counted(
    file: StateFile, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.append(ROWS[:2])
    with file.path.open("a") as raw:
        raw.write(f"{line}\n\n")
    file.append(ROWS[2:])
    assert list(file.read()) == ROWS
    (warning,) = warnings(caplog)
    assert "damaged line(s)" in warning and str(file.path) in warning


def test_a_line_that_was_cut_short_damages_no_other(
    file: StateFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.append(ROWS[:3])
    os.truncate(file.path, file.path.stat().st_size - 10)
    assert list(file.read()) == ROWS[:2]
    file.append(ROWS[3:])
    assert list(file.read()) == [*ROWS[:2], *ROWS[3:]]
    assert len(warnings(caplog)) == 2


def test_a_line_whose_kind_is_damaged_is_read_by_the_kind_that_its_key_names(
    file: StateFile,
) -> None:
    key = "p/c/d/1-a-20240115_143022.jpg"
    file.path.write_text(f"2024-01-15T14:31:03Z\trnapshot:1-a\t{key}\n")
    assert [one.id for one in file.read()] == ["snapshot:1-a"]


@unhurried
@given(st.data())
def test_a_file_with_flipped_bits_never_names_another_subject(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        file = StateFile(Path(folder, "file"), with_errors=True)
        file.replace([done(number, number, "too large") for number in range(5)])
        raw = bytearray(file.path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
            raw[place] ^= 1 << data.draw(st.integers(0, 7))
        file.path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        assert {subject_of(one.id) for one in file.read()} <= {subject_of(one.id) for one in ROWS}


@unhurried
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception(raw: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"2024-01-15T14:31:03Z\tsnapshot:" + raw + b"\n" + raw)
        for one in StateFile(path, with_errors=True).read():
            assert one.id.partition(":")[2] in one.key


# -- files that cannot be written or read


@pytest.mark.parametrize(
    "make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/etc/passwd", path)]
)
def test_a_folder_pipe_or_link_under_its_name_is_neither_read_nor_waited_for(
    file: StateFile, make: object, caplog: pytest.LogCaptureFixture
) -> None:
    make(file.path)  # type: ignore[operator]
    assert list(file.read()) == []
    file.append(ROWS)
    file.append(ROWS)
    assert file.trouble.startswith(".s3_uploaded_events cannot be written")
    assert len(warnings(caplog)) == 2, "one for reading, one for writing"


def test_a_link_under_the_name_of_the_unfinished_file_is_not_followed(file: StateFile) -> None:
    victim = file.path.with_name("victim")
    victim.write_text("precious")
    file.path.with_name(f"{file.path.name}.part").symlink_to(victim)
    file.replace(ROWS)
    assert victim.read_text() == "precious"
    assert list(file.read()) == ROWS


def test_a_replacement_that_fails_leaves_the_file_as_it_was(file: StateFile) -> None:
    def rows() -> Iterator[Settled]:
        yield ROWS[0]
        raise RuntimeError("the ledger went away")

    file.append(ROWS)
    with pytest.raises(RuntimeError):
        file.replace(rows())
    assert list(file.read()) == ROWS
    assert [one.name for one in file.path.parent.iterdir()] == [file.path.name]
    file.append(ROWS[:1])


def test_a_trouble_is_logged_once_and_ends_with_the_next_successful_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = StateFile(tmp_path / "folder" / "file", with_errors=False)
    for _ in range(3):
        file.append(ROWS)
        file.replace(ROWS)
    assert "No such file" in file.trouble
    assert len(warnings(caplog)) == 1
    (tmp_path / "folder").mkdir()
    file.append(ROWS)
    assert file.trouble == ""
    assert list(file.read()) == ROWS


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from frigate_mirror.ledger.rows import Settled
from frigate_mirror.ledger.statefiles import StateFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = [Settled(*row) for row in json.loads(sys.argv[2])]
file = StateFile(Path(sys.argv[1]), with_errors=False)
file.append(rows[:2])
size = file.path.stat().st_size
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, hard))
file.append(rows[2:4])
print(bool(file.trouble))
file.replace(rows)
print(len(list(file.read())))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
file.append(rows[4:])
print(bool(file.trouble))
print(json.dumps([row.id for row in file.read()]))
"""


def test_a_full_disk_is_a_trouble_and_costs_no_earlier_line(tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk's: a write is cut short, the next fails."""
    rows = json.dumps([[one.at, one.id, one.key] for one in ROWS])
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "file"), rows]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    trouble, left, trouble_after, found = ran.stdout.splitlines()
    assert (trouble, left, trouble_after) == ("True", "2", "False")
    assert json.loads(found) == [ROWS[0].id, ROWS[1].id, ROWS[4].id]
    assert ran.stderr.count("cannot write") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_line_of_the_first_edition_that_calls_a_clip_a_snapshot_is_read_as_a_clip(
    file: StateFile,
) -> None:
    key = "p/door/2024-01-15/1705329022.5-abc-20240115_143022"
    line = "2024-01-15T14:31:03Z\tsnapshot:1705329022.5-abc\t"
    file.path.write_text(f"{line}{key}.jpg\n{line}{key}.mp4\n")
    assert [one.id for one in file.read()] == ["snapshot:1705329022.5-abc", "clip:1705329022.5-abc"]


def test_the_line_of_a_subject_without_a_key_is_read_back(failed: StateFile) -> None:
    one = Settled(1705329063.0, "snapshot:1705329022.5-abc", "", 0, "camera 'a/b' names no file")
    failed.append([one])
    assert list(failed.read()) == [one]


# -- both files of a running mirror


class House:
    """A ledger and the files that are kept in step with it."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.db")
        self.uploaded, self.failed = folder / ".s3_uploaded_events", folder / ".s3_failed_events"
        self.files = StateFiles(self.ledger, self.uploaded, self.failed)

    def add(self, number: int, **other: str) -> Settled:
        line = done(number)
        metadata = {"label": "person"}
        started = 1705329000.5 + number
        self.ledger.add(
            Artifact(line.id, "door", started, line.key, "/a", 9, "image/jpeg", metadata, **other),
            Priority.LIVE,
            started,
        )
        return line

    def upload(self, number: int, **other: str) -> None:
        line = self.add(number, **other)
        self.ledger.settle([line])
        self.files.add([line])

    def bury(self, number: int, at: float = 2e9) -> None:
        self.add(number)
        self.ledger.bury(done(number).id, "too large", at)

    def uploads(self) -> list[str]:
        return [line.id for line in StateFile(self.uploaded, with_errors=False).read()]

    def dead_letters(self) -> list[str]:
        return [line.id for line in StateFile(self.failed, with_errors=True).read()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.ledger.close()


def written(house: House) -> bool:
    """Refreshes the file of dead letters; returns whether that replaced it."""
    before = house.failed.stat().st_mtime_ns if house.failed.exists() else None
    if before is not None:
        os.utime(house.failed, ns=(1, 1))
    house.files.refresh()
    return house.failed.stat().st_mtime_ns != 1


def test_the_file_of_dead_letters_is_written_at_the_first_refresh_and_then_stays(
    house: House,
) -> None:
    assert written(house) and house.dead_letters() == []
    assert not written(house)


DEAD_LETTER_CHANGES: dict[str, tuple[Callable[[House], object], list[int]]] = {
    "one comes": (lambda house: house.bury(2), [1, 2]),
    "one is uploaded with a flaw": (lambda house: house.upload(3, flaw="breaks off"), [1, 3]),
    "one is revived": (lambda house: house.ledger.revive(now=2e9), []),
    "one is forgotten": (lambda house: house.ledger.prune(3e9, 3e9), []),
    "one is acknowledged": (lambda house: house.ledger.acknowledge(), [1]),
    "one is revived and buried again": (
        lambda house: (house.ledger.revive(now=2e9), house.bury(1, at=2e9 + 1)),
        [1],
    ),
}


@pytest.mark.parametrize(
    ("change", "expected"), DEAD_LETTER_CHANGES.values(), ids=DEAD_LETTER_CHANGES
)
def test_the_file_of_dead_letters_is_written_when_they_change(
    house: House, change: Callable[[House], object], expected: list[int]
) -> None:
    house.bury(1)
    assert written(house) and house.dead_letters() == [done(1).id]
    change(house)
    assert written(house)
    assert house.dead_letters() == [done(number).id for number in expected]
    assert not written(house)


def test_the_file_of_dead_letters_is_not_written_when_only_others_change(house: House) -> None:
    house.bury(1)
    house.files.refresh()
    house.upload(2)
    house.add(3)
    house.ledger.defer(done(3).id, 2e9, "busy", charged=True)
    house.files.rewrite(forgotten=True)
    assert not written(house)


def test_a_file_of_dead_letters_that_cannot_be_written_is_written_later(house: House) -> None:
    house.bury(1)
    in_the_way = house.failed.with_name(f"{house.failed.name}.part")
    in_the_way.mkdir()
    house.files.refresh()
    assert [trouble.partition(":")[0] for trouble in house.files.troubles()] == [
        ".s3_failed_events cannot be written"
    ]
    in_the_way.rmdir()
    house.files.refresh()
    assert house.dead_letters() == [done(1).id] and house.files.troubles() == []


def test_the_file_of_uploads_is_rewritten_only_when_the_ledger_has_forgotten_some(
    house: House,
) -> None:
    house.upload(1)
    house.upload(2)
    assert house.uploads() == [done(1).id, done(2).id]
    first = house.uploaded.stat().st_ino
    house.files.rewrite(forgotten=False)
    assert house.uploaded.stat().st_ino == first
    assert house.ledger.prune(done(1).at + 0.5, 0.0) == (1, 0)
    house.files.rewrite(forgotten=True)
    assert house.uploads() == [done(2).id]


def test_lines_that_could_not_be_appended_follow_with_the_next_rewrite(house: House) -> None:
    house.upload(1)
    kept = house.uploaded.with_name("kept")
    house.uploaded.rename(kept)
    house.uploaded.mkdir()
    house.upload(2)
    assert house.files.troubles()
    house.uploaded.rmdir()
    kept.rename(house.uploaded)
    house.upload(3)
    assert house.files.troubles() == [] and house.uploads() == [done(1).id, done(3).id]
    house.files.rewrite(forgotten=False)
    assert house.uploads() == [done(1).id, done(2).id, done(3).id]


def test_a_ledger_that_cannot_be_read_leaves_both_files_as_they_are(house: House) -> None:
    house.upload(1)
    house.bury(2)
    house.files.refresh()
    house.ledger.close()
    with pytest.raises(LedgerError):
        house.files.refresh()
    with pytest.raises(LedgerError):
        house.files.rewrite(forgotten=True)
    assert house.uploads() == [done(1).id] and house.dead_letters() == [done(2).id]
