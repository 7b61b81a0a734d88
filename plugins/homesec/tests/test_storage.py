"""The storage `s3`, loaded by HomeSec's own registry, with a real S3 server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import pytest
from homesec.models.storage import StorageUploadResult
from homesec.plugins import discover_all_plugins
from homesec.plugins.registry import PluginType, load_plugin, validate_plugin
from pydantic import ValidationError
from things import camera, event, sidecar_of
from things import put as put_event

from frigate_mirror.sinks.sink import Misconfigured
from homesec_frigate_events.folder import ClipFolder
from tests.rig.servers import ACCESS, SECRET, Bucket

discover_all_plugins()
T = TypeVar("T")
DATA = b"0123456789" * 2_000_000


def config_of(bucket: Bucket, **more: Any) -> dict[str, Any]:
    return {
        "bucket": bucket.name,
        "endpoint_url": bucket.endpoint,
        "ca_bundle": bucket.ca_bundle or None,
        "access_key_env": "TEST_ACCESS",
        "secret_key_env": "TEST_SECRET",
        **more,
    }


def storage_of(bucket: Bucket, **more: Any) -> Any:
    return load_plugin(PluginType.STORAGE, "s3", config_of(bucket, **more))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ACCESS", ACCESS)
    monkeypatch.setenv("TEST_SECRET", SECRET)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "a clip é.mp4"
    path.write_bytes(DATA)
    return path


def put(storage: Any, clip: Path, where: str = "clips/front/a clip é.mp4") -> StorageUploadResult:
    found: StorageUploadResult = run(storage.put_file(clip, where))
    return found


def test_a_clip_comes_back_as_it_was_put(bucket: Bucket, clip: Path, tmp_path: Path) -> None:
    storage = storage_of(bucket)
    stored = put(storage, clip)
    key = "homesec/clips/front/a clip é.mp4"
    assert stored.storage_uri == f"s3://{bucket.name}/{key}"
    assert bucket.keys() == [key]
    assert bucket.head(key)["ContentType"] == "video/mp4"
    back = tmp_path / "new" / "back.mp4"
    run(storage.get(stored.storage_uri, back))
    assert back.read_bytes() == DATA
    assert [path.name for path in back.parent.iterdir()] == ["back.mp4"]


def test_a_link_shows_the_clip_to_anybody(bucket: Bucket, clip: Path) -> None:
    stored = put(storage_of(bucket, view_url_expires_s=60), clip)
    assert stored.view_url is not None and "X-Amz-Expires=60" in stored.view_url
    trusting = ssl.create_default_context(cafile=bucket.ca_bundle or None)
    with urlopen(stored.view_url, context=trusting) as answer:
        assert answer.read() == DATA


def test_there_are_no_links_if_nobody_wants_them(bucket: Bucket, clip: Path) -> None:
    assert put(storage_of(bucket, view_url_expires_s=0), clip).view_url is None


def test_a_clip_is_deleted_and_may_be_deleted_again(bucket: Bucket, clip: Path) -> None:
    storage = storage_of(bucket)
    uri = put(storage, clip).storage_uri
    assert run(storage.exists(uri))
    run(storage.delete(uri))
    assert not run(storage.exists(uri))
    assert bucket.keys() == []
    run(storage.delete(uri))


def test_a_clip_that_does_not_exist_is_an_error_and_leaves_no_file(
    bucket: Bucket, clip: Path, tmp_path: Path
) -> None:
    storage = storage_of(bucket)
    uri = put(storage, clip).storage_uri
    assert not run(storage.exists(uri[:-1]))  # the beginning of a key is no object
    with pytest.raises(FileNotFoundError):
        run(storage.get(uri[:-1], tmp_path / "new" / "back.mp4"))
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("where", ["../a", "/a", "a/../../b", "", "a\\b", "./a"])
def test_nothing_is_stored_outside_its_prefix(bucket: Bucket, clip: Path, where: str) -> None:
    with pytest.raises(ValueError, match="invalid dest_path"):
        put(storage_of(bucket), clip, where)
    assert bucket.keys() == []


ELSEWHERE = ["s3://{}/mirror/a.jpg", "s3://other/homesec/a", "local:/etc/passwd",
             "s3://{}/homesec/../mirror/a.jpg"]  # fmt: skip


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_nothing_outside_its_prefix_is_read_or_deleted(
    bucket: Bucket, tmp_path: Path, uri: str
) -> None:
    bucket.put("mirror/a.jpg", b"of the mirror")
    storage, uri = storage_of(bucket), uri.format(bucket.name)
    for work in (storage.delete(uri), storage.get(uri, tmp_path / "a")):
        with pytest.raises(ValueError):
            run(work)
    assert not run(storage.exists(uri))
    assert run(storage.get_view_url(uri)) is None
    assert bucket.keys() == ["mirror/a.jpg"]


def test_ping_says_whether_the_bucket_is_there(bucket: Bucket) -> None:
    assert run(storage_of(bucket).ping())
    missing = load_plugin(PluginType.STORAGE, "s3", config_of(bucket) | {"bucket": "no-such-one"})
    assert not run(missing.ping())


def test_the_sidecar_says_whether_the_upload_has_failed(bucket: Bucket, tmp_path: Path) -> None:
    put_event(ClipFolder(tmp_path, lambda: [camera(faststart=False)], lambda *_: None), event())
    [clip] = tmp_path.glob("*.mp4")
    missing = load_plugin(PluginType.STORAGE, "s3", config_of(bucket) | {"bucket": "no-such-one"})
    with pytest.raises(Misconfigured):
        put(missing, clip, "a.mp4")
    assert sidecar_of(clip)["upload_failed"] is True
    put(storage_of(bucket), clip, "a.mp4")
    assert sidecar_of(clip)["upload_failed"] is False


def test_after_its_end_it_does_nothing(bucket: Bucket, clip: Path) -> None:
    storage = storage_of(bucket)
    run(storage.shutdown())
    with pytest.raises(RuntimeError, match="shut down"):
        put(storage, clip)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prefix": "/"}, "it deletes objects"),
        ({"secret_key_env": None}, "set both or neither"),
        ({"view_url_expires_s": 604_801}, "view_url_expires_s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_configuration_is_refused(
    bucket: Bucket, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        validate_plugin(PluginType.STORAGE, "s3", config_of(bucket, **change))


def test_a_key_that_is_not_set_is_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_SECRET")
    with pytest.raises(ValueError, match="secret_key_env: the environment variable TEST_SECRET"):
        storage_of(bucket)
