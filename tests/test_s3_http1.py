"""HTTP/1.1 over one connection: which bytes are an answer, and how a body is sent."""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from frigate_mirror.settings import settings
from frigate_mirror.sinks.body import Body, Window
from frigate_mirror.sinks.s3.endpoint import Endpoint, endpoint_of
from frigate_mirror.sinks.s3.http1 import LONGEST_ANSWER, Answer, Connection, ReadTimeout
from frigate_mirror.sinks.s3.pool import Patience, Pool
from tests.rig.s3_sink import environ_for, sink_for
from tests.rig.stub import Stub

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
unhurried = hypothesis_settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def exchanged(data: bytes, *, end: bool = True) -> tuple[Answer, Connection, socket.socket]:
    """Reads `data` as an answer. Returns it, the connection and the other end."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    if end:
        theirs.shutdown(socket.SHUT_WR)
    connection = Connection(ours)
    try:
        return connection.exchange(b"GET / HTTP/1.1\r\n\r\n", b"", 60), connection, theirs
    except BaseException:
        theirs.close()
        raise
    finally:
        ours.close()


OK = b"HTTP/1.1 200 OK\r\n"
HEAD = b"PUT / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("data, body, reusable", [
    (OK + b"Content-Length: 3\r\n\r\nabc", b"abc", True),
    (OK + b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: v\r\n\r\n",
     b"abcde", True),
    (OK + b"Connection: Close\r\nContent-Length: 0\r\n\r\n", b"", False),
    (OK + b"\r\nto the end", b"to the end", False),
    (OK + b"Content-Length: 1\r\n\r\nabc", b"a", False),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", b"", True),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", b"", False),
])  # fmt: skip
def test_an_answer_ends_where_its_head_says(data: bytes, body: bytes, reusable: bool) -> None:
    answer, connection, theirs = exchanged(data)
    theirs.close()
    assert (answer.status, answer.body, connection.reusable) == (200, body, reusable)


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    answer, connection, theirs = exchanged(b"HTTP/1.1 204 No Content\r\n\r\n", end=False)
    theirs.close()
    assert (answer.status, connection.reusable) == (204, True)


@pytest.mark.parametrize("data", [
    b"", b"HTTP/1.1 200", b"SSH-2.0\r\n\r\n", OK + b"nothing\r\n\r\n",
    OK + b"Content-Length: 3\r\n\r\nab",
    OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nabc", OK + b"Content-Length: -1\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", OK + b"Transfer-Encoding: gzip\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc", OK + b"Content-Length: 99999999999\r\n\r\n",
])  # fmt: skip
def test_an_incomplete_answer_is_an_error(data: bytes) -> None:
    with pytest.raises((OSError, ValueError)):
        exchanged(data)


def test_an_endless_answer_is_given_up() -> None:
    ours, theirs = socket.socketpair()

    def talk() -> None:
        with contextlib.suppress(OSError):
            while True:
                theirs.sendall(b"x" * 65536)

    thread = threading.Thread(target=talk)
    thread.start()
    with ours, pytest.raises(ValueError, match="too long"):
        Connection(ours).exchange(b"x", b"", 60)
    thread.join(60)
    theirs.close()
    assert LONGEST_ANSWER < 10_000_000


pieces = st.sampled_from([
    OK, b"HTTP/1.1 500 \r\n", b"HTTP/1.1 100 x\r\n", b"\r\n", b"abc", b":",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n", b"ETag: \"e\"\r\n", b"0x1\r\n",
])  # fmt: skip


@unhurried
@given(st.lists(pieces | st.binary(max_size=20), max_size=8).map(b"".join))
def test_any_bytes_are_an_answer_or_an_error(data: bytes) -> None:
    try:
        answer, _, theirs = exchanged(data)
    except (OSError, ValueError):
        return
    theirs.close()
    assert 200 <= answer.status <= 999


def test_a_large_file_is_sent_from_its_current_position(stub: Stub, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)
    (tmp_path / "clip").write_bytes(b"head" + data)
    sink = sink_for(environ_for(stub.endpoint))
    with (tmp_path / "clip").open("rb", buffering=0) as file:
        file.seek(4)
        sink.put("k", file, content_type="video/mp4", metadata={})
    assert [seen.body == data for seen in stub.seen] == [True]


def test_a_large_file_that_becomes_shorter_while_it_is_sent_is_noticed(
    stub: Stub, tmp_path: Path
) -> None:
    (tmp_path / "clip").write_bytes(bytes(2_000_000))
    endpoint = endpoint_of(settings.load(environ_for(stub.endpoint)).s3, {})
    assert endpoint
    with (tmp_path / "clip").open("r+b", buffering=0) as file:
        body = Body(file).sendable()
        file.truncate(10_000)
        head = b"PUT / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n"
        with pytest.raises(OSError, match="became shorter"):
            Pool(endpoint).exchange(head, body)


def test_an_interim_answer_does_not_end_the_body(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(bytes(20_000_000))

    def serve() -> None:
        with server.accept()[0] as talk:
            talk.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = len(HEAD) + 20_000_000
            while left and (data := talk.recv(left)):
                left -= len(data)
            talk.sendall(OK + b"Content-Length: 0\r\n\r\n")

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        thread = threading.Thread(target=serve)
        thread.start()
        pool = Pool(Endpoint("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", None))
        assert pool.exchange(HEAD, Body(file).sendable()).status == 200
        thread.join(60)


def test_an_answer_ends_the_sending_of_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(bytes(20_000_000))
    asked = threading.Event()

    def serve() -> None:
        with server.accept()[0] as talk:
            talk.recv(100)
            talk.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            asked.wait(60)  # it stops reading and keeps the connection

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        thread = threading.Thread(target=serve)
        thread.start()
        pool = Pool(Endpoint("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", None))
        answer = pool.exchange(HEAD, Body(file).sendable())
        asked.set()
        thread.join(60)
    assert answer.status == 413


def test_a_large_file_that_becomes_shorter_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(bytes(2_000_000))
    with (tmp_path / "clip").open("r+b", buffering=0) as file:
        body = Body(file).sendable()
        assert isinstance(body, Window) and len(body.read(5)) == 5
        file.truncate(1_000_000)
        with pytest.raises(OSError, match="became shorter"):
            body.read()


def test_a_service_has_more_time_to_store_a_large_file(tmp_path: Path) -> None:
    size, patience, slow = 64 * 1024 * 1024, 0.5, 1.0  # the size allows 4 s more
    over = threading.Event()

    def serve() -> None:
        with server.accept()[0] as talk:
            left = len(head) + size
            while left:
                left -= len(talk.recv(1 << 20))
            over.wait(slow)
            talk.sendall(OK + b"Content-Length: 0\r\n\r\n")

    (tmp_path / "clip").touch()
    os.truncate(tmp_path / "clip", size)
    head = b"PUT / HTTP/1.1\r\n\r\n"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        thread = threading.Thread(target=serve)
        thread.start()
        pool = Pool(
            Endpoint("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", None),
            Patience(silence=patience),
        )
        assert pool.exchange(head, Body(file).sendable()).status == 200
        thread.join(60)


def test_a_file_that_pauses_longer_than_the_patience_is_no_silence_of_the_service() -> None:
    """The service has not taken all that was sent before the pause when the file goes on."""
    patience, pause, busy = 0.8, 1.0, 0.3
    body = bytes(2_000_000)
    over, going_on = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()
    stuffed = 0

    class Pausing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal stuffed
            with contextlib.suppress(BlockingIOError):
                while not going_on.is_set():
                    stuffed += ours.send(b"x")
            over.wait(0 if going_on.is_set() else pause)
            going_on.set()
            return super().read(size)

    def serve() -> None:
        going_on.wait(60)
        over.wait(busy)
        left = len(HEAD) + stuffed + len(body)
        while left:
            left -= len(theirs.recv(65536))
        theirs.sendall(OK + b"Content-Length: 0\r\n\r\n")

    with ours, theirs:
        thread = threading.Thread(target=serve)
        thread.start()
        window = Body(Pausing(body)).sendable()
        assert Connection(ours).exchange(HEAD, window, patience).status == 200
        thread.join(60)


def test_a_large_file_is_read_in_small_pieces_while_it_is_sent(stub: Stub) -> None:
    """So the uploader can pause it soon."""
    largest = 0

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal largest
            largest = max(largest, len(data := super().read(size)))
            return data

    sink = sink_for(environ_for(stub.endpoint))
    sink.put("k", Watched(bytes(3_000_000)), content_type="video/mp4", metadata={})
    assert 0 < largest <= 64 * 1024


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_server_that_stops_reading_is_given_up(tmp_path: Path, where: str) -> None:
    (tmp_path / "clip").write_bytes(bytes(20_000_000))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "clip").open("rb", buffering=0) as file,
    ):
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", None)
        body = Body(file).sendable() if where == "file" else bytes(20_000_000)
        with pytest.raises(ReadTimeout, match="not acknowledged"):
            Pool(endpoint, Patience(silence=0.3)).exchange(HEAD, body)
