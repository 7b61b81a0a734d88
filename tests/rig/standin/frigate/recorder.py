"""The recordings. The cameras show the same four seconds again and again.

As in Frigate, a segment's file is complete before its row is there, which is some time after the
end of the segment. A restart goes on where the recording has ended.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from frigate import pictures
from frigate.const import RECORD_DIR
from frigate.events.maintainer import EventProcessor

SECONDS = 4  # of a segment; Frigate's have 10
DELAY = 1.0  # seconds from the end of a segment to its row; in Frigate up to 8
HISTORY = 20  # seconds that were recorded before the first start


class Recorder(threading.Thread):
    """Records every camera whose segment is in `folder`, under the name CAMERA.mp4."""

    def __init__(self, events: EventProcessor, folder: str) -> None:
        super().__init__(name="recording_manager")
        self.events = events
        self.movies = {path.stem: path.read_bytes() for path in Path(folder).glob("*.mp4")}

    def run(self) -> None:
        start = 0
        while not self.events.stop_event.wait(0.1):
            table = self.events.table
            if table is None:
                continue
            start = start or max(int(time.time()) - HISTORY, int(table.recorded_until()))
            while start + SECONDS + DELAY <= time.time():
                for camera, movie in self.movies.items():
                    table.record(camera, write_segment(camera, start, movie), start, SECONDS)
                start += SECONDS


def write_segment(camera: str, start: int, movie: bytes) -> Path:
    """Writes the file of the segment that begins at `start`."""
    at = datetime.fromtimestamp(start, UTC)
    path = Path(RECORD_DIR, f"{at:%Y-%m-%d}", f"{at:%H}", camera, f"{at:%M.%S}.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pictures.segment(movie, f"{camera} {start}".encode()))
    return path
