"""The contract of `Sink`, tested with every sink: memory, S3 (moto's server and SeaweedFS) over the
direct way and over boto3, and rclone with remotes of several kinds."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import Misconfigured, Sink
from s3 import S3Sink
from tests.rig.remotes import Remotes
from tests.rig.servers import Bucket, Moto, SeaweedFS
from tests.rig.sinks import MemorySink

JPEG = "image/jpeg"
S3 = ("moto", "moto over boto3", "seaweedfs", "seaweedfs over boto3")
RCLONE = ("local", "memory", "webdav", "sftp", "crypt", "cryptdav", "drive")
WITHOUT_DIGEST = ("webdav", "crypt", "cryptdav")


@dataclass
class Destination:
    """A sink, and a way to read past it: `read` returns the bytes, the type and the metadata of a
    key. `describes` says whether it keeps the type and the metadata, and `digests` whether its
    receipts have one."""

    sink: Sink
    read: Callable[[str], tuple[bytes, str, dict[str, str]]]
    describes: bool = True
    digests: bool = True


def in_memory() -> Destination:
    sink = MemorySink()
    read = lambda key: (sink.objects[key], sink.content_types[key], sink.metadata[key])  # noqa: E731
    return Destination(sink, read)


def in_bucket(bucket: Bucket) -> Destination:
    def read(key: str) -> tuple[bytes, str, dict[str, str]]:
        head = bucket.head(key)
        return bucket.get(key), head["ContentType"], head["Metadata"]

    return Destination(sink_for(bucket.environ), read)


def sink_for(environ: dict[str, str]) -> S3Sink:
    return S3Sink(settings.load(environ).s3, environ, attempts=1)


def in_remote(remotes: Remotes, daemon: Daemon, name: str, folder: Path) -> Destination:
    environ = remotes.environ(f"{name}:{uuid.uuid4().hex}")
    sink = RcloneSink(settings.load(environ).rclone, environ, daemon)

    def read(key: str) -> tuple[bytes, str, dict[str, str]]:
        daemon.call(
            "operations/copyfile",
            srcFs=environ["RCLONE_REMOTE"], srcRemote=key, dstFs=str(folder), dstRemote="read",
        )  # fmt: skip
        return (folder / "read").read_bytes(), "", {}

    return Destination(sink, read, describes=False, digests=name not in WITHOUT_DIGEST)


@pytest.fixture(params=["dictionary", *S3, *(f"rclone {name}" for name in RCLONE)])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    if request.param == "dictionary":
        return in_memory()
    kind, _, way = request.param.partition(" ")
    if kind == "rclone":
        running = (request.getfixturevalue(name) for name in ("remotes", "remote_daemon"))
        return in_remote(*running, way, tmp_path)
    if way:
        request.getfixturevalue("over_boto3")
    fixture = {"moto": "moto_server", "seaweedfs": "seaweedfs"}[kind]
    server: Moto | SeaweedFS = request.getfixturevalue(fixture)
    return in_bucket(server.bucket())


def put(sink: Sink, key: str, data: bytes = b"x", **metadata: str) -> str:
    receipt = sink.put(key, io.BytesIO(data), content_type=JPEG, metadata=metadata)
    assert (receipt.key, receipt.size) == (key, len(data))
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    return receipt.etag


def test_an_object_holds_the_bytes_and_the_type_that_were_put(destination: Destination) -> None:
    data = bytes(range(256)) * 400
    etag = put(destination.sink, "door/a.jpg", data)
    assert bool(etag) == destination.digests and '"' not in etag
    stored, content_type, _ = destination.read("door/a.jpg")
    assert (stored, content_type) == (data, JPEG if destination.describes else "")


def test_metadata_is_stored_unchanged(destination: Destination) -> None:
    hostile = {"label": "caf%C3%A9%0D%0Ax-evil%3A%201", "zones": "a,b", "score": "0.81"}
    put(destination.sink, "m", **hostile)
    assert destination.read("m")[2] == (hostile if destination.describes else {})


def test_putting_a_key_again_replaces_the_object(destination: Destination) -> None:
    first = put(destination.sink, "twice", b"first")
    second = put(destination.sink, "twice", b"other")
    assert second != first or not destination.digests
    assert destination.read("twice")[0] == b"other"
    put(destination.sink, "twice", b"longer")
    assert [(item.key, item.size) for item in destination.sink.list("")] == [("twice", 6)]


def test_an_empty_body_makes_an_object(destination: Destination) -> None:
    put(destination.sink, "empty", b"")
    assert destination.read("empty")[0] == b""


@pytest.mark.parametrize("key", [
    "front door/a b.jpg", "гараж/café.jpg", "100%/50%25.jpg", "a+b&c=d?e#f.jpg", "x/'\"~!*().jpg",
])  # fmt: skip
def test_a_key_is_stored_unchanged(destination: Destination, key: str) -> None:
    put(destination.sink, key, key.encode())
    assert destination.read(key)[0] == key.encode()
    assert [item.key for item in destination.sink.list("")] == [key]


def test_a_body_is_put_from_its_current_position(destination: Destination) -> None:
    body = io.BytesIO(b"skipped-kept")
    body.seek(8)
    assert destination.sink.put("tail", body, content_type=JPEG, metadata={}).size == 4
    assert destination.read("tail")[0] == b"kept"


def test_a_large_body_is_stored_complete(destination: Destination, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"head" + bytes(range(256)) * 80_000)
    with path.open("rb") as body:
        body.seek(4)
        receipt = destination.sink.put("clip.mp4", body, content_type="video/mp4", metadata={})
    assert receipt.size == 20_480_000
    assert receipt.sha256 == hashlib.sha256(path.read_bytes()[4:]).hexdigest()
    assert destination.read("clip.mp4")[0] == path.read_bytes()[4:]


def test_a_listing_is_in_key_order_with_size_and_time(destination: Destination) -> None:
    for key in ("b/2", "a/1", "b/10", "c", "b/10x/y"):
        put(destination.sink, key, key.encode())
    listing = list(destination.sink.list("b/"))
    assert [(item.key, item.size) for item in listing] == [("b/10", 4), ("b/10x/y", 7), ("b/2", 3)]
    everything = ["a/1", "b/10", "b/10x/y", "b/2", "c"]
    assert [item.key for item in destination.sink.list("")] == everything
    assert [item.key for item in destination.sink.list("b/1")] == ["b/10", "b/10x/y"]
    assert all(isinstance(item.modified, float) for item in listing)
    assert list(destination.sink.list("nothing/")) == []


def test_a_destination_that_answers_passes_the_check(destination: Destination) -> None:
    probe = destination.sink.check()
    assert 0 <= probe.took < 10
    assert probe.clock_skew is None or abs(probe.clock_skew) < 5


def test_eight_threads_put_at_once_and_nothing_is_mixed_up(destination: Destination) -> None:
    keys = [f"t/{number:03}" for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(destination.sink, key, key.encode() * 1000), keys))
    assert [item.key for item in destination.sink.list("t/")] == keys
    assert all(destination.read(key)[0] == key.encode() * 1000 for key in keys)


def test_a_listing_of_several_pages_is_complete(moto_server: Moto) -> None:
    # Only moto takes 1,100 puts quickly.
    bucket = moto_server.bucket()
    keys = [f"p/{number:05}" for number in range(1_100)]
    with ThreadPoolExecutor(8) as pool:
        put_one = lambda key: bucket.client.put_object(Bucket=bucket.name, Key=key)  # noqa: E731
        list(pool.map(put_one, keys))
    assert [item.key for item in sink_for(bucket.environ).list("p/")] == keys


@pytest.fixture(params=["moto_server", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> Moto | SeaweedFS:
    found: Moto | SeaweedFS = request.getfixturevalue(request.param)
    return found


@pytest.mark.usefixtures("each_way")
def test_a_missing_bucket_is_misconfigured(server: Moto | SeaweedFS) -> None:
    sink = sink_for(server.bucket().environ | {"S3_BUCKET": "not-there"})
    attempts = (sink.check, lambda: put(sink, "k"), lambda: list(sink.list("")))
    for attempt in attempts:
        with pytest.raises(Misconfigured, match="S3_BUCKET") as caught:
            attempt()
        assert caught.value.code == "NoSuchBucket"


@pytest.mark.usefixtures("each_way")
def test_a_wrong_secret_is_misconfigured(bucket: Bucket) -> None:
    # Only SeaweedFS checks the secret; moto accepts any.
    sink = sink_for(bucket.environ | {"S3_SECRET_KEY": "not-the-secret"})
    for attempt in (sink.check, lambda: put(sink, "k")):
        with pytest.raises(Misconfigured, match="S3_SECRET_KEY") as caught:
            attempt()
        assert caught.value.code == "SignatureDoesNotMatch"
    assert bucket.keys() == []
