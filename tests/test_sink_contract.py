"""What every sink promises, held against each: memory, moto's server, SeaweedFS."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.sink import Misconfigured, Sink
from s3 import S3Sink
from tests.rig.servers import Bucket, Moto, SeaweedFS
from tests.rig.sinks import MemorySink

pytestmark = pytest.mark.usefixtures("each_way")
JPEG = "image/jpeg"


@dataclass
class Place:
    """A sink, and what lies in it seen past it: `read` gives bytes, type and metadata of a key."""

    sink: Sink
    read: Callable[[str], tuple[bytes, str, dict[str, str]]]
    environ: dict[str, str]


def in_memory() -> Place:
    sink = MemorySink()
    read = lambda key: (sink.objects[key], sink.content_types[key], sink.metadata[key])  # noqa: E731
    return Place(sink, read, {})


def in_bucket(bucket: Bucket) -> Place:
    def read(key: str) -> tuple[bytes, str, dict[str, str]]:
        head = bucket.head(key)
        return bucket.get(key), head["ContentType"], head["Metadata"]

    return Place(sink_for(bucket.environ), read, bucket.environ)


def sink_for(environ: dict[str, str]) -> S3Sink:
    return S3Sink(settings.load(environ).s3, environ, attempts=1)


@pytest.fixture(params=["memory", "moto", "seaweedfs"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        return in_memory()
    fixture = {"moto": "moto_server", "seaweedfs": "seaweedfs"}[request.param]
    server: Moto | SeaweedFS = request.getfixturevalue(fixture)
    return in_bucket(server.bucket())


def put(sink: Sink, key: str, data: bytes = b"x", **metadata: str) -> str:
    receipt = sink.put(key, io.BytesIO(data), content_type=JPEG, metadata=metadata)
    assert (receipt.key, receipt.size) == (key, len(data))
    return receipt.etag


def test_an_object_holds_the_bytes_and_the_type_that_were_put(place: Place) -> None:
    data = bytes(range(256)) * 400
    etag = put(place.sink, "door/a.jpg", data)
    assert etag and '"' not in etag
    assert place.read("door/a.jpg")[:2] == (data, JPEG)


def test_metadata_comes_back_as_it_was_given(place: Place) -> None:
    hostile = {"label": "caf%C3%A9%0D%0Ax-evil%3A%201", "zones": "a,b", "score": "0.81"}
    put(place.sink, "m", **hostile)
    assert place.read("m")[2] == hostile


def test_putting_a_key_again_replaces_the_object(place: Place) -> None:
    first = put(place.sink, "twice", b"first")
    assert put(place.sink, "twice", b"second") != first
    assert place.read("twice")[0] == b"second"
    assert [(item.key, item.size) for item in place.sink.list("")] == [("twice", 6)]


def test_an_empty_body_is_an_object_too(place: Place) -> None:
    put(place.sink, "empty", b"")
    assert place.read("empty")[0] == b""


@pytest.mark.parametrize("key", [
    "front door/a b.jpg", "гараж/café.jpg", "100%/50%25.jpg", "a+b&c=d?e#f.jpg", "x/'\"~!*().jpg",
])  # fmt: skip
def test_a_key_is_kept_as_it_is_written(place: Place, key: str) -> None:
    put(place.sink, key, key.encode())
    assert place.read(key)[0] == key.encode()
    assert [item.key for item in place.sink.list("")] == [key]


def test_a_body_is_put_from_its_current_position(place: Place) -> None:
    body = io.BytesIO(b"skipped-kept")
    body.seek(8)
    assert place.sink.put("tail", body, content_type=JPEG, metadata={}).size == 4
    assert place.read("tail")[0] == b"kept"


def test_a_body_larger_than_memory_allows_is_whole_in_the_bucket(
    place: Place, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"head" + bytes(range(256)) * 80_000)
    with path.open("rb") as body:
        body.seek(4)
        receipt = place.sink.put("clip.mp4", body, content_type="video/mp4", metadata={})
    assert receipt.size == 20_480_000
    assert place.read("clip.mp4")[0] == path.read_bytes()[4:]


def test_a_listing_has_the_prefix_only_in_key_order_with_size_and_time(place: Place) -> None:
    for key in ("b/2", "a/1", "b/10", "c"):
        put(place.sink, key, key.encode())
    listing = list(place.sink.list("b/"))
    assert [(item.key, item.size) for item in listing] == [("b/10", 4), ("b/2", 3)]
    assert all(isinstance(item.modified, float) for item in listing)
    assert list(place.sink.list("nothing/")) == []


def test_a_bucket_that_is_there_passes_the_check(place: Place) -> None:
    probe = place.sink.check()
    assert 0 <= probe.took < 10
    assert probe.clock_skew is None or abs(probe.clock_skew) < 5


def test_eight_threads_put_at_once_and_nothing_is_mixed_up(place: Place) -> None:
    keys = [f"t/{number:03}" for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(place.sink, key, key.encode() * 1000), keys))
    assert [item.key for item in place.sink.list("t/")] == keys
    assert all(place.read(key)[0] == key.encode() * 1000 for key in keys)


def test_a_listing_of_more_than_one_page_is_whole(moto_server: Moto) -> None:
    # moto only: 1,100 puts are slow elsewhere.
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


def test_a_missing_bucket_is_the_owners_to_mend(server: Moto | SeaweedFS) -> None:
    sink = sink_for(server.bucket().environ | {"S3_BUCKET": "not-there"})
    attempts = (sink.check, lambda: put(sink, "k"), lambda: list(sink.list("")))
    for attempt in attempts:
        with pytest.raises(Misconfigured, match="S3_BUCKET") as caught:
            attempt()
        assert caught.value.code == "NoSuchBucket"


def test_a_wrong_secret_is_the_owners_to_mend(bucket: Bucket) -> None:
    # SeaweedFS only: moto believes any secret.
    sink = sink_for(bucket.environ | {"S3_SECRET_KEY": "not-the-secret"})
    for attempt in (sink.check, lambda: put(sink, "k")):
        with pytest.raises(Misconfigured, match="S3_SECRET_KEY") as caught:
            attempt()
        assert caught.value.code == "SignatureDoesNotMatch"
    assert bucket.keys() == []
