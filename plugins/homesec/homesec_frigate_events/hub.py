"""The mirror that a source is made of: from Frigate's events to the clips in one folder.

It is the same mirror as the companion's, with the folder as its destination: an MQTT source for
speed, sweeps over Frigate's API for truth, clips that are measured before they count, and a ledger.
All cameras of HomeSec that name the same Frigate, broker and folder share one hub. It runs in
threads of its own, from the first camera that starts until the last one has left.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable

from frigate_mirror.broker import Watcher
from frigate_mirror.catalog import CatalogError
from frigate_mirror.files import own_folder, remove_abandoned
from frigate_mirror.frigate.api import FrigateApi, api_of
from frigate_mirror.frigate.api_catalog import ApiCatalog
from frigate_mirror.frigate.events import Event
from frigate_mirror.frigate.remote import Version
from frigate_mirror.ledger.folders import State
from frigate_mirror.ledger.ledger import Ledger
from frigate_mirror.mirror import Mirror
from frigate_mirror.part import Part, Task
from frigate_mirror.process import life
from frigate_mirror.sources.mqtt import Mqtt
from frigate_mirror.untrusted import plain
from homesec_frigate_events.camera import Camera
from homesec_frigate_events.connection import ConfigFault, Connection
from homesec_frigate_events.delivery import Delivery
from homesec_frigate_events.event import DescribedClips
from homesec_frigate_events.folder import ClipFolder

log = logging.getLogger("homesec_frigate_events")
# The mirror speaks of buckets and uploads, which nobody has who reads this log. What it says of the
# broker, `Watch` says in other words.
logging.getLogger("frigate_s3").setLevel(logging.WARNING)
logging.getLogger("frigate_s3.mqtt").setLevel(logging.CRITICAL)
AGAIN = 30.0  # seconds until a hub that has failed is started again
BEAT = 30.0  # seconds between two questions whether Frigate answers
PATIENCE = 300.0  # seconds for which Frigate or the broker may be away before a camera is unhealthy
WITHOUT_BROKER = 60.0  # seconds between two sweeps while there is no broker
TO_END = 5.0  # seconds that the last camera waits for the threads to end
LINGER = 20.0  # seconds for which they wait for HomeSec; after 30 it cancels its work on clips
CLIENT_ID = "mqtt client id of homesec"  # a note


class Watch(Watcher):
    """Tells how the connection to the broker fares, in HomeSec's log. In a long outage it tells of
    the first, second, fourth, eighth, ... try, or the log would be full of it."""

    def __init__(self, topic: str, attempts: int) -> None:
        self._topic = topic
        self._attempts = attempts
        self._failed = 0  # since there was a connection

    @property
    def has_given_up(self) -> bool:
        return 0 < self._attempts <= self._failed

    def up(self) -> None:
        self._failed = 0
        log.info("Subscribed to MQTT topic: %s", self._topic)

    def away(self, why: str) -> None:
        self._failed += 1
        of = self._attempts or "∞"
        told = self._failed & (self._failed - 1) == 0 or self.has_given_up
        log.log(
            logging.WARNING if told else logging.DEBUG,
            "MQTT connection lost (attempt %d/%s): %s", self._failed, of, plain(why),
        )  # fmt: skip
        if self.has_given_up:
            log.error(
                "Max reconnection attempts (%d) reached, stopping: until HomeSec starts again, "
                "events are found by asking Frigate every %g s", self._attempts, WITHOUT_BROKER,
            )  # fmt: skip


class Hub(Part):
    """One connection and the cameras that share it. It is a part of its own mirror, and the host of
    the mirror's life (`frigate_mirror.process.life.Host`)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.stop = life.Stop()  # nothing sets it: no signal is ours in HomeSec's process
        self.why = ""  # it does not run at the moment, or empty
        self.heartbeat = time.monotonic()
        self._cameras: dict[str, Camera] = {}
        self._started: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._left = threading.Event()
        self._left_at = math.inf
        self._joined = threading.Event()
        self._api: FrigateApi | None = None
        self._mqtt: Mqtt | None = None
        self._watch: Watch | None = None
        self._ledger: Ledger | None = None
        self._mirror: Mirror | None = None
        self._gave_up = False  # the broker
        self._frigate_since = time.monotonic()  # when Frigate answered last, or we began
        self._frigate_why = "it has not answered yet"
        self._told = ""  # of the health
        self._broker_since = time.monotonic()
        self._asked = time.monotonic()
        self._delivery = Delivery(connection.folder, self._camera)

    # -- cameras

    def shares(self, connection: Connection) -> bool:
        """Returns whether this hub is also the one of another connection."""
        return _key(connection) == _key(self.connection)

    def join(self, camera: Camera, others: Iterable[Camera] = ()) -> None:
        """Adds a camera, and starts the threads with the first one. The others have not started
        yet, but will. Their clips wait for that."""
        with self._lock:
            for one in others:
                self._cameras.setdefault(one.name, one)
            self._cameras[camera.name] = camera
            self._started.add(camera.name)
            self._joined.set()
            self._left.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="frigate hub", daemon=True)
                self._thread.start()

    def leave(self, name: str) -> None:
        """Gives the camera no more clips. When the last one has left, the threads end, but not
        before HomeSec is done with its clips, or LINGER seconds later. HomeSec finishes its clips
        only after its sources have ended, so this waits for a moment only."""
        with self._lock:
            self._started.discard(name)
            thread = None if self._started else self._thread
            if thread is not None:
                self._left_at = time.monotonic()
                self._left.set()
        if thread is not None:
            thread.join(TO_END)

    def _camera(self, name: str) -> Camera | None:
        """Returns the camera of this name if HomeSec has started it."""
        with self._lock:
            return self._cameras.get(name) if name in self._started else None

    def _all_cameras(self) -> list[Camera]:
        """Returns the cameras, also those that have left: their clips wait for the next start."""
        with self._lock:
            return list(self._cameras.values())

    # -- health

    def fault(self) -> str:
        """Returns why new clips may not come, or an empty text. It does not depend on events."""
        now = time.monotonic()
        if self.why:
            return self.why
        if self._watch is not None and self._watch.has_given_up:
            return "the MQTT broker was away for too long"
        if now - self._broker_since > PATIENCE:
            return "the MQTT broker is away"
        if now - self._frigate_since > PATIENCE:
            return f"Frigate does not answer: {self._frigate_why}"
        if self._mirror is not None and self._mirror.breaker.down:
            fault = self._mirror.breaker.last_fault
            return f"no clip can be stored: {fault.message if fault else 'unknown'}"
        return ""

    def answers(self) -> bool:
        """Asks Frigate whether it is there."""
        api = self._api
        if api is None:
            return False
        try:
            api.version()
        except CatalogError as error:
            self._frigate_why = str(error)
            return False
        self._frigate_since = self.heartbeat = time.monotonic()
        return True

    # -- the life of the mirror

    def _run(self) -> None:
        """Runs the mirror, again after each failure, until the last camera has left."""
        atexit.register(self._settle_at_exit)
        while not self._is_over():
            try:
                settings = self.connection.settings()
                self.why = ""
                if life.run(settings, self, start_threads) != life.EX_OK:
                    self.why = "the mirror cannot start, see the log"
            except ConfigFault as error:
                why = f"the configuration of frigate_events is wrong: {error}"
                if why != self.why:
                    log.error("%s", why)
                self.why = why
            except Exception as error:  # nothing of ours may end HomeSec
                self.why = f"the mirror has failed: {error}"
                log.exception("frigate_events has failed, and is started again in %g s", AGAIN)
            self._left.wait(AGAIN)
        atexit.unregister(self._settle_at_exit)

    def _is_over(self) -> bool:
        """Returns whether the thread ends. If so, the next camera starts another one."""
        with self._lock:
            if self._started:
                return False
            self._thread = None
            return True

    def _settle_at_exit(self) -> None:
        """Notes what HomeSec has finished just before its process ends."""
        if time.monotonic() - self._left_at < LINGER:
            self._delivery.settle()

    def mirror(self, state: State) -> Mirror:
        """See `life.Host.mirror`."""
        connection, settings = self.connection, self.connection.settings()
        self._ledger = ledger = state.ledger
        self._note_cameras()
        api = api_of(settings.companion, connection.environ, self._left.is_set, connection.idle)
        catalog = ApiCatalog(
            api, settings.sweep.batch_size, without_snapshot=True, version=Version(api)
        )
        remove_abandoned(settings.state.clips_work_dir)
        clips = DescribedClips(
            api,
            catalog,
            own_folder(settings.state.clips_work_dir),
            settings.keys.codec,
            padding=settings.kinds.clip_padding,
            longest=settings.kinds.clip_longest,
            most_bytes=settings.kinds.clip_most_mb * 1_000_000,
            clock=api.now,
        )
        folder = ClipFolder(connection.folder, self._all_cameras, self._delivery.arrived)
        mirror = Mirror(settings, folder, state, catalog, [clips], why_not=self._why_not)
        mirror.add(self._delivery)
        mirror.add(self)
        self._watch = Watch(f"{settings.mqtt.topic_prefix}/events", connection.attempts)
        pause = max(1, round(connection.pause))
        self._mqtt = Mqtt(
            settings.mqtt,
            client_id_of(ledger, connection.client_id),
            lacks=mirror.intake.lacks,
            catch_up=mirror.sweep.ask,
            pauses=(pause, pause),
            watcher=self._watch,
        )
        mirror.add(self._mqtt)
        self._api, self._mirror, self._gave_up = api, mirror, False
        self._mqtt.start()
        return mirror

    def _why_not(self, kind: str, event: Event) -> tuple[str, str]:
        """See `intake.WhyNot`. An event that one camera wants is mirrored."""
        reasons = [camera.why_not(event) for camera in self._all_cameras()]
        if not reasons or "" in reasons:
            return "", ""
        log.debug("Skipping event: %s: %s", event.id, "; ".join(dict.fromkeys(reasons)))
        return "cameras of HomeSec", "; ".join(dict.fromkeys(reasons))

    def _note_cameras(self) -> None:
        """Notes since when each camera exists. Raises LedgerError."""
        ledger = self._ledger
        assert ledger is not None
        for camera in self._all_cameras():
            note = f"first start of {camera.name}"
            known = ledger.note(note)
            if known and float(known) <= camera.since:  # otherwise the clock was wrong
                camera.since = float(known)
            else:
                ledger.set_note(note, repr(camera.since))

    # -- the part

    def tasks(self) -> list[Task]:
        return [
            Task("hub", BEAT, self._ask),
            Task("homesec", 1.0, self._look_after_broker),
            Task("homesec", 1.0, self._tell_health),
            Task("sweep", 1.0, self._look_at_cameras),
        ]

    def _ask(self) -> None:
        """Asks Frigate whether it is there."""
        self.answers()

    def _look_after_broker(self) -> None:
        """Asks for sweeps while there is no broker, and gives the broker up after the last try."""
        mirror, mqtt, watch, now = self._mirror, self._mqtt, self._watch, time.monotonic()
        assert mirror is not None and mqtt is not None and watch is not None
        self.heartbeat = now
        if mqtt.is_up:
            self._broker_since = now
            return
        if watch.has_given_up and not self._gave_up:
            self._gave_up = True
            mqtt.finish()
        if now - self._asked > WITHOUT_BROKER:
            self._asked = now
            mirror.sweep.ask()

    def _tell_health(self) -> None:
        """Says in the log when the cameras become unhealthy, and when they are well again."""
        fault = self.fault()
        if fault and not self._told:
            log.error("No new clips from %s: %s", self.connection.environ.get("FRIGATE_URL"), fault)
        elif self._told and not fault:
            log.info("New clips come again; this is over: %s", self._told)
        self._told = fault

    def _look_at_cameras(self) -> None:
        """Looks again at what no camera wanted, if there is a new camera."""
        assert self._mirror is not None
        if self._joined.is_set():
            self._joined.clear()
            self._note_cameras()
            self._mirror.sweep.look_for_selected()

    # -- the host

    def ids(self, timeout: float) -> list[str]:
        """See `Source.ids`."""
        assert self._mqtt is not None
        return self._mqtt.ids(timeout)

    def settle(self, ids: list[str], taken: bool) -> None:
        """See `Source.settle`."""
        assert self._mqtt is not None
        self._mqtt.settle(ids, taken)

    @property
    def leaves(self) -> bool:
        """Whether the last camera has left."""
        return self._left.is_set()

    @property
    def over(self) -> bool:
        """Whether nobody waits for the end of a clip any more, besides."""
        lingers = time.monotonic() - self._left_at < LINGER and not self._delivery.is_idle
        return self._left.is_set() and not lingers

    is_gone = over


def start_threads(*starts: Callable[[], None]) -> None:
    """Calls functions that start threads. Unlike `rounds.start_all` it never ends the process,
    which is HomeSec's."""
    for start in starts:
        start()


_hubs: dict[tuple[str, str], Hub] = {}
_hubs_lock = threading.Lock()


def hub_of(connection: Connection) -> Hub:
    """Returns the hub for this connection, the same for all cameras that share it."""
    with _hubs_lock:
        hub = _hubs.setdefault(_key(connection), Hub(connection))
    if hub.connection != connection:
        log.warning(
            "the cameras that share %s differ in their settings for Frigate or the broker; those "
            "of the first one count for all", connection.folder,
        )  # fmt: skip
    return hub


def _key(connection: Connection) -> tuple[str, str]:
    return os.path.realpath(connection.folder), connection.identity


def client_id_of(ledger: Ledger, begin: str) -> str:
    """Returns a client id for the broker that stays the same over restarts, so that the broker
    keeps messages meanwhile, and that no other HomeSec has. Raises LedgerError."""
    known = ledger.note(CLIENT_ID)
    if not known:
        known = secrets.token_hex(4)
        ledger.set_note(CLIENT_ID, known)
    return f"{begin}-{known}"
