"""A router between a client and a server on loopback. It can forget connections, be slow and wait.

It forwards bytes as they are, TLS too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

BUFFER = 16 * 1024


class Router:
    """`forget()` silences all present connections: the router swallows what comes over them, and
    tells neither side. `swallowed` counts the connections over which something came after that.
    `forgetful` silences every new connection, and `refusing` ends it at once. `rate` is in bytes a
    second. `passed` counts the bytes of clients that it has forwarded. It listens on `port`, or on
    any."""

    def __init__(self, endpoint: str, rate: float = 0, port: int = 0) -> None:
        scheme, _, place = endpoint.partition("://")
        host, _, far_port = place.partition(":")
        self._upstream, self._rate = (host, int(far_port)), rate
        self._dead: set[socket.socket] = set()
        self._hit: set[socket.socket] = set()
        self._cut: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        self.forgetful = self.refusing = False
        self.passed = 0
        self._due: tuple[int, Callable[[], None]] | None = None
        self.gate = threading.Event()
        """Requests pass only while it is set."""
        self.gate.set()
        self._server = socket.socket()
        if rate:  # small buffers, so that a byte is acknowledged when it has been forwarded
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(("127.0.0.1", port))
        self._server.listen(64)
        self.endpoint = f"{scheme}://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._open)

    @property
    def swallowed(self) -> int:
        return len(self._hit)

    def forget(self) -> None:
        self._dead |= set(self._open)

    def when(self, passed: int, act: Callable[[], None]) -> None:
        """Calls `act` once, as soon as `passed` bytes of clients have come."""
        self._due = passed, act

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Ends all present connections. What they still hold is neither forwarded nor counted."""
        self._cut |= set(self._open)
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._server.accept()[0]
                if self.forgetful:
                    self._dead.add(near)
                self._open.append(near)
                if self.refusing:
                    near.close()
                    continue
                threading.Thread(target=self._link, args=(near,), daemon=True).start()

    def _link(self, near: socket.socket) -> None:
        try:
            upstream = socket.create_connection(self._upstream)
        except OSError:  # the server has ended
            near.close()
            return
        with near, upstream as far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._forward, args=(near, far, near), daemon=True)
            back.start()
            self._forward(near, near, far)
            back.join()

    def _forward(self, near: socket.socket, source: socket.socket, target: socket.socket) -> None:
        """From `source` to `target`, both belonging to the client's connection `near`."""
        with contextlib.suppress(OSError):
            while data := source.recv(2048 if self._rate else 65536):
                if near in self._cut:
                    break
                if near in self._dead:
                    self._hit.add(near)
                    continue
                if source is near:
                    self.gate.wait()
                    self.passed += len(data)
                    if self._due and self.passed >= self._due[0]:
                        act, self._due = self._due[1], None
                        act()
                if self._rate:
                    time.sleep(len(data) / self._rate)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
