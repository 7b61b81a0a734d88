"""Every failure of rclone tells who has to act, what to do, and no secret."""

from __future__ import annotations

import io
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon
from frigate_mirror.sinks.rclone.errors import (
    MEANINGS,
    RcloneError,
    failure,
    meaning_of,
    without_secrets,
)
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import Misconfigured, Rejected, SinkError, Unavailable
from tests.rig.rclone import PASSWORD, USER, Config, Served, encrypted, obscured, program
from tests.rig.s3_sink import failure_of

ADDRESS = "http://127.0.0.1"
OUTAGES = (
    "dial tcp 127.0.0.1:1: connect: connection refused",
    "dial tcp: lookup example.com on 10.0.0.1:53: no such host",
    "dial tcp: lookup example.com: Temporary failure in name resolution",
    "dial tcp 10.0.0.1:443: i/o timeout",
    "read tcp 10.0.0.2:5->10.0.0.1:443: read: connection reset by peer",
    "write tcp 10.0.0.2:5->10.0.0.1:443: write: broken pipe",
    "dial tcp 10.0.0.1:443: connect: network is unreachable",
    "net/http: TLS handshake timeout",
    "context deadline exceeded",
    'Put "https://example.com/x": unexpected EOF',
    "sftp: connection lost",
)
SAMPLES = [
    # What rclone, and the services behind it, say; most of it was seen.
    ("fork/exec /opt/rclone: exec format error", "NoRclone"),
    ("start server failed: listen tcp: address tcp///@rclone-1: unknown port", "OldRclone"),
    ("Fatal error: unknown flag: --rc-server-write-timeout", "OldRclone"),
    ('Failed to load config file "/c": unable to decrypt configuration and not allowed to ask for '
     "password", "ConfigPassword"),
    ('panic received: fatal error: Failed to load config file "/c": read /c: is a directory',
     "NoConfig"),
    ("Couldn't decrypt configuration, most likely wrong password.", "ConfigPassword"),
    ('didn\'t find section in config file ("gdrive")', "NoRemote"),
    ('didn\'t find backend called "nonsense"', "NoRemote"),
    ("googleapi: Error 403: Rate Limit Exceeded, rateLimitExceeded", "SlowDown"),
    ("googleapi: Error 403: User Rate Limit Exceeded. Rate of requests for user exceed configured "
     "project quota, userRateLimitExceeded", "SlowDown"),
    ("googleapi: Error 403: Quota exceeded for quota metric 'Queries', rateLimitExceeded",
     "SlowDown"),
    ("HTTP error 429 (429 Too Many Requests) returned", "SlowDown"),
    ("googleapi: Error 403: The user's Drive storage quota has been exceeded., "
     "storageQuotaExceeded", "QuotaExceeded"),
    ("googleapi: Error 403: The limit for this folder's number of children has been exceeded., "
     "numChildrenInNonRootLimitExceeded", "QuotaExceeded"),
    ("write /mnt/x: disk quota exceeded", "QuotaExceeded"),
    ("preallocate: file too big for remaining disk space", "NoSpace"),
    ("write /mnt/x: no space left on device", "NoSpace"),
    ("Insufficient Storage: 507 Insufficient Storage", "NoSpace"),
    *((f'read metadata failed: Propfind "http://x/k": {text}', "Unreachable") for text in OUTAGES),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority",
     "CertificateVerifyFailed"),
    ("NewFs: couldn't connect SSH: ssh: handshake failed: knownhosts: key mismatch", "HostKey"),
    ('couldn\'t fetch token: invalid_grant: maybe token expired? - try refreshing with "rclone '
     'config reconnect gdrive:"', "Token"),
    ("drive: failed when making oauth client: failed to create oauth client: empty token found",
     "Token"),
    ('oauth2: "invalid_client" "The OAuth client was not found."', "Token"),
    ("read metadata failed: 401 Unauthorized: 401 Unauthorized", "Unauthorized"),
    ("googleapi: Error 401: Invalid Credentials, authError", "Token"),
    ("ssh: handshake failed: ssh: unable to authenticate, attempted methods [none password]",
     "Unauthorized"),
    ("NewFs: couldn't connect to ssh-agent: SSH agent requested but SSH_AUTH_SOCK not-specified",
     "Unauthorized"),
    ("NewFs: ftpConnection Login: 530 Login incorrect.", "Unauthorized"),
    ("api error SignatureDoesNotMatch: The request signature does not match", "Unauthorized"),
    ("googleapi: Error 403: Google Drive API has not been used in project 1 before or it is "
     "disabled., accessNotConfigured", "AccessNotConfigured"),
    ("googleapi: Error 403: The user does not have sufficient permissions for this file., "
     "insufficientFilePermissions", "AccessDenied"),
    ("mkdir /mnt/x: permission denied", "AccessDenied"),
    ("open /mnt/x: read-only file system", "AccessDenied"),
    ("unchunked simple update failed: Forbidden: 403 Forbidden", "AccessDenied"),
    ("lstat /mnt/file/a: not a directory", "NotADirectory"),
    ("lstat /mnt/xxx: file name too long", "NameTooLong"),
    ("write /mnt/x: file too large", "EntityTooLarge"),
    ("Request Entity Too Large: 413 Request Entity Too Large", "EntityTooLarge"),
    ("error in ListJSON: directory not found", "NoSuchFolder"),
    ("googleapi: Error 404: File not found: 1AbC., notFound", "NotFound"),
    ("object not found", "NotFound"),
    ("corrupted on transfer: sources md5 hash differ", "Differs"),
    ("unchunked simple update failed: Internal Server Error: 500 Internal Server Error", "Rclone"),
    ("something that nobody has thought of", "Rclone"),
]  # fmt: skip
BY_CODE = {"OldRclone", "Died", "Hangs", "NoRclone"}  # ours, see test_rclone_daemon


# -- the table


@pytest.mark.parametrize(("text", "code"), SAMPLES)
def test_a_text_of_rclone_has_its_meaning(text: str, code: str) -> None:
    assert meaning_of(RcloneError(text)).code == code


def test_every_meaning_has_a_sample_and_a_hint_if_the_owner_has_to_act() -> None:
    assert {meaning.code for meaning in MEANINGS} == {code for _, code in SAMPLES} | BY_CODE
    assert all(meaning.hint for meaning in MEANINGS if meaning.kind is not Unavailable)


@given(st.sampled_from(OUTAGES), st.text(max_size=30), st.text(max_size=30))
def test_an_outage_is_never_charged_to_the_file(text: str, before: str, after: str) -> None:
    assert meaning_of(RcloneError(f"{before} {text} {after}")).kind is not Rejected


def test_a_key_means_nothing_whatever_it_contains() -> None:
    key = "quota exceeded/401/file too large.jpg"
    for shown in (key, "quota%20exceeded/401/file%20too%20large.jpg"):
        text = f'Put "http://x/{shown}": connection refused'
        assert meaning_of(RcloneError(text), key).code == "Unreachable"
        assert meaning_of(RcloneError(f"copy {shown}: what"), key).code == "Rclone"
    text = "copy 1700000000.401-abc: 1764403.5 s"
    assert meaning_of(RcloneError(text)).code == "Rclone"
    text = "couldn't connect to ssh-agent: what"
    assert meaning_of(RcloneError(text), "agent:").code == "Unauthorized", "part of a longer word"


# -- secrets


@pytest.mark.parametrize("text", [
    'Get "https://me:hidden@example.com/x": what',
    'Get "https://example.com/x?access_token=hidden&alt=json": what',
    'failed: {"refresh_token":"hidden", "client_secret": "hidden"}',
    "failed with Authorization: Bearer hidden.hidden-hidden",
    "failed with Basic aGlkZGVu",
    ":sftp,user=me,pass=hidden:x: what",
    ':webdav,bearer_token="hidden",url=x: what',
    "secret_access_key = x, secret_access_key=hidden",
])  # fmt: skip
def test_a_secret_in_a_text_of_rclone_is_not_shown(text: str) -> None:
    shown = without_secrets(text)
    assert "hidden" not in shown and "aGlkZGVu" not in shown
    assert "***" in shown
    assert "hidden" not in str(failure("put", "k", RcloneError(text), "x:"))


def test_a_message_is_one_line_of_bounded_length_and_names_what_was_done() -> None:
    error = failure("put", "door/a.jpg", RcloneError("two\nlines\x1b[31m " + "x" * 9999), "g:")
    assert str(error).startswith("put door/a.jpg: Rclone: two lines?[31m")
    assert str(error).isprintable() and len(str(error)) < 500


# -- seen


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def daemon(config: Config) -> Iterator[Daemon]:
    environ = config.environ("/tmp")
    running = Daemon(settings.load(environ).rclone, environ)
    yield running
    running.close()


@pytest.fixture(scope="module")
def webdav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served("webdav", tmp_path_factory.mktemp("webdav"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served("sftp", tmp_path_factory.mktemp("sftp"))
    yield server
    server.stop()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port at which nobody listens, and that nobody else takes meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def sink_of(config: Config, remote: str, daemon: Daemon | None = None, **more: str) -> RcloneSink:
    environ = config.environ(remote) | more
    return RcloneSink(settings.load(environ).rclone, environ, daemon)


def put(sink: RcloneSink, key: str = "door/a.jpg", data: bytes = b"x" * 100_000) -> str:
    return sink.put(key, io.BytesIO(data), content_type="image/jpeg", metadata={}).etag


def failures_of(sink: RcloneSink) -> list[SinkError]:
    """The failures of a put, a check and a listing, which must be of one kind."""
    found = [failure_of(call) for call in (lambda: put(sink), sink.check, lambda: [*sink.list("")])]
    assert len({(type(error), error.code) for error in found}) == 1, found
    assert all(PASSWORD not in str(error) for error in found)
    return found


def test_a_server_that_is_away_is_unavailable(config: Config, daemon: Daemon, nobody: int) -> None:
    config.add("davoff", "webdav", url=f"{ADDRESS}:{nobody}", vendor="other")
    config.add("sftpoff", "sftp", host="127.0.0.1", port=nobody, **{"pass": obscured("x")})
    for remote in ("davoff:", "sftpoff:"):
        for error in failures_of(sink_of(config, remote, daemon)):
            assert (type(error), error.code) == (Unavailable, "Unreachable")


def test_a_wrong_password_is_misconfigured_until_it_is_corrected(
    config: Config, daemon: Daemon, webdav: Served, sftp: Served
) -> None:
    url = f"{ADDRESS}:{webdav.port}"
    wrong, right = obscured("wrong"), obscured(PASSWORD)
    config.add("davbad", "webdav", **{"url": url, "vendor": "other", "user": USER, "pass": wrong})
    config.add("sftpbad", "sftp", host="127.0.0.1", port=sftp.port, user=USER, **{"pass": wrong})
    sinks = [sink_of(config, remote, daemon) for remote in ("davbad:", "sftpbad:")]
    for sink in sinks:
        for error in failures_of(sink):
            assert (type(error), error.code) == (Misconfigured, "Unauthorized")
            assert "password" in error.hint
    config.path.write_text(config.path.read_text().replace(wrong, right))
    for sink in sinks:
        put(sink)
        assert [stored.key for stored in sink.list("")] == ["door/a.jpg"]


def test_a_remote_without_any_login_is_misconfigured(config: Config, daemon: Daemon) -> None:
    config.add("sftpnone", "sftp", host="127.0.0.1", user="me")
    for error in failures_of(sink_of(config, "sftpnone:", daemon)):
        assert (type(error), error.code) == (Misconfigured, "Unauthorized")


def test_a_remote_that_is_not_configured_is_misconfigured(config: Config, daemon: Daemon) -> None:
    for error in failures_of(sink_of(config, "nosuch:frigate", daemon)):
        assert (type(error), error.code) == (Misconfigured, "NoRemote")
        assert "RCLONE_REMOTE" in error.hint


def test_a_program_or_configuration_that_is_missing_is_misconfigured(config: Config) -> None:
    for name, code in (("RCLONE_PATH", "NoRclone"), ("RCLONE_CONFIG", "NoConfig")):
        for error in failures_of(sink_of(config, "/tmp", **{name: "/nowhere/file"})):
            assert (type(error), error.code) == (Misconfigured, code)
            assert name in error.hint


def test_an_encrypted_configuration_without_its_password_is_misconfigured(tmp_path: Path) -> None:
    config = Config(tmp_path)
    config.add("there", "alias", remote=str(tmp_path / "there"))
    encrypted(config.path, "the right one")
    password = tmp_path / "password"
    for text in ("", "a wrong one"):
        password.write_text(text or "to be removed")
        more = {"RCLONE_CONFIG_PASS_FILE": str(password)} if text else {}
        sink = sink_of(config, "there:", **more)
        for error in failures_of(sink):
            assert (type(error), error.code) == (Misconfigured, "ConfigPassword")
            assert "RCLONE_CONFIG_PASS" in error.hint and "wrong one" not in str(error)
    password.write_text("the right one")
    put(sink)  # the password is read anew
    sink.close()


def test_a_full_disk_is_unavailable(config: Config, tmp_path: Path) -> None:
    """rclone runs in a mount namespace of its own, where the remote is a very small disk."""
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    space = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*space, mount], capture_output=True).returncode:
        pytest.skip("only root may mount a disk, and only where the machine allows it")
    small = tmp_path / "rclone"
    small.write_text(f"""#!/bin/sh
exec {" ".join(space)} '{mount} && exec {program()} "$@"' rclone "$@"
""")
    small.chmod(0o755)
    sink = sink_of(config, str(tmp_path), RCLONE_PATH=str(small))
    error = failure_of(lambda: put(sink))
    assert (type(error), error.code) == (Unavailable, "NoSpace")
    put(sink, data=b"small")
    sink.close()


def test_a_file_where_a_folder_belongs_is_misconfigured(
    config: Config, daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    error = failure_of(lambda: put(sink_of(config, f"{tmp_path}/file/folder", daemon)))
    assert (type(error), error.code) == (Misconfigured, "NotADirectory")


def test_a_name_that_the_remote_cannot_hold_is_rejected(
    config: Config, daemon: Daemon, tmp_path: Path
) -> None:
    sink = sink_of(config, str(tmp_path), daemon)
    error = failure_of(lambda: put(sink, f"door/{'n' * 300}.jpg"))
    assert (type(error), error.code) == (Rejected, "NameTooLong")
    assert os.listdir(tmp_path / "door") == []
