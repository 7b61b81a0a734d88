"""HTTP/1.1 to one place over connections that are kept: the little of it that a small upload needs.

Half the price of `http.client`, whose parsing of an answer alone costs a fifth of an upload. What
it does not understand is an OSError or a ValueError; whoever asks has another way.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

from frigate_mirror.body import Window
from frigate_mirror.s3_place import Place

PIECE = 256 * 1024  # bytes; each may take as long as the other side may be silent
MOST = 1024 * 1024
"""The longest head, and the longest body, that an answer may have, in bytes."""


class ConnectTimeout(TimeoutError):
    """The connection did not stand in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of `headers` are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """The connections to `place`, as many as there are requests at the same time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        weakref.finalize(self, _close, self._idle).atexit = False

    def exchange(self, head: bytes, body: bytes | Window, *, connect: float, read: float) -> Answer:
        """Send one request and read its answer. `connect` and `read` are the seconds until the
        connection must stand, and that the other side may be silent. Raises OSError, ValueError."""
        connection = self._kept() or self._connected(connect)
        try:
            answer = connection.exchange(head, body, read)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _kept(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.quiet:
                return connection
            connection.close()

    def _connected(self, timeout: float) -> _Connection:
        place = self._place
        try:
            sock = socket.create_connection((place.host, place.port), timeout)
        except TimeoutError as error:
            raise ConnectTimeout from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if place.secure:
                sock = self._tls().wrap_socket(sock, server_hostname=place.host)
        except BaseException:
            sock.close()
            raise
        return _Connection(sock)

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = ssl.create_default_context(cafile=self._place.trust)
            return self._context


def _close(connections: list[_Connection]) -> None:
    for one in connections:
        one.close()


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._rest = b""
        self.close = sock.close
        self.reusable = True

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer: no end, and no byte that nobody asked
        for."""
        return not self._poll.poll(0)

    def exchange(self, head: bytes, body: bytes | Window, timeout: float) -> Answer:
        if self._sock.gettimeout() != timeout:  # a system call
            self._sock.settimeout(timeout)
        self.reusable = False
        if isinstance(self._sock, ssl.SSLSocket):
            for piece in _pieces(body):
                self._sock.sendall(head + piece if head else piece)
                head = b""
        else:  # joined by the kernel: a copy would be made under the interpreter's lock
            self._sock.sendall(head, socket.MSG_MORE if body else 0)
            if isinstance(body, Window):
                body.send(self._sock)
            elif body:
                for piece in _pieces(body):
                    self._sock.sendall(piece)
        return self._answer()

    def _answer(self) -> Answer:
        status, lasting, headers = self._head()
        while status < 200:
            status, lasting, headers = self._head()
        framed = True
        if status in (204, 304):
            body = b""
        elif "transfer-encoding" in headers:
            body = self._chunks(headers["transfer-encoding"])
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            framed, body = False, self._until_the_end()
        self.reusable = framed and lasting and not self._rest
        return Answer(status, headers, body)

    def _head(self) -> tuple[int, bool, dict[str, str]]:
        """Status, whether the connection lasts, headers."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if not version.startswith("HTTP/1.") or len(status) != 3:
            raise ValueError("no HTTP/1.1")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.lower()
            value = value.strip()
            if not colon or (name == "content-length" and (name in headers or not value.isdigit())):
                raise ValueError("a head that nobody can be sure of")
            headers[name] = value
        lasting = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return int(status), lasting, headers

    def _chunks(self, coding: str) -> bytes:
        if coding.lower() != "chunked":
            raise ValueError("an unknown transfer encoding")
        body = b""
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n" or len(body) > MOST:
                raise ValueError("a chunk that does not end")
        while self._until(b"\r\n"):  # trailers
            pass
        return body

    def _until(self, mark: bytes) -> bytes:
        while (at := self._rest.find(mark)) < 0:
            self._more()
        found, self._rest = self._rest[:at], self._rest[at + len(mark) :]
        return found

    def _exactly(self, size: int) -> bytes:
        if not 0 <= size <= MOST:
            raise ValueError("an answer too long")
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _until_the_end(self) -> bytes:
        while data := self._sock.recv(65536):
            self._keep(data)
        found, self._rest = self._rest, b""
        return found

    def _more(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionAbortedError("closed before the answer was whole")
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > MOST + 65536:
            raise ValueError("an answer too long")


def _pieces(body: bytes | Window) -> Iterator[bytes | memoryview]:
    """Of bytes at least one, which may be empty."""
    if isinstance(body, bytes):
        view = memoryview(body)
        for at in range(0, len(view) or 1, PIECE):
            yield view[at : at + PIECE]
    else:
        while piece := body.read(PIECE):
            yield piece
