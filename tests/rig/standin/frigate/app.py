"""The main process starts event thread and workers, plays the scenario, and stops all in order."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import threading
from logging.handlers import QueueListener
from typing import Any

from frigate import variant, workers
from frigate.config import FrigateConfig
from frigate.events.maintainer import EventProcessor, Message
from frigate.recorder import Recorder
from frigate.scenario import Scenario
from frigate.version import VERSION

logger = logging.getLogger(__name__)


class FrigateApp:
    def __init__(self, config: FrigateConfig, listener: QueueListener) -> None:
        self.config = config
        self.listener = listener
        self.stop_event = multiprocessing.Event()
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.workers = []
        self.recorder: Recorder | None = None

    def start(self) -> None:
        """Runs until the scenario is over. SIGTERM raises SystemExit here and ends it earlier."""
        logger.info("Starting Frigate (%s)", VERSION)
        self.event_processor = EventProcessor(self.config, self.messages, self.stop_event)
        try:
            self.workers.append(workers.start("recording_manager", self.stop_event))
            self.event_processor.start()
            # Frigate restarts detectors at any time, so one worker starts after the event thread.
            self.workers.append(workers.start("detector", self.stop_event))
            if variant.SEGMENTS and not self.config.safe_mode:
                self.recorder = Recorder(self.event_processor, variant.SEGMENTS)
                self.recorder.start()
            self.watch()
        finally:
            self.stop()

    def watch(self) -> None:
        """Plays the scenario. Frigate runs its web server in this place."""
        pause = threading.Event()
        scenario = Scenario(self.send)
        for index in range(0 if self.config.safe_mode else variant.EVENTS):
            if index:
                pause.wait(variant.GAP)
            scenario.play(index)
        if variant.RAISES:
            scenario.stumble()
        logger.info("The scenario of %d events is over", variant.EVENTS)
        pause.wait(variant.LINGER)

    def send(
        self, source: str, event_type: str, camera: str | None, event_data: dict[str, Any]
    ) -> None:
        """Hands a message to the event thread and waits for it, which keeps the order of stdout."""
        message = Message(source, event_type, camera, event_data)
        message.handling.acquire()
        self.messages.put(message)
        while not message.handling.acquire(timeout=0.02) and self.event_processor.is_alive():
            pass

    def stop(self) -> None:
        logger.info("Stopping...")
        self.stop_event.set()
        if self.event_processor.ident is not None:
            self.event_processor.join()
        if self.recorder is not None:
            self.recorder.join()
        if self.event_processor.table is not None:
            self.event_processor.table.abandon()
        for worker in self.workers:
            worker.join()
        self.listener.stop()
        if variant.FORKS:
            os._exit(0)
