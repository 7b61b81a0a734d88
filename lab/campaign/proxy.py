"""A proxy on loopback between the mirror and the real server. It does mischief when told to.

It speaks HTTP/1.1, with or without TLS. It passes requests on as they are, with their Host header,
because that is signed. It runs in a thread of its own, and any thread may call its methods.
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

# The ways in which a connection ends. `close` cancels it.
ENDS = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)


def any_request(exchange: Exchange) -> bool:
    return True


@dataclass(frozen=True)
class Passed:
    """An upload that the server has answered: when (monotonic), its path and its user agent."""

    at: float
    path: str
    agent: str


@dataclass(frozen=True)
class Mischief:
    """What happens to a request that `fits`. `act` answers the request or leaves it unanswered."""

    name: str
    act: Callable[[Exchange], Awaitable[None]]
    fits: Callable[[Exchange], bool] = any_request


class Proxy:
    """Listens at `port` from the start. `struck` counts the requests that met mischief by its name,
    and under `put` those of them that were uploads."""

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
        self._era = 0  # grows each time that it stops listening
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
        """From now on each request meets one mischief that fits it. Chance chooses among
        several."""
        self._mischief = [*self._mischief, *mischief]

    def remove(self, *mischief: Mischief) -> None:
        self._mischief = [one for one in self._mischief if one not in mischief]

    def accept(self) -> None:
        """Listens, if it does not."""
        self._do(self._accept())

    def refuse(self) -> None:
        """Refuses connections and breaks the present ones. It keeps the port."""
        self._do(self._refuse())

    def present(self, context: ssl.SSLContext) -> None:
        """Shows another certificate from now on, to every client."""
        self._context = context
        self.refuse()
        self.accept()

    def forget(self) -> None:
        """Swallows what comes from now on over the present connections, like a router that has lost
        its tables. It tells neither side, and new connections work."""
        self._do(self._forget())

    def sever(self) -> None:
        """Breaks all present connections."""
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
            # A socket that is bound and does not listen refuses connections. It is bound before the
            # other is closed, because another world could take the port in between.
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
        if era != self._era:  # it connected just before the proxy stopped listening
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
        if exchange.writer.transport.is_closing():  # it was broken during the delay
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
    """A socket on a port below those of outgoing connections, because the kernel could give such a
    port away while the proxy does not listen."""
    while True:
        try:
            return _bound(rng.randrange(10_000, 12_000), again=False)
        except OSError:
            continue


def _bound(port: int, *, again: bool = True) -> socket.socket:
    """A bound socket. `again` says that the port was this proxy's before. Otherwise nobody may have
    the port, not even a proxy that does not listen at the moment."""
    found = socket.socket()
    try:
        _share(found, again)
        found.bind(("127.0.0.1", port))
        _share(found, True)  # so that the proxy can bind the port again
    except OSError:
        found.close()
        raise
    return found


def _share(one: socket.socket, yes: bool) -> None:
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        one.setsockopt(socket.SOL_SOCKET, option, int(yes))
