"""The process that records one camera.

To read the configuration takes libraries that recording does not need, and memory for each camera.
So the process that has read it becomes a new one, which gets its camera on its standard input:
nobody else can read that, and the address has a password.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from frigate_mirror.process.system import set_up_logging
from frigate_mirror.recorder.camera import Camera
from frigate_mirror.recorder.recorder import Recorder
from frigate_mirror.recorder.service import Service
from frigate_mirror.settings.secret import Secret

HERE = Path(__file__).resolve().parents[2]
# Fragments are large and come every second. The C library would keep twice their size for the next.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "65536"}


class Stop:
    """Whether a signal has come. See `process.life.Stop`, which is for more threads than one."""

    wanted = False

    def __call__(self, *_: object) -> None:
        self.wanted = True


def become(camera: Camera, log_level: str) -> NoReturn:
    """Makes this process the one that records `camera`. Raises OSError."""
    told = asdict(camera) | {"url": camera.url.reveal(), "folder": str(camera.folder)}
    reading, writing = os.pipe()
    os.write(writing, json.dumps([told, log_level]).encode())
    os.close(writing)
    os.dup2(reading, 0)
    words = [sys.executable, "-P", "-m", __name__, camera.name]
    os.execve(sys.executable, words, {**os.environ, **ALLOCATOR, "PYTHONPATH": str(HERE)})


def main() -> int:
    """Records the camera on standard input until a signal comes; returns the exit code."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    told, log_level = json.loads(sys.stdin.buffer.read())
    camera = Camera(**told | {"url": Secret(told["url"]), "folder": Path(told["folder"])})
    set_up_logging(log_level)
    Recorder(camera, Service()).run(lambda: stop.wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
