"""One request on its way through the proxy, and what can be done with it.

Knows HTTP/1.1 as far as S3 clients and servers use it: a body has a Content-Length, and waits for
`100 Continue` where the client asks for that.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE = 60.0  # seconds for the real server's answer


async def next_exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream: tuple[str, int],
    rng: random.Random,
) -> Exchange | None:
    """The next request of a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    return Exchange(head, reader, writer, upstream, rng)


@dataclass
class Exchange:
    """`over`: the connection must not be used again. `is_on`: whether the mischief that has this
    request in hand still goes on."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream: tuple[str, int]
    rng: random.Random
    over: bool = False
    is_on: Callable[[], bool] = lambda: True

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def path(self) -> str:
        """Percent-encoded, as it was sent."""
        return self.head.split(b" ", 2)[1].decode()

    @property
    def agent(self) -> str:
        return self.header("user-agent")

    def header(self, name: str) -> str:
        found = re.search(rb"(?im)^%s:[ \t]*([^\r]*)" % re.escape(name.encode()), self.head)
        return found[1].decode() if found else ""

    @property
    def size(self) -> int:
        return int(self.header("content-length") or 0)

    # -- what comes from the client

    async def body(self) -> bytes:
        await self.go_ahead()
        return await self.reader.readexactly(self.size)

    async def go_ahead(self) -> None:
        if self.header("expect"):
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self.writer.drain()

    # -- what goes to the server

    async def forward(self, body: bytes) -> bytes:
        """The real server's whole answer to this request with this body."""
        reader, writer = await self._sent(body)
        try:
            answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
        finally:
            writer.close()
        return _without(answer, b"connection")

    async def forward_part(self, body: bytes) -> None:
        """Send less than was announced to the real server, then break off."""
        _, writer = await self._sent(body)
        writer.close()

    async def _sent(self, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.upstream)
        head = _without(self.head, b"expect", b"connection")  # neither is signed
        writer.write(head[:-2] + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        return reader, writer

    # -- what goes back

    async def pass_on(self) -> None:
        await self.answer(await self.forward(await self.body()))

    async def answer(self, answer: bytes) -> None:
        self.writer.write(answer)
        await self.writer.drain()
        head = answer.partition(b"\r\n\r\n")[0].lower()
        delimited = b"\r\ncontent-length:" in head or b"\r\ntransfer-encoding:" in head
        self.over = self.over or not delimited

    async def refuse(self, answer: bytes) -> None:
        """Answer as servers do that have no use for the body: mostly before they have read it."""
        if self.size and self.rng.random() < 0.5:
            await self.body()
        else:
            self.over = bool(self.size)
        await self.answer(answer)

    def hang_up(self) -> None:
        """Close the connection in good order."""
        self.over = True

    def reset(self) -> None:
        """Break the connection, as a router does that has lost its tables."""
        self.over = True
        found = self.writer.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_for_client(self) -> None:
        """Say nothing until the client has gone."""
        self.over = True
        while await self.reader.read(65_536):
            pass


def _without(message: bytes, *names: bytes) -> bytes:
    """An HTTP message less some of its headers."""
    head, blank, body = message.partition(b"\r\n\r\n")
    for name in names:
        head = re.sub(rb"(?im)^%s:[^\r\n]*\r?\n?" % re.escape(name), b"", head)
    return head.rstrip(b"\r\n") + blank + body
