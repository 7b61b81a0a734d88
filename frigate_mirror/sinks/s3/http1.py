"""HTTP/1.1 over one connection: sends a request and reads its answer.

`http.client` parses the answer. The sending and the waiting are our own, because the total time of
a request has no limit: a slow line may take as long as it needs. A request is given up when the
other side is silent, which means that it neither acknowledges a byte nor sends one.
"""

from __future__ import annotations

import fcntl
import io
import math
import select
import socket
import ssl
import struct
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from frigate_mirror.sinks.body import PIECE, Window

STORED_PER_SECOND = 16 * 1024 * 1024
"""Bytes of a large body that even a slow service stores in a second before it answers."""
LONGEST_ANSWER = 1024 * 1024
"""Bytes that the body of an answer may have."""


class Silence(OSError):
    """The other side is silent."""


class ReadTimeout(Silence):
    """Bytes that were sent were not acknowledged in time, or no answer came in time."""


class Unanswered(ReadTimeout):
    """All bytes were acknowledged, and no answer came in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection to the service. Its socket does not block; `_wait` waits for it.

    `reusable` tells whether it can carry another request. `idle_since` and `rested` belong to the
    pool that keeps it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._received = b""  # while the request was being sent
        self._silence = self._answer_within = 0.0
        self._last_sign = 0.0  # when the other side last gave a sign of life
        self.close = sock.close
        self.reusable = True
        self.idle_since = 0.0
        self.rested = False

    @property
    def quiet(self) -> bool:
        """Whether nothing has come since the last answer, neither a byte nor the end."""
        self._poll.modify(self._sock, select.POLLIN)
        return not self._poll.poll(0)

    def exchange(
        self, head: bytes, body: bytes | Window, silence: float, answer_within: float = 0.0
    ) -> Answer:
        """Sends a request and reads its answer. Raises OSError, and ValueError for an answer that
        is not HTTP or too long.

        Raises ReadTimeout after `silence` seconds without a sign of life. Once all bytes are
        acknowledged, the answer may take `answer_within` seconds, if that is more.
        """
        self.reusable = False
        self._silence, self._last_sign = silence, time.monotonic()
        self._answer_within = max(silence, answer_within)
        try:
            self._send_request(head, body)
            answered_early = self._answer_began
            if isinstance(body, Window):
                self._answer_within += body.size / STORED_PER_SECOND
            answer = self._read_answer()
        except TimeoutError as error:  # the kernel has given up sending again
            raise ReadTimeout("bytes not acknowledged") from error
        self.reusable = self.reusable and not answered_early
        return answer

    def _send_request(self, head: bytes, body: bytes | Window) -> None:
        if isinstance(body, bytes):
            self._send(head + body)
            return
        body.seek(0)
        self._send(head)
        while not self._answer_began and (piece := body.read(PIECE)):
            self._send(piece)

    def _send(self, data: bytes) -> None:
        """Sends all of `data`, unless the answer begins before that."""
        view = memoryview(data)
        while view and not self._answer_began:
            try:
                view = view[self._sock.send(view[:PIECE]) :]
                self._last_sign = time.monotonic()
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT | select.POLLIN)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Returns the bytes that arrive as a file; `http.client` asks for it."""
        return io.BufferedReader(_Incoming(self))

    def receive(self, size: int) -> bytes:
        """Returns at least one of up to `size` bytes, or nothing at the end of the connection.
        Raises OSError."""
        while not self._received:
            try:
                return self._sock.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
        received, self._received = self._received[:size], self._received[size:]
        return received

    def _wait(self, events: int) -> None:
        """Waits until the socket is ready for one of `events`. Raises ReadTimeout if the other side
        neither sends nor acknowledges a byte for too long."""
        self._poll.modify(self._sock, events)
        unacknowledged, now = self._unacknowledged(), time.monotonic()
        while not (ready := self._poll.poll(1000 * self._until_next_look(now))):
            now, before = time.monotonic(), unacknowledged
            unacknowledged = self._unacknowledged()
            silent_for = now - self._last_sign
            if unacknowledged < before:
                self._last_sign = now
            elif unacknowledged and silent_for >= self._silence:
                raise ReadTimeout(
                    f"{unacknowledged} bytes not acknowledged for {self._silence:g} s"
                )
            elif silent_for >= self._answer_within:
                raise Unanswered(f"no answer for {self._answer_within:g} s")
        self._last_sign = time.monotonic()
        if events & select.POLLOUT and ready[0][1] & select.POLLIN:
            # While we send, something has come; over TLS it need not be an answer.
            with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                data = self._sock.recv(65536)
                if not data:
                    raise ConnectionAbortedError("closed before the request was sent")
                self._received += data

    def _until_next_look(self, now: float) -> float:
        """Seconds until the next look at what is acknowledged, or until the silence is too long."""
        left = self._last_sign + min(self._silence, self._answer_within) - now
        return max(0.001, min(1.0, self._silence / 8, left if left > 0 else math.inf))

    @property
    def _answer_began(self) -> bool:
        """Whether the answer has begun, perhaps before the whole request was sent. Interim answers,
        100 to 199, do not count."""
        begin = self._received[:10]
        return len(begin) == 10 and begin != b"HTTP/1.1 1"

    def _unacknowledged(self) -> int:
        """Bytes in the kernel that the other side has not acknowledged yet."""
        count: int = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)))[0]
        return count

    def _read_answer(self) -> Answer:
        response = HTTPResponse(self)  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read(LONGEST_ANSWER + 1)
        except OSError:
            raise
        except HTTPException as error:
            raise ValueError(f"the answer is not HTTP: {error!r}") from error
        if len(body) > LONGEST_ANSWER:
            raise ValueError("the answer is too long")
        if response.length:
            raise ConnectionAbortedError("closed before the answer was complete")
        self.reusable = response.status >= 200 and not (response.will_close or self._received)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)


class _Incoming(io.RawIOBase):
    """What arrives on a connection, as a raw file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)
