"""The recorder's units on a real systemd, set up by the commands of its page."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig import ROOT, rtsp, systemd
from tests.rig.recording import length, span
from tests.rig.rtsp import PASSWORD, QUOTED, RtspServer
from tests.rig.servers import Bucket, SeaweedFS, strict_identities
from tests.rig.systemd import Machine
from tests.rig.waiting import until

WHY_NOT = "`make campaign` runs these"
if "RECORDER_LIVE" in os.environ:
    WHY_NOT = rtsp.missing() or systemd.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")
PAGE = (ROOT / "docs/recorder.md").read_text()
[STEPS] = re.findall(r"## Set it up\n+```bash\n(.*?)```", PAGE, re.S)
INSTALL, CONFIGURE = (part.replace("sudo ", "") for part in STEPS.split("sudo nano", 1))
CONFIGURE = CONFIGURE.partition("\n")[2]
SEGMENTS, UNITS = "/var/lib/camera-backup/segments", "/etc/systemd/system"
SECRETS = "/etc/camera-backup/secrets"
KILLS = 5  # so that the whole seconds of the names matter less
KEY, SECRET = "RECORDER", "secret-of-recorder"


@pytest.fixture(scope="module")
def seaweed() -> Iterator[SeaweedFS]:
    server = SeaweedFS(strict_identities(recorder=[]))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the recorder is installed."""
    machine = Machine(tmp_path_factory.mktemp("machine") / "console")
    try:
        machine.boot()
        machine.run(f"set -e; cd /srv/project; {INSTALL}")
        yield machine
    finally:
        machine.end()


@pytest.fixture
def cameras() -> Iterator[RtspServer]:
    server = RtspServer({"front": "h264+aac", "yard": "h264"})
    yield server
    server.stop()


class Backup:
    """The recorder of two cameras on a machine, as its owner handles it."""

    def __init__(self, machine: Machine, cameras: RtspServer, bucket: Bucket) -> None:
        self.machine, self.bucket = machine, bucket
        self.names = ["front", "yard"]
        self.document: dict[str, Any] = {
            "s3": {"bucket": bucket.name, "endpoint": bucket.endpoint,
                   "access_key_id": KEY, "secret_access_key": SECRET},
            "cameras": [{"name": name, "rtsp_url": cameras.url(name)} for name in self.names],
            "recording": {"segment_duration": 10},
            "upload": {"check_interval": 5},
        }  # fmt: skip

    def configure(self, **changes: Any) -> None:
        text = yaml.safe_dump({**self.document, **changes})
        self.machine.path("/etc/camera-backup/config.yaml").write_text(text)

    def start(self) -> None:
        """Starts it by the commands of the page, and waits until it records."""
        self.configure()
        self.machine.run(f"set -e; {CONFIGURE}")
        self.records()

    def records(self) -> None:
        """Waits until the segment of every camera grows."""
        for name in self.names:
            until(lambda name=name: self.show(name)["ActiveState"] == "active", self.journal)
            before = self.growing(name)
            until(lambda name=name, old=before: self.growing(name) not in (0, old), self.journal)

    def growing(self, name: str) -> int:
        """How many bytes the segment of a camera has that grows, or 0 if there is none."""
        for path in self.machine.path(f"{SEGMENTS}/{name}").glob(".*.growing"):
            with suppress(FileNotFoundError):  # finished in this moment
                return path.stat().st_size
        return 0

    def show(self, name: str) -> dict[str, str]:
        """The properties of a camera's service, or of the uploader."""
        unit = "camera-uploader" if name == "uploader" else f"camera-recorder-{name}"
        lines = self.machine.run(f"systemctl show {unit}").splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def status(self, name: str) -> str:
        """The line `Status` of `systemctl status`."""
        return self.show(name).get("StatusText", "")

    def began_anew(self, before: str) -> None:
        """Waits until the service of the camera `front` has another main process."""
        until(lambda: self.show("front")["MainPID"] not in ("0", before), self.journal)

    def drop_in(self, unit: str, *lines: str) -> None:
        """Does what `systemctl edit` does."""
        folder = self.machine.path(f"{UNITS}/{unit}.d")
        folder.mkdir()
        (folder / "override.conf").write_text("\n".join(["[Service]", *lines, ""]))
        self.machine.run("systemctl daemon-reload")

    def stop(self) -> None:
        """Stops the target, and waits until its services have stopped."""
        self.machine.run("systemctl stop camera-backup.target")
        for name in [*self.names, "uploader"]:
            until(lambda name=name: self.show(name)["ActiveState"] in ("inactive", "failed"))

    def segments(self, name: str, folder: Path) -> list[Path]:
        """Every segment of a camera, here and in the bucket, in the order of their starts."""
        for key in self.bucket.tags():
            if key.startswith(f"{name}/"):
                (folder / key.rpartition("/")[2]).write_bytes(self.bucket.get(key))
        for path in self.machine.path(f"{SEGMENTS}/{name}").glob("[0-9]*"):
            (folder / path.name).write_bytes(path.read_bytes())
        return sorted(folder.glob("[0-9]*.mp4"))

    def journal(self) -> str:
        return self.machine.run("journalctl --no-pager --boot --unit='camera-*'")

    def remove(self) -> None:
        """Leaves the machine as it was before, with the recorder installed."""
        self.machine.tell("systemctl disable --now camera-backup.target")
        self.machine.run(
            f"set -e; systemctl stop 'camera-*'; rm -rf {UNITS}/camera-* {SECRETS} {SEGMENTS}/*"
            " /var/lib/camera-backup/mirror/*; systemctl daemon-reload; systemctl reset-failed"
        )


@pytest.fixture
def backup(machine: Machine, cameras: RtspServer, seaweed: SeaweedFS) -> Iterator[Backup]:
    bucket = seaweed.bucket()
    bucket.endpoint = seaweed.plain_endpoint
    backup = Backup(machine, cameras, bucket)
    yield backup
    cameras.thaw()
    backup.remove()


def test_a_camera_that_is_away_keeps_nothing_waiting_and_is_recorded_when_it_comes(
    backup: Backup, cameras: RtspServer
) -> None:
    backup.configure()
    *before, enable = CONFIGURE.splitlines()
    backup.machine.run("set -e\n" + "\n".join(before))
    cameras.freeze()
    began = time.monotonic()
    backup.machine.run(enable)
    assert time.monotonic() - began < 5
    backup.machine.run("systemctl is-active camera-backup.target multi-user.target")
    for name in backup.names:
        why = f"not recording {name}: the camera cannot be recorded: "
        until(lambda name=name, why=why: why in backup.status(name), backup.journal)
        assert backup.show(name)["ActiveState"] == "activating"
    cameras.thaw()
    backup.records()
    assert backup.status("front") == "recording front"
    until(lambda: len(backup.bucket.keys()) >= 4, backup.journal)
    owners = backup.machine.run(f"find {SEGMENTS} -printf '%U %G\\n' | sort -u")
    assert owners == backup.machine.run("echo $(id -u camera-backup) $(id -g camera-backup)")
    uploaded = [key.rpartition("/")[2] for key in backup.bucket.tags() if "front" in key]
    front = backup.machine.path(f"{SEGMENTS}/front")
    until(lambda: not any((front / name).exists() for name in uploaded), "they are deleted here")


def test_a_killed_recorder_costs_seconds(
    backup: Backup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup.start()
    for _ in range(KILLS):
        killed = backup.show("front")["MainPID"]
        backup.machine.run(f"kill -KILL {killed}")
        backup.began_anew(killed)
        backup.records()
    backup.stop()
    whole, lost = span(backup.segments("front", tmp_path))
    with capsys.disabled():
        print(f"\n{KILLS} kills: of {whole:.1f} s, {lost / KILLS:.1f} s are missing for each")
    assert lost / KILLS < 10


def test_the_watchdog_starts_a_recorder_that_hangs(backup: Backup, tmp_path: Path) -> None:
    backup.configure()
    backup.drop_in("camera-recorder-front.service", "WatchdogSec=12")
    backup.start()
    hung = backup.show("front")["MainPID"]
    backup.machine.run(f"kill -STOP {hung}")
    backup.began_anew(hung)
    assert "Watchdog timeout" in backup.journal()
    assert backup.show("front")["NRestarts"] == "1"
    backup.records()
    backup.stop()
    assert all(map(length, backup.segments("front", tmp_path)))


def test_a_removed_camera_is_gone_after_the_commands_that_generate_says(backup: Backup) -> None:
    backup.start()
    yard = backup.show("yard")["MainPID"]
    front = backup.show("front")["MainPID"]
    backup.configure(cameras=backup.document["cameras"][:1])
    told = backup.machine.run("/opt/frigate-mirror/bin/camera-backup-generate")
    commands = re.findall(r"(?m)^then run: (.*)$", told)
    for command in commands:
        backup.machine.run(command)
    services = backup.machine.run("systemctl list-units --all --plain --no-legend 'camera-*'")
    assert "camera-recorder-yard" not in services
    assert not backup.machine.path(f"/proc/{yard}").exists()
    backup.names.remove("yard")
    backup.began_anew(front)
    backup.records()


def test_wrong_settings_are_not_tried_again(backup: Backup) -> None:
    backup.start()
    backup.configure(recording={"segment_duration": "long"})
    backup.machine.run("systemctl restart camera-backup.target")
    for name in [*backup.names, "uploader"]:
        until(lambda name=name: backup.show(name)["ActiveState"] == "failed", backup.journal)
        shown = backup.show(name)
        assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("78", "0")
    assert "segment_duration" in backup.journal()


def test_secrets_that_systemd_gives_are_in_no_journal_and_no_process_list(backup: Backup) -> None:
    secrets = {"S3_ACCESS_KEY": KEY, "S3_SECRET_KEY": SECRET}
    for camera in backup.document["cameras"]:
        secrets[f"rtsp_url.{camera['name']}"] = camera.pop("rtsp_url")
    for name in ("access_key_id", "secret_access_key"):
        del backup.document["s3"][name]
    backup.machine.path(SECRETS).mkdir(mode=0o700)
    for name, text in secrets.items():
        backup.machine.path(f"{SECRETS}/{name}").write_text(text)
    credentials = [f"LoadCredential={name}:{SECRETS}/{name}" for name in secrets]
    for unit in ("recorder-front", "recorder-yard", "uploader"):
        backup.drop_in(f"camera-{unit}.service", *credentials)
    backup.configure()
    backup.machine.run(f"set -e; export CREDENTIALS_DIRECTORY={SECRETS}; {CONFIGURE}")
    seen = b""

    def uploaded() -> bool:
        nonlocal seen
        for path in backup.machine.path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has just ended
                seen += path.read_bytes()
        return len(backup.bucket.keys()) >= 4

    until(uploaded, backup.journal, every=0.05)
    assert b"ffmpeg" in seen and b"--uploader" in seen
    journal = backup.machine.run("journalctl --no-pager --boot --all")
    for password in (PASSWORD, QUOTED, SECRET):
        assert password.encode() not in seen
        assert password not in journal


def test_the_target_stops_everything_with_whole_segments(backup: Backup, tmp_path: Path) -> None:
    backup.start()
    began = time.monotonic()
    backup.stop()
    assert time.monotonic() - began < 20
    for name in [*backup.names, "uploader"]:
        shown = backup.show(name)
        assert (shown["ActiveState"], shown["Result"]) == ("inactive", "success")
    for name in backup.names:
        assert not backup.growing(name)
        (tmp_path / name).mkdir()
        found = backup.segments(name, tmp_path / name)
        assert found and all(map(length, found))


def test_the_next_boot_waits_for_no_camera_and_everything_records_without_a_command(
    backup: Backup, cameras: RtspServer
) -> None:
    backup.start()
    backup.machine.shut_down()
    cameras.freeze()
    backup.machine.boot()
    assert {backup.show(name)["ActiveState"] for name in backup.names} == {"activating"}
    cameras.thaw()
    backup.records()
    before = len(backup.bucket.keys())
    until(lambda: len(backup.bucket.keys()) > before, backup.journal)


def test_the_services_are_shut_in(backup: Backup) -> None:
    backup.start()
    for unit in ("camera-recorder-front", "camera-uploader"):
        backup.machine.run(f"systemd-analyze security --threshold=20 {unit}.service")
