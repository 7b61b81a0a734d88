"""A server that reads each request and answers 200, so that only the client's own cost is left.

python -I lab/bench/sink.py [rate] prints its port and serves until the end of stdin.

It speaks as much of S3 as clients need that only write: PUT of objects and parts, the three
requests of a multipart upload, and an empty listing. As AWS does, it repeats the SHA-256 that a PUT
asks it to check, but it checks nothing. The kernel throws the bodies away (MSG_TRUNC), so the
server costs a fraction of any client. It notes when it had read each whole object, on
CLOCK_MONOTONIC, which all processes share. The bench asks it below /-/: see `_control`.

With a `rate`, all connections share one line of so many bytes a second. The sink then takes from
the connections in turn, a packet each, and not faster than the line. What it has not taken stays in
the receive buffers. These are small, as the queue of a router is, so TCP makes the client wait.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import re
import select
import socket
import sys
import time
from urllib.parse import parse_qsl, unquote, urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHECKSUM = re.compile(rb"\r\nx-amz-checksum-sha256:[^\r]*", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
SCRAP = bytearray(1 << 20)
PACKET = 1_448  # bytes
QUEUE = 32 * 1024  # bytes of each connection that the line has not carried yet; Linux doubles it
BURST = 0.002  # seconds for which an idle line may make up, because no sleep ends in time
# The ETag is no MD5, because a client would compare an MD5 with its own.
PUT = b'HTTP/1.1 200 OK\r\nETag: "0123456789abcdef0123456789abcdef-1"\r\nContent-Length: 0'
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
XML = '<?xml version="1.0" encoding="UTF-8"?>\n<{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'


class Connection:
    """The current request: `head` as far as it was read, then `left` bytes of the body to read."""

    __slots__ = ("answer", "head", "left", "request", "socket")

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.head = self.answer = b""
        self.left = 0
        self.request: tuple[str, str] | None = None


class Sink:
    """`delay` is added before each answer to a PUT, in seconds. `rate` is in bytes a second, and 0
    means that the line has no limit."""

    def __init__(self, rate: float = 0.0) -> None:
        self._rate, self._free_at = rate, 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        if rate:  # every connection inherits these
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, PACKET)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._open: dict[int, Connection] = {}
        self._later: list[tuple[float, int, Connection, bytes]] = []
        self.reset(0.0)

    def reset(self, delay: float) -> None:
        self.delay, self.first, self.last, self.bytes, self.requests = delay, 0.0, 0.0, 0, 0
        self.at_once = self.most = 0
        self.when: dict[str, float] = {}

    def serve(self, until: int) -> None:
        """Serves until the file descriptor `until` reaches its end."""
        self._poll.register(until, select.EPOLLIN | select.EPOLLHUP)
        while True:
            if self._later:  # epoll counts whole milliseconds, and rounds them up
                wait = self._later[0][0] - time.monotonic()
                select.select([self._poll], [], [], max(0.0, wait))
            for number, _ in self._poll.poll(0.0 if self._later else None):
                if number == until:
                    return
                connection = self._open.get(number)
                if connection is None:
                    self._accept()
                else:
                    self._read(connection)
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, connection, answer = heapq.heappop(self._later)
                self._send(connection, answer)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            accepted, _ = self._listener.accept()
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open[accepted.fileno()] = Connection(accepted)
            self._poll.register(accepted, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            if connection.request is None:
                self._read_head(connection)
            elif not connection.left:  # the client went away before its delayed answer
                self._close(connection)
            else:
                most = min(connection.left, PACKET if self._rate else len(SCRAP))
                count = connection.socket.recv_into(SCRAP, most, socket.MSG_TRUNC)
                self._carry(count)
                self._got(connection, count)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)

    def _carry(self, count: int) -> None:
        """Waits until the line has carried so many bytes."""
        if self._rate:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - BURST) + count / self._rate
            time.sleep(max(0.0, self._free_at - now))

    def _read_head(self, connection: Connection) -> None:
        data = connection.socket.recv(4096)
        if not data:
            return self._close(connection)
        connection.head += data
        head, found, rest = connection.head.partition(b"\r\n\r\n")
        if not found:
            return None
        verb, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        length = LENGTH.search(head)
        connection.request = verb, target
        connection.left = int(length[1]) if length else 0
        if verb == "PUT":
            checksum = CHECKSUM.search(head)
            connection.answer = PUT + (checksum[0] if checksum else b"") + b"\r\n\r\n"
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.first = self.first or time.monotonic()
        if not rest and EXPECT.search(head):
            connection.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if rest or not connection.left:
            self._got(connection, len(rest))
        return None

    def _got(self, connection: Connection, count: int) -> None:
        """Takes note of `count` more bytes of a body."""
        if not count and connection.left:
            return self._close(connection)
        assert connection.request is not None
        verb, target = connection.request
        connection.left -= count
        self.bytes += count if verb == "PUT" else 0
        if connection.left:
            return None
        answer = connection.answer if verb == "PUT" else self._answer(verb, target)
        if verb == "PUT" and self.delay:
            due = time.monotonic() + self.delay
            heapq.heappush(self._later, (due, id(connection), connection, answer))
            return None
        return self._send(connection, answer)

    def _send(self, connection: Connection, answer: bytes) -> None:
        if connection.request is None:  # closed
            return
        verb, target = connection.request
        connection.head, connection.request = b"", None
        if verb == "PUT":
            self.at_once -= 1
            self.requests += 1
            self.last = self.when[target.partition("?")[0]] = time.monotonic()
        with contextlib.suppress(OSError):
            connection.socket.send(answer)

    def _close(self, connection: Connection) -> None:
        if connection.request is not None and connection.request[0] == "PUT":
            self.at_once -= 1
        connection.request = None
        if self._open.pop(connection.socket.fileno(), None):
            self._poll.unregister(connection.socket)
            connection.socket.close()

    def _answer(self, verb: str, target: str) -> bytes:
        place = urlsplit(target)
        query = dict(parse_qsl(place.query, keep_blank_values=True))
        if place.path.startswith("/-/"):
            return _found(json.dumps(self._control(place.path[3:], query)))
        if "uploads" in query:
            return _found(XML.format("InitiateMultipartUploadResult", "<UploadId>1</UploadId>"))
        if "uploadId" in query:
            etag = '<ETag>"0-1"</ETag>'
            return _found(XML.format("CompleteMultipartUploadResult", etag))
        if verb == "GET":
            empty = "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"
            return _found(XML.format("ListBucketResult", empty))
        return MISSING if verb == "HEAD" and place.path.strip("/").count("/") else _found("")

    def _control(self, verb: str, query: dict[str, str]) -> object:
        """reset?delay=SECONDS: forget all. when: the time of each object. stats: all else."""
        if verb == "reset":
            self.reset(float(query.get("delay", 0)))
        if verb == "when":
            return {unquote(path): at for path, at in self.when.items()}
        return {"objects": len(self.when), "requests": self.requests, "bytes": self.bytes,
                "first": self.first, "last": self.last, "most": self.most}  # fmt: skip


def _found(text: str) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return (head + text).encode()


if __name__ == "__main__":
    sink = Sink(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
    print(sink.port, flush=True)
    sink.serve(sys.stdin.fileno())
