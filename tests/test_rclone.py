"""The rclone sink beyond the contract of all sinks: whole files only, read where they lie."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

import pytest

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import Roomy, SinkError, Unavailable
from frigate_mirror.upload.bandwidth import Bandwidth
from frigate_mirror.upload.line import Line, Yielding
from s3 import S3Sink
from tests.rig.rclone import Config

MOMENT = 1_700_000_000
LISTED = """<?xml version="1.0"?><d:multistatus xmlns:d="DAV:"><d:response><d:href>{path}</d:href>
<d:propstat><d:prop><d:getcontentlength>{size}</d:getcontentlength><d:resourcetype/></d:prop>
<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"""


class Forgetful(BaseHTTPRequestHandler):
    """A WebDAV server that says of each file that it has one byte less than it was given."""

    protocol_version = "HTTP/1.1"
    sizes: ClassVar[dict[str, int]] = {}

    def do_MKCOL(self) -> None:
        self._answer(405)

    def do_PUT(self) -> None:
        self.sizes[self.path] = len(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201)

    def do_DELETE(self) -> None:
        self._answer(204 if self.sizes.pop(self.path, None) is not None else 404)

    def do_PROPFIND(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        size = self.sizes.get(self.path)
        listed = LISTED.format(path=self.path, size=(size or 0) - 1)
        self._answer(207 if size is not None else 404, listed.encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def forgetful() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def daemon(config: Config) -> Iterator[Daemon]:
    environ = config.environ("/tmp")
    running = Daemon(settings.load(environ).rclone, environ)
    yield running
    running.close()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The folder that is the remote. It does not exist yet."""
    return tmp_path / "there"


@pytest.fixture
def sink(config: Config, daemon: Daemon, there: Path) -> RcloneSink:
    environ = config.environ(str(there))
    return RcloneSink(settings.load(environ).rclone, environ, daemon)


@pytest.fixture
def no_temporary_files(monkeypatch: pytest.MonkeyPatch, daemon: Daemon, tmp_path: Path) -> None:
    daemon.call("core/version")  # it has started, for which it needs a folder
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))


def put(sink: RcloneSink, body: BinaryIO, key: str = "door/a.jpg") -> int:
    return sink.put(key, body, content_type="image/jpeg", metadata={}).size


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, (MOMENT, MOMENT))
    return path


def test_other_bytes_of_the_same_size_and_time_replace_the_file(
    sink: RcloneSink, there: Path, tmp_path: Path
) -> None:
    for data in (b"first", b"other"):
        with written(tmp_path / "file", data).open("rb") as body:
            put(sink, body)
        assert (there / "door/a.jpg").read_bytes() == data
        assert (there / "door/a.jpg").stat().st_mtime == MOMENT


@pytest.mark.parametrize("careless", ["", "true"])
def test_a_remote_without_a_digest_that_keeps_fewer_bytes_has_not_taken_the_file(
    config: Config, forgetful: int, careless: str
) -> None:
    config.add("forgetful", "webdav", url=f"http://127.0.0.1:{forgetful}", vendor="other")
    environ = config.environ("forgetful:") | {
        "RCLONE_IGNORE_SIZE": careless or "false", "RCLONE_IGNORE_CHECKSUM": careless or "false"
    }  # fmt: skip
    sink = RcloneSink(settings.load(environ).rclone, environ)
    with pytest.raises(Unavailable) as caught:
        put(sink, io.BytesIO(b"picture"))
    sink.close()
    assert caught.value.code == "Differs"


@pytest.mark.usefixtures("no_temporary_files")
def test_a_file_is_read_where_it_lies_even_after_its_name_is_deleted(
    sink: RcloneSink, there: Path, tmp_path: Path
) -> None:
    path = written(tmp_path / "clip", b"clip" * 1_000_000)
    with path.open("rb") as body:
        path.unlink()
        assert put(sink, body) == 4_000_000
    assert (there / "door/a.jpg").read_bytes() == b"clip" * 1_000_000
    with pytest.raises(OSError):
        put(sink, io.BytesIO(b"memory"))


@pytest.mark.usefixtures("no_temporary_files")
def test_a_file_that_gives_way_to_others_is_put_whole_and_not_copied(
    sink: RcloneSink, there: Path, tmp_path: Path
) -> None:
    line = Line(Bandwidth(((0, float("inf")),)))
    with written(tmp_path / "clip", b"clip" * 200_000).open("rb") as body:
        assert put(sink, cast(BinaryIO, Yielding(body, line))) == 800_000
    assert (there / "door/a.jpg").read_bytes() == b"clip" * 200_000


def test_a_file_that_wants_to_be_asked_is_asked_before_its_bytes_are_sent(
    sink: RcloneSink, there: Path, tmp_path: Path
) -> None:
    asked: list[tuple[int, bool]] = []

    class Asking(io.FileIO):
        def before_send(self, size: int) -> None:
            asked.append((size, there.exists()))

    with Asking(str(written(tmp_path / "clip", b"clip"))) as body:
        put(sink, cast(BinaryIO, body))
    assert asked == [(4, False)]


class Growing(io.FileIO):
    """A file to which somebody appends as soon as it has been read."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        if not data:
            with open(str(self.name), "ab") as writer:
                writer.write(b"more")
        return data


def test_a_file_that_changes_meanwhile_is_an_error_of_reading_it(
    sink: RcloneSink, tmp_path: Path
) -> None:
    body = Growing(str(written(tmp_path / "file", b"first")))
    with body, pytest.raises(OSError, match="changed from 5 to 9 bytes") as caught:
        put(sink, cast(BinaryIO, body))
    assert caught.value.errno == errno.EAGAIN


def test_a_disk_that_fails_is_an_error_of_reading_the_file(sink: RcloneSink) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "broken disk")

    with pytest.raises(OSError, match="broken disk"):
        put(sink, Broken())


def test_a_remote_whose_folder_does_not_exist_yet_answers_and_is_empty(
    sink: RcloneSink, there: Path
) -> None:
    assert sink.check().clock_skew is None
    assert list(sink.list("")) == list(sink.list("door/")) == []
    assert not there.exists()


def test_a_listing_has_the_order_of_keys_and_not_of_folders(sink: RcloneSink) -> None:
    keys = ["a b", "a-b/c", "a.b", "a/1", "a/2/3", "a/2x", "ab"]
    for key in reversed(keys):
        put(sink, io.BytesIO(b"x"), key)
    assert [stored.key for stored in sink.list("")] == keys
    assert [stored.key for stored in sink.list("a/2")] == ["a/2/3", "a/2x"]
    assert [stored.key for stored in sink.list("a/2/")] == ["a/2/3"]


def test_the_time_of_a_listing_is_that_of_the_file(sink: RcloneSink, tmp_path: Path) -> None:
    with written(tmp_path / "file", b"x").open("rb") as body:
        put(sink, body)
    assert [stored.modified for stored in sink.list("")] == [MOMENT]


def test_a_file_that_the_key_may_delete_is_gone(sink: RcloneSink, there: Path) -> None:
    put(sink, io.BytesIO(b"bait"), "bait")
    put(sink, io.BytesIO(b"kept"), "kept")
    assert sink.may_delete("bait") is True
    assert os.listdir(there) == ["kept"]


def test_the_limit_of_the_bandwidth_reaches_rclone(sink: RcloneSink, daemon: Daemon) -> None:
    sink.check()
    sink.limit(1_000_000)
    assert daemon.call("core/bwlimit")["bytesPerSecond"] == 1_000_000
    sink.limit(float("inf"))
    assert daemon.call("core/bwlimit")["rate"] == "off"


# -- the free space of the remote


def test_a_remote_that_knows_its_free_space_tells_it(sink: RcloneSink, there: Path) -> None:
    there.mkdir()
    free = sink.free()
    assert free is not None and abs(free - shutil.disk_usage(there).free) < 10**9


def test_a_remote_that_does_not_know_its_free_space_says_so(config: Config, daemon: Daemon) -> None:
    config.add("hasher", "memory")
    environ = config.environ("hasher:bucket")
    assert RcloneSink(settings.load(environ).rclone, environ, daemon).free() is None


def test_a_remote_that_cannot_be_asked_is_an_error_of_the_sink(
    config: Config, daemon: Daemon
) -> None:
    [port] = free_ports(1)
    config.add("nowhere", "webdav", url=f"http://127.0.0.1:{port}", vendor="other")
    environ = config.environ("nowhere:")
    with pytest.raises(SinkError, match="look at"):
        RcloneSink(settings.load(environ).rclone, environ, daemon).free()


def test_only_the_sink_of_remotes_can_be_asked(sink: RcloneSink) -> None:
    assert isinstance(sink, Roomy)
    loaded = settings.load({"S3_BUCKET": "pictures"})
    assert not isinstance(S3Sink(loaded.s3, {}), Roomy)
