"""Which files of the recordings folder count as segments, and what is strange there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from frigate_mirror.restore.recordings_folder import (
    Found,
    Hour,
    OutsideError,
    RecordingsFolder,
    Strange,
)

SHOWN = "/media/frigate/recordings"


def put(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def look(root: Path, camera: str = "door", directory: str = "") -> list[Found | Strange]:
    folder = RecordingsFolder(root, SHOWN)
    if directory:
        folder.narrow(directory)
    seen: list[Found | Strange] = []
    for hour in folder.hours():
        seen += [hour] if isinstance(hour, Strange) else folder.segments(hour, camera)
    return seen


def shown(root: Path, camera: str = "door", directory: str = "") -> list[str]:
    """Returns what was found, without the beginning of the paths."""
    found = look(root, camera, directory)
    assert all(isinstance(one, Found) for one in found), found
    return [one.shown.removeprefix(f"{SHOWN}/") for one in found if isinstance(one, Found)]


def test_a_segment_is_named_by_its_start_in_utc(tmp_path: Path) -> None:
    path = put(tmp_path, "2022-01-01/12/door/30.05.mp4")
    [found] = look(tmp_path)
    assert found == Found(
        str(path), f"{SHOWN}/2022-01-01/12/door/30.05.mp4", "main", 1_641_040_205.0
    )


@pytest.mark.usefixtures("far_zone")
def test_names_are_in_utc_wherever_the_machine_is(tmp_path: Path) -> None:
    put(tmp_path, "2022-01-01/12/door/30.05.mp4")
    [found] = look(tmp_path)
    assert isinstance(found, Found)
    assert found.start == 1_641_040_205.0


def test_segments_come_in_the_order_of_their_starts(tmp_path: Path) -> None:
    names = [
        "2021-12-31/23/door/59.50.mp4",
        "2022-01-01/00/door/00.00.mp4",
        "2022-01-01/00/door/00.10.mp4",
        "2022-01-01/10/door/00.00.mp4",
    ]
    for name in reversed(names):
        put(tmp_path, name)
    assert shown(tmp_path) == names


@pytest.mark.parametrize(
    "name",
    [
        "2022-01-01/12/door/60.00.mp4",
        "2022-01-01/12/door/30.60.mp4",
        "2022-01-01/12/door/3.5.mp4",
        "2022-01-01/12/door/30.05.mp4.part",
        "2022-01-01/12/door/30.05.MP4",
        "2022-01-01/12/door/\u0663\u0660.05.mp4",
        "2022-01-01/12/door/3\u0660.05.mp4",
        "2022-01-01/12/door/..mp4",
        "2022-01-01/12/door/\x1b[2J.mp4",
        "2022-01-01/12/door/" + "x" * 250,
    ],
)
def test_anything_else_in_the_folder_of_a_camera_is_strange(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name)
    put(tmp_path, "2022-01-01/12/door/00.00.mp4")
    seen = look(tmp_path)
    assert Strange(str(path), "is not named MM.SS.mp4") in seen
    assert len(seen) == 2


@pytest.mark.parametrize(
    "name",
    [
        "2022-01-01/24/door/00.00.mp4",
        "2022-01-01/1/door/00.00.mp4",
        "2022-02-30/12/door/00.00.mp4",
        "2022-1-1/12/door/00.00.mp4",
        "2022-01-01/1\u0660/door/00.00.mp4",
        "clips/12/door/00.00.mp4",
        "2022-01-01/door/00.00.mp4",
        "2022-01-01/12/door2/00.00.mp4",
    ],
)
def test_other_folders_are_not_looked_into(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert look(tmp_path) == []


def test_only_the_hours_of_the_span_are_looked_into(tmp_path: Path) -> None:
    for hour in ("10", "11", "12", "13"):
        put(tmp_path, f"2022-01-01/{hour}/door/00.00.mp4")
    put(tmp_path, "2022-01-02/11/door/00.00.mp4")
    noon = 1_641_038_400
    hours = RecordingsFolder(tmp_path, SHOWN).hours(noon - 1, noon + 3600)
    assert hours == [
        Hour("2022-01-01", "11", noon - 3600.0),
        Hour("2022-01-01", "12", float(noon)),
    ]


def test_the_sub_stream_of_a_camera_lies_in_a_folder_beside_the_main_one(tmp_path: Path) -> None:
    put(tmp_path, "2022-01-01/12/door/00.00.mp4")
    put(tmp_path, "2022-01-01/12/door@sub/00.00.mp4")
    streams = [(one.stream, one.start) for one in look(tmp_path) if isinstance(one, Found)]
    assert streams == [("main", 1_641_038_400.0), ("sub", 1_641_038_400.0)]


# -- what must not lead out


@pytest.mark.parametrize("place", ["2022-01-01", "2022-01-01/12", "2022-01-01/12/door"])
def test_a_link_that_leads_out_is_named_and_not_followed(tmp_path: Path, place: str) -> None:
    root, outside = tmp_path / "recordings", tmp_path / "outside"
    rest = Path("2022-01-01/12/door/00.00.mp4").relative_to(place)
    put(outside, str(rest))
    link = root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    assert look(root) == [Strange(str(link), "is a link that leads out of the recordings folder")]


def test_a_file_that_is_a_link_out_is_named_and_not_read(tmp_path: Path) -> None:
    root = tmp_path / "recordings"
    secret = put(tmp_path, "secret.mp4")
    folder = put(root, "2022-01-01/12/door/00.00.mp4").parent
    (folder / "00.10.mp4").symlink_to(secret)
    (folder / "00.20.mp4").symlink_to("../../../../secret.mp4")
    assert [type(one).__name__ for one in look(root)] == ["Found", "Strange", "Strange"]


def test_a_folder_beside_the_recordings_whose_name_begins_the_same_is_outside(
    tmp_path: Path,
) -> None:
    root = tmp_path / "recordings"
    beside = put(tmp_path / "recordings-old", "2022-01-01/12/door/00.00.mp4")
    folder = put(root, "2022-01-01/12/door/00.00.mp4").parent
    (folder / "00.10.mp4").symlink_to(beside)
    assert [type(one).__name__ for one in look(root)] == ["Found", "Strange"]
    with pytest.raises(OutsideError, match="is not in the recordings folder"):
        RecordingsFolder(root, SHOWN).narrow(str(tmp_path / "recordings-old"))


def test_links_within_the_folder_and_a_root_that_is_a_link_are_followed(tmp_path: Path) -> None:
    real = tmp_path / "disk"
    put(real, "2022-01-01/12/other/00.00.mp4")
    (real / "2022-01-01/12/door").symlink_to(real / "2022-01-01/12/other")
    (tmp_path / "recordings").symlink_to(real)
    assert shown(tmp_path / "recordings") == ["2022-01-01/12/door/00.00.mp4"]


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "2022-01-01/12/door/00.00.mp4")
    put(tmp_path, "2022-01-02/12/door/00.00.mp4")
    bad = str(tmp_path / "2022-01-01/12/door")
    real = os.scandir

    def scandir(path: str) -> object:
        if path == bad:
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    strange, found = look(tmp_path)
    assert strange == Strange(bad, "cannot be read: Input/output error")
    assert isinstance(found, Found)


def test_a_folder_that_vanishes_meanwhile_is_no_fault(tmp_path: Path) -> None:
    put(tmp_path, "2022-01-01/12/door/00.00.mp4")
    folder = RecordingsFolder(tmp_path, SHOWN)
    [hour] = folder.hours()
    assert isinstance(hour, Hour)
    (tmp_path / "2022-01-01/12").rename(tmp_path / "gone")
    assert list(folder.segments(hour, "door")) == []


def test_a_name_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    folder = put(tmp_path, "2022-01-01/12/door/00.00.mp4").parent
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.mp4"))).touch()
    assert sorted(type(one).__name__ for one in look(tmp_path)) == ["Found", "Strange"]


def test_a_link_to_nothing_and_files_in_the_place_of_folders_are_named(tmp_path: Path) -> None:
    put(tmp_path, "2022-01-01/12/door/00.00.mp4").with_name("00.10.mp4").symlink_to("00.20.mp4")
    put(tmp_path, "2022-01-01/13/door")
    put(tmp_path, "2022-01-02")
    assert [(Path(one.path).name, getattr(one, "why", "")) for one in look(tmp_path)] == [
        ("00.00.mp4", ""),
        ("00.10.mp4", "is a link to nothing"),
        ("door", "cannot be read: Not a directory"),
        ("2022-01-02", "cannot be read: Not a directory"),
    ]


def test_a_file_that_is_told_twice_while_its_folder_changes_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "2022-01-01/12/door/00.00.mp4")
    real = os.scandir

    @contextmanager
    def scandir(path: str) -> Iterator[list[os.DirEntry[str]]]:
        with real(path) as entries:
            yield list(entries) * 2

    folder = RecordingsFolder(tmp_path, SHOWN)
    [hour] = folder.hours()
    monkeypatch.setattr(os, "scandir", scandir)
    assert isinstance(hour, Hour)
    assert len(list(folder.segments(hour, "door"))) == 1


# -- one folder only


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("", 3),
        (".", 3),
        ("2022-01-01", 2),
        ("2022-01-01/12", 1),
        ("2022-01-01/12/door", 1),
        ("2022-01-01/12/other", 0),
        ("2022-01-01/../2022-01-02", 1),
    ],
)
def test_a_run_can_be_narrowed_to_a_folder(tmp_path: Path, directory: str, expected: int) -> None:
    put(tmp_path, "2022-01-01/12/door/00.00.mp4")
    put(tmp_path, "2022-01-01/12/other/00.00.mp4")
    put(tmp_path, "2022-01-01/13/door/00.00.mp4")
    put(tmp_path, "2022-01-02/12/door/00.00.mp4")
    assert len(shown(tmp_path, "door", str(tmp_path / directory))) == expected


@pytest.mark.parametrize(
    ("directory", "why"),
    [
        ("/", "is not in the recordings folder"),
        ("..", "is not in the recordings folder"),
        ("../outside", "is not in the recordings folder"),
        ("link", "is not in the recordings folder"),
        ("2022-01-03", "there is no folder"),
        ("extra", "is not the folder of a day"),
        ("2022-01-01/12/door/deep", "is not the folder of a day"),
    ],
)
def test_any_other_folder_is_refused(tmp_path: Path, directory: str, why: str) -> None:
    root = tmp_path / "recordings"
    put(root, "2022-01-01/12/door/deep/00.00.mp4")
    (root / "extra").mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OutsideError, match=re.escape(why)):
        RecordingsFolder(root, SHOWN).narrow(str(root / directory))


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="there is no folder"):
        RecordingsFolder(tmp_path / "none", SHOWN)
