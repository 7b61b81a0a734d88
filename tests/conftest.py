"""Fixtures that more than one test file uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers import Bucket, Moto, SeaweedFS


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
