"""The demo of the companion, as a user runs it, and its comparison."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror import mp4
from frigate_mirror.demo import servers
from frigate_mirror.demo.compare import faults_of
from frigate_mirror.demo.standin import Event, Frigate
from tests.rig import ROOT

PROGRAM = str(ROOT / "s3_snapshot_mirror.py")
DEMO = [sys.executable, PROGRAM, "companion", "demo"]
WITHIN = 300  # seconds; 40 are usual
DESTINATIONS = ("nas", "cloud", "bucket")

needs_its_packages = pytest.mark.skipif(
    bool(servers.missing()), reason="the packages of the extra `demo` are not installed"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the demo's files. Its path is short, because there are Unix sockets in it."""
    made = Path(tempfile.mkdtemp(prefix="demo-"))
    yield made
    shutil.rmtree(made)


def environ_for(folder: Path) -> dict[str, str]:
    """The environment of a user who has settings of a mirror in it."""
    path = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    return path | {"S3_BUCKET": "of-the-user", "RCLONE_REMOTE": "gdrive:", "FRIGATE_USER": "me"}


@contextmanager
def begun(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*DEMO, *words], env=environ_for(folder), stdout=pipe, stderr=pipe, text=True
    ) as demo:
        try:
            yield demo
        finally:
            demo.terminate()  # it may be over


def read_until(demo: subprocess.Popen[str], start: str) -> None:
    """Reads what the demo prints up to a line that begins so."""
    assert demo.stdout is not None
    assert any(line.startswith(start) for line in demo.stdout), "the demo has ended before"


def processes_of(folder: Path) -> list[str]:
    """The processes that have the folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            pass  # it has ended, or it is somebody else's
    return found


def section(text: str, title: str) -> str:
    return text.split(title)[1].split("\n\n")[0]


@needs_its_packages
def test_the_demo_shows_every_file_of_every_event_at_every_destination(folder: Path) -> None:
    with begun(folder) as demo:
        shown, complaints = demo.communicate(timeout=WITHIN)
    assert (demo.returncode, complaints) == (0, ""), shown + complaints
    assert "Every file of every event is at every destination." in shown
    for name in DESTINATIONS:
        assert f"{name}: 15 files of 5 events, none of them wrong and none missing" in shown
    assert shown.count("its snapshot is at nas after") == 3
    assert shown.count("Frigate can tell nobody") == 2
    name = r"(front_door/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-person-[\d.]+-\w{6})"
    files = re.findall(rf"{name}(\.\w+)\n +\d+ KB, at nas, cloud, bucket", shown)
    assert [ending for _, ending in files] == [".jpg", ".json", ".mp4"]
    assert '"complete": true' in section(shown, "Some of what its JSON says")
    assert "S3 mirror: OK" in section(shown, "6. The status")
    reports = section(shown, "7. What it reports")
    assert '"status": "OK"' in reports and '"backlog": 0' in reports
    assert "Frigate mirror bucket: Problem, Health, " in reports
    assert "GET /healthz: alive" in reports and "GET /readyz: OK" in reports
    assert "frigate_mirror_uploaded_bytes_total " in reports
    retention = " ".join(section(shown, "9. What 7 days of retention would delete").split())
    assert "there are 15 objects of 5 events" in retention
    assert "to delete: 6 objects of 2 events" in retention and "this is a dry run" in retention
    assert [line for line in shown.splitlines() if len(line) > 100] == []
    assert list(folder.iterdir()) == [] and processes_of(folder) == []


@needs_its_packages
def test_a_file_that_changes_at_a_destination_makes_the_demo_fail(folder: Path) -> None:
    with begun(folder, "--keep") as demo:
        assert demo.stdout is not None and demo.stderr is not None
        read_until(demo, "4. ")  # the mirror compares an upload itself, and repeats a wrong one
        picture = next(folder.glob("frigate-demo-*/nas/frigate/front_door/**/*.jpg"))
        picture.write_bytes(b"something else")
        shown, complaints = demo.stdout.read(), demo.stderr.read()
        assert demo.wait(WITHIN) == 1
    fault = f"{picture.name}: these are not the bytes that Frigate has sent"
    assert fault in " ".join(shown.split()) and fault in complaints
    assert "nas: 15 files of 5 events, 1 faults:" in shown
    assert "cloud: 15 files of 5 events, none of them wrong" in shown
    assert f"The files are in {folder}/frigate-demo-" in shown
    assert processes_of(folder) == []


@needs_its_packages
def test_a_demo_that_is_interrupted_ends_its_processes_and_deletes_its_files(folder: Path) -> None:
    with begun(folder) as demo:
        read_until(demo, "3. ")
        assert len(processes_of(folder)) > 3
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=WITHIN)
    assert demo.returncode == 130
    assert list(folder.iterdir()) == [] and processes_of(folder) == []


@needs_its_packages
def test_a_demo_whose_output_nobody_reads_ends_without_a_traceback(folder: Path) -> None:
    with begun(folder) as demo:
        assert demo.stdout is not None and demo.stderr is not None
        demo.stdout.close()
        assert demo.stderr.read() == ""
        assert demo.wait(WITHIN) == 1
    assert list(folder.iterdir()) == [] and processes_of(folder) == []


def test_the_demo_says_how_to_install_what_it_lacks(folder: Path) -> None:
    hide = "import sys, runpy; sys.modules['iotcore'] = None; sys.argv = sys.argv[1:]"
    words = [sys.executable, "-c", f"{hide}; runpy.run_path(sys.argv[0], run_name='__main__')"]
    done = subprocess.run(
        [*words, PROGRAM, "companion", "demo"], env=environ_for(folder), capture_output=True,
        text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("The demo lacks what this installs: ")
    assert re.search(r"-m pip install (\S+ )*iotcore\b", done.stderr)
    assert list(folder.iterdir()) == []


# -- the stand-in


@pytest.fixture
def frigate() -> Iterator[Frigate]:
    (port,) = servers.free_ports(1)  # there is no broker
    made = Frigate(port)
    yield made
    made.stop()


@pytest.mark.parametrize("camera", ["front_door", "garage"])
def test_the_clip_of_the_stand_in_is_as_long_as_the_time_that_was_asked_for(
    frigate: Frigate, camera: str
) -> None:
    event = frigate.ends(camera, "person")
    since = int(event.start) - 30
    clip = frigate.answer(f"/api/{camera}/start/{since}.2/end/{since + 17}.1/clip.mp4", {})
    assert clip is not None
    assert mp4.read(BytesIO(clip)).duration == pytest.approx(17, abs=0.01)


# -- the comparison

Change = Callable[[dict[str, Any], dict[str, bytes]], None]
EVENT = Event("1705329022.5-abcdef", "garage", "car", 1705329022.5, 1705329028.5)
STEM = f"garage/2024-01-15/14-30-22-car-{EVENT.id}"
SNAPSHOT, CLIP = b"snapshot", b"clip"
SENT = {
    hashlib.sha256(SNAPSHOT).hexdigest(): (EVENT.id, "snapshot"),
    hashlib.sha256(CLIP).hexdigest(): (EVENT.id, "clip"),
}


def remove_the_document(document: dict[str, Any], files: dict[str, bytes]) -> None:
    document.clear()


def stay_incomplete(document: dict[str, Any], files: dict[str, bytes]) -> None:
    document["complete"] = False


def change_the_row(document: dict[str, Any], files: dict[str, bytes]) -> None:
    document["table"]["event"]["label"] = "dog"


def remove_a_file(document: dict[str, Any], files: dict[str, bytes]) -> None:
    del files[f"{STEM}.jpg"]


def cut_a_file(document: dict[str, Any], files: dict[str, bytes]) -> None:
    files[f"{STEM}.mp4"] = CLIP[:-1]


def swap_two_files(document: dict[str, Any], files: dict[str, bytes]) -> None:
    files[f"{STEM}.jpg"] = CLIP


def change_a_digest(document: dict[str, Any], files: dict[str, bytes]) -> None:
    document["files"][0]["sha256"] = "0" * 64


def leave_the_clip_out(document: dict[str, Any], files: dict[str, bytes]) -> None:
    document["files"].pop()
    del files[f"{STEM}.mp4"]


def add_a_file(document: dict[str, Any], files: dict[str, bytes]) -> None:
    files["garage/2024-01-15/14-30-00-car-1705329000.5-ghijkl.jpg"] = SNAPSHOT


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (None, []),
        (remove_the_document, [f"{EVENT.id}: it has no JSON"]),
        (stay_incomplete, [f"{EVENT.id}: its JSON is not complete"]),
        (change_the_row, [f"{EVENT.id}: its JSON says something else than Frigate"]),
        (remove_a_file, [f"{STEM}.jpg: it is missing"]),
        (cut_a_file, [f"{STEM}.mp4: these are not the bytes that Frigate has sent"]),
        (swap_two_files, [f"{STEM}.jpg: these are not the bytes that Frigate has sent"]),
        (change_a_digest, [f"{STEM}.jpg: the JSON tells another digest"]),
        (leave_the_clip_out, [f"{EVENT.id}: it has no clip"]),
        (add_a_file, ["garage/2024-01-15/14-30-00-car-1705329000.5-ghijkl.jpg: "
                      "it belongs to no event"]),
    ],
)  # fmt: skip
def test_the_comparison_names_what_is_missing_or_wrong(
    change: Change | None, faults: list[str]
) -> None:
    files = {f"{STEM}.jpg": SNAPSHOT, f"{STEM}.mp4": CLIP}
    row = {name: value for name, value in EVENT.row().items() if name != "thumbnail"}
    document: dict[str, Any] = {
        "complete": True,
        "table": {"event": json.loads(json.dumps(row))},
        "files": [
            {"kind": kind, "key": key, "sha256": hashlib.sha256(body).hexdigest()}
            for kind, (key, body) in zip(("snapshot", "clip"), files.items(), strict=True)
        ],
    }
    if change is not None:
        change(document, files)
    if document:
        files[f"{STEM}.json"] = json.dumps(document).encode()
    assert faults_of([EVENT], files, SENT) == faults
