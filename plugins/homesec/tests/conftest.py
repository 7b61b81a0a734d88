"""Fixtures: a broker, a stand-in for Frigate with real clips, and a real S3 server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installed import STUBS, HomeSec

from frigate_mirror.demo.standin import Frigate
from tests.rig.broker import Broker
from tests.rig.router import Router
from tests.rig.servers import Bucket, SeaweedFS

sys.path.append(str(STUBS))  # so that HomeSec finds the plugins of the tests in this process, too


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as started:
        yield started


@pytest.fixture
def frigate(broker: Broker) -> Iterator[Frigate]:
    """It has two cameras, front_door and garage, and its events end at once."""
    standin = Frigate(broker.port)
    yield standin
    standin.stop()


@pytest.fixture
def door(frigate: Frigate) -> Iterator[Router]:
    """A way to Frigate's API that can be closed."""
    router = Router(frigate.url)
    yield router
    router.close()


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    server = SeaweedFS()
    yield server
    server.stop()


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> Bucket:
    return seaweedfs.bucket()


@pytest.fixture
def homesec(tmp_path: Path) -> Iterator[Callable[..., HomeSec]]:
    """Starts HomeSec with a configuration."""
    started: list[HomeSec] = []

    def start(config: dict[str, Any], **environ: str) -> HomeSec:
        one = HomeSec(tmp_path, config, **environ)
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.close()
