"""HTTP/1.1 over one connection: sends a request and reads its answer.

It costs half as much as `http.client`, where parsing the answer alone takes a fifth of an upload.
Anything that it does not understand is an OSError or a ValueError, and the caller asks over boto3.

The total time of a request has no limit, so a slow line may take as long as it needs. A request is
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

STORED_PER_SECOND = 16 * 1024 * 1024
"""Bytes of a large body that even a slow service stores in a second before it answers."""
TCP_NOTSENT_LOWAT = 25  # Linux's number; not every build of Python has the name
UNSENT = 16 * 1024
"""Bytes of a large body that the kernel takes ahead of what it has sent. Without this limit it
takes megabytes, and a paused upload goes on using the line until they are sent."""
AT_ONCE = 256 * 1024
"""Bytes that the kernel is asked to take at once. Less costs CPU for every snapshot."""
LONGEST_ANSWER = 1024 * 1024
"""Bytes that the head and the body of an answer may have, each."""


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
        self._received = b""  # and not parsed yet
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
        """Sends a request and reads its answer.

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
        # Not for small bodies, because the kernel then asks for their bytes in many pieces.
        with suppress(OSError):  # not every kernel knows it
            self._sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT)
        body.seek(0)
        self._send(head)
        while not self._answer_began and (piece := body.read(body.piece)):
            self._last_sign = time.monotonic()  # a file that pauses is no silence of the service
            self._send(piece)

    def _send(self, data: bytes) -> None:
        """Sends all of `data`, unless the answer begins before that."""
        view = memoryview(data)
        while view and not self._answer_began:
            try:
                view = view[self._sock.send(view[:AT_ONCE]) :]
                self._last_sign = time.monotonic()
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT | select.POLLIN)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)

    def _receive(self) -> bytes:
        """Returns at least one byte, or nothing at the end of the connection."""
        while True:
            try:
                return self._sock.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

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
                self._keep(self._sock.recv(65536))

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
        status, lasting, headers = self._read_head()
        while status < 200:
            status, lasting, headers = self._read_head()
        framed = True
        if status in (204, 304):
            body = b""
        elif "transfer-encoding" in headers:
            body = self._read_chunks(headers["transfer-encoding"])
        elif "content-length" in headers:
            body = self._take(int(headers["content-length"]))
        else:
            framed, body = False, self._take_rest()
        self.reusable = framed and lasting and not self._received
        return Answer(status, headers, body)

    def _read_head(self) -> tuple[int, bool, dict[str, str]]:
        """Returns the status, whether the connection stays open, and the headers."""
        first, *lines = self._take_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if not version.startswith("HTTP/1.") or len(status) != 3:
            raise ValueError("the answer is not HTTP/1.1")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if not colon or (name == "content-length" and (name in headers or not value.isdigit())):
                raise ValueError("the head of the answer is ambiguous")
            headers[name] = value
        lasting = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return int(status), lasting, headers

    def _read_chunks(self, coding: str) -> bytes:
        if coding.lower() != "chunked":
            raise ValueError("the answer has an unknown transfer encoding")
        body = b""
        while size := int(self._take_until(b"\r\n").partition(b";")[0], 16):
            body += self._take(size)
            if self._take(2) != b"\r\n" or len(body) > LONGEST_ANSWER:
                raise ValueError("a chunk of the answer does not end, or it is too long")
        while self._take_until(b"\r\n"):  # trailers
            pass
        return body

    def _take_until(self, mark: bytes) -> bytes:
        """Takes what comes before `mark`, and drops the mark."""
        while mark not in self._received:
            self._keep(self._receive())
        taken, _, self._received = self._received.partition(mark)
        return taken

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_ANSWER:
            raise ValueError("the answer is too long")
        while len(self._received) < size:
            self._keep(self._receive())
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _take_rest(self) -> bytes:
        """Takes everything up to the end of the connection."""
        while data := self._receive():
            self._keep(data)
        taken, self._received = self._received, b""
        return taken

    def _keep(self, data: bytes) -> None:
        if not data:
            raise ConnectionAbortedError("closed before the answer was complete")
        self._received += data
        if len(self._received) > LONGEST_ANSWER + 65536:
            raise ValueError("the answer is too long")
