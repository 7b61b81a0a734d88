"""Logging as Frigate sets it up: one queue, one listener, its own format on stderr."""

from __future__ import annotations

import logging
import os
import queue
from logging.handlers import QueueHandler, QueueListener

FORMAT = "[%(asctime)s] %(name)-30s %(levelname)-8s: %(message)s"
LINE = logging.Formatter(FORMAT, "%Y-%m-%d %H:%M:%S")


class Printer(logging.Handler):
    """Straight to the descriptor: a worker that is forked while another thread has the lock of
    sys.stderr could never flush that, and never end."""

    def emit(self, record: logging.LogRecord) -> None:
        os.write(2, f"{self.format(record)}\n".encode())


def setup_logging() -> QueueListener:
    """Replace every root handler, also those that somebody installed earlier."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    printer = Printer()
    printer.setFormatter(LINE)
    logging.basicConfig(level=logging.INFO, handlers=[], force=True)
    logging.getLogger().addHandler(QueueHandler(records))
    listener = QueueListener(records, printer)
    listener.start()
    return listener
