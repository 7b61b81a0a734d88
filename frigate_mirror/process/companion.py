"""The companion: a process beside Frigate that learns of events from a broker and the API."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext

from frigate_mirror.ledger.folders import State
from frigate_mirror.mirror import Mirror, identity_of, of_frigate
from frigate_mirror.process.life import Stop, live
from frigate_mirror.retention.daily import Retention
from frigate_mirror.retention.run import Job
from frigate_mirror.settings.settings import Settings
from frigate_mirror.sinks.sink import Archivable
from frigate_mirror.sources.mqtt import Mqtt

log = logging.getLogger("frigate_s3")
DELETES = (
    "MIRROR_RETENTION is set, so this machine deletes at the destination once a day, and whoever "
    "takes the machine can delete everything there; `frigate-mirror retention` on another machine, "
    "with credentials of its own, is safer"
)


class Companion:
    """Listens to the broker that the settings name, if they name one. See `life.Host`."""

    def __init__(self, settings: Settings, sink: Archivable, versions: dict[str, str]) -> None:
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
        if settings.retention.policy:
            log.warning("S3 snapshot mirror: %s", DELETES)
            job, archive = Job.of(settings), self._sink.archive()
            mirror.add(Retention(job, lambda: nullcontext(archive)))
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


def serve(settings: Settings, sink: Archivable, versions: dict[str, str]) -> int:
    """Mirrors until a signal ends it; returns the exit code."""
    return live(settings, Companion(settings, sink, versions))
