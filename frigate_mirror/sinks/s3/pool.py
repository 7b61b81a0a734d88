"""Connections to one endpoint: opens them, keeps them between requests, and closes old ones.

A router, a NAT or a VPN that has forgotten a connection does not say so: it swallows what is sent
over it. So a connection that has been idle may be dead, and a request that fails on one is sent
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
from frigate_mirror.sinks.s3.endpoint import Endpoint
from frigate_mirror.sinks.s3.http1 import Answer, Connection, Silence, Unanswered


class ConnectTimeout(Silence):
    """The connection was not established in time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the client waits, in seconds.

    connect   until a connection is established, including TLS
    silence   until the other side acknowledges another byte, or answers
    longest   until the other side answers, if it turns out to need more than `silence`
    rest      after this time an idle connection counts as possibly dead
    age       after this time an idle connection is closed
    """

    connect: float = 10
    silence: float = 8
    longest: float = 60
    rest: float = 1
    age: float = 30


UPLOAD_PATIENCE = Patience()
CHECK_PATIENCE = Patience(connect=4, silence=7)
"""The check reports even a service that hangs half-way within 15 seconds."""


class Pool:
    """The connections to `endpoint`, at most as many as there are requests at the same time.

    A service that acknowledges everything and takes long to answer gets twice the time for the next
    request, so a slow service is not asked for the same thing again and again.

    Only one connection that has rested is used at a time. Until it has carried a request, the other
    requests use fresh connections, so at most one request waits for a dead connection.
    """

    def __init__(self, endpoint: Endpoint, patience: Patience = UPLOAD_PATIENCE) -> None:
        self.endpoint = endpoint
        self._patience = patience
        self._answer_within = patience.silence
        self._idle: list[Connection] = []  # the last one is the one used last
        self._rested_in_use = False
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._close_idle()

    def exchange(self, head: bytes, body: bytes | Window = b"", *, more_time: float = 0) -> Answer:
        """Sends one request and reads its answer, which may take `more_time` seconds longer than
        usual. Raises Silence, other OSErrors and ValueError."""
        idle = self._take_idle()
        if idle:
            try:
                return self._exchange(idle, head, body, more_time)
            except OSError:
                self._close_idle()  # they have probably died as well
            finally:
                if idle.rested:
                    self._rested_in_use = False
        fresh = self._connect(self._patience.connect)
        try:
            return self._exchange(fresh, head, body, more_time)
        except Unanswered:
            self._answer_within = self._bounded(2 * self._answer_within)
            raise

    def probe(self, head: bytes) -> Answer:
        """Does the same for the check: over a connection of its own, and with less patience."""
        connection = self._connect(min(CHECK_PATIENCE.connect, self._patience.connect))
        try:
            silence = min(CHECK_PATIENCE.silence, self._patience.silence)
            return connection.exchange(head, b"", silence)
        finally:
            connection.close()

    def _exchange(
        self, connection: Connection, head: bytes, body: bytes | Window, more_time: float
    ) -> Answer:
        began = time.monotonic()
        try:
            answer_within = self._answer_within + more_time
            answer = connection.exchange(head, body, self._patience.silence, answer_within)
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

    def _take_idle(self) -> Connection | None:
        """Returns an idle connection, if there is one that may be used."""
        with self._lock:
            while self._idle:
                connection, now = self._idle.pop(), time.monotonic()
                idle_for = now - connection.idle_since
                connection.rested = idle_for >= self._patience.rest
                usable = idle_for < self._patience.age and connection.quiet
                if usable and not (connection.rested and self._rested_in_use):
                    self._rested_in_use = self._rested_in_use or connection.rested
                    return connection
                connection.close()
        return None

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _connect(self, timeout: float) -> Connection:
        until = time.monotonic() + timeout
        sock = _open_socket(self.endpoint, timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self.endpoint.secure:
                sock.settimeout(max(0.001, until - time.monotonic()))
                sock = self._tls.wrap_socket(sock, server_hostname=self.endpoint.host)
            return Connection(sock)
        except TimeoutError as error:
            sock.close()
            raise ConnectTimeout(f"no TLS handshake within {timeout:g} s") from error
        except BaseException:
            sock.close()
            raise

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.endpoint.ca_file)


def _open_socket(endpoint: Endpoint, timeout: float) -> socket.socket:
    """Connects to one of the host's addresses. Each may take half of the time that is left, so that
    an address that swallows everything does not hide the next one."""
    until, failure = time.monotonic() + timeout, OSError("the host has no address")
    addresses = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    for left, (*_, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = (until - time.monotonic()) / min(left, 2)
        try:
            return socket.create_connection((str(address[0]), endpoint.port), max(0.001, share))
        except OSError as error:
            failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectTimeout(f"no connection within {timeout:g} s") from failure
    raise failure
