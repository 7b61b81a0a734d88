"""Connections to one place: they are made here, kept between requests, and closed with age.

A router, a NAT or a VPN that has forgotten a connection does not say so: what is sent over it is
swallowed. So a kept connection is trusted only a little, and a request that fails on one is sent
again over a fresh one.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass
from functools import cached_property

from frigate_mirror.sinks.body import Window
from frigate_mirror.sinks.s3.endpoint import Place
from frigate_mirror.sinks.s3.http1 import Answer, Connection, Silence, Unanswered


class ConnectTimeout(Silence):
    """The connection was not established in time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    connect   until a connection is established, including TLS
    silence   until the other side acknowledges another byte, or answers
    longest   until it answers, if it turns out to take longer than that
    rest      after which an idle connection may have died without a word
    age       after which an idle connection is closed
    """

    connect: float = 10
    silence: float = 8
    longest: float = 60
    rest: float = 1
    age: float = 30


USUAL = Patience()
BRISK = Patience(connect=4, silence=7)
"""For the check: even a service that hangs half-way is told within 15 seconds."""


class Wire:
    """The connections to `place`, at most as many as there are requests at the same time.

    A service that acknowledges everything and takes long to answer is given twice the time at the
    next request, so a slow one is not asked for the same again and again.

    Only one connection that has rested is tried at a time; while its request is unanswered, other
    requests use fresh ones. So at most one request waits for a connection that has died.
    """

    def __init__(self, place: Place, patience: Patience = USUAL) -> None:
        self.place = place
        self._patience = patience
        self._answer_within = patience.silence
        self._idle: list[Connection] = []  # the last used is the last
        self._trying = False  # whether a request is under way on a connection that had rested
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._close_idle()

    def exchange(self, head: bytes, body: bytes | Window = b"") -> Answer:
        """Sends one request and reads its answer. Raises Silence, other OSErrors and ValueError."""
        kept, rested = self._kept()
        if kept is not None:
            try:
                return self._exchanged(kept, head, body)
            except OSError:
                self._close_idle()  # they go the same way
            finally:
                if rested:
                    self._trying = False
        fresh = self._connected(self._patience.connect)
        try:
            return self._exchanged(fresh, head, body)
        except Unanswered:
            self._answer_within = self._bounded(2 * self._answer_within)
            raise

    def probe(self, head: bytes) -> Answer:
        """The same for the check: over a connection of its own, and with less patience."""
        connection = self._connected(min(BRISK.connect, self._patience.connect))
        try:
            silence = min(BRISK.silence, self._patience.silence)
            return connection.exchange(head, b"", silence)
        finally:
            connection.close()

    def _exchanged(self, connection: Connection, head: bytes, body: bytes | Window) -> Answer:
        began = time.monotonic()
        try:
            answer = connection.exchange(head, body, self._patience.silence, self._answer_within)
            self._answer_within = self._bounded(2 * (time.monotonic() - began))
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _bounded(self, seconds: float) -> float:
        return max(self._patience.silence, min(self._patience.longest, seconds))

    def _kept(self) -> tuple[Connection | None, bool]:
        """An idle connection, and whether it has rested."""
        with self._lock:
            while self._idle:
                found, now = self._idle.pop(), time.monotonic()
                idle = now - found.idle_since
                rested = idle >= self._patience.rest
                if idle < self._patience.age and found.quiet and not (rested and self._trying):
                    self._trying = self._trying or rested
                    return found, rested
                found.close()
        return None, False

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _connected(self, timeout: float) -> Connection:
        until = time.monotonic() + timeout
        sock = _connected(self.place, timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self.place.secure:
                sock.settimeout(max(0.001, until - time.monotonic()))
                sock = self._context.wrap_socket(sock, server_hostname=self.place.host)
            return Connection(sock)
        except TimeoutError as error:
            sock.close()
            raise ConnectTimeout(f"no TLS handshake within {timeout:g} s") from error
        except BaseException:
            sock.close()
            raise

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.place.trust)


def _connected(place: Place, timeout: float) -> socket.socket:
    """A connection to one of the host's addresses. Each may take half of the time that is left, so
    that an address that swallows everything does not hide the next."""
    until, trouble = time.monotonic() + timeout, OSError("a host without an address")
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    for left, (*_, address) in zip(range(len(found), 0, -1), found, strict=True):
        share = (until - time.monotonic()) / min(left, 2)
        try:
            return socket.create_connection((str(address[0]), place.port), max(0.001, share))
        except OSError as error:
            trouble = error
    if isinstance(trouble, TimeoutError):
        raise ConnectTimeout(f"no connection within {timeout:g} s") from trouble
    raise trouble
