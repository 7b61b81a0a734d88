"""The companion: a process beside Frigate that learns of events from a broker and the API."""

from __future__ import annotations

import logging
import time

from frigate_mirror.ledger.folders import State
from frigate_mirror.mirror import Mirror, identity_of, of_frigate
from frigate_mirror.process.life import Stop, live
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Sink
from frigate_mirror.sources.mqtt import Mqtt

log = logging.getLogger("frigate_s3")


class Companion:
    """Listens to the broker that the settings name, if they name one. See `life.Host`."""

    def __init__(self, settings: Settings, sink: Sink, versions: dict[str, str]) -> None:
        self.stop = Stop()
        self._settings = settings
        self._sink = sink
        self._versions = versions
        self._mqtt: Mqtt | None = None

    def mirror(self, state: State) -> Mirror:
        settings = self._settings
        mirror = of_frigate(
            settings, self._sink, state, lambda: self.stop.wanted, versions=self._versions
        )
        if not settings.mqtt.host:
            log.warning(
                "S3 snapshot mirror: MQTT_HOST is not set, so new events are found by the sweep "
                "only, every %g s", settings.sweep.interval,
            )  # fmt: skip
            return mirror
        self._mqtt = Mqtt(
            settings.mqtt,
            settings.mqtt.client_id or identity_of(state.ledger),
            lacks=mirror.intake.lacks,
            catch_up=mirror.sweep.ask,
        )
        mirror.add(self._mqtt)
        self._mqtt.start()
        return mirror

    def ids(self, timeout: float) -> list[str]:
        if self._mqtt is not None:
            return self._mqtt.ids(timeout)
        time.sleep(timeout)
        return []

    def settle(self, ids: list[str], taken: bool) -> None:
        if self._mqtt is not None:
            self._mqtt.settle(ids, taken)

    @property
    def leaves(self) -> bool:
        return self.stop.wanted

    is_gone = over = leaves


def serve(settings: Settings, sink: Sink, versions: dict[str, str]) -> int:
    """Mirrors until a signal ends it; returns the exit code."""
    return live(settings, Companion(settings, sink, versions))
