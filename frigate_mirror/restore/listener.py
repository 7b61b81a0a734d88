"""A server on a Unix socket: one request and one answer a connection, each a JSON object on a line.

Only the user that this process runs as can connect to it. No client can hold a thread for longer
than the time limits, and as many clients as there are threads are served at a time. Others wait in
the queue of the kernel.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LARGEST_REQUEST = 8_000_000  # bytes; it has the record settings of every camera
TO_ASK = 5.0  # seconds for a whole request to arrive
TO_TELL = 5.0  # seconds for the client to take the answer
THREADS = 8
BACKLOG = 32

log = logging.getLogger("frigate_s3.backfill")
Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class Listener:
    """The server at `path`. `answer` turns a request into an HTTP status and a body, and may be
    called by several threads at a time. Raises OSError if there can be no socket."""

    def __init__(
        self, path: Path, answer: Answer, to_ask: float = TO_ASK, to_tell: float = TO_TELL
    ) -> None:
        self._answer = answer
        self._to_ask = to_ask
        self._to_tell = to_tell
        self._places = threading.Semaphore(THREADS)
        self._stopping = False
        self._socket = _listening(path)

    def start(self) -> None:
        threading.Thread(target=self._accept, name="backfill_accept", daemon=True).start()

    def stop(self) -> None:
        """Takes no more requests."""
        self._stopping = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait of the other thread
        self._socket.close()

    def _accept(self) -> None:
        while not self._stopping:
            self._places.acquire()
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                self._places.release()
                if not self._stopping:  # there are no descriptors left, for example
                    log.warning("backfill: no request can be taken: %s", error)
                    time.sleep(1)
                continue
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        """Serves a connection in a thread of its own."""
        thread = threading.Thread(
            target=self._talk, args=(connection,), name="backfill_request", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            connection.close()
            self._places.release()
            log.warning("backfill: a request cannot be answered: %s", error)

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                status, body = self._answer_to(connection)
                line = json.dumps({"status": status, "body": body}).encode() + b"\n"
                connection.settimeout(self._to_tell)
                connection.sendall(line)
        except OSError as error:  # the client is gone, or says nothing
            log.debug("backfill: a client of the socket went away: %s", error)
        except MemoryError:
            raise
        except Exception:
            log.exception("backfill: a request failed")
        finally:
            self._places.release()

    def _answer_to(self, connection: socket.socket) -> tuple[int, dict[str, Any]]:
        line = _line(connection, self._to_ask)
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return 400, {"success": False, "message": "The request is no JSON object on a line"}
        return self._answer(request)


def _line(connection: socket.socket, within: float) -> bytes:
    """Returns the request. Raises OSError if it does not come whole, in time and small enough."""
    until = time.monotonic() + within
    line = bytearray()
    while not line.endswith(b"\n"):
        connection.settimeout(max(until - time.monotonic(), 0.001))
        piece = connection.recv(65_536)
        line += piece
        if not piece or len(line) > LARGEST_REQUEST:
            raise ConnectionError("the request is too large" if piece else "half a request")
    return bytes(line)


def _listening(path: Path) -> socket.socket:
    """Returns a socket that listens at `path`, instead of one that an earlier process has left.
    Nobody else can connect at any moment, because it listens under another name first."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address(new) as short:
            listening.bind(short)
        new.chmod(0o600)
        listening.listen(BACKLOG)
        new.replace(path)
    except OSError:
        listening.close()
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    return listening


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yields an address of the socket `path` that is short enough, because one may have 107 bytes
    only. Raises OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
