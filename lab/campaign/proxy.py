"""A proxy on loopback between the mirror and the real server, which does mischief when told to.

It speaks HTTP/1.1, or the same over TLS. Requests pass as they are, their Host header too, since it
is signed. One thread runs it; its methods may be called from any other.
"""

from __future__ import annotations

import asyncio
import functools
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from lab.campaign.exchange import Exchange, next_exchange

# How a connection ends here, the last by `close`.
ENDS = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)


def any_request(exchange: Exchange) -> bool:
    return True


@dataclass(frozen=True)
class Passed:
    """An upload that the server has answered through us: when (monotonic), what and by whom."""

    at: float
    path: str
    agent: str


@dataclass(frozen=True)
class Mischief:
    """What becomes of a request to which `fits` applies. `act` answers it, or does not."""

    name: str
    act: Callable[[Exchange], Awaitable[None]]
    fits: Callable[[Exchange], bool] = any_request


class Proxy:
    """Listens from the start, at `port`. `struck` counts the requests that met mischief, by its
    name, and under `put` those of them that were uploads."""

    def __init__(
        self, upstream: str, rng: random.Random, context: ssl.SSLContext | None = None
    ) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._rng = rng
        self._context = context
        self._mischief: list[Mischief] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self.passed: list[Passed] = []
        self._server: asyncio.Server | None = None
        self._era = 0  # grows with each refusal
        self.struck: Counter[str] = Counter()
        self.latency = (0.0, 0.0)
        self._socket = _bound_somewhere(rng)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.accept()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def add(self, *mischief: Mischief) -> None:
        """From now on each request meets one of those that fit it, by chance."""
        self._mischief = [*self._mischief, *mischief]

    def remove(self, *mischief: Mischief) -> None:
        self._mischief = [one for one in self._mischief if one not in mischief]

    def accept(self) -> None:
        """Listen, again if need be."""
        self._do(self._accept())

    def refuse(self) -> None:
        """Refuse connections and break those that stand. The port stays ours."""
        self._do(self._refuse())

    def present(self, context: ssl.SSLContext) -> None:
        """Show another certificate from now on, to everybody."""
        self._context = context
        self.refuse()
        self.accept()

    def forget(self) -> None:
        """Swallow whatever comes from now on over connections that stand, as a router does that has
        lost its tables. Nobody is told, and new connections work."""
        self._do(self._forget())

    def sever(self) -> None:
        """Break all connections that stand."""
        self._do(self._sever())

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _accept(self) -> None:
        if self._server is None:
            serve = functools.partial(self._serve, self._era)
            self._server = await asyncio.start_server(serve, sock=self._socket, ssl=self._context)

    async def _refuse(self) -> None:
        if self._server is not None:
            # Bound and not listening: refused. Bound before the other is closed, since in between
            # another world could take the port.
            self._socket = _bound(self.port)
            self._server.close()
            self._server = None
            self._era += 1
        await self._sever()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _forget(self) -> None:
        self._forgotten |= self._writers

    async def _sever(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(
        self, era: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if era != self._era:  # it shook hands while it was refused
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            while exchange := await next_exchange(reader, writer, self._upstream, self._rng):
                if writer in self._forgotten:
                    self.struck["forgotten"] += 1
                    await exchange.wait_for_client()
                else:
                    await self._meet(exchange)
                if exchange.over:
                    break
        except ENDS:
            pass
        finally:
            self._writers.discard(writer)
            self._forgotten.discard(writer)
            writer.close()

    async def _meet(self, exchange: Exchange) -> None:
        await asyncio.sleep(self._rng.uniform(*self.latency))
        if exchange.writer.transport.is_closing():  # broken meanwhile: what is on now is not for it
            exchange.over = True
            return
        fitting = [one for one in self._mischief if one.fits(exchange)]
        if not fitting:
            await exchange.pass_on()
            if exchange.method == "PUT":
                self.passed.append(Passed(time.monotonic(), exchange.path, exchange.agent))
            return
        chosen = self._rng.choice(fitting)
        self.struck[chosen.name] += 1
        self.struck["put"] += exchange.method == "PUT"
        exchange.is_on = lambda: chosen in self._mischief
        await chosen.act(exchange)


def _bound_somewhere(rng: random.Random) -> socket.socket:
    """On a port below those that the kernel lends out, or one that is let go for a moment, to be
    refused, could be lent to somebody."""
    while True:
        try:
            return _bound(rng.randrange(10_000, 12_000), again=False)
        except OSError:
            continue


def _bound(port: int, *, again: bool = True) -> socket.socket:
    """`again`: it was ours before. Else it is nobody's, not even bound by whoever does not listen
    just now."""
    found = socket.socket()
    try:
        _share(found, again)
        found.bind(("127.0.0.1", port))
        _share(found, True)  # or it could not be so again
    except OSError:
        found.close()
        raise
    return found


def _share(one: socket.socket, yes: bool) -> None:
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        one.setsockopt(socket.SOL_SOCKET, option, int(yes))
