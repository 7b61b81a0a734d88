"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.s3.direct import DirectWay
from lab import tree
from s3 import S3Sink
from tests.rig.certificates import self_signed
from tests.rig.remotes import Remotes
from tests.rig.s3_sink import environ_for, sink_for
from tests.rig.servers import Bucket, Moto, SeaweedFS
from tests.rig.stub import Stub


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A SeaweedFS server. The first test that needs it starts it."""
    server = SeaweedFS()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Moto]:
    """A server of moto. The first test that needs it starts it."""
    server = Moto()
    yield server
    server.stop()


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> Bucket:
    """A fresh bucket in SeaweedFS."""
    return seaweedfs.bucket()


@pytest.fixture
def clean_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A git checkout that reports take for the project's own. Its files are committed."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "program.py").touch()
    (folder / "report.md").write_text("as committed\n")
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (("init",), ("add", "."), (*author, "commit", "-m", "all")):
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)
    monkeypatch.setattr(tree, "ROOT", folder)
    return folder


@pytest.fixture
def no_aws_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides the AWS settings of the host, so that the standard chain finds only those of a test."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "CA_BUNDLE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.fixture
def far_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine is where the clock is 13 hours ahead of UTC."""
    monkeypatch.setenv("TZ", "FAR-13")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, int]]:
    """The name and the size that each file had when it was last made durable, by its inode. A test
    cannot cut the power, so this fixture watches the calls of os.fsync and os.fdatasync."""
    durable: dict[int, tuple[str, int]] = {}

    def watched(real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(file: int) -> None:
            real(file)
            status = os.fstat(file)
            durable[status.st_ino] = os.readlink(f"/proc/self/fd/{file}"), status.st_size

        return sync

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return durable


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remotes]:
    """Remotes of rclone of many kinds."""
    made = Remotes(tmp_path_factory.mktemp("rclone"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def remote_daemon(remotes: Remotes) -> Iterator[Daemon]:
    """One rclone for all tests of a module on these remotes."""
    environ = remotes.environ("local:")
    running = Daemon(settings.load(environ).rclone, environ)
    yield running
    running.close()


@pytest.fixture(scope="module")
def module_stub() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.stop()


@pytest.fixture
def stub(module_stub: Stub) -> Stub:
    """A server that gives the answers that a test sets. It has seen no request yet."""
    module_stub.reset()
    return module_stub


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_stub(certificate: tuple[Path, Path]) -> Iterator[Stub]:
    """The same server over https. Only S3_CA_BUNDLE makes its certificate trusted."""
    server = Stub(certificate)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def module_sink(module_stub: Stub) -> S3Sink:
    return sink_for(environ_for(module_stub.endpoint))


@pytest.fixture
def shared(module_stub: Stub, module_sink: S3Sink) -> S3Sink:
    """One sink for the long tables, because a client takes long to make. Its direct way is new."""
    module_sink._direct = sink_for(environ_for(module_stub.endpoint))._direct
    return module_sink


@pytest.fixture
def over_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every request go over boto3."""
    for name in ("put", "put_part", "create_upload", "complete_upload"):
        monkeypatch.setattr(DirectWay, name, lambda *_: "")
    monkeypatch.setattr(DirectWay, "check", lambda *_: None)


@pytest.fixture(params=["direct", "boto3"])
def each_way(request: pytest.FixtureRequest) -> str:
    """Runs the test once over the direct way and once over boto3."""
    if request.param == "boto3":
        request.getfixturevalue("over_boto3")
    way: str = request.param
    return way
