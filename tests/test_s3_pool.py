"""Connections that die without a word: how many events they delay, and what the sink reports."""

from __future__ import annotations

import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.s3 import boto
from frigate_mirror.sinks.s3.endpoint import Endpoint
from frigate_mirror.sinks.s3.pool import CHECK_PATIENCE, Patience, Pool
from frigate_mirror.sinks.sink import Unavailable
from s3 import S3Sink
from tests.rig.certificates import Certificates
from tests.rig.router import Router
from tests.rig.s3_sink import environ_for, failure_of, put, sink_for
from tests.rig.stub import Stub, error
from tests.rig.waiting import until

pytestmark = pytest.mark.usefixtures("no_aws_of_the_host")
RESTLESS = Patience(silence=0.5, rest=0)  # every idle connection may have died
MakeRouter = Callable[..., Router]


@pytest.fixture
def router_to() -> Iterator[MakeRouter]:
    made: list[Router] = []

    def make(endpoint: str, rate: float = 0) -> Router:
        made.append(Router(endpoint, rate))
        return made[-1]

    yield make
    for router in made:
        router.close()


def patient_sink(router: Router, patience: Patience, **more: str) -> S3Sink:
    environ = environ_for(router.endpoint, S3_CONNECT_TIMEOUT="60", S3_READ_TIMEOUT="60", **more)
    return S3Sink(settings.load(environ).s3, environ, attempts=1, patience=patience)


def all_direct(stub: Stub) -> bool:
    return not any("Boto3" in seen.headers["user-agent"] for seen in stub.seen)


def keys_of(stub: Stub) -> list[str]:
    return sorted(seen.path.rpartition("/")[2] for seen in stub.seen)


def put_together(sink: S3Sink, router: Router, keys: list[str]) -> None:
    """Puts all keys at the same time, each over a connection of its own."""
    before = router.connections
    router.gate.clear()
    with ThreadPoolExecutor(len(keys)) as pool:
        done = pool.map(lambda key: put(sink, key), keys)
        until(lambda: router.connections == before + len(keys))
        router.gate.set()
        assert list(done) == ["e"] * len(keys)


@pytest.mark.parametrize("secure", [False, True])
def test_of_five_events_after_a_connection_died_only_the_first_is_delayed(
    stub: Stub,
    tls_stub: Stub,
    certificate: tuple[Path, Path],
    router_to: MakeRouter,
    secure: bool,
) -> None:
    server = tls_stub if secure else stub
    router = router_to(server.endpoint)
    sink = patient_sink(router, Patience(silence=0.5), S3_CA_BUNDLE=str(certificate[0]))
    put(sink, "0")
    router.forget()
    for key in "abcde":
        assert put(sink, key) == "e"
    assert router.swallowed == 1
    assert router.connections == 2
    assert keys_of(server) == list("0abcde")
    assert all_direct(server)


def test_of_six_events_at_once_after_a_rest_at_most_one_is_delayed(
    stub: Stub, router_to: MakeRouter
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, RESTLESS)
    put_together(sink, router, list("abcdef"))
    router.forget()
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda key: put(sink, key), "ghijkl")) == ["e"] * 6
    assert router.swallowed == 1
    assert keys_of(stub) == list("abcdefghijkl")
    assert all_direct(stub)


def test_a_connection_that_died_closes_the_other_idle_ones(
    stub: Stub, router_to: MakeRouter
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(silence=0.5, rest=60, age=60))
    put_together(sink, router, list("abcdef"))
    router.forget()
    for key in "ghijkl":
        put(sink, key)
    assert router.swallowed == 1


def test_a_large_file_is_sent_again_from_its_beginning(
    stub: Stub, router_to: MakeRouter, tmp_path: Path
) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    (tmp_path / "clip").write_bytes(data)
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(silence=0.5))
    put(sink)
    router.forget()
    with (tmp_path / "clip").open("rb", buffering=0) as file:
        sink.put("clip", file, content_type="video/mp4", metadata={})
    assert router.swallowed == 1
    assert stub.seen[-1].body == data
    assert all_direct(stub)


@pytest.mark.parametrize("age, connections", [(60.0, 1), (0.0, 3)])
def test_an_old_connection_is_not_used_again(
    stub: Stub, router_to: MakeRouter, age: float, connections: int
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(age=age))
    for _ in range(3):
        put(sink)
    assert router.connections == connections


def test_a_rested_connection_is_used_again_once_another_one_has_answered(
    stub: Stub, router_to: MakeRouter
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, RESTLESS)
    for _ in range(5):
        put(sink)
    assert router.connections == 1


def test_silence_on_a_fresh_connection_is_reported_without_a_second_request(
    stub: Stub, router_to: MakeRouter
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(silence=0.5))
    router.forgetful = True
    for attempt in (lambda: put(sink), sink.check):
        before = router.connections
        caught = failure_of(attempt)
        assert (type(caught), caught.code) == (Unavailable, "ReadTimeout")
        assert "no answer for 0.5 s" in str(caught)
        assert "S3_ENDPOINT_URL" in caught.hint
        assert router.connections == before + 1
    router.forgetful = False
    for _ in range(3):
        put(sink)
    assert all_direct(stub), "silence does not close the direct way"


def test_a_service_that_answers_slowly_has_more_time_at_the_next_request(
    stub: Stub, router_to: MakeRouter
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(silence=0.2))
    router.forgetful = True
    for expected in ("0.2 s", "0.4 s", "0.8 s"):
        assert f"no answer for {expected}" in str(failure_of(lambda: put(sink)))
    router.forgetful = False
    put(sink)
    router.forgetful = True
    router.forget()
    assert "no answer for 0.2 s" in str(failure_of(lambda: put(sink))), (
        "the answer in between was fast"
    )


def test_the_check_uses_a_fresh_connection(stub: Stub, router_to: MakeRouter) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(silence=0.5))
    put(sink)
    router.forget()
    sink.check()
    assert (router.swallowed, router.connections) == (0, 2)


def test_a_destination_that_hangs_is_reported_by_the_check_within_15_seconds(stub: Stub) -> None:
    assert CHECK_PATIENCE.connect + CHECK_PATIENCE.silence < 15
    loaded = settings.load({"S3_BUCKET": "bkt", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}).s3
    clients = boto.connect(loaded, (loaded.access_key, loaded.secret_key, loaded.session_token), 3)
    config = clients.impatient.meta.config
    assert config.connect_timeout + config.read_timeout < 15
    assert config.retries["total_max_attempts"] == 1


def test_the_check_waits_for_a_hanging_service_once_on_either_way(
    stub: Stub, router_to: MakeRouter, each_way: str
) -> None:
    router = router_to(stub.endpoint)
    router.forgetful = True
    sink = sink_for(environ_for(router.endpoint, S3_READ_TIMEOUT="0.5"), attempts=3)
    assert failure_of(sink.check).code == "ReadTimeout"
    assert router.connections == 1


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("size", [300_000, 1_200_000])
def test_a_slow_line_has_as_much_time_as_it_needs(
    stub: Stub,
    tls_stub: Stub,
    certificate: tuple[Path, Path],
    router_to: MakeRouter,
    tmp_path: Path,
    secure: bool,
    size: int,
) -> None:
    """Like 300 KB over 64 kbit/s with 8 seconds of patience: the transfer takes over four times as
    long as the patience."""
    server = tls_stub if secure else stub
    router = router_to(server.endpoint, rate=size / 4.5)
    sink = patient_sink(router, Patience(silence=1), S3_CA_BUNDLE=str(certificate[0]))
    (tmp_path / "clip").write_bytes(bytes(size))
    began = time.monotonic()
    with (tmp_path / "clip").open("rb", buffering=0) as file:
        sink.put("k", file, content_type="video/mp4", metadata={})
    assert time.monotonic() - began > 4
    assert [len(seen.body) for seen in server.seen] == [size]
    assert all_direct(server)


def test_bytes_that_nobody_acknowledges_are_given_up() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        environ = environ_for(endpoint)
        sink = S3Sink(settings.load(environ).s3, environ, patience=Patience(silence=0.5))
        caught = failure_of(lambda: put(sink, data=b"x" * 900_000))
    assert (type(caught), caught.code) == (Unavailable, "ReadTimeout")
    assert "not acknowledged" in str(caught)


class Watched(io.BytesIO):
    """A file that counts the bytes that were read since it was rewound, as before each digest and
    before it is sent."""

    taken = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET:
            self.taken = 0
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_an_upload_that_the_line_does_not_take_leaves_little_in_the_kernel() -> None:
    """So a pause of the file is soon a pause on the line."""
    body = Watched(bytes(20_000_000))
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        environ = environ_for(endpoint)
        sink = S3Sink(settings.load(environ).s3, environ, patience=Patience(silence=0.5))
        failure_of(lambda: sink.put("k", body, content_type="video/mp4", metadata={}))
    assert 0 < body.taken < 400_000


def test_a_tls_handshake_that_nobody_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"https://127.0.0.1:{silent.getsockname()[1]}"
        caught = failure_of(lambda: put(sink_for(environ_for(endpoint))))
    assert (type(caught), caught.code) == (Unavailable, "ConnectTimeout")
    assert "TLS" in str(caught)


def test_the_read_timeout_of_the_settings_can_shorten_the_patience() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sink = sink_for(environ_for(endpoint, S3_READ_TIMEOUT="0.2"))
        assert "for 0.2 s" in str(failure_of(lambda: put(sink)))


def test_a_host_with_two_addresses_is_reached_by_the_one_that_answers(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address swallows everything."""
    resolve = socket.getaddrinfo

    def both(host: str, port: int, *more: object, **options: object) -> object:
        if host != "s3.example.test":
            return resolve(host, port, *more, **options)  # type: ignore[arg-type]
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (one, port)) for one in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    port = int(stub.endpoint.rpartition(":")[2])
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.2", port))
        full.listen(0)
        first.connect(full.getsockname())  # fills the backlog
        put(sink_for(environ_for(f"http://s3.example.test:{port}", S3_CONNECT_TIMEOUT="2")))
    assert all_direct(stub)


def test_an_error_on_the_second_connection_is_reported_as_itself(
    stub: Stub, router_to: MakeRouter
) -> None:
    router = router_to(stub.endpoint)
    sink = patient_sink(router, Patience(silence=0.5))
    put(sink)
    router.forget()
    stub.default = error(503, "SlowDown")
    assert failure_of(lambda: put(sink)).code == "SlowDown"


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b""])
def test_a_connection_that_the_server_has_closed_is_not_used_again(head: bytes) -> None:
    """With `Connection: close`, and without a word."""
    came: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            with server.accept()[0] as talk:
                came.append(talk.recv(100))
                talk.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        pool = Pool(Endpoint("127.0.0.1", server.getsockname()[1], "/b", "us-east-1", None))
        for request in (b"one", b"two"):
            assert pool.exchange(request).status == 200
        thread.join(60)
    assert came == [b"one", b"two"]


@pytest.mark.parametrize("which", ["wrong_host", "expired", "untrusted", "right"])
def test_nothing_is_sent_to_a_server_with_a_wrong_certificate(tmp_path: Path, which: str) -> None:
    shown = Certificates(tmp_path)
    came: list[bytes] = []

    def serve(server: socket.socket) -> None:
        with server.accept()[0] as raw:
            try:
                with getattr(shown, which).wrap_socket(raw, server_side=True) as talk:
                    came.append(talk.recv(100))
                    talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        pool = Pool(Endpoint("127.0.0.1", port, "/b", "us-east-1", str(shown.bundle)))
        if which == "right":
            assert pool.exchange(b"secret").status == 200
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                pool.exchange(b"secret")
        thread.join(60)
    assert came == ([b"secret"] if which == "right" else [])
