"""The process that records one camera. It loads nothing that only uploading needs."""

from __future__ import annotations

import signal

from frigate_mirror.recorder.camera import Recorder
from frigate_mirror.recorder.config import Camera, Config
from frigate_mirror.recorder.service import Service


class Stop:
    """Whether a signal has come. See `process.life.Stop`, which is for more threads than one."""

    wanted = False

    def __call__(self, *_: object) -> None:
        self.wanted = True


def record(config: Config, camera: Camera, service: Service) -> int:
    """Records one camera until a signal comes; returns the exit code."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    Recorder(camera, config, service).run(lambda: stop.wanted)
    return 0
