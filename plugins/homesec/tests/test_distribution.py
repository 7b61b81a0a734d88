"""What the plugin's wheel contains and needs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from homesec_frigate_events import __version__
from tests.rig import ROOT

PLUGIN = ROOT / "plugins" / "homesec"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(words, cwd=PLUGIN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def content(wheel: zipfile.ZipFile, ending: str) -> bytes:
    [name] = [name for name in wheel.namelist() if name.endswith(ending)]
    return wheel.read(name)


def test_the_wheel_contains_the_modules_and_the_licence(wheel: zipfile.ZipFile) -> None:
    modules = {f"homesec_frigate_events/{path.name}" for path in
               (PLUGIN / "homesec_frigate_events").glob("*.py")}  # fmt: skip
    others = {Path(name).name for name in set(wheel.namelist()) - modules}
    assert modules <= set(wheel.namelist())
    assert others == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}
    assert content(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_homesec_finds_the_plugin_by_its_entry_point(wheel: zipfile.ZipFile) -> None:
    points = content(wheel, "entry_points.txt").decode()
    assert points.split() == [
        "[homesec.plugins]", "frigate_events", "=", "homesec_frigate_events.plugin",
    ]  # fmt: skip


def test_it_brings_nothing_into_homesecs_environment_but_the_mirror(wheel: zipfile.ZipFile) -> None:
    metadata = message_from_bytes(content(wheel, "METADATA"))
    assert metadata["Version"] == __version__
    needs = metadata.get_all("Requires-Dist") or []
    assert {re.split(r"[>\[]", need)[0] for need in needs} == {"frigate-s3-mirror", "pydantic"}


def test_the_newest_version_of_the_changelog_is_the_plugins() -> None:
    text = (PLUGIN / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[:2] in (
        ["Unreleased", __version__],
        ["Unreleased"],
    )
