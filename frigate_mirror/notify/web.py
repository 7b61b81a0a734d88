"""The ways by HTTP, with Python's own library: a webhook, ntfy, and the request of a ping.

No proxy is used, because a notice must not depend on the environment of the process, and no
redirection is followed, because a token must not reach another server. The body of an answer is
never read.
"""

from __future__ import annotations

import base64
import http
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from urllib.parse import urlsplit

from frigate_mirror import __version__
from frigate_mirror.notify.notice import Notice
from frigate_mirror.notify.way import NotSent
from frigate_mirror.report.status import DOWN
from frigate_mirror.settings.secret import Secret
from frigate_mirror.untrusted import plain

TIMEOUT = 10.0  # seconds that a server may be silent
DEADLINE = 30.0  # seconds after which it is given up, even if it sends a byte now and then
MOST_OF_NTFY = 4_000  # bytes; ntfy makes an attachment of a longer message
_ADVICE = {
    401: "is the token right?",
    403: "is the token right, and may it be used for this?",
    404: "is the address right?",
}


class Webhook:
    """Posts the fields of a notice as JSON."""

    name = "webhook"

    def __init__(self, url: Secret) -> None:
        self._url = url

    def send(self, notice: Notice) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice.id}
        request(self._url, json.dumps(asdict(notice)).encode(), headers)


class Ntfy:
    """Publishes to a topic of ntfy. A server of version 2.16 or later shows a notice once, even if
    it gets it twice."""

    name = "ntfy"

    def __init__(self, url: Secret, token: Secret) -> None:
        self._url = url
        self._token = token

    def send(self, notice: Notice) -> None:
        title = base64.b64encode(notice.title.encode()).decode()  # headers hold ASCII only
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Title": f"=?UTF-8?B?{title}?=",
            "Priority": "high" if notice.health == DOWN else "default",
            "Tags": "warning" if notice.is_bad else "white_check_mark",
            "X-Sequence-ID": notice.id,
        }
        if self._token:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        text = notice.text.encode()[:MOST_OF_NTFY].decode(errors="ignore")
        request(self._url, text.encode(), headers)


def request(url: Secret, body: bytes | None, headers: Mapping[str, str]) -> None:
    """Sends a GET without a body, or a POST with one. Raises NotSent unless the server accepts
    it."""
    parts = urlsplit(url.reveal())
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    target = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
    told = {"User-Agent": f"frigate-mirror/{__version__}", **headers}
    late = threading.Event()
    deadline = threading.Timer(DEADLINE, _hang_up, [connection, late])
    deadline.daemon = True
    deadline.start()
    try:
        connection.request("GET" if body is None else "POST", target, body, told)
        code = connection.getresponse().status
        if late.is_set():  # http.client also takes a head that is cut off
            raise TimeoutError
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The cause is not shown, because it may name the address, and so a token.
        why = _silent(DEADLINE) if late.is_set() else _cause(error)
        raise NotSent(why) from None
    finally:
        deadline.cancel()
        connection.close()
    if not 200 <= code < 300:
        raise NotSent(_refusal(code))


def _hang_up(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()  # first, because the other thread goes on at once
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _refusal(code: int) -> str:
    try:
        phrase = f" {http.HTTPStatus(code).phrase}"
    except ValueError:
        phrase = ""
    if 300 <= code < 400:
        advice = "it redirects, and the address that it leads to has to be set instead"
    else:
        advice = _ADVICE.get(code, "")
    return f"it answers {code}{phrase}" + (f": {advice}" if advice else "")


def _silent(seconds: float) -> str:
    return f"it does not answer within {seconds:g} s"


def _cause(error: Exception) -> str:
    """Returns the cause of a failed request in words, without the address."""
    if isinstance(error, TimeoutError):
        return _silent(TIMEOUT)
    if isinstance(error, ssl.SSLCertVerificationError):
        return plain(f"its certificate is not accepted: {error.verify_message}")
    if isinstance(error, http.client.RemoteDisconnected):
        return "it ends the connection without an answer"
    if isinstance(error, OSError) and error.strerror:
        return plain(f"it cannot be reached: {error.strerror}")
    return f"the request fails with {type(error).__name__}"
