"""HTTP/1.1 over one connection: a request goes out, its answer comes back.

It costs half of `http.client`, whose parsing of an answer alone takes a fifth of an upload. What it
does not understand is an OSError or a ValueError, and the caller asks over boto3.

No request has a limit on its total time, so a thin line may take as long as it needs. A request is
given up when the other side is silent: it neither acknowledges a byte nor sends one.
"""

from __future__ import annotations

import fcntl
import math
import select
import socket
import ssl
import struct
import termios
import time
from contextlib import suppress
from dataclasses import dataclass

from frigate_mirror.sinks.body import Window

PIECE = 256 * 1024  # bytes handed over at once
STORING = 16 * 1024 * 1024  # bytes of a large body that a service stores in a second, at the least
MOST = 1024 * 1024
"""The longest head, and the longest body, that an answer may have, in bytes."""


class Silence(OSError):
    """The other side says nothing."""


class ReadTimeout(Silence):
    """Sent bytes were not acknowledged in time, or no answer came in time."""


class Unanswered(ReadTimeout):
    """All bytes were acknowledged, and no answer came in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of `headers` are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection; its socket never blocks, `_wait` does."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._rest = b""
        self._silence = self._answer_within = 0.0
        self._heard = 0.0  # when the other side last gave a sign of life
        self.close = sock.close
        self.reusable = True
        self.idle_since = 0.0

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer: no end, and no byte that nobody asked
        for."""
        self._poll.modify(self._sock, select.POLLIN)
        return not self._poll.poll(0)

    def exchange(
        self, head: bytes, body: bytes | Window, silence: float, answer_within: float = 0.0
    ) -> Answer:
        """Sends a request and reads its answer. Gives up after `silence` seconds without a sign of
        life, or after `answer_within` seconds, if that is more, once all is acknowledged."""
        self.reusable = False
        self._silence, self._heard = silence, time.monotonic()
        self._answer_within = max(silence, answer_within)
        try:
            self._send_request(head, body)
            early = self._answered
            if isinstance(body, Window):
                self._answer_within += body.size / STORING
            answer = self._answer()
        except TimeoutError as error:  # the kernel has given up sending again
            raise ReadTimeout("bytes not acknowledged") from error
        self.reusable = self.reusable and not early
        return answer

    def _send_request(self, head: bytes, body: bytes | Window) -> None:
        if isinstance(body, bytes):
            self._send(head + body)
            return
        body.seek(0)
        self._send(head)
        while not self._answered and (piece := body.read(PIECE)):
            self._send(piece)

    def _send(self, data: bytes) -> None:
        """Sends all of it, or until the other side answers."""
        view = memoryview(data)
        while view and not self._answered:
            try:
                view = view[self._sock.send(view[:PIECE]) :]
                self._heard = time.monotonic()
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT | select.POLLIN)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)

    def _received(self) -> bytes:
        """What has come, at least a byte; empty at the end of the connection."""
        while True:
            try:
                return self._sock.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def _wait(self, events: int) -> None:
        """Waits until the socket is ready for one of `events`. Raises ReadTimeout when the other
        side has neither sent nor acknowledged a byte for too long."""
        self._poll.modify(self._sock, events)
        unacknowledged, now = self._unacknowledged(), time.monotonic()
        while not (ready := self._poll.poll(1000 * self._step(now))):
            now, before = time.monotonic(), unacknowledged
            unacknowledged = self._unacknowledged()
            if unacknowledged < before:
                self._heard = now
            elif unacknowledged and now - self._heard >= self._silence:
                raise ReadTimeout(
                    f"{unacknowledged} bytes not acknowledged for {self._silence:g} s"
                )
            elif now - self._heard >= self._answer_within:
                raise Unanswered(f"no answer for {self._answer_within:g} s")
        self._heard = time.monotonic()
        if events & select.POLLOUT and ready[0][1] & select.POLLIN:
            self._look_for_an_answer()

    def _step(self, now: float) -> float:
        """Seconds until the next look at what is acknowledged, or until the silence is too long."""
        until = self._heard + min(self._silence, self._answer_within)
        return max(0.001, min(1.0, self._silence / 8, until - now if until > now else math.inf))

    def _look_for_an_answer(self) -> None:
        """Something has come while we were sending; over TLS it need not be an answer."""
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._keep(self._sock.recv(65536))

    @property
    def _answered(self) -> bool:
        """Whether the answer has begun, perhaps before the whole request was sent. Informational
        responses, 100 to 199, do not count."""
        begun = self._rest[:10]
        return len(begun) == 10 and begun != b"HTTP/1.1 1"

    def _unacknowledged(self) -> int:
        """Bytes that the kernel holds for us until the other side has acknowledged them."""
        count: int = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)))[0]
        return count

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
        while data := self._received():
            self._keep(data)
        found, self._rest = self._rest, b""
        return found

    def _more(self) -> None:
        self._keep(self._received())

    def _keep(self, data: bytes) -> None:
        if not data:
            raise ConnectionAbortedError("closed before the answer was whole")
        self._rest += data
        if len(self._rest) > MOST + 65536:
            raise ValueError("an answer too long")
