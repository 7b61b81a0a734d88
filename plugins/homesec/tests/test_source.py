"""The source `frigate_events` within a process: its configuration, its health, its hub."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from homesec.models.clip import Clip
from homesec.plugins import discover_all_plugins
from homesec.plugins.registry import PluginType, load_plugin, validate_plugin
from pydantic import ValidationError
from things import event

from frigate_mirror.demo.standin import Frigate
from frigate_mirror.settings.settings import LEDGER_NAME
from homesec_frigate_events import hub as hubs
from homesec_frigate_events import source as module
from homesec_frigate_events.connection import ConfigFault
from homesec_frigate_events.models import FrigateEventsConfig
from homesec_frigate_events.sidecar import MARK
from homesec_frigate_events.source import FrigateEventsSource, connection_of, wishes_of
from tests.rig.broker import Broker
from tests.rig.router import Router
from tests.rig.waiting import PATIENCE, until

discover_all_plugins()
OF_THE_DOCUMENT = {
    "frigate_url_env": None, "mqtt_host": "localhost", "mqtt_port": 1883, "mqtt_username": None,
    "mqtt_password_env": None, "mqtt_topic_prefix": "frigate", "mqtt_client_id": "homesec-frigate",
    "cameras": None, "labels": ["person"], "min_score": 0.7, "zones": None, "min_duration_s": 1.0,
    "output_dir": Path("./frigate_clips"), "clip_format": "mp4", "retain_clips": True,
    "download_timeout_s": 30.0, "bypass_filter": True, "include_frigate_metadata": True,
    "reconnect_delay_s": 5.0, "max_reconnect_attempts": 10,
}  # fmt: skip
"""The fields of the specification's configuration, and their defaults."""


def config_of(**fields: Any) -> FrigateEventsConfig:
    return FrigateEventsConfig(**{"frigate_url": "http://frigate:5000", **fields})


def source_of(folder: Path, url: str, port: int, name: str = "garage", **more: Any) -> Any:
    config = {"frigate_url": url, "mqtt_host": "127.0.0.1", "mqtt_port": port,
              "output_dir": str(folder / "clips"), "reconnect_delay_s": 1,
              "max_reconnect_attempts": 0, **more}  # fmt: skip
    return load_plugin(PluginType.SOURCE, "frigate_events", config, camera_name=name)


class Running:
    """Sources in an event loop, as HomeSec has them, with the clips that they give."""

    def __init__(self, *sources: Any) -> None:
        self.sources = sources
        self.clips: list[str] = []
        for source in sources:
            source.register_callback(self._take)

    def _take(self, clip: Clip) -> None:
        self.clips.append(clip.camera_name)

    async def __aenter__(self) -> Running:
        for source in self.sources:
            await source.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(source.shutdown(30.0) for source in self.sources))

    async def wait(self, condition: Any, what: str = "") -> None:
        await asyncio.to_thread(until, condition, what)


# -- the configuration


def test_every_field_of_the_document_has_its_name_and_its_default() -> None:
    fields = FrigateEventsConfig.model_fields
    assert {name: fields[name].default for name in OF_THE_DOCUMENT} == OF_THE_DOCUMENT
    assert all(field.description for field in fields.values())


def test_all_faults_are_told_at_once() -> None:
    wrong = {"mqtt_port": 0, "labels": [], "min_score": 2, "clip_format": "avi", "colour": "red"}
    with pytest.raises(ValidationError) as caught:
        validate_plugin(PluginType.SOURCE, "frigate_events", wrong, camera_name="a")
    assert {str(error["loc"][0]) for error in caught.value.errors()} == wrong.keys()
    with pytest.raises(ValidationError) as caught:
        FrigateEventsConfig(frigate_user="me", mqtt_password_env="WORD", mqtt_client_key=Path("k"))
    for words in ("Either frigate_url or", "frigate_password_env", "mqtt_username", "client_cert"):
        assert words in str(caught.value)


def test_validation_makes_no_folder_and_no_thread(tmp_path: Path) -> None:
    source_of(tmp_path, "http://127.0.0.1:1", 1)
    assert list(tmp_path.iterdir()) == []


def test_the_address_of_the_environment_wins() -> None:
    config = config_of(frigate_url_env="URL")
    assert connection_of(config, {"URL": "http://other:5000"}).environ["FRIGATE_URL"] == (
        "http://other:5000"
    )
    assert connection_of(config, {}).environ["FRIGATE_URL"] == "http://frigate:5000"


def test_every_variable_that_is_not_set_is_told() -> None:
    config = FrigateEventsConfig(
        frigate_url_env="URL", frigate_user="me", frigate_password_env="WORD",
        mqtt_username="me", mqtt_password_env="OTHER",
    )  # fmt: skip
    with pytest.raises(ConfigFault) as caught:
        connection_of(config, {})
    for name in ("frigate_url_env", "frigate_password_env", "mqtt_password_env"):
        assert f"{name}: the environment variable" in str(caught.value)


def test_faults_have_the_names_of_the_configuration() -> None:
    with pytest.raises(ConfigFault, match=r"^frigate_url: .*; mqtt_topic_prefix: "):
        connection_of(config_of(frigate_url="frigate", mqtt_topic_prefix="a/#"), {}).settings()


def test_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(mqtt_username="me", mqtt_password_env="WORD")
    assert "s3cr3t" not in repr(connection_of(config, {"WORD": "s3cr3t"}))


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({}, True),
        ({"camera_name": "other"}, False),
        ({"camera_name": "other", "frigate_camera": "garage"}, True),
        ({"camera_name": "other", "cameras": ["garage", "yard"]}, True),
        ({"camera_name": "other", "cameras": ["*"]}, True),
        ({"labels": ["car"]}, False),
        ({"min_score": 0.91}, False),
        ({"min_score": 0.9}, True),
        ({"zones": ["porch"]}, False),
        ({"zones": ["porch", "yard"]}, True),
        ({"min_duration_s": 10.1}, False),
        ({"min_duration_s": 10.0}, True),
    ],
)
def test_the_filters_of_a_camera(fields: dict[str, Any], passes: bool) -> None:
    wishes = wishes_of(config_of(**{"camera_name": "garage", **fields}))
    name, _ = wishes.filters().why_not(event())
    assert (not name) == passes


# -- the life of a source


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(10)
        yield server.getsockname()[1]


def test_start_returns_at_once_in_a_silent_network_and_so_does_the_end(
    tmp_path: Path, silent: int
) -> None:
    async def life() -> tuple[float, float]:
        source = source_of(tmp_path, f"http://127.0.0.1:{silent}", silent)
        began = time.monotonic()
        await source.start()
        started = time.monotonic()
        assert source.is_healthy() and not await source.ping()
        await asyncio.to_thread(until, (tmp_path / "clips").exists)
        stopping = time.monotonic()
        await source.shutdown(30.0)
        return started - began, time.monotonic() - stopping

    start, stop = asyncio.run(life())
    assert start < 1.0
    assert stop < 30.0  # HomeSec would give it up, and kill its worker


def test_two_cameras_share_one_connection_to_the_broker(
    tmp_path: Path, frigate: Frigate, door: Router, broker: Broker
) -> None:
    async def life() -> None:
        both = [
            source_of(tmp_path, door.endpoint, broker.port, name)
            for name in ("front_door", "garage")
        ]
        await asyncio.to_thread(until, lambda: frigate.is_connected)
        before = broker.front.connections if broker.front else 0
        async with Running(*both) as running:
            await running.wait(lambda: broker.front and broker.front.connections > before)
            await running.wait(lambda: all(source.fault() == "" for source in both))
            frigate.ends("garage", "person")
            frigate.ends("front_door", "person")
            await running.wait(lambda: len(running.clips) == 2)
            assert sorted(running.clips) == ["front_door", "garage"]
            assert broker.front and broker.front.connections == before + 1
            assert all([await source.ping() for source in both])

    asyncio.run(life())


def test_a_clip_whose_camera_starts_a_moment_later_waits_for_it(
    tmp_path: Path, frigate: Frigate, broker: Broker
) -> None:
    async def life() -> None:
        first = source_of(tmp_path, frigate.url, broker.port, "garage")
        second = source_of(tmp_path, frigate.url, broker.port, "front_door")
        async with Running(first):
            frigate.ends("front_door", "person")
            clips = tmp_path / "clips"
            await asyncio.to_thread(until, lambda: list(clips.glob("front_door_*.mp4")))
            async with Running(second) as others:
                await others.wait(lambda: others.clips == ["front_door"])

    asyncio.run(life())


def test_a_camera_that_starts_later_gets_what_ended_since_it_is_configured_and_nothing_older(
    tmp_path: Path, frigate: Frigate, broker: Broker
) -> None:
    async def life() -> None:
        first = source_of(tmp_path, frigate.url, broker.port, "garage")
        async with Running(first) as running:
            frigate.ends("front_door", "person")  # there is no camera for it
            frigate.ends("garage", "person")
            await running.wait(lambda: running.clips == ["garage"])
            later = source_of(tmp_path, frigate.url, broker.port, "front_door")
            frigate.ends("front_door", "person")  # its camera has not started
            frigate.ends("garage", "person")
            await running.wait(lambda: running.clips == ["garage"] * 2)
            async with Running(later) as others:
                await running.wait(lambda: others.clips == ["front_door"])
                frigate.ends("garage", "person")
                await running.wait(lambda: running.clips == ["garage"] * 3)
                assert others.clips == ["front_door"]

    asyncio.run(life())


def test_a_camera_is_unhealthy_while_frigate_is_away_and_well_again_later(
    tmp_path: Path,
    frigate: Frigate,
    door: Router,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "homesec_frigate_events")
    monkeypatch.setattr(hubs, "PATIENCE", 1.0)
    monkeypatch.setattr(hubs, "BEAT", 0.2)

    async def life() -> None:
        source = source_of(tmp_path, door.endpoint, broker.port)
        async with Running(source) as running:
            await running.wait(source.is_healthy)
            door.refusing = True
            await running.wait(lambda: source.fault().startswith("Frigate does not answer: ask "))
            await running.wait(lambda: "No new clips from http://" in caplog.text)
            assert not await source.ping()
            door.refusing = False
            await running.wait(source.is_healthy)
            await running.wait(lambda: "New clips come again; this is over: Frig" in caplog.text)

    asyncio.run(life())


def test_a_camera_is_unhealthy_while_no_clip_can_be_stored_and_loses_none(
    tmp_path: Path, frigate: Frigate, broker: Broker
) -> None:
    async def life() -> None:
        source = source_of(tmp_path, frigate.url, broker.port)
        async with Running(source) as running:
            mark = tmp_path / "clips" / MARK
            await running.wait(mark.exists)
            mark.unlink()
            mark.symlink_to(tmp_path / "a disk that is away" / "mark")
            frigate.ends("garage", "person")
            await running.wait(lambda: source.fault().startswith("no clip can be stored: write "))
            assert not running.clips
            mark.unlink()
            await running.wait(lambda: running.clips == ["garage"])
            await running.wait(source.is_healthy)

    asyncio.run(life())


def test_after_the_last_try_the_broker_is_given_up_and_events_still_come(
    tmp_path: Path,
    frigate: Frigate,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(hubs, "WITHOUT_BROKER", 1.0)
    caplog.set_level(logging.INFO, "homesec_frigate_events")

    async def life() -> None:
        source = source_of(tmp_path, frigate.url, broker.port, max_reconnect_attempts=2)
        async with Running(source) as running:
            await running.wait(lambda: "Subscribed to MQTT topic: frigate/events" in caplog.text)
            broker.cut_off()
            await running.wait(lambda: "Max reconnection attempts (2) reached" in caplog.text)
            assert source.fault() == "the MQTT broker was away for too long"
            frigate.ends("garage", "person")
            await running.wait(lambda: running.clips == ["garage"])

    asyncio.run(life())
    assert "MQTT connection lost (attempt 1/2): " in caplog.text


def test_a_broker_that_is_away_for_a_day_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "homesec_frigate_events")
    watch = hubs.Watch("frigate/events", attempts=0)
    for _ in range(17_280):
        watch.away("it does not answer")
    assert len(caplog.records) == 15
    watch.up()
    caplog.clear()
    watch.away("it does not answer")
    assert "MQTT connection lost (attempt 1/∞): it does not answer" in caplog.text


def test_a_start_that_fails_is_said_once_and_tried_again(
    tmp_path: Path,
    frigate: Frigate,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[FrigateEventsConfig] = []

    def counted(config: FrigateEventsConfig, environ: Any) -> Any:
        tries.append(config)
        return connection_of(config, environ)

    monkeypatch.setattr(module, "AGAIN", 0.1)
    monkeypatch.setattr(module, "connection_of", counted)

    async def life() -> None:
        source = source_of(tmp_path, "", broker.port, frigate_url_env="LATER")
        async with Running(source) as running:
            await running.wait(lambda: len(tries) > 3)
            assert not source.is_healthy()
            monkeypatch.setitem(os.environ, "LATER", frigate.url)
            await running.wait(source.is_healthy)
            frigate.ends("garage", "person")
            await running.wait(lambda: running.clips == ["garage"])

    asyncio.run(life())
    assert caplog.text.count("frigate_events cannot start for garage") == 1


def test_a_ledger_that_cannot_be_used_is_tried_again(
    tmp_path: Path, frigate: Frigate, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "AGAIN", 0.2)
    config = config_of(
        frigate_url=frigate.url, mqtt_host="127.0.0.1", mqtt_port=broker.port,
        output_dir=tmp_path / "clips",
    )  # fmt: skip
    state = connection_of(config, {}).settings().state.folder
    state.mkdir(parents=True)
    ledger = state / LEDGER_NAME
    with closing(sqlite3.connect(ledger)) as newer:
        newer.execute("PRAGMA user_version = 999")

    async def life() -> None:
        source = source_of(tmp_path, frigate.url, broker.port)
        async with Running(source) as running:
            await running.wait(lambda: source.fault() == "the mirror cannot start, see the log")
            ledger.unlink()
            await running.wait(source.is_healthy)
            frigate.ends("garage", "person")
            await running.wait(lambda: running.clips == ["garage"])

    asyncio.run(life())


def test_a_source_that_never_started_ends_well(tmp_path: Path) -> None:
    source = source_of(tmp_path, "http://127.0.0.1:1", 1)
    asyncio.run(asyncio.wait_for(source.shutdown(), PATIENCE))
    assert isinstance(source, FrigateEventsSource)
