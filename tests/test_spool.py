"""Spool: a file that waits for its upload survives Frigate's retention, within a limit."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from frigate_mirror.artifact import Artifact, Opener, open_file
from frigate_mirror.spool import Spool

PICTURE = b"\xff\xd8" + b"picture" * 100


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


@pytest.fixture
def spool(clips: Path) -> Spool:
    return Spool(clips / "cache" / ".s3_spool", 10_000)


def artifact(clips: Path, event_id: str = "1-a", data: bytes = PICTURE) -> Artifact:
    path = clips / f"cam-{event_id}.jpg"
    path.write_bytes(data)
    return of(path, event_id, len(data))


def of(path: Path, event_id: str = "1-a", size: int = len(PICTURE)) -> Artifact:
    return Artifact(
        f"snapshot:{event_id}", "cam", 1.0, f"cam/{event_id}.jpg", str(path), size, "image/jpeg", {}
    )


def original(one: Artifact) -> Path:
    """Returns the path of Frigate's own file."""
    return Path(one.origin)


def held(spool: Spool) -> tuple[int, int]:
    """Returns how many files the spool holds, and their bytes."""
    status = spool.status()
    return status["spool_files"], status["spool_bytes"]


def content(spool: Spool, one: Artifact) -> bytes:
    with spool.open(one) as file:
        return file.read()


def warnings(caplog: pytest.LogCaptureFixture) -> int:
    return sum(one.levelno >= logging.WARNING for one in caplog.records)


def test_a_held_picture_survives_frigates_deletion_and_costs_no_space(
    spool: Spool, clips: Path
) -> None:
    one = artifact(clips)
    spool.hold(one)
    assert original(one).stat().st_nlink == 2
    original(one).unlink()
    assert content(spool, one) == PICTURE
    assert held(spool) == (1, len(PICTURE))
    assert spool.troubles() == []


def test_a_release_deletes_the_held_file_and_leaves_frigates_own_file(
    spool: Spool, clips: Path
) -> None:
    one = artifact(clips)
    spool.hold(one)
    spool.release(one.id)
    spool.release(one.id)
    assert (held(spool), original(one).stat().st_nlink) == ((0, 0), 1)
    assert content(spool, one) == PICTURE


def test_holding_twice_counts_once(spool: Spool, clips: Path) -> None:
    one = artifact(clips)
    spool.hold(one)
    spool.hold(one)
    assert held(spool) == (1, len(PICTURE))
    assert original(one).stat().st_nlink == 2, "still a link, not a copy over it"


def test_the_spool_is_for_its_owner_only(spool: Spool, clips: Path) -> None:
    spool.hold(artifact(clips))
    assert (clips / "cache/.s3_spool").stat().st_mode & 0o777 == 0o700


def test_a_picture_that_was_never_held_is_read_from_frigates_own_file(
    spool: Spool, clips: Path
) -> None:
    assert content(spool, artifact(clips)) == PICTURE


def test_a_picture_that_was_deleted_before_it_was_held_is_not_found_and_no_trouble(
    spool: Spool, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = artifact(clips)
    original(one).unlink()
    spool.hold(one)
    with pytest.raises(FileNotFoundError):
        spool.open(one)
    assert (held(spool), spool.troubles(), warnings(caplog)) == ((0, 0), [], 0)


def test_while_frigates_folder_is_away_nothing_counts_as_deleted(spool: Spool, clips: Path) -> None:
    one = artifact(clips)
    shutil.rmtree(clips)
    with pytest.raises(OSError, match="no folder") as raised:
        spool.open(one)
    assert not isinstance(raised.value, FileNotFoundError)


# -- the bound


def test_at_its_limit_it_holds_no_more_and_logs_that_once(
    clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(clips / "spool", 3 * len(PICTURE))
    all_of_them = [artifact(clips, f"{n}-a") for n in range(6)]
    for one in all_of_them:
        spool.hold(one)
    assert held(spool) == (3, 3 * len(PICTURE))
    [trouble] = spool.troubles()
    assert "full" in trouble
    assert warnings(caplog) == 1
    assert [content(spool, one) for one in all_of_them] == [PICTURE] * 6
    spool.hold(all_of_them[0])
    assert held(spool)[0] == 3, "a file that is held already needs no room"


def test_a_spool_that_stays_nearly_full_logs_that_once(
    clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(clips / "spool", 4 * len(PICTURE))
    all_of_them = [artifact(clips, f"{n}-a") for n in range(10)]
    for one in all_of_them[:5]:
        spool.hold(one)
    for before, one in zip(all_of_them, all_of_them[5:], strict=False):
        spool.release(before.id)
        spool.hold(one)
        spool.hold(all_of_them[4])
    assert warnings(caplog) == 1
    for one in all_of_them:
        spool.release(one.id)
    assert (held(spool), spool.troubles()) == ((0, 0), [])


def test_a_limit_of_0_switches_it_off(clips: Path) -> None:
    spool = Spool(clips / "spool", 0)
    one = artifact(clips)
    spool.hold(one)
    assert not (clips / "spool").exists()
    assert (content(spool, one), spool.troubles()) == (PICTURE, [])


def test_a_spool_opened_again_knows_what_it_holds(spool: Spool, clips: Path) -> None:
    one, other = artifact(clips, "1-a"), artifact(clips, "2-b", b"x" * 50)
    spool.hold(one)
    spool.hold(other)
    again = Spool(clips / "cache/.s3_spool", 10_000)
    assert held(again) == (2, len(PICTURE) + 50)
    again.release(one.id)
    assert held(again) == (1, 50)


# -- what a crash left behind


def test_a_sweep_deletes_old_files_that_nobody_wants(clips: Path) -> None:
    clock = [0.0]
    before = Spool(clips / "spool", 10_000)
    kept, orphan = artifact(clips, "1-a_b"), artifact(clips, "2-b_c")
    for one in (kept, orphan):
        before.hold(one)
    (clips / "spool/snapshot_3-c.77.part").write_bytes(b"half a copy")
    spool = Spool(clips / "spool", 10_000, lambda: clock[0])
    asked: list[str] = []

    def keep(artifact_id: str) -> float:
        asked.append(artifact_id)
        return math.inf if artifact_id == kept.id else 7200.0

    clock[0] = original(orphan).stat().st_ctime + 3599
    assert (spool.sweep(keep), asked) == (0, [])
    clock[0] += 2
    assert spool.sweep(keep) == 1, "half a copy"
    clock[0] += 3600
    assert spool.sweep(keep) == 1
    assert set(asked) == {"snapshot:1-a_b", "snapshot:2-b_c"}
    names = sorted(path.name for path in (clips / "spool").iterdir())
    assert names == ["snapshot_1-a_b", "snapshot_1-a_b~.json"]
    assert held(spool) == (1, len(PICTURE))


def test_a_sweep_keeps_what_was_held_since_the_start_whatever_the_clock_says(
    clips: Path,
) -> None:
    one = artifact(clips)
    Spool(clips / "spool", 10_000).hold(one)
    spool = Spool(clips / "spool", 10_000, lambda: time.time() + 9e8)
    spool.hold(one)
    assert spool.sweep(lambda artifact_id: 0.0) == 0
    assert content(spool, one) == PICTURE


def test_there_is_nothing_to_sweep_without_a_folder(spool: Spool) -> None:
    assert spool.sweep(lambda one: 0.0) == 0


# -- what could not be held


def test_a_file_that_could_not_be_held_is_remembered_until_the_next_recount(clips: Path) -> None:
    spool = Spool(clips / "spool", 10_000)
    assert spool.recount(), "an earlier run may have missed some"
    assert not spool.recount()
    one = artifact(clips)
    (clips / "spool").write_text("in the way")
    spool.hold(one)
    assert (spool.recount(), spool.recount()) == (True, False)
    assert spool.lacks(one.id)
    (clips / "spool").unlink()
    spool.hold(one)
    assert not spool.lacks(one.id) and not spool.recount()


def test_a_recount_notices_deleted_files(spool: Spool, clips: Path) -> None:
    one, other = artifact(clips, "1-a"), artifact(clips, "2-b")
    for each in (one, other):
        spool.hold(each)
    spool.recount()
    (clips / "cache/.s3_spool/snapshot_1-a").unlink()
    assert spool.recount()
    assert (spool.lacks(one.id), spool.lacks(other.id)) == (True, False)
    assert held(spool) == (1, len(PICTURE))


def test_a_recount_of_a_folder_that_cannot_be_read_changes_nothing(
    spool: Spool, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.hold(artifact(clips))
    spool.recount()

    def fail(path: object) -> Iterator[object]:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        assert not spool.recount()
    assert held(spool) == (1, len(PICTURE))


def test_a_full_spool_lacks_nothing_until_there_is_room_again(clips: Path) -> None:
    spool = Spool(clips / "spool", len(PICTURE))
    first, second = artifact(clips, "1-a"), artifact(clips, "2-b")
    spool.recount()
    spool.hold(first)
    spool.hold(second)
    assert not spool.lacks(second.id)
    spool.release(first.id)
    assert spool.lacks(second.id) and spool.recount()


def test_with_a_limit_of_0_nothing_counts_as_missed(clips: Path) -> None:
    spool = Spool(clips / "spool", 0)
    spool.hold(artifact(clips))
    assert not spool.recount()


# -- another file system


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the spool's."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other file system here")
    folder = shared / f"s3-mirror-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_across_file_systems_it_is_copied(spool: Spool, elsewhere: Path) -> None:
    one = artifact(elsewhere)
    spool.hold(one)
    spool.hold(one)
    original(one).unlink()
    assert content(spool, one) == PICTURE
    assert (held(spool), spool.troubles()) == ((1, len(PICTURE)), [])


def test_a_copy_never_follows_a_link(spool: Spool, elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    (elsewhere / "link.jpg").symlink_to(tmp_path / "secret")
    spool.hold(of(elsewhere / "link.jpg"))
    assert held(spool) == (0, 0)
    assert list(tmp_path.glob("clips/cache/.s3_spool/*")) == []


def test_threads_that_copy_the_same_picture_leave_it_whole(spool: Spool, elsewhere: Path) -> None:
    big = os.urandom(5000)
    one = artifact(elsewhere, data=big)
    threads = [threading.Thread(target=spool.hold, args=(one,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (content(spool, one), held(spool)) == (big, (1, len(big)))


# -- what may have been swapped in


def test_a_link_swapped_in_is_never_read(spool: Spool, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    one = artifact(clips)
    original(one).unlink()
    original(one).symlink_to(tmp_path / "secret")
    for _ in range(2):
        with pytest.raises(OSError, match="symbolic links"):
            spool.open(one)
        spool.hold(one)


def test_a_pipe_or_a_folder_swapped_in_is_refused_and_not_waited_for(
    spool: Spool, clips: Path
) -> None:
    for make in (os.mkfifo, os.mkdir):
        one = artifact(clips, make.__name__)
        original(one).unlink()
        make(original(one))
        with pytest.raises(OSError, match="not a regular file"):
            spool.open(one)


def test_frigates_own_file_is_read_if_the_held_file_cannot_be_read(
    spool: Spool, clips: Path
) -> None:
    one = artifact(clips)
    spool.hold(one)
    held = clips / "cache/.s3_spool/snapshot_1-a"
    held.unlink()
    held.mkdir()
    assert content(spool, one) == PICTURE
    original(one).unlink()
    with pytest.raises(OSError, match="not a regular file"):
        spool.open(one)


# -- a spool that cannot be written


def test_without_a_spool_pictures_are_read_from_frigates_files_and_that_is_logged_once(
    clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (clips / "cache").write_text("a file where a folder should be")
    spool = Spool(clips / "cache" / ".s3_spool", 10_000)
    both = [artifact(clips, "1-a"), artifact(clips, "2-b")]
    for one in both:
        spool.hold(one)
    assert [content(spool, one) for one in both] == [PICTURE] * 2
    [trouble] = spool.troubles()
    assert "the spool cannot hold files" in trouble and both[1].key in trouble
    assert warnings(caplog) == 1
    (clips / "cache").unlink()
    spool.hold(both[0])
    assert (spool.troubles(), held(spool)) == ([], (1, len(PICTURE)))


# -- which bytes are held


def open_and_then(change: Callable[[Path], None]) -> Opener:
    """Returns an opener that changes the file's name right after it has opened the file."""

    def opener(one: Artifact) -> BinaryIO:
        file = open_file(one)
        change(original(one))
        return file

    return opener


def test_the_opened_file_itself_is_linked_even_if_its_name_is_replaced_meanwhile(
    spool: Spool, clips: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")

    def by_a_file(path: Path) -> None:
        path.rename(path.with_suffix(".moved"))
        path.write_text("another picture")

    def by_a_link(path: Path) -> None:
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(secret)

    for replace in (by_a_file, by_a_link):
        one = artifact(clips, replace.__name__)
        inode = original(one).stat().st_ino
        spool.hold(dataclasses.replace(one, opener=open_and_then(replace)))
        with spool.open_held(one.id) as file:
            assert (os.fstat(file.fileno()).st_ino, file.read()) == (inode, PICTURE)


def test_a_file_that_was_deleted_after_it_was_opened_is_copied(spool: Spool, clips: Path) -> None:
    one = artifact(clips)
    spool.hold(dataclasses.replace(one, opener=open_and_then(Path.unlink)))
    assert not original(one).exists()
    assert (content(spool, one), held(spool)) == (PICTURE, (1, len(PICTURE)))


def test_bytes_that_do_not_come_from_a_file_are_copied(spool: Spool, clips: Path) -> None:
    answers = [b"first answer", b"second answer"]
    one = dataclasses.replace(
        of(clips, size=12), origin="https://frigate/api", opener=lambda _: io.BytesIO(answers[0])
    )
    spool.hold(one)
    assert (content(spool, one), held(spool)) == (b"first answer", (1, 12))
    answers.pop(0)
    spool.hold(dataclasses.replace(one, size=13))
    assert (content(spool, one), held(spool)) == (b"second answer", (1, 13))
    assert spool.troubles() == []
    spool.release(one.id)
    assert list(Path(spool.path(one.id)).parent.iterdir()) == []


def test_an_origin_that_fails_while_it_is_copied_leaves_nothing_behind(
    spool: Spool, clips: Path
) -> None:
    class Fails(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    spool.recount()
    one = dataclasses.replace(of(clips), opener=lambda _: Fails())
    spool.hold(one)
    assert held(spool) == (0, 0)
    assert list(Path(spool.path(one.id)).parent.iterdir()) == []
    [trouble] = spool.troubles()
    assert "the spool cannot hold files" in trouble and "Input/output error" in trouble
    assert spool.recount(), "it is to be held again"


def test_an_origin_that_cannot_be_read_is_a_trouble_until_a_file_is_held(
    spool: Spool, clips: Path
) -> None:
    def fail(_: Artifact) -> BinaryIO:
        raise OSError(errno.EIO, "Input/output error")

    spool.recount()
    one = artifact(clips)
    spool.hold(dataclasses.replace(one, opener=fail))
    [trouble] = spool.troubles()
    assert one.key in trouble and "Input/output error" in trouble
    assert spool.recount(), "it is to be held again"
    spool.hold(one)
    assert (spool.troubles(), held(spool)) == ([], (1, len(PICTURE)))


# -- descriptions


def described(clips: Path) -> tuple[Spool, Artifact, Path]:
    one = dataclasses.replace(
        artifact(clips, "1.5-abc"),
        key="p/cam/1970-01-01/1.5-abc-19700101_000001.jpg",
        metadata={"label": "person", "sub-label": "Zoë"},
        version="702 5 None",
        flaw="breaks off",
    )
    spool = Spool(clips / "spool", 10_000)
    spool.hold(one)
    return spool, one, clips / "spool" / "snapshot_1.5-abc~.json"


def test_a_description_has_all_that_is_needed_to_upload_the_held_file(clips: Path) -> None:
    spool, one, _ = described(clips)
    assert spool.described(one.id) == dataclasses.replace(one, origin="")
    assert Spool(clips / "spool", 10_000).orphans == [one.id]
    spool.release(one.id)
    assert list((clips / "spool").iterdir()) == []
    assert spool.described(one.id) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "snapshot:2.5-abc"), ("key", "elsewhere.jpg"), ("key", 5), ("started", "x"),
     ("metadata", {"a": 1}), ("metadata", []), ("camera", None),
     ("key", "p/cam/1970-01-01/1.5-abc-19700101_000001.mp4"), ("started", float("nan")),
     ("camera", "\ud800"), ("version", "\ud800"),
     ("content_type", "image/jpeg\r\nx: y"), ("metadata", {"a": "b\r\nx: y"}),
     ("metadata", {"a\n": "b"})],
)  # fmt: skip
def test_a_description_that_the_mirror_cannot_have_written_is_ignored(
    clips: Path, field: str, value: object
) -> None:
    spool, one, path = described(clips)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert spool.described(one.id) is None


def test_a_description_never_gives_an_origin(clips: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    spool, one, path = described(clips)
    fields = json.loads(path.read_text())
    assert "origin" not in fields and str(clips) not in path.read_text()
    more = {"origin": str(secret), "source": str(secret), "opener": "open"}
    path.write_text(json.dumps(fields | more))
    found = spool.described(one.id)
    assert found is not None and found.origin == ""
    assert content(spool, found) == PICTURE
    original(one).unlink()
    Path(spool.path(one.id)).unlink()
    with pytest.raises(FileNotFoundError):
        spool.open(found)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 60_000, "\0", "x" * 100_000])
def test_a_damaged_description_is_ignored(clips: Path, text: str) -> None:
    spool, one, path = described(clips)
    path.write_text(text)
    assert spool.described(one.id) is None


def test_a_pipe_is_refused_and_not_kept_open(spool: Spool, clips: Path) -> None:
    one = artifact(clips)
    original(one).unlink()
    os.mkfifo(original(one))
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(OSError, match="not a regular file"):
            spool.open(one)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_copy_has_the_time_of_its_original(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    one = artifact(clips)
    os.utime(original(one), ns=(5, 7))
    spool = Spool(clips / "spool", 10_000)
    spool.hold(one)
    assert os.stat(spool.path(one.id)).st_mtime_ns == 7
    original(one).write_bytes(b"changed")
    spool.hold(one)
    assert content(spool, one) == b"changed"


def test_a_copy_is_durable_before_it_has_its_name(
    clips: Path, monkeypatch: pytest.MonkeyPatch, synced: dict[int, tuple[str, int]]
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    one = artifact(clips)
    spool = Spool(clips / "spool", 10_000)
    spool.hold(one)
    name, size = synced[os.stat(spool.path(one.id)).st_ino]
    assert name != spool.path(one.id) and size == len(PICTURE)


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "no links here")


def test_files_with_other_names_are_left_alone(spool: Spool, clips: Path) -> None:
    folder = clips / "cache" / ".s3_spool"
    folder.mkdir(parents=True)
    for name in (b"~.json", b"snapshot_~.json", b"a b", b"snapshot_", b"snapshot_\xff", b"notes"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
    assert Spool(folder, 10_000, clock=lambda: 2e10).orphans == []


def test_a_file_that_is_held_anew_while_its_earlier_version_is_settled_stays_held(
    spool: Spool, clips: Path
) -> None:
    first = dataclasses.replace(artifact(clips), version="1")
    spool.hold(first)
    spool.hold(dataclasses.replace(first, version="2", key="cam/d/1-a-20240115_143022.jpg"))
    spool.release(first.id, "1")
    assert spool.holds(first.id) and content(spool, first) == PICTURE
    spool.release(first.id, "2")
    assert not spool.holds(first.id)


def test_a_file_that_another_process_holds_anew_is_released_by_its_own_version(
    spool: Spool, clips: Path
) -> None:
    first = dataclasses.replace(artifact(clips), version="1", key="cam/1-a-20240115_143022.jpg")
    spool.hold(first)
    Spool(clips / "cache" / ".s3_spool", 10_000).hold(dataclasses.replace(first, version="2"))
    spool.release(first.id, "2")
    assert not Path(spool.path(first.id)).exists()
