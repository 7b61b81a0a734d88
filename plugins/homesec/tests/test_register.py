"""How our parts fit to HomeSec, and what happens where they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from homesec import interfaces
from homesec.plugins import discover_all_plugins
from homesec.plugins.registry import PluginType, get_plugin_names
from installed import STUBS

from homesec_frigate_events import register
from tests.rig.waiting import PATIENCE

DISCOVER = """
import asyncio, logging
logging.basicConfig(format="%(levelname)s %(message)s")
{before}
from homesec.plugins import discover_all_plugins
from homesec.plugins.registry import PluginType, get_plugin_names, load_plugin
discover_all_plugins()
for kind in PluginType:
    print(kind.value, *get_plugin_names(kind))
config = {{"frigate_url": "http://127.0.0.1:1", "mqtt_port": 1, "output_dir": {folder!r}}}
source = load_plugin(PluginType.SOURCE, "frigate_events", config, camera_name="a")
async def life():
    source.register_callback(print)
    await source.start()
    for _ in range(1000):
        if not source.is_healthy():
            break
        await asyncio.sleep(0.1)
    print("healthy", source.is_healthy(), await source.ping())
    print("why", source.fault())
    await source.shutdown()
asyncio.run(life())
"""


def discovered(folder: Path, before: str) -> str:
    """Returns what a process prints that changes something before HomeSec looks for plugins."""
    code = DISCOVER.format(before=before, folder=str(folder / "clips"))
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(STUBS)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_homesec_finds_all_four_parts() -> None:
    discover_all_plugins()
    assert "frigate_events" in get_plugin_names(PluginType.SOURCE)
    assert "frigate_predetection" in get_plugin_names(PluginType.FILTER)
    assert "frigate_context" in get_plugin_names(PluginType.ANALYZER)
    assert "s3" in get_plugin_names(PluginType.STORAGE)


def test_this_homesec_has_the_interfaces_that_our_parts_implement() -> None:
    assert register.differences(interfaces.ClipSource, register.SOURCE) == []
    assert register.differences(interfaces.StorageBackend, register.STORAGE) == []


CHANGES = {
    "a new method": """
from homesec import interfaces
async def rewind(self): raise NotImplementedError
rewind.__isabstractmethod__ = True
interfaces.ClipSource.rewind = rewind
interfaces.ClipSource.__abstractmethods__ |= {"rewind"}
""",
    "another parameter": """
from homesec import interfaces
async def start(self, generation): raise NotImplementedError
start.__isabstractmethod__ = True
interfaces.ClipSource.start = start
""",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_of_another_homesec_gives_no_clips_and_says_why(
    tmp_path: Path, change: str
) -> None:
    text = discovered(tmp_path, CHANGES[change])
    assert "ERROR source frigate_events of homesec-frigate-events does not work with" in text
    assert "healthy False False" in text
    assert "filter frigate_predetection" in text and "storage dropbox local s3" in text


def test_a_filter_of_another_homesec_is_left_out_and_the_rest_works(tmp_path: Path) -> None:
    change = """
from homesec import interfaces
async def detect(self, clip): raise NotImplementedError
detect.__isabstractmethod__ = True
interfaces.ObjectFilter.detect = detect
"""
    text = discovered(tmp_path, change)
    assert "ERROR filter frigate_predetection of homesec-frigate-events does not work" in text
    assert "source frigate_events" in text and "filter test yolo" in text


@pytest.mark.parametrize("library", ["paho", "frigate_mirror", "peewee"])
def test_a_missing_library_does_not_stop_homesec(tmp_path: Path, library: str) -> None:
    text = discovered(tmp_path, f"import sys; sys.modules[{library!r}] = None")
    assert "healthy False False" in text
    [why] = [line for line in text.splitlines() if line.startswith("why ")]
    assert why.startswith("why frigate_events cannot start for a: ") and library in why
