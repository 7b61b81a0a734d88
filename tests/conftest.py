"""Fixtures that more than one test file uses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_mirror.sinks.s3.direct import DirectWay
from lab import tree
from s3 import S3Sink
from tests.rig.certificates import self_signed
from tests.rig.s3_sink import environ_for, sink_for
from tests.rig.servers import Bucket, Moto, SeaweedFS
from tests.rig.stub import Stub


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A SeaweedFS, started by the first test that asks."""
    server = SeaweedFS()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Moto]:
    """moto's server, started by the first test that asks."""
    server = Moto()
    yield server
    server.stop()


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> Bucket:
    """A fresh bucket in SeaweedFS."""
    return seaweedfs.bucket()


@pytest.fixture
def clean_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout of its own that reports take for the project's. Its files are committed."""
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
    """The standard chain finds nothing here unless a test puts it there."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "CA_BUNDLE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, int]]:
    """The name and the bytes of each file, by its inode, when it was last made durable. There is no
    power cut in a test, so the calls of os.fsync are watched."""
    found: dict[int, tuple[str, int]] = {}
    real = os.fsync

    def fsync(file: int) -> None:
        real(file)
        status = os.fstat(file)
        found[status.st_ino] = os.readlink(f"/proc/self/fd/{file}"), status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    return found


@pytest.fixture(scope="module")
def module_stub() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.stop()


@pytest.fixture
def stub(module_stub: Stub) -> Stub:
    """A server that answers as told, and has seen nothing yet."""
    module_stub.reset()
    return module_stub


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_stub(certificate: tuple[Path, Path]) -> Iterator[Stub]:
    """The same over https, with a certificate that only S3_CA_BUNDLE can make trusted."""
    server = Stub(certificate)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def module_sink(module_stub: Stub) -> S3Sink:
    return sink_for(environ_for(module_stub.endpoint))


@pytest.fixture
def shared(module_stub: Stub, module_sink: S3Sink) -> S3Sink:
    """One sink for the long tables, since making a client takes a while; its direct way is new."""
    module_sink._direct = sink_for(environ_for(module_stub.endpoint))._direct
    return module_sink


@pytest.fixture
def over_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes over boto3."""
    monkeypatch.setattr(DirectWay, "put", lambda *_: "")
    monkeypatch.setattr(DirectWay, "check", lambda *_: None)


@pytest.fixture(params=["direct", "boto3"])
def each_way(request: pytest.FixtureRequest) -> str:
    """Once the direct way, once over boto3."""
    if request.param == "boto3":
        request.getfixturevalue("over_boto3")
    way: str = request.param
    return way
