"""The contract of `Archive`, tested with every destination: memory, S3 (moto's server and
SeaweedFS), and rclone with remotes of several kinds."""

from __future__ import annotations

import io
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import Archivable, Archive, Misconfigured, Rejected, Unavailable
from tests.rig.remotes import Remotes
from tests.rig.s3_sink import environ_for, sink_for
from tests.rig.servers import Bucket, SeaweedFS, strict_identities
from tests.rig.sinks import MemoryArchive
from tests.rig.stub import Reply, Stub, error

RCLONE = ("local", "memory", "webdav", "sftp", "crypt", "drive")
WITH_FOLDERS = ("local", "webdav", "sftp", "drive")
"""Remotes of which the tests can see the folders."""


def remote(remotes: Remotes, daemon: Daemon, where: str, **more: str) -> RcloneSink:
    environ = remotes.environ(where) | more
    return RcloneSink(settings.load(environ).rclone, environ, daemon)


@pytest.fixture(params=["dictionary", "moto", "seaweedfs", *(f"rclone {name}" for name in RCLONE)])
def sink(request: pytest.FixtureRequest) -> Archivable:
    kind, _, name = request.param.partition(" ")
    if kind == "dictionary":
        return MemoryArchive()
    if kind == "rclone":
        running = (request.getfixturevalue(name) for name in ("remotes", "remote_daemon"))
        return remote(*running, f"{name}:{request.node.name[:20]}-{time.time_ns()}")
    server = request.getfixturevalue({"moto": "moto_server"}.get(kind, kind))
    return sink_for(server.bucket().environ)


@pytest.fixture
def archive(sink: Archivable) -> Archive:
    return sink.archive()


def put(sink: Archivable, *keys: str, data: bytes = b"x") -> None:
    for key in keys:
        sink.put(key, io.BytesIO(data), content_type="image/jpeg", metadata={})


def keys(archive: Archive) -> list[str]:
    return [stored.key for stored in archive.list("")]


def test_an_object_is_read_as_it_was_put(sink: Archivable, archive: Archive) -> None:
    data = json.dumps({"label": "person é"}).encode() * 900
    put(sink, "front/2026-01-02/a b.json", data=data)
    assert archive.read("front/2026-01-02/a b.json", len(data)) == data
    put(sink, "empty.json", data=b"")
    assert archive.read("empty.json", 100) == b""


def test_an_object_that_does_not_exist_is_none(sink: Archivable, archive: Archive) -> None:
    put(sink, "front/a.json")
    assert archive.read("front/b.json", 100) is None
    assert archive.read("garden/2026-01-02/b.json", 100) is None


def test_an_object_that_is_too_large_is_not_read(sink: Archivable, archive: Archive) -> None:
    put(sink, "a.json", data=b"x" * 101)
    with pytest.raises(Rejected, match=r"a\.json.*(too large|more than 100 bytes)"):
        archive.read("a.json", 100)


def test_what_is_deleted_is_gone_and_all_else_stays(sink: Archivable, archive: Archive) -> None:
    put(sink, "front/1/a.jpg", "front/1/a.json", "front/2/b.jpg", "front/2/b é+.jpg", "a", "b")
    assert archive.delete(["front/1/a.jpg", "front/2/b é+.jpg", "b"]) == {}
    assert keys(archive) == ["a", "front/1/a.json", "front/2/b.jpg"]


def test_what_does_not_exist_counts_as_deleted(sink: Archivable, archive: Archive) -> None:
    put(sink, "front/1/a.jpg")
    assert archive.delete(["front/1/b.jpg", "nowhere/c.jpg", "front/1/a.jpg"]) == {}
    assert archive.delete(["front/1/a.jpg"]) == {}
    assert archive.delete([]) == {}
    assert keys(archive) == []


def test_a_folder_is_removed_only_if_it_is_empty(sink: Archivable, archive: Archive) -> None:
    put(sink, "front/2026-01-02/a.jpg", "front/2026-01-03/b.jpg", "front/2026-01-03/mine.txt")
    archive.delete(["front/2026-01-02/a.jpg", "front/2026-01-03/b.jpg"])
    for folder in ("front/2026-01-02", "front/2026-01-03", "front", "nowhere", "nowhere/deeper"):
        archive.remove_folder(folder)
    assert keys(archive) == ["front/2026-01-03/mine.txt"]
    put(sink, "front/2026-01-02/late.jpg")
    assert keys(archive) == ["front/2026-01-02/late.jpg", "front/2026-01-03/mine.txt"]


@pytest.mark.parametrize("name", WITH_FOLDERS)
def test_an_empty_folder_of_a_remote_is_gone(
    remotes: Remotes, remote_daemon: Daemon, name: str
) -> None:
    where = f"{name}:folders"
    sink = remote(remotes, remote_daemon, where)
    archive = sink.archive()
    put(sink, "front/2026-01-02/a.jpg", "front/2026-01-03/b.jpg")
    archive.delete(["front/2026-01-02/a.jpg"])
    archive.remove_folder("front/2026-01-02")
    found = remote_daemon.call("operations/list", fs=where, remote="front")["list"]
    assert [one["Name"] for one in found] == ["2026-01-03"]


def test_a_listing_tells_when_an_object_has_changed(sink: Archivable, archive: Archive) -> None:
    def told() -> tuple[object, ...]:
        (stored,) = archive.list("")
        return stored.etag or stored.modified, stored.size

    put(sink, "a.json", data=b"first")
    first = told()
    assert told() == first
    put(sink, "a.json", data=b"longer")
    assert told() != first


def test_many_objects_are_deleted_with_few_requests(stub: Stub) -> None:
    wanted = [f"k{number:04}" for number in range(2_500)]
    confirmed = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in wanted)
    stub.default = Reply(body=f"<DeleteResult>{confirmed}</DeleteResult>".encode())
    assert sink_for(environ_for(stub.endpoint)).archive().delete(wanted) == {}
    assert [(one.method, one.path) for one in stub.seen] == [("POST", "/bkt?delete")] * 3
    assert [one.body.count(b"<Key>") for one in stub.seen] == [1_000, 1_000, 500]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("2024-01-15T14:30:22.000Z", 1_705_329_022.0),
        ("2024-01-15T14:30:22.123456789Z", 1_705_329_022.123456),
        ("2024-01-15T14:30:22Z", 1_705_329_022.0),
        ("2024-01-15T15:30:22+01:00", 1_705_329_022.0),
        ("Mon, 15 Jan 2024 14:30:22 GMT", 1_705_329_022.0),
        ("1705329022", 1_705_329_022.0),
    ],
)
def test_times_in_a_listing_are_read_in_any_form(stub: Stub, told: str, seconds: float) -> None:
    item = f"<Contents><Key>a</Key><Size>1</Size><LastModified>{told}</LastModified></Contents>"
    listing = f"<ListBucketResult><IsTruncated>false</IsTruncated>{item}</ListBucketResult>"
    stub.default = Reply(body=listing.encode())
    (stored,) = sink_for(environ_for(stub.endpoint)).list("")
    assert stored.modified == pytest.approx(seconds, abs=1e-5)


# -- what goes wrong at S3


def deleting(stub: Stub, *wanted: str) -> dict[str, str]:
    return sink_for(environ_for(stub.endpoint)).archive().delete(wanted)


def test_what_the_service_does_not_confirm_is_still_there(stub: Stub) -> None:
    stub.default = Reply(body=b"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>")
    left = deleting(stub, "a", "b")
    assert left == {"b": "the service does not confirm that it has deleted it"}


def test_what_the_service_cannot_delete_is_told_and_the_rest_is_deleted(stub: Stub) -> None:
    refused = "<Error><Key>a</Key><Code>InternalError</Code><Message>later</Message></Error>"
    gone = "<Error><Key>c</Key><Code>NoSuchKey</Code></Error><Deleted><Key>b</Key></Deleted>"
    stub.default = Reply(body=f"<DeleteResult>{refused}{gone}</DeleteResult>".encode())
    assert deleting(stub, "a", "b", "c") == {"a": "delete a: InternalError: later"}


def test_a_refusal_of_one_object_ends_the_deletion(stub: Stub) -> None:
    refused = "<Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    stub.default = Reply(body=f"<DeleteResult>{refused}</DeleteResult>".encode())
    with pytest.raises(Misconfigured, match=r"delete a: AccessDenied.*s3:DeleteObject on bkt"):
        deleting(stub, *(f"k{number}" for number in range(1_500)), "a")
    assert len(stub.seen) == 1


@pytest.mark.parametrize("code", ["MissingContentMD5", "NotImplemented", "MethodNotAllowed"])
def test_where_a_service_knows_no_batches_objects_are_deleted_singly(stub: Stub, code: str) -> None:
    stub.replies.append(error(400, code))
    assert deleting(stub, *(f"k{number}" for number in range(20))) == {}
    assert [one.method for one in stub.seen] == ["POST"] + ["DELETE"] * 20


def test_an_object_whose_bytes_break_off_is_read_again(stub: Stub) -> None:
    cut = Reply(body=b"{}", headers={"Content-Length": "9"})
    stub.replies.extend([cut, Reply(body=b"whole")])
    stub.default = None
    archive = sink_for(environ_for(stub.endpoint, S3_READ_TIMEOUT="0.5")).archive()
    assert archive.read("a.json", 100) == b"whole"


def test_a_service_that_goes_on_breaking_off_is_unavailable(stub: Stub) -> None:
    stub.default = error(503, "SlowDown")
    with pytest.raises(Unavailable, match=r"read a\.json: SlowDown"):
        sink_for(environ_for(stub.endpoint)).archive().read("a.json", 100)


# -- rights


@pytest.fixture(scope="module")
def strict() -> Iterator[SeaweedFS]:
    """A server that knows a key with the README's policy, and one that may also read."""
    server = SeaweedFS(strict_identities(uploader=[], reader=["s3:GetObject"]))
    yield server
    server.stop()


@pytest.fixture
def strict_bucket(strict: SeaweedFS) -> Bucket:
    made = strict.bucket()
    made.put("front/a.json", b"{}")
    made.put("front/a.jpg", b"x")
    return made


def with_key(bucket: Bucket, name: str) -> Archive:
    key = {"S3_ACCESS_KEY": name.upper(), "S3_SECRET_KEY": f"secret-of-{name}"}
    return sink_for(bucket.environ | key).archive()


def test_a_key_that_may_not_read_is_misconfigured_and_the_right_is_named(
    strict_bucket: Bucket,
) -> None:
    with pytest.raises(Misconfigured, match=f"s3:GetObject on {strict_bucket.name}"):
        with_key(strict_bucket, "uploader").read("front/a.json", 100)


def test_a_key_that_may_not_delete_is_misconfigured_and_the_right_is_named(
    strict_bucket: Bucket,
) -> None:
    archive = with_key(strict_bucket, "reader")
    assert archive.read("front/a.json", 100) == b"{}"
    with pytest.raises(Misconfigured, match=f"s3:DeleteObject on {strict_bucket.name}"):
        archive.delete(["front/a.jpg", "front/a.json"])
    assert strict_bucket.keys() == ["front/a.jpg", "front/a.json"]


# -- what goes wrong at a remote of rclone


def test_a_folder_that_may_not_be_changed_is_misconfigured(
    remotes: Remotes, remote_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = remote(remotes, remote_daemon, "local:denied")
    put(sink, "front/a.jpg", "front/b.jpg")
    asked = answering(monkeypatch, "operations/deletefile", "permission denied")
    with pytest.raises(Misconfigured, match=r"delete front/.*delete files there") as caught:
        sink.archive().delete(["front/a.jpg", *(f"front/{number}" for number in range(500))])
    assert caught.value.code == "AccessDenied"
    assert len(asked) < 50


def test_a_file_that_a_remote_cannot_delete_is_told_and_the_rest_is_deleted(
    remotes: Remotes, remote_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = remote(remotes, remote_daemon, "local:some")
    put(sink, "front/a.jpg", "front/b.jpg")
    answering(monkeypatch, "operations/deletefile", "no idea why", only="front/a.jpg")
    left = sink.archive().delete(["front/a.jpg", "front/b.jpg"])
    assert list(left) == ["front/a.jpg"] and "no idea why" in left["front/a.jpg"]
    assert keys(sink.archive()) == ["front/a.jpg"]


def test_a_remote_that_cannot_be_reached_ends_the_deletion(
    remotes: Remotes, remote_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = remote(remotes, remote_daemon, "local:away")
    answering(monkeypatch, "operations/deletefile", "dial tcp: connection refused")
    with pytest.raises(Unavailable):
        sink.archive().delete(["front/a.jpg"])


def answering(
    monkeypatch: pytest.MonkeyPatch, command: str, text: str, only: str = ""
) -> list[str]:
    """Makes rclone answer a command by an error. Returns what it is asked."""
    from frigate_mirror.sinks.rclone.errors import RcloneError

    real, asked = Daemon.call, []

    def call(self: Daemon, what: str, **parameters: Any) -> dict[str, Any]:
        if what == command and parameters["remote"].startswith(only):
            asked.append(parameters["remote"])
            raise RcloneError(text)
        return real(self, what, **parameters)

    monkeypatch.setattr(Daemon, "call", call)
    return asked


def test_one_file_at_a_time_is_deleted_where_names_are_not_unique(
    remotes: Remotes, remote_daemon: Daemon
) -> None:
    sink = remote(remotes, remote_daemon, "drive:singly")
    wanted = [f"front/{number}.jpg" for number in range(6)]
    put(sink, *wanted)
    at_once, most = [0], [0]

    def before(request: str) -> None:
        if request.startswith(("PATCH", "DELETE")):
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            time.sleep(0.01)
            at_once[0] -= 1

    remotes.drive.before = before
    try:
        assert sink.archive().delete(wanted) == {}
    finally:
        remotes.drive.before = lambda request: None
    assert most == [1] and keys(sink.archive()) == []


@pytest.mark.parametrize(
    ("chosen", "words", "is_trashed"),
    [("", "go to the trash and count", True), ("true", "go to the trash and count", True),
     ("false", "do not go to the trash", False)],
)  # fmt: skip
def test_google_drive_tells_whether_deleted_files_go_to_the_trash(
    remotes: Remotes, chosen: str, words: str, is_trashed: bool
) -> None:
    setting, name = {"RCLONE_DRIVE_USE_TRASH": chosen}, f"{chosen or 'default'}.jpg"
    environ = remotes.environ("drive:trash") | setting
    own = Daemon(settings.load(environ).rclone, environ)
    sink = remote(remotes, own, "drive:trash", **setting)
    try:
        put(sink, name)
        archive = sink.archive()
        assert words in archive.fate()
        archive.delete([name])
    finally:
        own.close()
    states = [one.trashed for one in remotes.drive.items.values() if one.name == name]
    assert states == [True] * is_trashed


@pytest.mark.parametrize("name", ["local", "memory", "webdav"])
def test_other_remotes_have_nothing_to_say_of_a_trash(
    remotes: Remotes, remote_daemon: Daemon, name: str
) -> None:
    assert remote(remotes, remote_daemon, f"{name}:x").archive().fate() == ""


def test_a_large_object_of_a_bucket_is_fetched_into_a_file(bucket: Bucket) -> None:
    sink, data = sink_for(bucket.environ), b"0123456789" * 300_000
    put(sink, "clips/a.mp4", data=data)
    file = io.BytesIO(b"what was there before" * 1_000_000)
    assert sink.archive().fetch("clips/a.mp4", file)
    assert file.getvalue() == data
    assert not sink.archive().fetch("clips/b.mp4", file)


def test_an_object_of_a_bucket_is_read_by_its_link_until_the_link_expires(bucket: Bucket) -> None:
    sink = sink_for(bucket.environ)
    put(sink, "clips/a b+é.mp4", data=b"movie")
    link = sink.archive().link("clips/a b+é.mp4", 60)
    trusting = ssl.create_default_context(cafile=bucket.ca_bundle or None)
    with urlopen(link, context=trusting) as answer:
        assert answer.read() == b"movie"
    assert "X-Amz-Expires=60" in link and "X-Amz-Signature=" in link  # the old version has neither
    forged = link.replace("X-Amz-Expires=60", "X-Amz-Expires=600")
    with pytest.raises(HTTPError, match="403"):
        urlopen(forged, context=trusting)
