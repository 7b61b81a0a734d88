"""The state folders: whichever is used, nothing that waits for upload is out of sight."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_mirror.ledger import folders
from frigate_mirror.ledger.database import LedgerBusy, LedgerNewer
from frigate_mirror.ledger.folders import open_alone
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.ledger.lock import StateLock, holder, is_locked
from frigate_mirror.ledger.rows import Counts, Priority, Settled
from tests.rig.worlds import World

CHOSEN, SPARE = 0, 1
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def ledger_in(world: World, place: int) -> Path:
    return world.settings().state.dirs[place] / "ledger.db"


def leave(world: World, place: int, *names: str) -> None:
    """Leaves pending artifacts of an earlier life in one of the folders."""
    path = ledger_in(world, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Ledger(path)) as ledger:
        for name in names:
            ledger.add(world.artifact(f"1705328962.5-{name}"), Priority.LIVE, 1.0)


@contextlib.contextmanager
def found(world: World, **environ: str) -> Iterator[folders.State]:
    opened = open_alone(world.settings(**environ).state)
    yield opened
    opened.ledger.close()


@pytest.fixture
def read_only(world: World) -> Iterator[Path]:
    """The chosen folder and its files, on a file system that cannot be written."""
    yield from mounted(world, "bind")


def mounted(world: World, kind: str) -> Iterator[Path]:
    folder = world.settings().state.dirs[CHOSEN]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if kind == "bind":
            mount("--bind", str(folder), str(folder))
            mount("-o", "remount,bind,ro", str(folder))
        else:
            mount("-t", "tmpfs", "-o", "size=128k", "none", str(folder))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounts cannot be had here: {done.stderr.strip()}")


def test_the_chosen_folder_is_used_and_made_for_its_owner_only(world: World) -> None:
    with found(world) as opened:
        assert opened.folder == world.state and opened.troubles == [] and opened.other is None
    assert world.state.stat().st_mode & 0o777 == 0o700


def test_the_queue_in_the_spare_folder_goes_on_in_the_chosen_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    leave(world, SPARE, "aaaaaa", "bbbbbb")
    leave(world, CHOSEN, "cccccc")
    with found(world) as opened:
        assert opened.folder == world.state
        assert opened.ledger.counts() == Counts(pending=3)
    assert not ledger_in(world, SPARE).exists()
    line = next(one for one in caplog.messages if "taken over" in one)
    assert str(ledger_in(world, CHOSEN)) in line and str(ledger_in(world, SPARE)) in line


def test_rows_that_are_taken_over_are_durable_before_the_other_ledger_is_deleted(
    world: World,
) -> None:
    leave(world, SPARE, "aaaaaa", "bbbbbb")
    with found(world):
        # The file without its write-ahead log, as a power cut may leave it.
        left = world.folder / "left.db"
        shutil.copyfile(ledger_in(world, CHOSEN), left)
    with contextlib.closing(sqlite3.connect(left)) as raw:
        assert raw.execute("SELECT count(*) FROM artifact").fetchall() == [(2,)]


def test_a_ledger_that_was_taken_over_and_cannot_be_deleted_is_not_taken_over_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    leave(world, SPARE, "aaaaaa")
    ledger_in(world, SPARE).with_name("ledger.db-journal").mkdir()
    for _ in range(2):
        with found(world) as opened:
            assert opened.ledger.counts() == Counts(pending=1)
            assert opened.other == ledger_in(world, SPARE)
    assert len([one for one in caplog.messages if "taken over" in one]) == 1


@needs_root
def test_the_queue_in_a_read_only_ledger_goes_on_in_the_spare_folder(world: World) -> None:
    leave(world, CHOSEN, "aaaaaa", "bbbbbb")
    for _ in mounted(world, "bind"):
        for _ in range(2):  # once taken over, not again
            with found(world) as opened:
                assert opened.folder == world.settings().state.dirs[SPARE]
                assert opened.other == ledger_in(world, CHOSEN)
                assert opened.ledger.counts() == Counts(pending=2)
                [trouble] = opened.troubles
                assert str(world.state) in trouble and "MIRROR_STATE_DIR" in trouble
        with found(world) as opened:
            entry = opened.ledger.claim(2.0)
            assert entry is not None
            opened.ledger.settle([Settled(3.0, entry.artifact.id, entry.artifact.key)])
    with found(world) as opened:  # writable again
        assert opened.folder == world.state and opened.troubles == []
        assert opened.ledger.counts() == Counts(pending=1, uploaded=1)


@needs_root
def test_the_log_that_a_crash_left_beside_a_read_only_ledger_is_taken_over(world: World) -> None:
    path = ledger_in(world, CHOSEN)
    path.parent.mkdir(parents=True)
    crashed = Ledger(path)  # its write-ahead log is never brought into the file
    crashed.add(world.artifact(), Priority.LIVE, 1.0)
    for _ in mounted(world, "bind"):
        with found(world) as opened:
            assert opened.ledger.counts() == Counts(pending=1)
    crashed.close()


@needs_root
def test_with_a_full_disk_at_the_start_the_spare_folder_is_used(world: World) -> None:
    for folder in mounted(world, "tmpfs"):
        leave(world, CHOSEN, "aaaaaa")
        with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
            while True:
                file.write(b"x" * 512)
                file.flush()
        with found(world) as opened:
            assert opened.folder == world.settings().state.dirs[SPARE]
            assert opened.ledger.counts() == Counts(pending=1)
            assert opened.troubles


def test_if_no_folder_can_be_used_the_error_says_why_for_each(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    for folder in world.settings().state.dirs:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.write_text("a file, where a folder should be")
    with pytest.raises(LedgerError) as raised:
        open_alone(world.settings().state)
    assert all(str(folder) in str(raised.value) for folder in world.settings().state.dirs)


def test_a_newer_ledger_is_refused_and_no_other_folder_is_used(world: World) -> None:
    leave(world, CHOSEN)
    with contextlib.closing(sqlite3.connect(ledger_in(world, CHOSEN))) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerNewer):
        open_alone(world.settings().state)


def test_a_newer_ledger_in_the_other_folder_is_a_trouble_and_is_kept(world: World) -> None:
    leave(world, SPARE)
    with contextlib.closing(sqlite3.connect(ledger_in(world, SPARE))) as raw:
        raw.execute("PRAGMA user_version = 99")
    with found(world) as opened:
        [trouble] = opened.troubles
        assert "newer version" in trouble
    assert ledger_in(world, SPARE).exists()


def test_a_ledger_that_another_program_has_locked_is_not_replaced_by_the_spare_folder(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(world, CHOSEN, "aaaaaa")
    monkeypatch.setattr("frigate_mirror.ledger.database.BUSY_SECONDS", 0)
    with contextlib.closing(sqlite3.connect(ledger_in(world, CHOSEN))) as raw:
        raw.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerBusy):
            open_alone(world.settings().state)
    assert not ledger_in(world, SPARE).exists()


def test_the_lock_covers_every_folder_that_two_processes_share(world: World) -> None:
    first = StateLock(world.settings().state)
    elsewhere = world.settings(MIRROR_STATE_DIR=str(world.folder / "elsewhere")).state
    second, third = StateLock(world.settings().state), StateLock(elsewhere)
    assert first.acquire() and first.acquire()
    assert not second.acquire() and not third.acquire(), "they share the spare place"
    first.release()
    assert third.acquire()
    assert not second.acquire()
    third.release()


def test_a_process_that_cannot_take_every_lock_keeps_none(world: World) -> None:
    elsewhere = world.settings(MIRROR_STATE_DIR=str(world.folder / "elsewhere")).state
    first, second = StateLock(world.settings().state), StateLock(elsewhere)
    assert first.acquire()
    assert not second.acquire(), "they share the spare place"
    assert is_locked(world.folder / "elsewhere" / "mirror.lock") is False
    first.release()


@pytest.mark.parametrize("linked", [False, True])
def test_one_folder_under_two_names_counts_once(world: World, linked: bool) -> None:
    spare = world.settings().state.dirs[SPARE]
    spare.mkdir(parents=True)
    named = world.folder / "link"
    named.symlink_to(spare)
    settings = world.settings(MIRROR_STATE_DIR=str(named if linked else spare)).state
    lock = StateLock(settings)
    assert lock.acquire()
    lock.release()
    with contextlib.closing(open_alone(settings).ledger):
        assert len(settings.dirs) == 1


def test_a_taken_lock_says_who_holds_it(world: World, tmp_path: Path) -> None:
    lock = StateLock(world.settings().state)
    assert lock.acquire()
    lock.sign(world.state)
    found = holder(world.settings().state)
    assert found.ours and found.folder == world.state and str(os.getpid()) in found.name
    other = World(tmp_path / "other")
    stranger = holder(other.settings(MIRROR_STATE_DIR=str(world.state)).state)
    assert not stranger.ours
    lock.release()


def test_a_lock_that_is_signed_again_keeps_the_newer_signature_only(world: World) -> None:
    lock = StateLock(world.settings().state)
    assert lock.acquire()
    lock.sign(world.folder / "a folder with a name longer than the next one")
    lock.sign(world.state)
    assert holder(world.settings().state).folder == world.state
    lock.release()


def test_a_lock_with_nonsense_in_it_still_has_a_holder(world: World) -> None:
    world.state.mkdir(parents=True)
    for words in ("", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": 2, "clips": 3, "folder": 4}',
                  "[" * 4000, '{"pid": 1e999, "host": "", "clips": "", "folder": ""}',
                  '{"pid": ' + "9" * 4000 + "}",
                  r'{"pid": 1, "host": "\u001b[31m", "clips": "", "folder": "/a\u0000\ud800"}',
                  '{"pid": 1, "host": "", "clips": "", "folder": "/etc"}'):  # fmt: skip
        (world.state / "mirror.lock").write_text(words)
        assert holder(world.settings().state).name.isprintable()


def test_a_command_beside_a_running_mirror_opens_no_folder_that_the_settings_do_not_name(
    world: World,
) -> None:
    lock = StateLock(world.settings().state)
    assert lock.acquire()
    leave(world, CHOSEN, "aaaaaa")
    leave_elsewhere = world.folder / "elsewhere"
    leave_elsewhere.mkdir()
    lock.sign(leave_elsewhere)
    with in_another_process(world.settings().state.clips_dir, world) as counted:
        assert counted == "1 pending, beside"
    lock.release()


@needs_root
def test_an_old_signature_in_a_read_only_folder_misleads_no_command(
    world: World,
) -> None:
    lock = StateLock(world.settings().state)
    assert lock.acquire()
    lock.sign(world.state)
    lock.release()
    leave(world, CHOSEN, "aaaaaa")
    for _ in mounted(world, "bind"):
        with found(world) as opened:
            assert lock.acquire()
            lock.sign(opened.folder)
            with in_another_process(world.settings().state.clips_dir, world) as counted:
                assert counted == "1 pending, beside"
            lock.release()


def test_a_command_beside_a_running_mirror_opens_the_ledger_that_it_uses(world: World) -> None:
    settings = world.settings().state
    lock = StateLock(settings)
    assert lock.acquire()
    leave(world, CHOSEN, "aaaaaa")
    leave(world, SPARE, "bbbbbb", "cccccc")
    lock.sign(settings.dirs[SPARE])
    with in_another_process(settings.clips_dir, world) as counted:
        assert counted == "2 pending, beside"
    lock.release()
    with in_another_process(settings.clips_dir, world) as counted:
        assert counted == "3 pending, alone"


@contextlib.contextmanager
def in_another_process(clips: Path, world: World) -> Iterator[str]:
    code = """
import os
from frigate_mirror.settings import settings
from frigate_mirror.ledger import folders
with folders.opened(settings.load(os.environ).state) as (found, lock):
    print(f"{found.ledger.counts().pending} pending, {'alone' if lock else 'beside'}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | world.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()


def test_a_command_beside_a_running_mirror_never_puts_its_ledger_aside(world: World) -> None:
    lock = StateLock(world.settings().state)
    assert lock.acquire()
    lock.sign(world.state)
    (world.state / "ledger.db").write_bytes(b"no ledger" * 1000)
    with pytest.raises(LedgerError, match="try again"), folders.opened(world.settings().state):
        pass
    assert sorted(one.name for one in world.state.iterdir()) == ["ledger.db", "mirror.lock"]
    lock.release()
