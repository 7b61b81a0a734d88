"""The processes of the recorder that upload: one that does nothing else, and one that does all."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence

from frigate_mirror.ledger.folders import State
from frigate_mirror.mirror import Mirror
from frigate_mirror.process.life import EX_FAILED, Stop, live
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.config import Config
from frigate_mirror.recorder.recorder import Recorder
from frigate_mirror.recorder.room import Room
from frigate_mirror.recorder.segments import Arrivals, Recording, Segments
from frigate_mirror.sinks.sink import Sink

log = logging.getLogger("frigate_s3.recorder")
AGAIN = 30.0  # seconds, after which an uploader that could not start is started again
FAREWELL = "the uploader was stopped"


class Uploader:
    """Uploads finished segments. See `life.Host`."""

    def __init__(self, config: Config, sink: Sink, versions: dict[str, str], stop: Stop) -> None:
        self.stop = stop
        self._config = config
        self._sink = sink
        self._versions = versions
        self._catalog = Segments(config.folder)
        self._arrivals = Arrivals(self._catalog)
        self.ids = self._arrivals.ids
        self.settle = self._arrivals.settle

    def mirror(self, state: State) -> Mirror:
        config = self._config
        config.folder.mkdir(parents=True, exist_ok=True)
        kinds = [Recording(config.mirror.keys.prefix)]
        mirror = Mirror(
            config.mirror, self._sink, state, self._catalog, kinds,
            versions=self._versions, farewell=FAREWELL,
        )  # fmt: skip
        mirror.add(Room(config, self._catalog, state.ledger))
        return mirror

    @property
    def leaves(self) -> bool:
        return self.stop.wanted

    is_gone = over = leaves


def upload(config: Config, sink: Sink, versions: dict[str, str]) -> int:
    """Uploads until a signal comes; returns the exit code."""
    return live(config.mirror, Uploader(config, sink, versions, Stop()))


def run(config: Config, sink: Sink, versions: dict[str, str]) -> int:
    """Does all in one process, until a signal comes; returns the exit code. An uploader that cannot
    start keeps no camera from being recorded."""
    stop = Stop()
    threads = _start(config.enabled, stop)
    while True:
        status = live(config.mirror, Uploader(config, sink, versions, stop))
        until = time.monotonic() + AGAIN
        while not stop.wanted and time.monotonic() < until:
            time.sleep(0.2)
        if stop.wanted:
            break
    for thread in threads:
        thread.join()
    return EX_FAILED if stop.status else status


def _start(cameras: Sequence[Camera], stop: Stop) -> list[threading.Thread]:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threads = [
        threading.Thread(target=Recorder(camera).run, args=(lambda: stop.wanted,), name=camera.name)
        for camera in cameras
    ]
    for thread in threads:
        thread.start()
    return threads
