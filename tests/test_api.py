"""The client of Frigate's HTTP API: login, certificates, limits, and what goes wrong."""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.frigate import api as api_module
from frigate_mirror.frigate.api import (
    ApiError,
    ApiLogin,
    ApiStatus,
    ApiTooLarge,
    DownloadError,
    DownloadTooLarge,
    FrigateApi,
    api_of,
    fingerprint_of,
)
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import load
from tests.rig.api import COOKIE, Answer, Fault, FrigateStandin, as_json, page
from tests.rig.certificates import Authority, self_signed
from tests.rig.worlds import Clock, World

PASSWORD = "correct horse"
SNAPSHOT = "/api/events/{}/snapshot.jpg"
CHUNKED = Answer(body=b"x" * 200, headers={"Transfer-Encoding": "chunked"})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def standins(world: World) -> Iterator[Callable[..., FrigateStandin]]:
    made: list[FrigateStandin] = []

    def make(**options: Any) -> FrigateStandin:
        made.append(FrigateStandin(world.database, world.clips.parent, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def standin(standins: Callable[..., FrigateStandin]) -> FrigateStandin:
    return standins()


@pytest.fixture
def guarded(standins: Callable[..., FrigateStandin]) -> FrigateStandin:
    return standins(users={"viewer": PASSWORD})


CLIENTS: list[FrigateApi] = []


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def to_close(api: FrigateApi) -> FrigateApi:
    CLIENTS.append(api)
    return api


def client(standin: FrigateStandin, user: str = "viewer", **options: Any) -> FrigateApi:
    return to_close(FrigateApi(standin.url, user, lambda: Secret(PASSWORD), **options))


# -- the login


def test_where_frigate_wants_no_login_none_is_sent(standin: FrigateStandin) -> None:
    assert client(standin).version().startswith("0.17.2-")
    assert (standin.logins, len(standin.questions)) == (0, 1)


def test_one_login_is_enough_for_all_threads(guarded: FrigateStandin) -> None:
    api = client(guarded)
    with ThreadPoolExecutor(8) as pool:
        assert len({pool.submit(api.version).result() for _ in range(40)}) == 1
    assert guarded.logins == 1


def test_a_session_that_ends_costs_one_new_login(guarded: FrigateStandin) -> None:
    api = client(guarded)
    for _ in range(3):
        api.version()
        guarded.expire()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: api.version(), range(16)))
    assert guarded.logins == 4
    logins = [one for one in guarded.questions if one.path == "/api/login"]
    assert not any("cookie" in one.headers for one in logins), "the old cookie is of no use"


def test_a_cookie_that_frigate_renews_takes_the_place_of_the_old_one(
    guarded: FrigateStandin,
) -> None:
    api = client(guarded)
    api.version()
    guarded.sessions = {"renewed"}
    renewed = {"Set-Cookie": f"{COOKIE}=renewed; HttpOnly; Path=/"}
    guarded.fail("/api/version", Fault(Answer(body=b"0.17.2-a", headers=renewed)))
    api.version()
    assert api.version().startswith("0.17.2-5")
    assert guarded.logins == 1


def test_a_wrong_password_is_tried_again_later_and_later(guarded: FrigateStandin) -> None:
    clock = Clock()
    guarded.users = {"viewer": "another"}
    api = client(guarded, clock=clock)
    for pause, logins in ((10.0, 1), (20.0, 2), (40.0, 3)):
        with pytest.raises(ApiError, match="does not accept the password of 'viewer'") as raised:
            api.version()
        assert PASSWORD not in str(raised.value)
        clock.now += pause - 0.1
        with pytest.raises(ApiError, match="the next try is in 0 s"):
            api.version()
        assert guarded.logins == logins
        clock.now += 0.2
    guarded.users = {"viewer": PASSWORD}
    assert api.version()


def test_a_limit_of_logins_is_not_blamed_on_the_password(guarded: FrigateStandin) -> None:
    guarded.fail(
        "/api/login", Fault(as_json({"error": "Rate limit exceeded: 3 per 1 minute"}, 429))
    )
    with pytest.raises(ApiLogin, match="accepts no more logins for now"):
        client(guarded).version()


def test_a_cookie_that_is_for_https_only_is_told(guarded: FrigateStandin) -> None:
    guarded.cookie_secure = True
    with pytest.raises(ApiLogin, match="refuses this request, because its cookie is for https"):
        client(guarded).version()


def test_the_password_is_read_anew_for_each_login(guarded: FrigateStandin, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    environ = {
        "FRIGATE_URL": guarded.url, "FRIGATE_USER": "viewer", "FRIGATE_PASSWORD_FILE": str(file)
    }  # fmt: skip
    api = to_close(api_of(load(environ).companion, environ))
    api.version()
    file.write_text("changed")
    guarded.users = {"viewer": "changed"}
    guarded.expire()
    assert api.version()


def test_after_a_login_that_does_not_help_the_next_one_waits(
    guarded: FrigateStandin,
) -> None:
    api = client(guarded, clock=Clock())
    guarded.fail("/api/version", Fault(Answer(401)), times=4)
    with pytest.raises(ApiError, match="accepts the login of 'viewer', but refuses"):
        api.version()
    with pytest.raises(ApiError, match="the next try is in 10 s"):
        api.version()
    assert guarded.logins == 1


def test_without_a_user_the_message_says_what_to_set(guarded: FrigateStandin) -> None:
    with pytest.raises(ApiError, match="FRIGATE_USER and FRIGATE_PASSWORD, or use port 5000"):
        client(guarded, user="").version()
    assert guarded.logins == 0


def test_a_redirect_is_not_followed(
    guarded: FrigateStandin, standins: Callable[..., FrigateStandin]
) -> None:
    elsewhere = standins()
    api = client(guarded)
    api.version()
    target = {"Location": f"{elsewhere.url}/api/version"}
    guarded.fail("/api/version", Fault(Answer(307, headers=target)))
    with pytest.raises(ApiError, match=f"it redirects to {elsewhere.url}"):
        api.version()
    guarded.expire()
    guarded.fail("/api/login", Fault(Answer(307, headers=target)))
    with pytest.raises(ApiError, match=r"log in to .*: status 307"):
        api.version()
    assert elsewhere.questions == []


def test_neither_a_proxy_nor_a_netrc_file_is_used(
    standin: FrigateStandin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_ports(1)[0]}")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert client(standin).version()
    assert "authorization" not in standin.questions[0].headers


# -- certificates


def secure(standin: FrigateStandin, **environ: str) -> FrigateApi:
    told = {"FRIGATE_URL": standin.url, "FRIGATE_USER": "viewer", "FRIGATE_PASSWORD": PASSWORD}
    return to_close(api_of(load(told | environ).companion))


@pytest.fixture
def own(tmp_path: Path, standins: Callable[..., FrigateStandin]) -> tuple[FrigateStandin, str]:
    """A stand-in with a certificate that it has made itself, and the certificate's fingerprint."""
    certificate, key = self_signed(tmp_path)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    return standins(users={"viewer": PASSWORD}, certificate=(certificate, key)), digest


def test_a_pinned_certificate_is_accepted(own: tuple[FrigateStandin, str]) -> None:
    standin, digest = own
    assert secure(standin, FRIGATE_TLS_FINGERPRINT=digest.upper()).version()
    assert standin.logins == 1
    assert fingerprint_of(standin.url) == digest


def test_over_tls_the_cookie_may_be_for_https_only(own: tuple[FrigateStandin, str]) -> None:
    standin, digest = own
    standin.cookie_secure = True
    assert secure(standin, FRIGATE_TLS_FINGERPRINT=digest).version()


def test_with_another_certificate_than_the_pinned_one_nothing_is_sent(
    own: tuple[FrigateStandin, str],
) -> None:
    standin, digest = own
    words = f": the certificate has the fingerprint {digest}, not the pinned one; `check` says"
    with pytest.raises(ApiError, match=words):
        secure(standin, FRIGATE_TLS_FINGERPRINT="ab" * 32).version()
    assert standin.questions == []


def test_an_unknown_certificate_is_refused_and_the_message_says_what_to_set(
    own: tuple[FrigateStandin, str],
) -> None:
    standin, _ = own
    with pytest.raises(ApiError, match="Set FRIGATE_TLS_FINGERPRINT"):
        secure(standin).version()
    with pytest.raises(ApiError, match="certificate is not accepted"):
        to_close(FrigateApi(standin.url)).version()
    assert standin.questions == []


def test_a_file_of_certificates_is_trusted_for_their_names_only(
    own: tuple[FrigateStandin, str], tmp_path: Path
) -> None:
    standin, _ = own
    assert secure(standin, FRIGATE_CA_BUNDLE=str(tmp_path / "cert.pem")).version()
    stranger = Authority(tmp_path, "stranger").bundle
    with pytest.raises(ApiError, match="certificate is not accepted"):
        secure(standin, FRIGATE_CA_BUNDLE=str(stranger)).version()
    assert standin.logins == 1


def test_a_file_that_has_no_certificate_is_told(
    own: tuple[FrigateStandin, str], tmp_path: Path
) -> None:
    with pytest.raises(ApiError, match="read the certificates in"):
        secure(own[0], FRIGATE_CA_BUNDLE=__file__)


def test_any_certificate_is_accepted_only_with_a_warning(
    own: tuple[FrigateStandin, str], caplog: pytest.LogCaptureFixture
) -> None:
    standin, _ = own
    with caplog.at_level(logging.WARNING):
        assert secure(standin, FRIGATE_TLS_VERIFY="false").version()
    [record] = caplog.records
    assert "FRIGATE_TLS_FINGERPRINT" in record.message and PASSWORD not in record.message


# -- JSON answers


def test_a_change_is_seen_at_once_although_frigate_repeats_answers_for_seconds(
    world: World, standin: FrigateStandin
) -> None:
    api = client(standin)
    assert api.json("/api/events") == []
    event_id = world.event()
    assert [row["id"] for row in api.json("/api/events")] == [event_id]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[" * 100_000, b'{"a":', b"9" * 10_000, b"\xff\xfe"]
)
def test_what_is_no_json_is_told(standin: FrigateStandin, body: bytes) -> None:
    standin.fail("/api/events", Fault(Answer(body=body)))
    with pytest.raises(ApiError, match="the answer is not JSON"):
        client(standin).json("/api/events")


def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    standin: FrigateStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "MOST_JSON", 1000)
    standin.fail("/api/events", Fault(as_json(["x" * 1000])))
    with pytest.raises(ApiTooLarge, match="more than 1000 bytes"):
        client(standin).json("/api/events")


def test_a_compressed_answer_is_refused(standin: FrigateStandin) -> None:
    bomb = Answer(body=b"x", headers={"Content-Encoding": "gzip"})
    standin.fail("/api/events", Fault(bomb))
    with pytest.raises(ApiError, match="compressed"):
        client(standin).json("/api/events")


def test_a_refusal_is_told_with_its_status_and_its_words_on_one_line(
    standin: FrigateStandin,
) -> None:
    standin.fail("/api/events", Fault(Answer(500, b"bad\x1b[31m\nthings")))
    with pytest.raises(ApiStatus, match=r"status 500: bad\?\[31m things") as raised:
        client(standin).json("/api/events")
    assert raised.value.status == 500


def test_a_frigate_that_is_away_behind_its_web_server_is_told(guarded: FrigateStandin) -> None:
    guarded.away = True
    with pytest.raises(ApiStatus) as raised:
        client(guarded).json("/api/events")
    assert raised.value.status == 500
    assert str(raised.value).endswith(
        "/api/events: status 500: Internal Server Error (the web server answers, but Frigate "
        "behind it does not)"
    )
    guarded.away = False
    assert client(guarded).json("/api/events") == []


def test_a_page_is_told_by_its_title(standin: FrigateStandin) -> None:
    standin.fail("/api/events", Fault(page(413, "Request Entity Too Large")))
    with pytest.raises(ApiStatus, match=r"status 413: Request Entity Too Large$"):
        client(standin).json("/api/events")


def test_a_server_that_is_no_frigate_is_told(standin: FrigateStandin) -> None:
    standin.fail("/api/version", Fault(Answer(body=b"<html>nginx")))
    with pytest.raises(ApiError, match="this is not Frigate: '<html>nginx'"):
        client(standin).version()


def test_a_frigate_that_is_away_is_told() -> None:
    [port] = free_ports(1)
    with pytest.raises(ApiError, match=f"ask http://127.0.0.1:{port}/api/version: .*refused"):
        to_close(FrigateApi(f"http://127.0.0.1:{port}")).version()


@pytest.mark.parametrize("url", ["http://[::1", "http://a..b"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ApiError, match=f"ask {re.escape(url)}/api/events: "):
        downloaded(to_close(FrigateApi(url)), "/api/events")


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_connection_that_frigate_closes_at_the_wrong_moment_costs_no_answer(
    standins: Callable[..., FrigateStandin], tmp_path: Path, encrypted: bool
) -> None:
    standin = standins(certificate=self_signed(tmp_path) if encrypted else None)
    api = secure(standin, FRIGATE_CA_BUNDLE=str(tmp_path / "cert.pem") if encrypted else "")
    standin.fail("/api/version", Fault(cut=1_000))  # it sends all, and closes the connection
    assert api.version() == api.version()
    standin.fail("/api/version", Fault(drops=True))
    assert api.version()
    standin.fail("/api/version", Fault(drops=True), times=2)
    with pytest.raises(ApiError, match="disconnected"):
        api.version()


def test_a_connection_that_has_been_idle_for_seconds_is_not_used_again(
    standin: FrigateStandin,
) -> None:
    clock = Clock()
    api = client(standin, clock=clock)
    for seconds, connections in ((0.0, 1), (4.0, 1), (6.0, 2)):
        clock.now += seconds
        assert api.version()
        assert standin.connections == connections


def test_a_question_leaves_no_line_in_the_log(
    standin: FrigateStandin, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert client(standin).version()
    assert caplog.records == []


def test_a_silent_frigate_is_waited_for_until_its_time_is_over(standin: FrigateStandin) -> None:
    standin.fail("/api/version", Fault(hangs=True))
    with pytest.raises(ApiError, match="timed out"):
        client(standin, idle=0.2).version()


# -- downloads


def downloaded(api: FrigateApi, path: str, most: int = 10**9) -> bytes:
    file = io.BytesIO()
    assert api.download(path, file, most) == len(file.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(("ahead", "skew"), [(0.0, 0), (-200.0, -200), (90.0, 90), (None, 0)])
def test_the_last_answer_tells_frigates_clock(
    standin: FrigateStandin, ahead: float | None, skew: int
) -> None:
    api = client(standin)
    standin.ahead = 1000.0
    api.version()
    standin.ahead = ahead
    api.version()
    assert api.now() == pytest.approx(time.time() + skew, abs=api_module.LEAST_SKEW)


def test_a_file_is_downloaded_as_it_is(world: World, standin: FrigateStandin) -> None:
    event_id = world.event()
    assert downloaded(client(standin), SNAPSHOT.format(event_id)) == world.pictures[event_id]


def test_a_file_that_frigate_does_not_have_is_missing(standin: FrigateStandin) -> None:
    with pytest.raises(FileNotFoundError, match="Event not found"):
        downloaded(client(standin), SNAPSHOT.format("1.0-nosuch"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(Answer(500, b"oops")), "status 500: oops"),
        (Fault(Answer(503)), "status 503"),
        (Fault(cut=100), r"complete message body \(received 100 bytes, expected \d+\)"),
        (Fault(CHUNKED, cut=100), r"complete message body \(incomplete chunked read\)"),
        (Fault(hangs=True), "timed out"),
        (Fault(cut=100, hangs=True), "timed out"),
    ],
)
def test_a_file_that_frigate_cannot_give_is_told(
    world: World, standin: FrigateStandin, fault: Fault, words: str
) -> None:
    path = SNAPSHOT.format(world.event())
    standin.fail("snapshot.jpg", fault)
    api = client(standin, idle=0.2)
    with pytest.raises(DownloadError, match=words):
        downloaded(api, path)
    assert downloaded(api, path), "the next try succeeds"


def test_what_has_arrived_of_a_file_is_not_held_back(world: World, standin: FrigateStandin) -> None:
    path = SNAPSHOT.format(world.event())
    standin.fail(path, Fault(cut=100, hangs=True))
    file = io.BytesIO()
    with pytest.raises(DownloadError, match="timed out"):
        client(standin, idle=0.2).download(path, file, 10**9)
    assert len(file.getvalue()) == 100


def test_a_file_is_not_blamed_for_a_certificate_that_is_not_accepted(
    world: World, own: tuple[FrigateStandin, str]
) -> None:
    path = SNAPSHOT.format(world.event())
    with pytest.raises(ApiError, match="not the pinned one"):
        downloaded(secure(own[0], FRIGATE_TLS_FINGERPRINT="ab" * 32), path)


def test_a_file_that_is_too_large_is_not_downloaded_to_its_end(
    world: World, standin: FrigateStandin
) -> None:
    event_id = world.event()
    size = len(world.pictures[event_id])
    path = SNAPSHOT.format(event_id)
    assert downloaded(client(standin), path, most=size)
    with pytest.raises(DownloadTooLarge, match=f"more than {size - 1} bytes"):
        downloaded(client(standin), path, most=size - 1)


def test_a_file_that_trickles_is_given_up(world: World, standin: FrigateStandin) -> None:
    seconds = itertools.count(step=400)
    with pytest.raises(DownloadError, match="takes more than 600 s"):
        downloaded(
            client(standin, clock=lambda: float(next(seconds) * 2)), SNAPSHOT.format(world.event())
        )


def test_after_a_stop_no_file_is_downloaded(world: World, standin: FrigateStandin) -> None:
    api = client(standin)
    api.stop()
    with pytest.raises(ApiError, match="the mirror stops"):
        downloaded(api, SNAPSHOT.format(world.event()))


def test_a_login_is_also_made_for_a_file(world: World, guarded: FrigateStandin) -> None:
    event_id = world.event()
    assert downloaded(client(guarded), SNAPSHOT.format(event_id)) == world.pictures[event_id]
    assert guarded.logins == 1


def test_frigate_is_asked_nothing_more_once_the_mirror_stops(standin: FrigateStandin) -> None:
    stopping = False
    api = FrigateApi(standin.url, stopping=lambda: stopping)
    api.version()
    asked = len(standin.questions)
    stopping = True
    with pytest.raises(ApiError, match="the mirror stops"):
        api.json("/api/events")
    with pytest.raises(ApiError, match="the mirror stops"):
        api.download("/api/events/1.5-abcdef/snapshot.jpg", io.BytesIO(), 1000)
    assert len(standin.questions) == asked
    api.close()
