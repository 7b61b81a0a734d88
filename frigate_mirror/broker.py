"""The connection to an MQTT broker, which is made again after each loss.

It knows neither Frigate's messages nor the report: `sources.mqtt` listens over such a connection,
and `report.publisher` publishes over another one.
"""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from frigate_mirror.settings.settings import MqttSettings
from frigate_mirror.untrusted import plain

log = logging.getLogger("frigate_s3.mqtt")
KEEPALIVE = 60  # seconds
CONNECT = 10.0  # seconds
PAUSES = (1, 120)  # seconds between two tries to connect: the first and the longest pause
GOODBYE = 1.0  # seconds for the last words
ONLINE, OFFLINE = "online", "offline"


class Watcher:
    """Is told by a link how it fares, in the link's thread. A subclass overrides what it wants to
    know."""

    def up(self) -> None:
        """There is a connection."""

    def away(self, why: str) -> None:
        """The connection has ended, or one more try to connect has failed."""


class Link:
    """One connection, in a thread of its own.

    The retained topic `available` says whether we are `online` or `offline`; the broker itself
    writes the latter if we vanish. `on_up` is called in the link's thread after each connection,
    before that is said. `why` says why there is no connection. `since` is when `is_up` changed, on
    `clock`, which gives seconds that never go back. Lines in the log begin with `called`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        available: str,
        *,
        clean: bool,
        on_up: Callable[[], None],
        called: str = "S3 MQTT",
        pauses: tuple[int, int] | None = None,
        watcher: Watcher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects nothing yet. Raises OSError if a certificate cannot be read."""
        self.where = f"{settings.host}:{settings.port}"
        self.is_up = False
        self.why = "it has not answered yet"
        self.since = clock()
        self._called = called
        self._available = available
        self._on_up = on_up
        self._clock = clock
        first, longest = pauses or PAUSES
        self._pause = first
        self._watcher = watcher or Watcher()
        self._spoke = self._stopped = False
        self.client = client = client_of(settings, client_id, clean=clean)
        client.will_set(available, OFFLINE, 1, retain=True)
        client.reconnect_delay_set(first, longest)
        client.connect_timeout = CONNECT
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.connect_async(settings.host, settings.port, KEEPALIVE)
        self._thread = threading.Thread(target=self._listen, name="mqtt", daemon=True)

    def start(self) -> None:
        """Starts the thread that connects, and connects again after each loss."""
        self._thread.start()

    def away_for(self, patience: float) -> bool:
        """Returns whether there has been no connection for more than `patience` seconds."""
        return not self.is_up and self._clock() - self.since > patience

    def finish(self) -> None:
        """Says that we are offline, and ends the connection."""
        self._stopped = True
        with suppress(RuntimeError, ValueError):  # the connection may end at this moment
            if self.is_up:
                told = self.client.publish(self._available, OFFLINE, 1, retain=True)
                told.wait_for_publish(GOODBYE)
        self.client.disconnect()
        if self._thread.is_alive():
            self._thread.join(GOODBYE)

    def _listen(self) -> None:
        while not self._stopped:
            try:
                self.client.loop_forever(retry_first_connection=True)
            except MemoryError:
                raise
            except Exception as error:  # a broker can send what paho does not expect
                self._note_away(f"{type(error).__name__}: {error}")
                log.exception("%s: unexpected error, the connection is made again", self._called)
            if not self._stopped:
                time.sleep(self._pause)

    def _on_connect(
        self, client: paho.Client, _: Any, flags: Any, reason: ReasonCode, *__: Any
    ) -> None:
        self._spoke = True
        if reason.is_failure:
            self._note_away(f"it refuses the connection: {reason}")
            return
        self.is_up, self.since = True, self._clock()
        log.info("%s: connected to %s", self._called, self.where)
        self._on_up()
        self._watcher.up()
        client.publish(self._available, ONLINE, 1, retain=True)

    def _on_connect_fail(self, *_: Any) -> None:
        # paho handles the error while it calls this, and tells it in no other way.
        error = sys.exception()
        self._note_away(f"no connection: {error or 'it does not answer'}")

    def _on_disconnect(self, client: Any, _: Any, flags: Any, reason: ReasonCode, *__: Any) -> None:
        spoke, self._spoke = self._spoke, False
        if self._stopped:
            return
        if self.is_up:
            self._note_away(f"the connection has ended: {reason}")
        elif not spoke:  # otherwise it has said why it refuses
            self._note_away(
                "it ends the connection without an answer, as some brokers do after a wrong user "
                "or password"
            )

    def _note_away(self, why: str) -> None:
        if self.is_up:
            self.is_up, self.since = False, self._clock()
        if why != self.why:
            log.warning("%s: broker %s: %s", self._called, self.where, plain(why))
        self.why = why
        self._watcher.away(why)


def client_of(settings: MqttSettings, client_id: str, *, clean: bool = False) -> paho.Client:
    """Returns a client with the login and certificates that the settings name. The broker forgets a
    `clean` one when it leaves. Raises OSError."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean, manual_ack=not clean
    )
    if settings.user:
        client.username_pw_set(settings.user, settings.password.reveal() or None)
    if settings.tls:
        context = ssl.create_default_context(cafile=settings.ca_bundle or None)
        if settings.client_cert:
            context.load_cert_chain(settings.client_cert, settings.client_key)
        client.tls_set_context(context)
    return client
