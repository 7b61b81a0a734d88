"""`recorder install` and `recorder generate`: what they write below a root folder, and what systemd
says of it."""

from __future__ import annotations

import re
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.recorder import install, units
from tests.rig.recording import PROGRAM, Recording
from tests.rig.waiting import PATIENCE, until

ANALYZE = shutil.which("systemd-analyze")
CAMERAS = {"front-door": "rtsp://user:hunter2@10.0.0.5/x", "back_yard": "rtsp://10.0.0.6/x"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def run(*words: object) -> str:
    done = subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def generate(root: Path, cameras: dict[str, Any], *words: str, folder: str = "") -> dict[str, str]:
    """Returns every unit by its name."""
    made = root.parent / f"made{folder}"
    made.mkdir(exist_ok=True)
    told = run("generate", "--root", root, "--config", Recording(made, cameras).config, *words)
    found = sorted((root / "etc/systemd/system").glob("*"))
    return {"told": told, **{path.name: path.read_text() for path in found}}


def test_install_makes_folders_and_a_template_and_overwrites_nothing(root: Path) -> None:
    run("install", "--root", root)
    config = root / "etc/camera-backup/config.yaml"
    assert "YOUR_ACCESS_KEY_ID" in config.read_text()
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert (root / "var/lib/camera-backup/segments").is_dir()
    config.write_text("mine")
    assert "config.yaml, which exists" in run("install", "--root", root)
    assert config.read_text() == "mine"


def test_a_dry_run_says_what_it_would_do_and_does_nothing(root: Path) -> None:
    assert f"write  {root}/etc/camera-backup/config.yaml" in run(
        "install", "--root", root, "--dry-run"
    )
    told = generate(root, CAMERAS, "--dry-run")["told"]
    assert f"write  {root}/etc/systemd/system/camera-uploader.service" in told
    assert not root.exists()


def test_each_enabled_camera_gets_a_service_and_the_target_wants_them_all(root: Path) -> None:
    off = {"attic": {"rtsp_url": "rtsp://10.0.0.7/x", "enabled": False}}
    made = generate(root, CAMERAS | off)
    names = {"camera-recorder-front-door.service", "camera-recorder-back_yard.service",
             "camera-uploader.service"}  # fmt: skip
    assert set(made) == names | {"camera-backup.target", "told"}
    [wants] = re.findall(r"(?m)^Wants=(.*)$", made["camera-backup.target"])
    assert set(wants.split()) == names
    front = made["camera-recorder-front-door.service"]
    assert re.search(r"(?m)^ExecStart=\S+ recorder run --config \S+ --camera front-door$", front)
    assert "recorder run --config" in made["camera-uploader.service"]
    assert "--uploader\n" in made["camera-uploader.service"]
    assert "hunter2" not in "".join(made.values())


def test_the_folders_that_the_configuration_names_are_made(root: Path) -> None:
    """systemd starts no service whose folders are missing."""
    generate(root, CAMERAS)
    folder = root / root.parent.relative_to("/") / "made"
    for name, mode in (("segments", 0o750), ("mirror", 0o700)):
        assert stat.S_IMODE((folder / name).stat().st_mode) == mode


def test_a_second_run_changes_nothing(root: Path) -> None:
    first = generate(root, CAMERAS)
    second = generate(root, CAMERAS)
    assert second["told"] == "nothing has changed\n"
    assert first | second == first | {"told": second["told"]}


def test_the_service_of_a_camera_that_is_gone_is_removed_and_no_other_file(root: Path) -> None:
    generate(root, CAMERAS)
    folder = root / "etc/systemd/system"
    (folder / "camera-recorder-mine.service").write_text("[Service]\n")
    made = generate(root, {"front-door": CAMERAS["front-door"]}, folder="2")
    assert "camera-recorder-back_yard.service" not in made
    assert "remove" in made["told"]
    assert made["camera-recorder-mine.service"] == "[Service]\n"


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_has_nothing_to_say_against_the_units(root: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a folder with 100% $odd "names"'
    odd.mkdir()
    for number, storage in enumerate(("/var/lib/camera-backup/segments", str(odd / "segments"))):
        below = tmp_path / f"root{number}"
        made = Recording(tmp_path, CAMERAS, storage={"local_path": storage})
        run("generate", "--root", below, "--config", made.config)
        folder = below / "etc/systemd/system"
        for path in folder.iterdir():
            text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", path.read_text())
            path.write_text(text)
        found = sorted(map(str, folder.iterdir()))
        done = subprocess.run(
            [str(ANALYZE), "verify", "--man=no", *found], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        services = [name for name in found if name.endswith(".service")]
        for service in services:
            words = [str(ANALYZE), "security", "--offline=true", "--threshold=14", service]
            rated = subprocess.run(words, capture_output=True, text=True)
            assert rated.returncode == 0, rated.stdout[-300:]


def test_the_commands_after_generate_stop_the_service_of_a_removed_unit_before_the_others_start(
    tmp_path: Path,
) -> None:
    new = units.Change(tmp_path / "camera-recorder-a.service", "[Unit]", "write")
    gone = units.Change(tmp_path / "camera-recorder-b.service", None, "remove")
    start = "systemctl daemon-reload && systemctl enable --now camera-backup.target"
    assert install.commands([new]) == [start]
    assert install.commands([new, gone]) == ["systemctl stop camera-recorder-b.service", start]


def test_what_runs_is_started_anew_after_a_change_of_its_settings(tmp_path: Path) -> None:
    replaced = units.Change(tmp_path / "camera-recorder-a.service", "[Unit]", "replace")
    for changes in ([], [replaced]):
        last = install.commands(changes)[-1]
        assert last.startswith("systemctl restart camera-backup.target")


def test_the_service_of_a_camera_that_is_away_is_neither_ready_nor_alive(tmp_path: Path) -> None:
    recording = Recording(tmp_path, {"front": "rtsp://127.0.0.1:1/x"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        process = recording.run("--camera", "front", NOTIFY_SOCKET=str(tmp_path / "notify"))
        try:
            until(lambda: "not recorded: " in recording.log.read_text(), "it was tried")
            assert recording.stop(process) == 0
            told = [manager.recv(4096)]
            while told[-1] != b"STOPPING=1":
                told.append(manager.recv(4096))
        finally:
            recording.end()
    assert {one[:29] for one in told[:-1]} == {b"STATUS=not recording front: t"}


def test_a_path_is_one_word_of_a_unit(tmp_path: Path) -> None:
    made = Recording(tmp_path, CAMERAS, storage={"local_path": '/srv/my "100%" $x'})
    from frigate_mirror.recorder import config

    texts = units.texts(config.load(made.config), "/opt/bin/frigate-mirror", state=Path("/srv/m"))
    service = texts["camera-recorder-front-door.service"]
    assert 'ReadWritePaths="/srv/my \\"100%%\\" $$x"\n' in service
