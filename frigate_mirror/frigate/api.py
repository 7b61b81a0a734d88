"""A client for Frigate's HTTP API, read-only: login, certificate, JSON answers, downloads.

    port 5000   no login, for programs in Frigate's own network
    port 8971   a login; by default TLS with a certificate that Frigate makes itself

This is the only module that speaks HTTP to Frigate. Nothing is sent before the server's certificate
is accepted, and no redirect is followed, so that password and cookie reach no other host. Answers
may be hostile: the body of each has a limit for its size and its time. The facts are those of
Frigate v0.16.4, v0.17.2 and v0.18.0-beta1 (frigate.api.auth, frigate.api.app).

    CatalogError
      ApiError         Frigate cannot be asked at the moment
        ApiStatus      it refuses this question
        ApiLogin       it does not accept the login, or wants one
        ApiTooLarge    its answer is larger than allowed
    OSError
      DownloadError    this file could not be downloaded; another may
        DownloadTooLarge
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import logging
import os
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from http.cookiejar import CookieJar
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import Request

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
)

from frigate_mirror.catalog import CatalogError
from frigate_mirror.settings.secret import Secret
from frigate_mirror.settings.settings import CompanionSettings, secret_of
from frigate_mirror.untrusted import plain

log = logging.getLogger("frigate_s3.api")
# urllib3 logs every question at DEBUG, and at WARNING what raises an error here or does no harm.
logging.getLogger("urllib3").setLevel(logging.ERROR)

CONNECT = 10.0  # seconds
IDLE = 30.0  # seconds for which an answer may stand still
LONGEST = 600.0  # seconds for one answer, except for a clip
FRESH = 5.0  # seconds without a question after which no old connection is used any more
CONNECTIONS = 20  # idle ones that are kept for the next questions
PIECE = 65_536  # bytes
MOST_JSON = 4_000_000  # bytes; what is larger is asked for in smaller pieces
MOST_TEXT = 1_000  # bytes of a version or of an error
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0  # seconds between two logins that fail
LEAST_SKEW = 3.0  # seconds; less is the time that a question takes
NO_PASSWORD = Secret("")
STOPS = "the mirror stops"
SECURE_COOKIE = "because its cookie is for https only (its `auth: cookie_secure`)"
TOO_MANY = 429
LOGINS_LIMITED = "Frigate accepts no more logins for now (its `auth: failed_login_rate_limit`)"
BROKEN_OFF = "peer closed connection without sending complete message body"
Parameter = str | int | float | None


class ApiError(CatalogError):
    """Frigate's API cannot be asked at the moment. A later call may succeed."""


class ApiStatus(ApiError):
    """Frigate does not have what was asked for, or refuses to give it. `status` is the status of
    its HTTP answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ApiLogin(ApiError):
    """Frigate does not accept the login, or wants one and there is none."""


class ApiTooLarge(ApiError):
    """The answer is larger than allowed."""


class DownloadError(OSError):
    """A file could not be downloaded, or not all of it. `status` is that of HTTP, or 0 if there was
    no answer or it broke off."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(errno.EIO, message)
        self.status = status


class DownloadTooLarge(DownloadError):
    """The file is larger than allowed."""


class PinnedContext(ssl.SSLContext):
    """Accepts one certificate only, by its SHA-256 in hex, whoever signed it and for which name.
    Frigate's own certificate has no name, and changes whenever its container is made anew."""

    fingerprint = ""

    def wrap_socket(self, *words: Any, **options: Any) -> ssl.SSLSocket:
        connected = super().wrap_socket(*words, **options)
        seen = hashlib.sha256(connected.getpeercert(binary_form=True) or b"").hexdigest()
        if not secrets.compare_digest(seen, self.fingerprint):
            connected.close()
            raise ssl.SSLError(  # with a single argument it would be shown as a tuple
                errno.EPROTO,
                f"the certificate has the fingerprint {seen}, not the pinned one; `check` says "
                "what to do",
            )
        return connected


def tls_of(settings: CompanionSettings) -> ssl.SSLContext:
    """Returns which certificates the settings accept. Raises ApiError for a file of certificates
    that cannot be read."""
    if settings.fingerprint:
        pinned = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
        pinned.check_hostname, pinned.verify_mode = False, ssl.CERT_NONE
        pinned.fingerprint = settings.fingerprint
        return pinned
    try:
        context = ssl.create_default_context(cafile=settings.ca_bundle or None)
    except OSError as error:  # ssl.SSLError is one
        raise ApiError(f"read the certificates in {settings.ca_bundle}: {error}") from error
    if not settings.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class TlsConnection(HTTPSConnection):
    """Raises for a failed handshake what urllib3 raises for a connection that cannot be made, and
    not the same as for an answer that breaks off."""

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:  # ssl.SSLError is one
            raise NewConnectionError(self, str(error)) from error
        self.is_verified = True  # otherwise urllib3 warns of a certificate that is pinned


class TlsPool(HTTPSConnectionPool):
    """Makes connections of this kind."""

    ConnectionCls = TlsConnection


def fingerprint_of(url: str, timeout: float = CONNECT) -> str:
    """Returns the SHA-256 in hex of the certificate that the server at `url` shows, accepted or
    not. Nothing but the handshake is sent. Raises OSError."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = parts.hostname or ""
    with (
        socket.create_connection((host, parts.port or 443), timeout) as connection,
        context.wrap_socket(connection, server_hostname=host) as connected,
    ):
        return hashlib.sha256(connected.getpeercert(binary_form=True) or b"").hexdigest()


def api_of(
    settings: CompanionSettings,
    environ: Mapping[str, str] = os.environ,
    stopping: Callable[[], bool] = lambda: False,
    idle: float = IDLE,
) -> FrigateApi:
    """Returns the client that the settings describe. The password is read again from `environ`
    before each login, because its file may have been replaced. An answer may stand still for `idle`
    seconds. Raises ApiError."""
    secure = settings.url.startswith("https:")
    if secure and not settings.verify and not settings.fingerprint:
        log.warning(
            "Frigate's certificate is not verified (FRIGATE_TLS_VERIFY=false), so whoever stands "
            "between can read the password: set FRIGATE_TLS_FINGERPRINT instead"
        )

    def password() -> Secret:
        try:
            return secret_of("FRIGATE_PASSWORD", environ) or settings.password
        except ValueError:  # its file is just being replaced
            return settings.password

    return FrigateApi(
        settings.url,
        settings.user,
        password,
        tls=tls_of(settings) if secure else None,
        idle=idle,
        stopping=stopping,
    )


class FrigateApi:
    """Asks the Frigate at `url`; a path begins with `/api/` or `/recordings/`. It logs in as `user`
    as soon as Frigate wants a login; a viewer may read all that the mirror asks for. It is safe to
    use from several threads.

    `tls` says which certificates are accepted; `clock` gives seconds that never go back. Once
    `stopping` returns true, it asks nothing more.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password: Callable[[], Secret] = lambda: NO_PASSWORD,
        *,
        tls: ssl.SSLContext | None = None,
        idle: float = IDLE,
        clock: Callable[[], float] = time.monotonic,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.url = url
        self._stopping = stopping
        self._user = user
        self._password = password
        self._clock = clock
        # It uses neither a proxy nor ~/.netrc, so that none of them learns the password.
        self._pools = PoolManager(
            timeout=Timeout(connect=CONNECT, read=idle), maxsize=CONNECTIONS, ssl_context=tls
        )
        self._pools.pool_classes_by_scheme = {"http": HTTPConnectionPool, "https": TlsPool}
        self._asked = -float("inf")
        self._cookies = CookieJar()
        self._varied = itertools.count(secrets.randbelow(10**9))
        self._login = threading.Lock()
        self._logins = 0
        self._pause = FIRST_PAUSE
        self._next_login = -float("inf")
        self._login_fault = ""
        self._stopped = False
        self._skew = 0.0

    def close(self) -> None:
        self._pools.clear()

    def stop(self) -> None:
        """Ends the download that runs in another thread, and prevents further ones."""
        self._stopped = True

    def json(self, path: str, **parameters: Parameter) -> Any:
        """Returns the JSON answer to a question. A parameter that is None is left out. Raises
        ApiError."""
        # Frigate's nginx repeats an answer for 5 seconds, but only to exactly the same question.
        body = self._text(path, MOST_JSON, {**parameters, "_": next(self._varied)})
        try:
            return json.loads(body, parse_constant=str)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"ask {self.url}{path}: the answer is not JSON: {error}") from error

    @property
    def logins(self) -> int:
        """How often it has logged in."""
        return self._logins

    def clock_skew(self) -> float | None:
        """Returns Frigate's clock minus ours in seconds, by the date of an answer, or None if the
        answer has no date. Raises ApiError."""
        before = time.time()
        try:
            with self._answer("GET", "/api/version", {}) as response:
                date = _date_of(response)
        except HTTPError as error:
            raise ApiError(self._words("/api/version", error)) from error
        return None if date is None else date - (before + time.time()) / 2

    def now(self) -> float:
        """Returns the time of Frigate's clock in Unix seconds, by the date of its last answer. It
        is that of our own clock if the two differ by little, or Frigate tells no date."""
        return time.time() + self._skew

    def version(self) -> str:
        """Returns Frigate's version, such as 0.17.2-3d4dd3ac. Raises ApiError."""
        text = self._text("/api/version", MOST_TEXT, {}).decode("ascii", "replace").strip()
        if not re.fullmatch(r"\d+\.\d+[\w.+-]{0,60}", text):
            raise ApiError(f"ask {self.url}/api/version: this is not Frigate: {plain(text, 60)!r}")
        return text

    def download(
        self,
        path: str,
        file: BinaryIO,
        most: int,
        longest: float = LONGEST,
        **parameters: Parameter,
    ) -> int:
        """Writes a file of at most `most` bytes to `file`, within `longest` seconds, and returns
        its size. Raises FileNotFoundError if Frigate has no such file, DownloadError if it cannot
        give this one, and ApiError if it cannot be asked at all."""
        size = 0
        try:
            with self._answer("GET", path, {}) as response:
                self._check(response, path)
                for piece in self._pieces(response, path, most, longest):
                    size += file.write(piece)
        except ApiStatus as error:
            if error.status == 404:
                raise FileNotFoundError(str(error)) from error
            raise DownloadError(str(error), error.status) from error
        except ApiTooLarge as error:
            raise DownloadTooLarge(str(error)) from error
        except HTTPError as error:
            raise DownloadError(self._words(path, error)) from error
        return size

    # -- one answer

    def _text(self, path: str, most: int, parameters: dict[str, Parameter]) -> bytes:
        try:
            with self._answer("GET", path, parameters) as response:
                self._check(response, path)
                return b"".join(self._pieces(response, path, most, LONGEST))
        except HTTPError as error:
            raise ApiError(self._words(path, error)) from error

    @contextmanager
    def _answer(
        self, method: str, path: str, parameters: dict[str, Parameter]
    ) -> Iterator[BaseHTTPResponse]:
        """Opens the answer to a question, after a login if Frigate wants one. Raises ApiError, and
        HTTPError if there is no answer."""
        logins = self._logins
        response = self._send(method, path, parameters)
        if response.status == 401:
            response.close()
            self._log_in(logins)
            response = self._send(method, path, parameters)
        try:
            if response.status == 401:
                fault = f"Frigate accepts the login of {self._user!r}, but refuses this request"
                if self.url.startswith("http:") and any(one.secure for one in self._cookies):
                    fault += f", {SECURE_COOKIE}"
                self._note_login_fault(fault)
                raise ApiLogin(f"ask {self.url}{path}: {fault}")
            if self._login_fault:
                self._pause, self._login_fault = FIRST_PAUSE, ""
            date = _date_of(response)
            skew = 0.0 if date is None else date - time.time()
            self._skew = skew if abs(skew) >= LEAST_SKEW else 0.0
            yield response
        finally:
            response.close()

    def _send(
        self, method: str, path: str, parameters: dict[str, Parameter], body: Any = None
    ) -> BaseHTTPResponse:
        """Sends one question. Raises ApiError if there is no connection, and HTTPError if
        there is no answer."""
        if self._stopped or self._stopping():
            raise ApiError(f"ask {self.url}{path}: {STOPS}")
        url = f"{self.url}{path}"
        known = {name: str(value) for name, value in parameters.items() if value is not None}
        if self._clock() - self._asked > FRESH:
            self._pools.clear()  # Frigate's host may have vanished, and closed no connection
        self._asked = self._clock()
        for last in (False, True):
            try:
                asked = Request(url, headers={"Accept-Encoding": "identity"})
                self._cookies.add_cookie_header(asked)
                response = self._pools.request(
                    method, url, fields=known, json=body, headers=dict(asked.header_items()),
                    retries=False, redirect=False, preload_content=False,
                )  # fmt: skip
                self._cookies.extract_cookies(response, asked)  # type: ignore[arg-type]
                return response
            except (ConnectTimeoutError, ValueError) as error:  # ValueError: this is no URL
                raise ApiError(self._words(path, error)) from error
            except ReadTimeoutError:
                raise
            except HTTPError:
                if last:  # at first, Frigate may just have closed a connection that was idle
                    raise
        raise AssertionError("the loop ends in its second round")

    def _check(self, response: BaseHTTPResponse, path: str) -> None:
        """Raises ApiStatus unless the answer is what was asked for, and ApiError if it says that
        Frigate is not there."""
        status = response.status
        if status == 200 and response.headers.get("Content-Encoding", "identity") == "identity":
            return
        if 300 <= status < 400:
            target = plain(response.headers.get("Location", "nowhere"), 200)
            said = f"it redirects to {target}; if Frigate is there, set FRIGATE_URL to this address"
        elif status == 200:
            said = "the answer is compressed, which nobody asked for"
        else:
            said = self._said(response, path)
        raise ApiStatus(f"ask {self.url}{path}: {said}", status)

    def _said(self, response: BaseHTTPResponse, path: str) -> str:
        """Returns the status of an answer, and what the answer says if it is short."""
        pieces = self._pieces(response, path, MOST_TEXT, LONGEST)
        try:
            said = b"".join(pieces).decode("utf-8", "replace")
        except (ApiTooLarge, HTTPError):
            said = ""
        status = response.status
        if title := re.search("<title>(.*?)</title>", said):
            # Frigate itself answers without HTML, so this page is that of the server before it.
            said = title[1].removeprefix(str(status))
            if status >= 500:
                said += " (the web server answers, but Frigate behind it does not)"
        said = plain(said, 200).strip()
        return f"status {status}: {said}" if said else f"status {status}"

    def _pieces(
        self, response: BaseHTTPResponse, path: str, most: int, longest: float
    ) -> Iterator[bytes]:
        """Yields the body, which is neither too large nor too slow. Raises ApiTooLarge and
        HTTPError."""
        until, room = self._clock() + longest, most
        # `stream` would wait for a whole piece, however slowly it comes.
        while piece := response.read1(PIECE, decode_content=False):
            room -= len(piece)
            if room < 0:
                raise ApiTooLarge(f"ask {self.url}{path}: it sends more than {most} bytes")
            if self._clock() > until:
                raise HTTPError(f"the answer takes more than {longest:g} s")
            if self._stopped or self._stopping():
                raise HTTPError(STOPS)
            yield piece

    def _words(self, path: str, error: Exception) -> str:
        """Returns in words why there is no whole answer."""
        said = _reason(error)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            said = (
                f"its certificate is not accepted ({said}). Set FRIGATE_TLS_FINGERPRINT to the "
                "fingerprint that `check` shows, or FRIGATE_CA_BUNDLE"
            )
        return f"ask {self.url}{path}: {plain(said)}"

    # -- the login

    def _log_in(self, logins: int) -> None:
        """Gets a new cookie, unless another thread has got one since there were `logins` logins.
        After a failure it waits longer and longer, because each login costs Frigate much CPU.
        Raises ApiError."""
        with self._login:
            if self._logins != logins:
                return
            wait = self._next_login - self._clock()
            if wait > 0:
                raise ApiLogin(
                    f"log in to {self.url}: {self._login_fault}; the next try is in {wait:.0f} s"
                )
            fault = self._try_login()
            if fault:
                self._note_login_fault(fault)
                raise ApiLogin(f"log in to {self.url}: {fault}")
            self._logins += 1

    def _try_login(self) -> str:
        """Returns why Frigate does not accept the login, or an empty text. Raises ApiError."""
        if not self._user:
            return "Frigate wants a login: set FRIGATE_USER and FRIGATE_PASSWORD, or use port 5000"
        self._cookies.clear()
        body = {"user": self._user, "password": self._password().reveal()}
        try:
            response = self._send("POST", "/api/login", {}, body)
        except HTTPError as error:
            raise ApiError(self._words("/api/login", error)) from error
        try:
            if response.status == 401:
                return f"Frigate does not accept the password of {self._user!r}"
            if response.status == TOO_MANY:
                return LOGINS_LIMITED
            return "" if response.status == 200 else self._said(response, "/api/login")
        finally:
            response.close()

    def _note_login_fault(self, fault: str) -> None:
        self._login_fault = fault
        self._next_login = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _reason(error: Exception) -> str:
    """Returns what has happened, without what urllib3 wraps around it."""
    wrapped = error.args[-1] if error.args else None
    cause = wrapped if isinstance(wrapped, Exception) else error.__cause__ or error
    match cause:
        case RemoteDisconnected():
            return "Server disconnected without sending a response."
        case IncompleteRead(partial=int(got), expected=int(missing)):  # urllib3's own
            return f"{BROKEN_OFF} (received {got} bytes, expected {got + missing})"
        case IncompleteRead():
            return f"{BROKEN_OFF} (incomplete chunked read)"
        case BadStatusLine():
            return f"illegal status line: {cause}"
    return str(cause) or type(cause).__name__


def _date_of(response: BaseHTTPResponse) -> float | None:
    """Returns when the server sent this answer by its own clock, in Unix seconds, or None if it
    does not say."""
    try:
        told = parsedate_to_datetime(response.headers.get("Date", ""))
        return told.timestamp() + 0.5  # it has whole seconds
    except (ValueError, OverflowError):
        return None
