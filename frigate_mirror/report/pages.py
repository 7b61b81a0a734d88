"""Pages: a small HTTP server that tells machines how the mirror is.

    /healthz   200 while the mirror works, also during an outage of the destination: a new start
               would not end that
    /readyz    200 while the mirror works and the destination answers
    /status    the report, as JSON
    /metrics   the metrics, for Prometheus

An answer is made of what is in memory, so no request waits for the ledger, and none delays an
upload. Clients may be slow or hostile: a connection lives for LONGEST seconds at most, and where
MOST are open, the oldest one gives way to a new one.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from frigate_mirror.faults import Troubles
from frigate_mirror.part import Part, Task

log = logging.getLogger("frigate_s3.pages")
MOST = 16  # connections
LONGEST = 10.0  # seconds
AGAIN = 10.0  # seconds until a port that is taken is tried again
LOOK_EVERY = 0.5  # seconds between two looks for connections that are too old
TEXT, JSON = "text/plain; charset=utf-8", "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request. `kind` is its content type."""

    status: HTTPStatus
    kind: str
    body: bytes


Page = Callable[[], Answer]


def text(status: HTTPStatus, words: str) -> Answer:
    return Answer(status, TEXT, f"{words}\n".encode("utf-8", "replace"))


def document(found: Mapping[str, Any]) -> Answer:
    return Answer(HTTPStatus.OK, JSON, json.dumps(found, indent=1).encode())


class Pages(Part):
    """Serves `pages`, by their paths, at `address` and `port`. A port that is taken is a trouble,
    and is tried again."""

    def __init__(
        self, address: str, port: int, pages: Mapping[str, Page], troubles: Troubles
    ) -> None:
        self._place = address, port
        self._pages = pages
        self._troubles = troubles
        self._server: _Server | None = None
        self._finished = False

    @property
    def port(self) -> int:
        """The port at which the pages are served, or 0 before that."""
        return int(self._server.server_address[1]) if self._server else 0

    def tasks(self) -> list[Task]:
        return [Task("pages", AGAIN, self.serve)]

    def serve(self) -> None:
        """Serves until `finish`. Returns at once if that is not possible."""
        try:
            self._server = server = _Server(self._place, self._pages)
        except OSError as error:
            where = "{}:{}".format(*self._place)
            self._troubles.note(
                "pages",
                f"the pages cannot be served at {where}: {error.strerror or error}: set "
                "MIRROR_HTTP_ADDRESS to an address of this machine and MIRROR_HTTP_PORT to a free "
                "port, or the port to 0 for no pages",
            )
            return
        self._troubles.note("pages", "")
        log.info("S3 pages: served at http://%s:%d", self._place[0], self.port)
        with server:
            while not self._finished:
                server.handle_request()
                server.cut_old()

    def finish(self) -> None:
        self._finished = True


class _Server(socketserver.ThreadingTCPServer):
    """The server itself. `http.server` has one, too, which asks the name server for its own name
    before it begins, and waits for the answer."""

    allow_reuse_address = True
    daemon_threads = True
    timeout = LOOK_EVERY
    block_on_close = False

    def __init__(self, place: tuple[str, int], pages: Mapping[str, Page]) -> None:
        """Raises OSError."""
        self.pages = pages
        self._open: dict[socket.socket, float] = {}
        self._turn = threading.Lock()
        if ":" in place[0]:
            self.address_family = socket.AF_INET6
        super().__init__(place, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._turn:
            if len(self._open) >= MOST:
                self._cut(next(iter(self._open)))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def cut_old(self) -> None:
        """Ends the connections that are too old."""
        now = time.monotonic()
        with self._turn:
            for one in [one for one, since in self._open.items() if now - since > LONGEST]:
                self._cut(one)

    def shutdown_request(self, request: Any) -> None:
        with self._turn:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("S3 pages: a request failed", exc_info=True)

    def _cut(self, one: socket.socket) -> None:
        """Ends a connection. Its thread notices that, and ends."""
        del self._open[one]
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "frigate-mirror", ""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            known = " ".join(self.server.pages)
            answer = text(HTTPStatus.NOT_FOUND, f"there is no such page; the pages are {known}")
        else:
            answer = page()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Says nothing: whoever looks at the pages does so all the time."""
