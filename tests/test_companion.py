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

from frigate_mirror.ledger.ledger import Ledger
from tests.rig import ROOT
from tests.rig.api import Answer, Fault
from tests.rig.broker import Broker
from tests.rig.rclone import Config, program
from tests.rig.servers import Bucket, Moto
from tests.rig.waiting import PATIENCE, until
from tests.test_api_kinds import WEBP
from tests.test_api_kinds import Frigate as Recorder
from tests.test_mqtt import Frigate as Publisher

COMMAND = [sys.executable, str(ROOT / "s3_snapshot_mirror.py")]


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
            "MIRROR_HTTP_PORT": "0",  # several tests run at the same time
            **environ,
        }
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*COMMAND, "companion"], env=self.environ, stderr=log)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
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
    start = time.strftime("front_door/%Y-%m-%d/%H-%M-%S", time.gmtime(float(event_id[:17])))
    assert {name.partition(".jpg")[0].partition(".json")[0] for name in found} == {
        f"{start}-person-{event_id}"
    }
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


def test_an_event_whose_message_was_lost_is_found_by_the_sweep(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ, MIRROR_SWEEP_INTERVAL="1")
    companion.wait_for("S3 MQTT: connected")
    event_id = frigate.event(tells=False)
    until(lambda: complete(bucket.objects(), event_id))


def test_without_a_broker_the_sweep_finds_all_and_the_log_says_so(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ, MQTT_HOST="", MIRROR_SWEEP_INTERVAL="1")
    event_id = frigate.event(tells=False)
    until(lambda: complete(bucket.objects(), event_id))
    assert "MQTT_HOST is not set" in companion.text
    until(lambda: companion.status()["health"] == "OK")


def test_the_events_of_a_time_without_the_broker_come_as_soon_as_it_is_back(
    begin: Begin, frigate: Frigate, broker: Broker, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ)
    companion.wait_for("S3 MQTT: connected")
    broker.kill()
    event_id = frigate.event(tells=False)
    broker.start()
    until(lambda: complete(bucket.objects(), event_id))  # long before the next sweep


def test_what_ends_while_frigate_cannot_be_asked_comes_soon_after_and_health_is_ok_again(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ)  # its next sweep would be 10 minutes later
    companion.wait_for("S3 MQTT: connected")
    frigate.standin.fail("/api/", Fault(Answer(503, b"busy")), 1e9)
    event_id = frigate.event()
    until(lambda: companion.status()["health"] == "DEGRADED")
    assert "503" in " ".join(companion.status()["reasons"])
    frigate.standin.heal()
    until(lambda: complete(bucket.objects(), event_id))
    until(lambda: companion.status()["health"] == "OK")


def test_the_companion_starts_and_uploads_what_it_holds_while_frigate_is_gone(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    nowhere = bucket.environ | {"S3_ENDPOINT_URL": "http://127.0.0.1:9"}
    companion = begin(**nowhere)
    companion.wait_for("S3 MQTT: connected")
    event_id = frigate.event()
    until(lambda: companion.status().get("counts", {}).get("pending") == 2)
    companion.kill()
    frigate.standin.fail("/", Fault(drops=True), 1e9)  # a burglar has it
    companion.environ |= bucket.environ
    companion.start()
    until(lambda: any(event_id in key for key in bucket.objects() if key.endswith(".jpg")))


def test_a_companion_that_is_killed_loses_nothing(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ)
    companion.wait_for("S3 MQTT: connected")
    ids = []
    for _ in range(3):
        ids.append(frigate.event())
        companion.kill()
        ids.append(frigate.event())
        companion.start()
    until(lambda: all(complete(bucket.objects(), one) for one in ids))
    assert len(bucket.keys()) == 2 * len(ids)


def test_history_is_left_out_if_the_owner_wants_that(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    old = frigate.recorder.event(started=time.time() - 3600)
    companion = begin(**bucket.environ, MIRROR_SKIP_HISTORY="true", MIRROR_SWEEP_INTERVAL="1")
    companion.wait_for("S3 MQTT: connected")
    event_id = frigate.event()
    until(lambda: complete(bucket.objects(), event_id))
    companion.stop()
    companion.start()
    another = frigate.event()
    until(lambda: complete(bucket.objects(), another))
    assert not any(old in key for key in bucket.objects())
    told = companion.run("backfill", "--since", "2h")  # the owner asks for it by name
    assert told.returncode == 0, told.stderr
    until(lambda: complete(bucket.objects(), old))


def test_a_first_start_with_a_clock_that_was_ahead_leaves_out_nothing_for_ever(
    begin: Begin, frigate: Frigate, bucket: Bucket
) -> None:
    companion = begin(**bucket.environ, MIRROR_SKIP_HISTORY="true", MIRROR_SWEEP_INTERVAL="1")
    companion.wait_for("S3 MQTT: connected")
    companion.stop()
    ledger = Ledger(companion.folder / "state" / "ledger.db")
    ledger.set_note("first start", repr(time.time() + 86_400))
    ledger.close()
    companion.start()
    until(lambda: companion.text.count("S3 MQTT: connected") == 2)
    event_id = frigate.event(tells=False)
    until(lambda: complete(bucket.objects(), event_id))


def test_a_frigate_0_18_gives_its_clean_picture(
    tmp_path: Path, broker: Broker, bucket: Bucket
) -> None:
    frigate = Frigate(tmp_path / "0.18", broker, "0.18.0-beta1")
    companion = Companion(tmp_path / "companion", frigate, **bucket.environ)
    try:
        companion.wait_for("S3 MQTT: connected")
        event_id = frigate.event()
        until(lambda: complete(bucket.objects(), event_id))
        [picture] = [data for key, data in bucket.objects().items() if key.endswith(".webp")]
        assert picture == WEBP
    finally:
        companion.close()
        frigate.close()


def test_the_commands_work_on_the_companions_ledger(
    begin: Begin, frigate: Frigate, remote: dict[str, str], tmp_path: Path
) -> None:
    companion = begin(**remote)
    companion.wait_for("S3 MQTT: connected")
    event_id = frigate.event()
    until(lambda: complete(files(tmp_path / "remote"), event_id))
    companion.stop()
    state = tmp_path / "companion-0" / "state"
    for path in [*state.glob("ledger.db*"), *state.glob(".s3_uploaded*")]:
        path.unlink()
    told = companion.run("rebuild")
    assert told.stdout == "2 file(s) of the remote are new in the ledger\n", told.stderr
    for path in (tmp_path / "remote").rglob("*.jpg"):
        path.unlink()
    told = companion.run("backfill", "--verify", "--since", "1h")
    assert told.returncode == 0, told.stderr
    assert complete(files(tmp_path / "remote"), event_id)
    assert "nothing to do" in companion.run("retry").stdout


def test_a_second_companion_in_the_same_folder_says_what_it_waits_for(begin: Begin) -> None:
    first = begin(S3_BUCKET="pictures")
    first.wait_for("started")
    second = begin(S3_BUCKET="others", MIRROR_STATE_DIR=first.environ["MIRROR_STATE_DIR"])
    second.wait_for(f"process id {first.process.pid} on host")
    assert f"uses {first.folder}/state; for a second companion set MIRROR_STATE_DIR" in second.text
    assert second.stop() == 0


def test_the_command_prints_the_unit_of_systemd(tmp_path: Path) -> None:
    told = subprocess.run([*COMMAND, "companion", "unit"], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    assert "ExecStart=/opt/frigate-mirror/bin/frigate-mirror companion\n" in told.stdout


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"S3_BUCKET": "pictures", "FRIGATE_URL": ""}, "FRIGATE_URL: missing"),
        ({}, "or set RCLONE_REMOTE"),
        ({"S3_BUCKET": "pictures", "RCLONE_REMOTE": "nas:"}, "RCLONE_REMOTE: set either"),
        (
            {"S3_BUCKET": "pictures", "MIRROR_KEY_TEMPLATE": "{camera}"},
            "MIRROR_KEY_TEMPLATE: it must",
        ),
    ],
)
def test_wrong_settings_are_told_at_once(begin: Begin, environ: dict[str, str], fault: str) -> None:
    companion = begin(**environ)
    assert companion.process.wait(PATIENCE) == 78
    assert fault in companion.text
