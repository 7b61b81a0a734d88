"""`check` says which ffmpeg makes the clips, and whether those that wait have room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from frigate_mirror.checks.clips import clips
from frigate_mirror.checks.finding import NOTE, OK, Finding
from frigate_mirror.frigate import config
from tests.rig.stub import Reply, Stub
from tests.rig.worlds import World, command

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.cache.mkdir()
    return found


@pytest.fixture
def api() -> Iterator[Stub]:
    """A small server in the place of Frigate's API."""
    server = Stub()
    yield server
    server.stop()


def program(folder: Path) -> Path:
    """Makes a program ffmpeg in a folder."""
    path = folder / "ffmpeg"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def of_ffmpeg(world: World, api: str, monkeypatch: pytest.MonkeyPatch, path: Path) -> Finding:
    """Returns the finding about ffmpeg where PATH has only this folder."""
    monkeypatch.setenv("PATH", str(path))
    first, *_ = clips(world.settings(), partial(config.read, api))
    return first


def test_the_ffmpeg_that_frigates_configuration_names_is_found(
    world: World, api: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, own = program(tmp_path / "other"), program(tmp_path / "own" / "bin")
    api.default = Reply(body=json.dumps({"ffmpeg": {"path": f"{tmp_path}/own"}}).encode())
    finding = of_ffmpeg(world, api.endpoint, monkeypatch, other.parent)
    assert finding == Finding(OK, f"{own} makes the clips")
    assert [seen.path for seen in api.seen] == ["/api/config"]


def test_without_frigates_configuration_any_ffmpeg_will_do(
    world: World, api: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = program(tmp_path / "other")
    api.default = Reply(body=b"{}")
    for address in (NOBODY, api.endpoint):
        finding = of_ffmpeg(world, address, monkeypatch, other.parent)
        assert finding == Finding(OK, f"{other} makes the clips")


def test_without_ffmpeg_check_says_what_is_uploaded_instead(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = of_ffmpeg(world, NOBODY, monkeypatch, tmp_path)
    assert finding.grade == NOTE
    assert "there is no ffmpeg" in finding.what and "as the parts of its clip" in finding.what
    assert "Frigate's container" in finding.advice


def test_a_disk_with_less_room_than_waiting_clips_may_take_is_noted(world: World) -> None:
    free = shutil.disk_usage(world.cache).free // 1_000_000
    _, fine = clips(world.settings(MIRROR_CLIP_SPOOL_MB="1"), partial(config.read, NOBODY))
    assert fine.grade == OK and "MIRROR_CLIP_SPOOL_MB is 1" in fine.what
    loaded = world.settings()
    more = replace(loaded, spool=replace(loaded.spool, clip_limit_mb=2 * free + 1))
    _, note = clips(more, partial(config.read, NOBODY))
    assert note.grade == NOTE and f"the disk of {world.cache} has" in note.what
    assert "lower MIRROR_CLIP_SPOOL_MB" in note.advice


def test_a_folder_that_is_missing_is_not_told_twice(world: World) -> None:
    world.cache.rmdir()
    assert len(list(clips(world.settings(), partial(config.read, NOBODY)))) == 1


@pytest.mark.parametrize(("kinds", "lines"), [("snapshot", 0), ("snapshot,clip", 1)])
def test_the_command_looks_for_ffmpeg_only_if_clips_are_mirrored(
    world: World, kinds: str, lines: int
) -> None:
    done = command(world, "check", "--no-put", MIRROR_KINDS=kinds, S3_ENDPOINT_URL=NOBODY)
    assert done.stdout.count("ffmpeg") == lines, done.stdout
    assert "MIRROR_CLIP_SPOOL_MB" in done.stdout or not lines
