"""The source `frigate_events`: one camera of HomeSec whose clips are Frigate's events.

All the work is done by a hub (`hub.py`) in threads of its own. This module is the border to
HomeSec's event loop. Nothing that fails behind it reaches HomeSec: it is logged, shown by the
camera's health, and tried again.

HomeSec does not say when it is done with a clip, but it holds the object that describes the clip
until then. So the object's end is the acknowledgement.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from homesec.interfaces import ClipSource
from homesec.models.clip import Clip

from homesec_frigate_events.models import FrigateEventsConfig

if TYPE_CHECKING:
    from homesec_frigate_events.camera import Camera, Given, Wishes
    from homesec_frigate_events.connection import Connection
    from homesec_frigate_events.hub import Hub

log = logging.getLogger("homesec_frigate_events")
AGAIN = 60.0  # seconds until a start that has failed is tried again
PING = 15.0  # seconds
ALL = "*"
_made: weakref.WeakSet[FrigateEventsSource] = weakref.WeakSet()
"""All sources of this process, also those that have not started."""
_made_lock = threading.Lock()


class FrigateEventsSource(ClipSource):
    """See the module."""

    config_cls = FrigateEventsConfig

    @classmethod
    def create(cls, config: FrigateEventsConfig) -> ClipSource:
        return cls(config)

    def __init__(self, config: FrigateEventsConfig) -> None:
        self.camera_name = config.camera_name
        self.why = ""  # it does not run, or empty
        self._config = config
        self._callback: Callable[[Clip], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starter: threading.Thread | None = None
        self._stopped = threading.Event()
        self._hub: Hub | None = None
        self._heartbeat = time.monotonic()
        self._since = time.time()
        with _made_lock:
            _made.add(self)

    def register_callback(self, callback: Callable[[Clip], None]) -> None:
        self._callback = callback

    async def start(self) -> None:
        """Returns at once, whatever the network does. A thread does the rest, because importing
        the mirror alone takes a while."""
        if self._starter is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._stopped.clear()
        self._starter = threading.Thread(
            target=self._start, name=f"start {self.camera_name}", daemon=True
        )
        self._starter.start()
        config = self._config
        log.info("FrigateEventsSource started for %s (cameras=%s, labels=%s)", self.camera_name,
                 config.cameras or [config.frigate_camera or self.camera_name],
                 config.labels)  # fmt: skip

    async def shutdown(self, timeout: float | None = None) -> None:
        """Takes no new clips, and gives HomeSec some seconds to finish those that it has."""
        self._stopped.set()
        try:
            await asyncio.wait_for(asyncio.to_thread(self._leave), timeout)
        except TimeoutError:
            log.warning("FrigateEventsSource of %s takes long to stop", self.camera_name)
        log.info("FrigateEventsSource stopped for %s", self.camera_name)

    def is_healthy(self) -> bool:
        """Returns whether new clips can come; it does not matter when the last one came."""
        return not self.fault()

    def last_heartbeat(self) -> float:
        return self._hub.heartbeat if self._hub is not None else self._heartbeat

    async def ping(self) -> bool:
        """Returns whether the source is healthy and Frigate answers now."""
        hub = self._hub
        if hub is None or self.fault():
            return False
        try:
            return await asyncio.wait_for(asyncio.to_thread(hub.answers), PING)
        except TimeoutError:
            return False

    def fault(self) -> str:
        """Returns why no new clips can come, or an empty text."""
        return self.why or (self._hub.fault() if self._hub is not None else "")

    # -- threads

    def _start(self) -> None:
        while not self._stopped.is_set():
            try:
                self._join()
                self.why = ""
                return
            except Exception as error:  # nothing of ours may end HomeSec
                why = f"frigate_events cannot start for {self.camera_name}: {error}"
                if why != self.why:
                    log.exception("%s; it tries again every %g s", why, AGAIN)
                self.why = why
            self._stopped.wait(AGAIN)

    def _join(self) -> None:
        # Imported here, so that a library that is missing does not stop HomeSec.
        from homesec_frigate_events.connection import ConfigFault
        from homesec_frigate_events.hub import hub_of

        hub = hub_of(connection_of(self._config, os.environ))
        # HomeSec makes all its sources before it starts the first one. An event must not be left
        # out because its camera comes a moment later.
        with _made_lock:
            sources = [source for source in _made if source is not self]
        others = []
        for source in sources:
            with suppress(ConfigFault):  # it tells that itself
                if hub.shares(connection_of(source._config, os.environ)):
                    others.append(source._camera())
        hub.join(self._camera(), others)
        self._hub = hub

    def _camera(self) -> Camera:
        from homesec_frigate_events.camera import Camera

        return Camera(self.camera_name, wishes_of(self._config), self._give, self._since)

    def _leave(self) -> None:
        if self._starter is not None:
            self._starter.join()
            self._starter = None
        if self._hub is not None:
            self._hub.leave(self.camera_name)

    def _give(self, given: Given, let_go: Callable[[], None]) -> bool:
        """See `camera.Camera`. The hub calls it in a thread of its own."""
        if self._loop is None or self._callback is None or self._stopped.is_set():
            return False
        try:
            self._loop.call_soon_threadsafe(self._emit, given, let_go)
        except RuntimeError:  # the loop has ended
            return False
        return True

    def _emit(self, given: Given, let_go: Callable[[], None]) -> None:
        """Hands a clip to HomeSec, in HomeSec's loop."""
        started, ended = (datetime.fromtimestamp(at, UTC) for at in (given.started, given.ended))
        clip = Clip(
            clip_id=given.clip_id,
            camera_name=self.camera_name,
            local_path=given.path,
            start_ts=started,
            end_ts=ended,
            duration_s=given.ended - given.started,
            source_backend="frigate_events",
        )
        end = weakref.finalize(clip, let_go)
        end.atexit = False  # at the end of the process, HomeSec was not done with it
        assert self._callback is not None
        try:
            self._callback(clip)
        except Exception:
            end.detach()
            log.exception("HomeSec does not take the clip %s", given.clip_id)


def wishes_of(config: FrigateEventsConfig) -> Wishes:
    """Returns which events the camera wants."""
    from homesec_frigate_events.camera import Wishes

    cameras = config.cameras or [config.frigate_camera or config.camera_name]
    return Wishes(
        frigate_cameras=None if ALL in cameras else frozenset(cameras),
        labels=frozenset(config.labels),
        min_score=config.min_score,
        zones=frozenset(config.zones) if config.zones else None,
        min_duration_s=config.min_duration_s,
        faststart=config.clip_format == "mp4",
        retain=config.retain_clips,
        bypass_filter=config.bypass_filter,
        include_metadata=config.include_frigate_metadata,
    )


def connection_of(config: FrigateEventsConfig, environ: Mapping[str, str]) -> Connection:
    """Returns where Frigate and the broker are. Raises ConfigFault for a variable that is not
    set."""
    from homesec_frigate_events.connection import ConfigFault, Connection

    faults: list[str] = []

    def variable(field: str) -> str:
        name = getattr(config, field)
        if name and not environ.get(name):
            faults.append(f"{field}: the environment variable {name} is not set")
        return environ.get(name, "") if name else ""

    url = environ.get(config.frigate_url_env or "", "") or config.frigate_url
    url = url or variable("frigate_url_env")
    values = {
        "FRIGATE_URL": url,
        "FRIGATE_USER": config.frigate_user,
        "FRIGATE_PASSWORD": variable("frigate_password_env"),
        "FRIGATE_TLS_FINGERPRINT": config.frigate_tls_fingerprint,
        "FRIGATE_CA_BUNDLE": config.frigate_ca_bundle,
        "FRIGATE_TLS_VERIFY": "" if config.frigate_tls_verify else "false",
        "MQTT_HOST": config.mqtt_host,
        "MQTT_PORT": config.mqtt_port,
        "MQTT_USER": config.mqtt_username,
        "MQTT_PASSWORD": variable("mqtt_password_env"),
        "MQTT_TLS": "true" if config.mqtt_tls else "",
        "MQTT_CA_BUNDLE": config.mqtt_ca_bundle,
        "MQTT_CLIENT_CERT": config.mqtt_client_cert,
        "MQTT_CLIENT_KEY": config.mqtt_client_key,
        "MQTT_TOPIC_PREFIX": config.mqtt_topic_prefix,
        "MIRROR_SWEEP_DAYS": config.catch_up_days,
    }
    if faults:
        raise ConfigFault("; ".join(faults))
    return Connection(
        environ={name: str(value) for name, value in values.items() if value},
        folder=config.output_dir,
        client_id=config.mqtt_client_id,
        idle=config.download_timeout_s,
        pause=config.reconnect_delay_s,
        attempts=config.max_reconnect_attempts,
    )
