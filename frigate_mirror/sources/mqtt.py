"""What Frigate publishes on an MQTT broker, as a source of event ids.

    frigate/events      a message of the type `end` says that an event has ended
    frigate/reviews     names the events of a review item; those made by hand are named here only
    frigate/available   whenever it comes, messages may have been lost before: then it is time to
                        catch up by asking Frigate

Frigate loses what it would publish while the broker is away, and by default it publishes with
QoS 0, so the broker keeps nothing for us while we are away. The source is therefore quick, not
complete.
These facts were seen on Frigate v0.16.4, v0.17.2 and v0.18.0-beta1.

A message is acknowledged only after the intake has looked at its events. After a crash before that
the broker sends it again, if Frigate has published it with QoS 1. Acknowledgements have the order
of the messages, as MQTT 3.1.1 demands (section 4.6): rumqttd otherwise ends the connection and
loses a message. Mosquitto sends no more while 20 are not acknowledged, so none waits for long.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from frigate_mirror.broker import Link, Watcher
from frigate_mirror.keys import is_event_id
from frigate_mirror.part import Part
from frigate_mirror.settings.settings import MqttSettings
from frigate_mirror.untrusted import plain

MOST_MESSAGES = 2_000  # that wait to be read
MOST_BYTES = 1_000_000  # of a message; one of Frigate has a few thousand
MOST_IDS = 10_000  # that wait to be looked at
AT_ONCE = 50  # ids
APART = 0.1  # seconds between two answers of `ids`, so that a flood asks Frigate at a bounded rate
PAUSES = (0.5, 2.0)  # seconds; at the message of its end, Frigate may not know the end itself
RETRY = 10.0  # seconds until ids are offered again that could not be looked at
MOST_RETRIES = 6  # then the sweep has to find them
PATIENCE = 60.0  # seconds for which the broker may be away before that is a trouble
OWN = "frigate_mirror"  # begins our own topics


@dataclass(slots=True)
class Message:
    """A message as it arrived. `open` is how many of the ids that it names are still to be looked
    at, and `done` says that the mirror needs the message no longer."""

    topic: str
    payload: bytes
    number: int
    qos: int
    open: int = 0
    done: bool = False


@dataclass(slots=True)
class Hint:
    """An id that is offered as soon as it is due, until it is settled. `due` is on the clock;
    `looks` counts how often the intake has looked at it in vain, and `retries` how often it could
    not look; `messages` are those that named it since the last look."""

    due: float
    looks: int
    messages: list[Message]
    retries: int = 0


class Mqtt(Part):
    """Listens to the broker. See `source.Source`.

    `lacks` returns those of the given ids that the ledger does not know; `catch_up` is called when
    messages may have been lost; `pauses` and `watcher` are those of `broker.Link`; `clock` gives
    seconds that never go back.
    """

    ended = False

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        lacks: Callable[[Collection[str]], Collection[str]],
        catch_up: Callable[[], None],
        pauses: tuple[int, int] | None = None,
        watcher: Watcher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = settings.topic_prefix
        self._lacks = lacks
        self._catch_up = catch_up
        self._clock = clock
        self._messages: deque[Message] = deque()
        self._owed: deque[Message] = deque()  # that are to be acknowledged on this connection
        self._arrived = threading.Condition()
        self._hints: dict[str, Hint] = {}
        self._answered = -APART
        self._refused: list[str] = []
        self._link = link = Link(
            settings,
            client_id,
            f"{OWN}/{client_id}/available",
            clean=False,
            on_up=self._on_up,
            pauses=pauses,
            watcher=watcher,
            clock=clock,
        )
        self._client = link.client
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Starts the thread that connects, and connects again after each loss."""
        self._link.start()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._link.is_up

    # -- the source

    def ids(self, timeout: float) -> list[str]:
        """See `Source.ids`. Returns at most AT_ONCE ids."""
        self._read(timeout)
        now = self._clock()
        if now - self._answered < APART:
            return []
        due = (event_id for event_id, hint in self._hints.items() if hint.due <= now)
        found = list(islice(due, AT_ONCE))
        if found:
            self._answered = now
        return found

    def settle(self, ids: list[str], taken: bool) -> None:
        """See `Source.settle`. An id of which the ledger knows nothing is offered again some times:
        Frigate may not have written its row yet. Its message does not wait for that, because
        Frigate publishes the end of many events that it does not keep."""
        lacking = self._lacks(ids) if taken else ids
        now = self._clock()
        for event_id in ids:
            hint = self._hints[event_id]
            if not taken and hint.retries < MOST_RETRIES:
                hint.due = now + RETRY
                hint.retries += 1
            elif not taken:
                self._drop(event_id)
                self._catch_up()
            elif event_id in lacking and hint.looks < len(PAUSES):
                hint.due = now + PAUSES[hint.looks]
                hint.looks += 1
                self._let_go(hint)
            else:
                self._drop(event_id)

    def _read(self, timeout: float) -> None:
        """Reads the messages that have arrived, or waits for one."""
        if self._hints:
            soonest = min(hint.due for hint in self._hints.values())
            timeout = min(timeout, max(self._answered + APART, soonest) - self._clock())
        with self._arrived:
            if timeout > 0:
                self._arrived.wait_for(lambda: bool(self._messages), timeout)
            messages = list(self._messages)
            self._messages.clear()
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        ids, looks = ids_in(message.topic.removeprefix(f"{self._prefix}/"), message.payload)
        message.open, message.payload = len(ids), b""
        for event_id in ids:
            hint = self._hints.get(event_id)
            if hint is None:
                if len(self._hints) >= MOST_IDS:
                    self._drop(next(iter(self._hints)))
                    self._catch_up()
                self._hints[event_id] = Hint(self._clock(), len(PAUSES) - looks, [message])
            else:
                hint.messages.append(message)
                hint.looks = min(hint.looks, len(PAUSES) - looks)
        if not ids:
            self._acknowledge(message)

    def _drop(self, event_id: str) -> None:
        """Forgets an id."""
        self._let_go(self._hints.pop(event_id))

    def _let_go(self, hint: Hint) -> None:
        """Acknowledges the messages that wait for this id and no other one."""
        messages, hint.messages = hint.messages, []
        for message in messages:
            message.open -= 1
            if not message.open:
                self._acknowledge(message)

    def _acknowledge(self, message: Message) -> None:
        """Acknowledges the message as soon as all those before it are acknowledged."""
        message.done = True
        with self._arrived:
            while self._owed and self._owed[0].done:
                first = self._owed.popleft()
                self._client.ack(first.number, first.qos)

    # -- the network thread

    def _on_up(self) -> None:
        with self._arrived:  # the broker sends anew what it is owed, under other numbers
            self._owed.clear()
        self._refused = []
        self._client.subscribe([(f"{self._prefix}/{name}", 1) for name in TOPICS])

    def _on_subscribe(
        self, client: Any, _: Any, number: int, reasons: list[ReasonCode], *__: Any
    ) -> None:
        names = zip(TOPICS, reasons, strict=False)
        self._refused = [f"{self._prefix}/{name}" for name, one in names if one.is_failure]
        self._catch_up()  # from now on no message is missed; before, some may have been

    def _on_message(self, client: Any, _: Any, arrived: paho.MQTTMessage) -> None:
        message = Message(arrived.topic, bytes(arrived.payload), arrived.mid, arrived.qos)
        if message.qos:
            with self._arrived:
                self._owed.append(message)
        if message.topic == f"{self._prefix}/available":
            self._acknowledge(message)
            self._catch_up()
        elif len(message.payload) > MOST_BYTES or not may_name_ids(message):
            self._acknowledge(message)
        else:
            with self._arrived:
                if len(self._messages) >= MOST_MESSAGES:
                    self._acknowledge(self._messages.popleft())
                    self._catch_up()
                self._messages.append(message)
                self._arrived.notify()

    # -- the part

    def troubles(self) -> list[str]:
        found, link = [], self._link
        if link.away_for(PATIENCE):
            found.append(
                f"the MQTT broker {link.where} is away ({plain(link.why)}): new events are found "
                "by the sweep only"
            )
        if self._refused:
            found.append(
                f"the MQTT broker {link.where} does not let this user read "
                f"{', '.join(self._refused)}: new events are found by the sweep only"
            )
        return found

    def status(self) -> dict[str, Any]:
        return {"source": f"MQTT broker {self._link.where}, {'up' if self._link.is_up else 'down'}"}

    def finish(self) -> None:
        self._link.finish()


TOPICS = ("events", "reviews", "available")


def may_name_ids(message: Message) -> bool:
    """Returns whether the message is worth reading: most of them are updates of an event."""
    return not message.topic.endswith("/events") or b'"end"' in message.payload


def ids_in(name: str, payload: bytes) -> tuple[list[str], int]:
    """Returns the ids of the events that a message names, and how often to look again for one
    that Frigate does not know yet. `name` is the topic without Frigate's prefix."""
    try:
        document = json.loads(payload)
        after = document["after"]
        if name == "events":
            ids, looks = [after["id"]] if document["type"] == "end" else [], len(PAUSES)
        else:
            ids, looks = list(after["data"]["detections"]), 0
    except (ValueError, LookupError, TypeError, RecursionError):
        return [], 0
    known = [one for one in ids if isinstance(one, str) and is_event_id(one)]
    return list(dict.fromkeys(known)), looks
