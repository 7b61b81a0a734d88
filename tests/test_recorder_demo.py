"""The demo of the recorder runs where ffmpeg is, and says elsewhere what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.ffmpeg import ffmpeg
from tests.rig.recording import PROGRAM


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the demo's files. Its path is short, because there are Unix sockets in it."""
    made = Path(tempfile.mkdtemp(prefix="demo-"))
    yield made
    shutil.rmtree(made)


def demo(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "demo"],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": path, "HOME": str(folder), "TMPDIR": str(folder)},
    )


def test_the_demo_shows_segments_that_all_play_and_leaves_nothing(
    folder: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ffmpeg").symlink_to(ffmpeg())
    done = demo(folder, f"{programs}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every segment is in the bucket, and plays." in done.stdout
    assert "the recorder did not run" in done.stdout
    assert "in the last" not in done.stdout, "it remembers every upload"
    assert not list(folder.iterdir())


def test_without_ffmpeg_the_demo_says_what_to_install(tmp_path: Path) -> None:
    done = demo(tmp_path, str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install ffmpeg" in done.stderr
