"""The whole: an unchanged HomeSec, a real broker, a stand-in for Frigate with real clips, and a
real S3 server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from installed import HomeSec, config_of

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.demo.standin import Event, Frigate
from tests.rig.broker import Broker
from tests.rig.router import Router
from tests.rig.servers import ACCESS, SECRET, Bucket
from tests.rig.waiting import PATIENCE, until

Start = Callable[..., HomeSec]
CAMERAS: dict[str, dict[str, Any]] = {
    "front": {"frigate_camera": "front_door", "labels": ["person", "car"]},
    "garage": {"labels": ["person"]},
}
RIGHT = {"front_door": "front", "garage": "garage"}


def events(frigate: Frigate, count: int) -> list[Event]:
    """Lets so many events end, in turn at both cameras."""
    return [frigate.ends(("front_door", "garage")[turn % 2], "person") for turn in range(count)]


def event_of(alert: dict[str, Any]) -> str:
    found: str = alert["clip_id"].rpartition("_")[2]
    return found


def cameras_of(alerts: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {event_of(alert): alert["camera_name"] for alert in alerts}


def right_cameras(ended: Iterable[Event]) -> dict[str, str]:
    return {event.id: RIGHT[event.camera] for event in ended}


def sidecars(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "clips").glob("*.json")]


def test_fifty_events_become_fifty_alerts_and_their_clips_lie_in_the_bucket(
    tmp_path: Path, frigate: Frigate, broker: Broker, bucket: Bucket, homesec: Start
) -> None:
    storage = {
        "bucket": bucket.name,
        "endpoint_url": bucket.endpoint,
        "ca_bundle": bucket.ca_bundle or None,
        "access_key_env": "KEY",
        "secret_key_env": "SECRET",
    }
    policy = {"min_risk_level": "medium", "overrides": {"garage": {"notify_on_motion": True}}}
    config = config_of(
        tmp_path,
        frigate.url,
        broker.port,
        CAMERAS,
        storage={"backend": "s3", "config": storage},
        alert_policy={"backend": "default", "config": policy},
    )
    running = homesec(config, KEY=ACCESS, SECRET=SECRET)
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    frigate.ends("front_door", "dog")  # nobody wants it
    ended = events(frigate, 50)

    alerts = running.wait_for_alerts(50)
    assert len(alerts) == 50
    assert cameras_of(alerts) == right_cameras(ended)
    reasons = {(alert["camera_name"], alert["notify_reason"]) for alert in alerts}
    assert reasons == {("front", "risk_level=medium"), ("garage", "notify_on_motion=true")}
    assert all("[Frigate: person, in yard, score 91%]" in alert["summary"] for alert in alerts)

    names = {f"homesec/clips/{alert['camera_name']}/{alert['clip_id']}.mp4" for alert in alerts}
    assert set(bucket.keys()) == names
    assert all(bucket.name in alert["view_url"] for alert in alerts)
    local = {path.name: path.read_bytes() for path in (tmp_path / "clips").glob("*.mp4")}
    assert {Path(key).name: data for key, data in bucket.objects().items()} == local
    assert running.stop() == 0
    assert all(sidecar["done"] for sidecar in sidecars(tmp_path))


def test_what_ends_while_the_broker_is_away_is_not_missed(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start
) -> None:
    running = homesec(config_of(tmp_path, frigate.url, broker.port, CAMERAS))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    ended = events(frigate, 6)
    broker.kill()
    until(lambda: not frigate.is_connected)
    ended += events(frigate, 6)  # nothing is published of these
    running.wait_for("MQTT connection lost (attempt 1/∞)")
    broker.start()
    until(lambda: frigate.is_connected)
    ended += events(frigate, 6)
    alerts = running.wait_for_alerts(18)
    assert len(alerts) == 18
    assert cameras_of(alerts) == right_cameras(ended)


def test_a_frigate_that_is_down_at_the_start_delays_homesec_and_loses_nothing(
    tmp_path: Path, frigate: Frigate, door: Router, broker: Broker, homesec: Start
) -> None:
    door.refusing = True
    url = door.endpoint
    running = homesec(config_of(tmp_path, url, broker.port, CAMERAS))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    ended = events(frigate, 6)
    until(lambda: door.connections > 3)
    door.refusing = False
    ended += events(frigate, 4)
    alerts = running.wait_for_alerts(10)
    assert len(alerts) == 10
    assert cameras_of(alerts) == right_cameras(ended)


def test_after_a_kill_only_what_homesec_had_in_its_hands_comes_twice(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start
) -> None:
    slow = {"backend": "test", "config": {"pause_s": 1.0}}  # two at a time
    vlm = {"backend": "frigate_context", "trigger_classes": ["person"], "config": slow}
    config = config_of(tmp_path, frigate.url, broker.port, CAMERAS, vlm=vlm)
    running = homesec(config)
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    ended = events(frigate, 16)
    running.wait_for_alerts(4)
    running.kill()
    hands = {one["clip_id"] for one in sidecars(tmp_path) if one["given"] and not one["done"]}
    ended += events(frigate, 5)
    running.start()
    running.wait_for_alerts(21)
    assert running.stop() == 0
    alerts = running.alerts()
    assert cameras_of(alerts) == right_cameras(ended)
    twice = {clip for clip, count in Counter(one["clip_id"] for one in alerts).items() if count > 1}
    assert twice <= hands
    assert 2 <= len(hands) < 16
    assert "missing at the destination" not in running.text
    assert all(one["done"] for one in sidecars(tmp_path))


def test_after_a_usual_stop_nothing_comes_twice_and_nothing_is_missing(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start
) -> None:
    running = homesec(config_of(tmp_path, frigate.url, broker.port, CAMERAS))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    ended = events(frigate, 10)
    running.wait_for_alerts(2)
    assert running.stop() == 0
    ended += events(frigate, 5)
    running.start()
    alerts = running.wait_for_alerts(15)
    assert len(alerts) == 15
    assert cameras_of(alerts) == right_cameras(ended)


def test_a_usual_stop_waits_for_what_homesec_has_in_its_hands(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start
) -> None:
    slow = {"backend": "test", "config": {"pause_s": 7.0}}
    vlm = {"backend": "frigate_context", "trigger_classes": ["person"], "config": slow}
    running = homesec(config_of(tmp_path, frigate.url, broker.port, CAMERAS, vlm=vlm))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    ended = events(frigate, 2)
    until(lambda: running.text.count("INFO homesec.pipeline.core Filter complete for ") == 2)
    assert not running.alerts()
    assert running.stop() == 0
    assert cameras_of(running.alerts()) == right_cameras(ended)
    assert all(one["done"] for one in sidecars(tmp_path))


def test_a_reload_of_the_configuration_gives_every_clip_once(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start
) -> None:
    """For a while the old worker and the new one run at the same time."""
    [port] = free_ports(1)
    pages = tmp_path / "pages"
    (pages / "assets").mkdir(parents=True)
    (pages / "index.html").write_text("HomeSec's pages would be here")
    server = {"host": "127.0.0.1", "port": port, "ui_dist_dir": str(pages)}
    slow = {"backend": "test", "config": {"pause_s": 1.0}}
    vlm = {"backend": "frigate_context", "trigger_classes": ["person"], "config": slow}
    parts = {"server": server, "vlm": vlm}
    running = homesec(config_of(tmp_path, frigate.url, broker.port, CAMERAS, **parts))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    ended = events(frigate, 10)
    running.wait_for_alerts(1)
    address = f"http://127.0.0.1:{port}/api/v1/runtime/reload"
    with urlopen(Request(address, method="POST"), timeout=PATIENCE) as answer:
        assert answer.status == 202
    ended += events(frigate, 4)
    until(lambda: running.text.count("Subscribed to MQTT topic: frigate/events") == 2)
    ended += events(frigate, 4)
    alerts = running.wait_for_alerts(18)
    assert running.stop() == 0
    alerts = running.alerts()
    assert cameras_of(alerts) == right_cameras(ended)
    assert len(alerts) == 18


def test_nothing_of_ours_stops_homesec(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start
) -> None:
    cameras: dict[str, dict[str, Any]] = {
        "front": {"frigate_camera": "front_door"},
        "lost": {"frigate_url": "http://127.0.0.1:1", "output_dir": str(tmp_path / "lost")},
        "wrong": {"mqtt_host": "a b", "output_dir": str(tmp_path / "wrong")},
        "secret": {"mqtt_username": "me", "mqtt_password_env": "NOT_SET"},
        "nowhere": {"output_dir": "/proc/clips"},
    }
    running = homesec(config_of(tmp_path, frigate.url, broker.port, cameras))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    running.wait_for("frigate_events cannot start for secret: mqtt_password_env: the environment")
    running.wait_for("the configuration of frigate_events is wrong: mqtt_host: ")
    event = frigate.ends("front_door", "person")
    assert cameras_of(running.wait_for_alerts(1)) == {event.id: "front"}
    assert running.is_running


@pytest.mark.parametrize("retain", [True, False])
def test_a_clip_is_kept_or_deleted_when_homesec_is_done_with_it(
    tmp_path: Path, frigate: Frigate, broker: Broker, homesec: Start, retain: bool
) -> None:
    cameras = {"garage": {"retain_clips": retain}}
    running = homesec(config_of(tmp_path, frigate.url, broker.port, cameras))
    running.wait_for("Subscribed to MQTT topic: frigate/events")
    frigate.ends("garage", "person")
    [alert] = running.wait_for_alerts(1)
    clip = tmp_path / "clips" / f"{alert['clip_id']}.mp4"
    assert running.stop() == 0
    assert clip.exists() == retain
    assert clip.with_suffix(".json").exists() == retain
    assert Path(alert["storage_uri"].removeprefix("local:")).exists()
