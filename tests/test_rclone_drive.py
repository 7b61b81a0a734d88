"""rclone's real Google Drive backend against a stand-in for its API: folders and files of one name,
the trash, and what Google refuses."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import Misconfigured, SinkError, Unavailable
from tests.rig.drive import EXPIRED, FOLDER, Drive, Refusal
from tests.rig.rclone import Config
from tests.rig.remotes import add_drive
from tests.rig.s3_sink import failure_of

SECRETS = ("drive-access-token", "drive-refresh-token", "drive-client-secret")


@pytest.fixture(scope="module")
def module_drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    server = Drive(tmp_path_factory.mktemp("drive"))
    yield server
    server.stop()


@pytest.fixture
def drive(module_drive: Drive) -> Drive:
    """An empty Drive."""
    module_drive.reset()
    return module_drive


@pytest.fixture(scope="module")
def config(module_drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = Config(tmp_path_factory.mktemp("config"), **module_drive.environ)
    add_drive(made)
    add_drive(made, "expired", EXPIRED)
    return made


@pytest.fixture(scope="module")
def daemon(config: Config) -> Iterator[Daemon]:
    environ = config.environ("drive:")
    running = Daemon(settings.load(environ).rclone, environ)
    yield running
    running.close()


@pytest.fixture
def sink(config: Config, daemon: Daemon, drive: Drive) -> RcloneSink:
    """A sink that knows nothing of the Drive yet."""
    daemon.call("fscache/clear")
    environ = config.environ("drive:frigate")
    return RcloneSink(settings.load(environ).rclone, environ, daemon)


def put(sink: RcloneSink, key: str, data: bytes = b"picture") -> str:
    return sink.put(key, io.BytesIO(data), content_type="image/jpeg", metadata={}).etag


def refused(sink: RcloneSink, key: str = "door/a.jpg") -> SinkError:
    error = failure_of(lambda: put(sink, key))
    assert not any(secret in str(error) for secret in SECRETS)
    return error


def names(drive: Drive) -> list[str]:
    return sorted(one.name for one in drive.items.values() if not one.trashed)[1:]


# -- names that exist twice


def test_uploads_at_once_make_each_folder_once(
    sink: RcloneSink, daemon: Daemon, drive: Drive
) -> None:
    sink.check()
    # Two commands at once to an rclone that does not know the remote yet may not know each other's
    # folders. It was seen with rclone 1.65; the newest one takes care of itself.
    daemon.call("fscache/clear")
    keys = [f"{camera}/2026-11-26/{number}.jpg" for camera in "ab" for number in range(4)]
    start = threading.Barrier(len(keys))

    def upload(key: str) -> None:
        start.wait()
        put(sink, key)

    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(upload, keys))
    folders = [one.name for one in drive.items.values() if one.kind == FOLDER]
    assert sorted(folders) == ["2026-11-26", "2026-11-26", "My Drive", "a", "b", "frigate"]
    assert [stored.key for stored in sink.list("")] == keys


def test_uploads_of_one_key_at_once_make_one_file(sink: RcloneSink, drive: Drive) -> None:
    put(sink, "door/other.jpg")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(sink, "door/same.jpg", b"%d" % number), range(8)))
    assert names(drive) == ["door", "frigate", "other.jpg", "same.jpg"]


def test_a_file_that_exists_twice_is_told_once_and_the_newest_is_listed(
    sink: RcloneSink, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    put(sink, "door/a.jpg", b"older")
    twin = drive.make("a.jpg", drive.named("door")[0].id, "image/jpeg", b"the newer one")
    twin.modified = "2999-01-01T00:00:00.000Z"
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            listed = [(stored.key, stored.size) for stored in sink.list("door/a")]
    assert listed == [("door/a.jpg", 13)]
    assert [record.getMessage() for record in caplog.records] == [
        "drive:frigate/door contains 2 entries named a.jpg: run `rclone dedupe` by hand"
    ]


def test_a_folder_that_exists_twice_is_told(
    sink: RcloneSink, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    put(sink, "door/a.jpg")
    drive.make("door", drive.named("frigate")[0].id)
    with caplog.at_level(logging.WARNING):
        list(sink.list(""))
    assert [record.getMessage() for record in caplog.records] == [
        "drive:frigate contains 2 entries named door: run `rclone dedupe` by hand"
    ]


def test_a_folder_that_a_person_deletes_is_made_again(sink: RcloneSink, drive: Drive) -> None:
    put(sink, "door/a.jpg")
    for name in ("door", "a.jpg"):
        del drive.items[drive.named(name)[0].id]
    put(sink, "door/b.jpg")
    assert names(drive) == ["b.jpg", "door", "frigate"]


def test_after_a_check_nothing_goes_to_a_folder_that_a_person_moved_to_the_trash(
    sink: RcloneSink, drive: Drive
) -> None:
    put(sink, "door/a.jpg")
    drive.named("door")[0].trashed = True
    sink.check()
    put(sink, "door/b.jpg")
    (door,) = drive.named("door")
    assert drive.named("b.jpg")[0].parent == door.id


# -- the trash


@pytest.mark.parametrize(("setting", "left"), [("", [True]), ("true", [True]), ("false", [])])
def test_the_setting_decides_whether_what_is_deleted_goes_to_the_trash(
    config: Config, drive: Drive, setting: str, left: list[bool]
) -> None:
    environ = config.environ("drive:frigate") | {"RCLONE_DRIVE_USE_TRASH": setting}
    sink = RcloneSink(settings.load(environ).rclone, environ)
    put(sink, "bait")
    assert sink.may_delete("bait") is True
    assert [one.trashed for one in drive.items.values() if one.name == "bait"] == left
    sink.close()


def test_an_account_that_may_not_delete_is_told_apart(sink: RcloneSink, drive: Drive) -> None:
    put(sink, "bait")
    drive.refusals = [Refusal(403, "insufficientFilePermissions", method="PATCH", times=9)]
    assert sink.may_delete("bait") is False
    drive.refusals = [Refusal(500, "backendError", method="PATCH", times=9)]
    assert failure_of(lambda: sink.may_delete("bait")).code == "Rclone"


# -- what Google stores, and what it refuses


def test_bytes_that_differ_at_the_remote_are_no_success(sink: RcloneSink, drive: Drive) -> None:
    put(sink, "door/a.jpg")
    uploaded = False

    def damage(request: str) -> None:
        nonlocal uploaded
        if uploaded:
            drive.named("b.jpg")[0].data = b"damaged"
        uploaded = request.startswith("POST /upload")

    drive.before = damage
    error = failure_of(lambda: put(sink, "door/b.jpg"))
    assert (type(error), error.code) == (Unavailable, "Differs")
    drive.before = lambda request: None
    assert put(sink, "door/b.jpg")
    assert drive.named("b.jpg")[0].data == b"picture"


def test_google_may_ask_for_patience_now_and_then(sink: RcloneSink, drive: Drive) -> None:
    drive.refusals = [Refusal(403, "userRateLimitExceeded", path="/upload/", times=2)]
    put(sink, "door/a.jpg")
    drive.refusals = [Refusal(403, "userRateLimitExceeded", path="/upload/", times=99)]
    error = refused(sink, "door/b.jpg")
    assert (type(error), error.code) == (Unavailable, "SlowDown")


@pytest.mark.parametrize(("status", "reason", "kind", "code"), [
    (403, "storageQuotaExceeded", Misconfigured, "QuotaExceeded"),
    (403, "insufficientFilePermissions", Misconfigured, "AccessDenied"),
    (403, "accessNotConfigured", Misconfigured, "AccessNotConfigured"),
    (401, "authError", Misconfigured, "Token"),
    (500, "backendError", Unavailable, "Rclone"),
    (503, "backendError", Unavailable, "Rclone"),
])  # fmt: skip
def test_what_google_refuses_has_its_kind(
    sink: RcloneSink, drive: Drive, status: int, reason: str, kind: type[SinkError], code: str
) -> None:
    drive.refusals = [Refusal(status, reason, path="/upload/", times=99)]
    error = refused(sink)
    assert (type(error), error.code) == (kind, code), error
    assert names(drive) == ["door", "frigate"]
    drive.refusals = []
    put(sink, "door/a.jpg")


def test_a_login_that_has_expired_is_misconfigured(
    config: Config, daemon: Daemon, drive: Drive
) -> None:
    environ = config.environ("expired:frigate")
    error = refused(RcloneSink(settings.load(environ).rclone, environ, daemon))
    assert (type(error), error.code) == (Misconfigured, "Token")
    assert "rclone config reconnect expired:" in error.hint


def test_a_certificate_that_nobody_has_signed_is_misconfigured(
    config: Config, drive: Drive
) -> None:
    environ = config.environ("drive:frigate")
    del environ["RCLONE_CA_CERT"]
    sink = RcloneSink(settings.load(environ).rclone, environ)
    error = failure_of(sink.check)
    assert (type(error), error.code) == (Misconfigured, "CertificateVerifyFailed")
    sink.close()
