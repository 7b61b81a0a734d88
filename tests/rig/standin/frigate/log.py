"""Logging as Frigate sets it up: with one queue, one listener and its own format on stderr."""

from __future__ import annotations

import logging
import os
import queue
from logging.handlers import QueueHandler, QueueListener

FORMAT = "[%(asctime)s] %(name)-30s %(levelname)-8s: %(message)s"
LINE = logging.Formatter(FORMAT, "%Y-%m-%d %H:%M:%S")


class Printer(logging.Handler):
    """Writes straight to the descriptor. If another thread held the lock of sys.stderr during a
    fork, the worker could never flush sys.stderr and never end."""

    def emit(self, record: logging.LogRecord) -> None:
        os.write(2, f"{self.format(record)}\n".encode())


def setup_logging() -> QueueListener:
    """Replaces every root handler, including those that other code has installed."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    printer = Printer()
    printer.setFormatter(LINE)
    logging.basicConfig(level=logging.INFO, handlers=[], force=True)
    logging.getLogger().addHandler(QueueHandler(records))
    listener = QueueListener(records, printer)
    listener.start()
    return listener
