"""The event thread. Each message becomes a row, which is committed before the handler returns.

As in Frigate, nothing here catches an exception of a handler, so it ends the thread.
"""

from __future__ import annotations

import inspect
import json
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from frigate.config import FrigateConfig
from frigate.events.types import EventStateEnum, EventTypeEnum
from frigate.store import EventTable
from frigate.variant import SHAPE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Message:
    """A message as it arrives: with plain strings, without enums.

    `handling` is locked until the message is handled. It is a plain lock, because SIGTERM can
    interrupt a thread that waits for a threading.Event and leave the lock in it locked for ever.
    """

    source: str
    event_type: str
    camera: str | None
    event_data: dict[str, Any]
    handling: threading.Lock = field(default_factory=threading.Lock)


class EventProcessor(threading.Thread):
    def __init__(
        self, config: FrigateConfig, messages: queue.SimpleQueue[Message], stop_event: Any
    ) -> None:
        super().__init__(name="event_processor")
        self.config = config
        self.messages = messages
        self.stop_event = stop_event
        self.events_in_process: dict[str, dict[str, Any]] = {}
        self.table: EventTable | None = None

    def run(self) -> None:
        self.table = EventTable(self.config.database.path)
        self.table.adopt()
        while not self.stop_event.is_set():
            try:
                message = self.messages.get(timeout=1)
            except queue.Empty:
                continue
            self.dispatch(message)
            message.handling.release()
        logger.info("Exiting event processor...")

    def dispatch(self, message: Message) -> None:
        handler: Callable[..., Any] = self.handle_external_detection
        arguments: tuple[Any, ...] = (message.event_type, message.event_data)
        if message.source == EventTypeEnum.tracked_object:
            handler = getattr(self, OBJECT_HANDLER)
            arguments = (message.event_type, message.camera, message.event_data)
        line = {"handled": message.event_type, "event": message.event_data["id"]}
        try:
            result = handler(*arguments)
            if inspect.iscoroutine(result):
                result = _awaited(result)
        except BaseException as error:
            print(json.dumps(line | {"raised": repr(error)}), flush=True)
            raise
        print(json.dumps(line | {"returned": result}), flush=True)

    def handle_object_detection(
        self, event_type: str, camera: str, event_data: dict[str, Any]
    ) -> str | None:
        """Returns the id of the event if its row was written. Frigate's own does not return it."""
        if event_type == EventStateEnum.start:
            self.events_in_process[event_data["id"]] = event_data
            return None
        known = self.events_in_process[event_data["id"]]
        for flag in ("has_clip", "has_snapshot"):
            event_data[flag] = event_data[flag] or known[flag]
        worth_keeping = event_data["has_clip"] or event_data["has_snapshot"]
        if worth_keeping and not event_data["false_positive"]:
            self.table.upsert(event_data, "object")
            if event_type == EventStateEnum.end:
                self.table.describe(event_data)
        if event_type == EventStateEnum.end:
            del self.events_in_process[event_data["id"]]
        return event_data["id"] if worth_keeping else None

    def handle_external_detection(self, event_type: str, event_data: dict[str, Any]) -> str | None:
        """Handles a manual event. Its picture exists at `start`, and `end` has only two fields."""
        if event_type == EventStateEnum.start:
            self.table.upsert(event_data, event_data["type"])
        elif event_type == EventStateEnum.end:
            self.table.finish(event_data["id"], event_data["end_time"])
        return event_data["id"]


def _awaited(coroutine: Any) -> Any:
    import asyncio  # only the shape `async` needs this import

    return asyncio.run(coroutine)


OBJECT_HANDLER = "handle_object_detection"
_known = EventProcessor.handle_object_detection

if SHAPE == "renamed":
    OBJECT_HANDLER = "handle_tracked_object"
    EventProcessor.handle_tracked_object = _known
    del EventProcessor.handle_object_detection
elif SHAPE == "extra-parameter":

    def handle_object_detection(self, event_type, camera, event_data, frame_name=""):
        return _known(self, event_type, camera, event_data)

    EventProcessor.handle_object_detection = handle_object_detection
elif SHAPE == "async":

    async def handle_object_detection(self, event_type, camera, event_data):
        return _known(self, event_type, camera, event_data)

    EventProcessor.handle_object_detection = handle_object_detection
