"""What can become of a request between the mirror and the bucket."""

from __future__ import annotations

import asyncio

from lab.campaign.exchange import Exchange
from lab.campaign.proxy import Mischief

KILOBYTE = 1024


def is_put(exchange: Exchange) -> bool:
    return exchange.method == "PUT"


async def _reset(x: Exchange) -> None:
    x.reset()


async def _black_hole(x: Exchange) -> None:
    await x.wait_for_client()


async def _cut_request(x: Exchange) -> None:
    """The server, too, gets no more than the beginning."""
    await x.go_ahead()
    part = await x.reader.readexactly(x.rng.randrange(x.size) if x.size else 0)
    await x.forward_part(part)
    x.reset()


async def _cut_answer(x: Exchange) -> None:
    answer = await x.forward(await x.body())
    x.writer.write(answer[: x.rng.randrange(1, len(answer))])
    await x.writer.drain()
    x.hang_up()


async def _lose_answer(x: Exchange) -> None:
    """The server has done what was asked, and nobody hears of it."""
    await x.forward(await x.body())
    x.reset() if x.rng.random() < 0.5 else x.hang_up()


async def _slow(x: Exchange) -> None:
    """1 KB/s, in both directions, for as long as the mischief goes on."""
    await x.go_ahead()
    body = bytearray()
    while len(body) < x.size:
        body += await x.reader.read(min(KILOBYTE, x.size - len(body)))
        if x.is_on():
            await asyncio.sleep(1)
        if x.reader.at_eof():
            x.hang_up()
            return
    await x.answer(await x.forward(bytes(body)))


async def _trickle(x: Exchange) -> None:
    """An answer of a few bytes at a time: slow, but never silent for long."""
    answer = await x.forward(await x.body())
    for at in range(0, len(answer), 64):
        if x.is_on():
            await asyncio.sleep(0.05)
        x.writer.write(answer[at : at + 64])
        await x.writer.drain()


async def _corrupt(x: Exchange) -> None:
    """One bit differs from what the client has sent."""
    body = bytearray(await x.body())
    body[x.rng.randrange(len(body))] ^= 1 << x.rng.randrange(8)
    await x.answer(await x.forward(bytes(body)))


RESET = Mischief("reset", _reset)
BLACK_HOLE = Mischief("black hole", _black_hole)
CUT_REQUEST = Mischief("request cut", _cut_request)
CUT_ANSWER = Mischief("answer cut", _cut_answer)
LOST_ANSWER = Mischief("answer lost", _lose_answer)
SLOW = Mischief("slow", _slow)
TRICKLE = Mischief("trickle", _trickle)
CORRUPT = Mischief("corrupt", _corrupt, fits=lambda x: is_put(x) and x.size > 0)


def page(
    status: str, body: str, kind: str = "application/xml", headers: tuple[str, ...] = ()
) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", body]).encode()


def answers(name: str, answer: bytes) -> Mischief:
    """Every request gets this answer."""

    async def act(x: Exchange) -> None:
        # A HEAD has no body, whatever its Content-Length says.
        await x.refuse(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if _is_head(x) else answer)

    return Mischief(name, act)


def _is_head(x: Exchange) -> bool:
    return x.method == "HEAD"


def error(status: str, code: str, extra: str = "") -> Mischief:
    """S3's way to say no: `status` as in HTTP, `code` as in S3's list of errors."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{code}, says the proxy</Message>{extra}"
        "<RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )
    return answers(code, page(status, body))
