"""The companion as a process, beside a stand-in for Frigate's API, a real broker and real
destinations."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig import ROOT
from tests.rig.api import Answer, Fault
from tests.rig.broker import Broker
from tests.rig.rclone import Config, program
from tests.rig.servers import Bucket, Moto
from tests.rig.waiting import PATIENCE, until
from tests.test_api_kinds import Frigate as Recorder
from tests.test_api_kinds import WEBP
from tests.test_mqtt import Frigate as Publisher

START_WITHIN = PATIENCE


class Frigate:
    """A Frigate with its API and its messages on a broker. Its events end now."""

    def __init__(self, folder: Path, broker: Broker, version: str = "0.17.2") -> None:
        self.recorder = Recorder(folder, version)
        self.standin = self.recorder.standin
        self.broker = broker
        self._publisher: Publisher | None = None

    @property
    def publisher(self) -> Publisher:
        self._publisher = self._publisher or Publisher(self.broker)
        return self._publisher

    def event(self, *, tells: bool = True) -> str:
        """Makes an event that has just ended, and publishes its end."""
        event_id = self.recorder.event(started=time.time() - 5)
        if tells:
            self.publisher.ends(event_id)
        return event_id

    def close(self) -> None:
        if self._publisher:
            self._publisher.stop()
        self.recorder.close()


class Companion:
    """A companion with a state folder of its own. It mirrors snapshots and metadata, because a
    clip takes 20 seconds to be ready."""

    def __init__(self, folder: Path, frigate: Frigate, **environ: str) -> None:
        self.folder = folder
        folder.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "FRIGATE_URL": frigate.standin.url,
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(frigate.broker.port),
            "MIRROR_STATE_DIR": str(folder / "state"),
            "MIRROR_KINDS": "snapshot,metadata",
            "MIRROR_CHECK_INTERVAL": "1",
            **environ,
        }
        self.start()

    def start(self) -> None:
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), "companion"],
            env=self.environ,
            stderr=self.log,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "s3_snapshot_mirror.py"), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def says(self, words: str) -> bool:
        return words in self.text

    @property
    def text(self) -> str:
        return (self.folder / "log").read_text()

    def wait_for(self, words: str) -> None:
        until(lambda: self.says(words), words)

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return document

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.log.close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        yield started


@pytest.fixture
def frigate(tmp_path: Path, broker: Broker) -> Iterator[Frigate]:
    made = Frigate(tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def bucket(moto_server: Moto) -> Bucket:
    return moto_server.bucket()


Begin = Callable[..., Companion]


@pytest.fixture
def begin(tmp_path: Path, frigate: Frigate) -> Iterator[Begin]:
    begun: list[Companion] = []

    def companion(**environ: str) -> Companion:
        begun.append(Companion(tmp_path / f"companion-{len(begun)}", frigate, **environ))
        return begun[-1]

    yield companion
    for one in begun:
        one.close()


@pytest.fixture
def remote(tmp_path: Path) -> dict[str, str]:
    """The settings of a remote of rclone, whose files lie in the folder `remote`."""
    (tmp_path / "remote").mkdir()
    config = Config(tmp_path)
    config.add("nas", "alias", remote=tmp_path / "remote")
    return {"RCLONE_REMOTE": "nas:", "RCLONE_CONFIG": str(config.path), "RCLONE_PATH": program()}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".partial")
    }


def complete(found: dict[str, bytes], event_id: str) -> bool:
    """Whether all files of the event are there, as its document says."""
    own = {name: data for name, data in found.items() if event_id in name}
    document = next((json.loads(data) for name, data in own.items() if name.endswith(".json")), {})
    return bool(document.get("complete")) and all(
        hashlib.sha256(own.get(one["key"], b"")).hexdigest() == one["sha256"]
        for one in document["files"]
    )


def test_an_event_goes_to_a_remote_of_rclone_under_a_name_that_people_read(
    begin: Begin, frigate: Frigate, remote: dict[str, str], tmp_path: Path
) -> None:
    companion = begin(**remote)
    companion.wait_for("S3 MQTT: connected")
    event_id = frigate.event()
    until(lambda: complete(files(tmp_path / "remote"), event_id))
    found = files(tmp_path / "remote")
    day, hours = time.strftime("%Y-%m-%d"), r"\d\d-\d\d-\d\d"
    assert len(found) == 2
    for name in found:
        assert name.startswith("front_door/20"), day
        assert name.partition("-unknown-")[2].startswith(event_id), hours
    [picture] = [data for name, data in found.items() if not name.endswith(".json")]
    assert picture == frigate.recorder.world.pictures[event_id]
    document = companion.status()
    assert document["target"] == {"remote": "nas:"}
    assert document["source"].endswith(", up")
    assert companion.run("status", "--alive").returncode == 0
    assert companion.stop() == 0
    stopped = companion.run("status", "--alive")
    assert (stopped.returncode, stopped.stdout) == (1, "the companion was stopped\n")


def test_an_event_goes_to_a_bucket(begin: Begin, frigate: Frigate, bucket: Bucket) -> None:
    companion = begin(**bucket.environ)
    companion.wait_for("S3 MQTT: connected")
    event_id = frigate.event()
    until(lambda: complete(bucket.objects(), event_id))
