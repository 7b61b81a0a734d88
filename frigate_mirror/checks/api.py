"""Checks Frigate as the companion sees it, over its HTTP API: the way to it, the certificate, the
login and the account, the clock, and whether there are events.

What an account is and may see was read from GET /api/profile of Frigate v0.16.4, v0.17.2 and
v0.18.0-beta1 (frigate.api.auth).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from frigate_mirror.catalog import CatalogError
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.checks.frigate import WEEK, needed
from frigate_mirror.frigate import config
from frigate_mirror.frigate.api import (
    LOGINS_LIMITED,
    SECURE_COOKIE,
    ApiError,
    ApiLogin,
    ApiStatus,
    FrigateApi,
    fingerprint_of,
    tls_of,
)
from frigate_mirror.frigate.api_catalog import ApiCatalog
from frigate_mirror.keys import SNAPSHOT
from frigate_mirror.settings.settings import CompanionSettings
from frigate_mirror.untrusted import plain, shaped

KNOWN = ("0.16", "0.17", "0.18")
SKEW = 10.0  # seconds
SOME = 50  # events
CORRECT = "correct FRIGATE_URL: http://HOST:5000 wants no login, https://HOST:8971 wants one"
ADDRESSES = f"start Frigate, or {CORRECT}"
HINTS = (
    ("WRONG_VERSION_NUMBER|record layer", "begin FRIGATE_URL with http://: no TLS is spoken there"),
    ("to HTTPS port", "begin FRIGATE_URL with https://: TLS is spoken there"),
    ("Authentication is disabled",
     "Frigate's own login is off, so another server stands before it and wants a login: let the "
     "companion reach Frigate itself"),
)  # fmt: skip
"""What the owner can do, by what an error says."""
FORBIDDEN = 403
NOT_FOUND = 404


# -- the way to Frigate


def connect(settings: CompanionSettings) -> Generator[Finding, None, FrigateApi | None]:
    """Looks at the way to Frigate, and returns a client if Frigate can be asked. The caller closes
    it."""
    secure = settings.url.startswith("https:")
    seen = _fingerprint(settings.url) if secure else ""
    if settings.fingerprint and seen not in ("", settings.fingerprint):
        yield Finding(
            FAULT,
            f"Frigate's certificate is not the pinned one; it has the fingerprint {seen}",
            "Frigate makes a new certificate when its container is made anew. If that is the "
            f"reason, set FRIGATE_TLS_FINGERPRINT={seen}",
        )
        return None
    try:
        tls = tls_of(settings) if secure else None
    except ApiError as error:
        yield Finding(FAULT, str(error), "correct FRIGATE_CA_BUNDLE")
        return None
    api = FrigateApi(settings.url, settings.user, lambda: settings.password, tls=tls)
    try:
        version = api.version()
    except ApiError as error:
        yield Finding(FAULT, f"Frigate: {error}", _advice(error, seen))
        api.close()
        return None
    yield from _version(settings.url, version)
    if secure:
        yield _accepted(settings, seen)
    elif settings.fingerprint:
        what = "FRIGATE_TLS_FINGERPRINT has no effect, because FRIGATE_URL is without TLS"
        yield Finding(NOTE, what, "begin FRIGATE_URL with https://, as for Frigate's port 8971")
    return api


def _fingerprint(url: str) -> str:
    """Returns the fingerprint of the certificate, or an empty text if there is none to be seen."""
    with suppress(OSError):  # whoever asks Frigate next tells why
        return fingerprint_of(url)
    return ""


def _accepted(settings: CompanionSettings, seen: str) -> Finding:
    line = f"FRIGATE_TLS_FINGERPRINT={seen}"
    if settings.fingerprint:
        return Finding(OK, f"Frigate's certificate is the pinned one ({line})")
    if settings.verify:
        what = "Frigate's certificate is signed by an authority that is trusted here"
        return Finding(OK, f"{what} (its fingerprint is {seen})")
    return Finding(
        NOTE,
        "Frigate's certificate is not verified (FRIGATE_TLS_VERIFY=false), so whoever stands "
        "between can read the password",
        f"pin the certificate instead: {line}",
    )


def _advice(error: ApiError, seen: str = "") -> str:
    """Returns what the owner can do about an error. `seen` is the certificate's fingerprint."""
    said = str(error)
    for pattern, hint in HINTS:
        if re.search(pattern, said, re.IGNORECASE):
            return hint
    if "its certificate is not accepted" in said:
        return f"pin it, if this is your Frigate: FRIGATE_TLS_FINGERPRINT={seen}"
    if LOGINS_LIMITED in said:
        return (
            "wait until this limit is over; if it comes again, correct FRIGATE_USER and "
            "FRIGATE_PASSWORD"
        )
    if SECURE_COOKIE in said:
        return "begin FRIGATE_URL with https://, or use Frigate's port 5000"
    if isinstance(error, ApiLogin):
        return "correct FRIGATE_USER and FRIGATE_PASSWORD; a user with the role viewer is enough"
    if isinstance(error, ApiStatus) and error.status == FORBIDDEN:
        return (
            "give the user the role viewer, or let the companion reach Frigate itself: a server "
            "before it may refuse this, too"
        )
    if isinstance(error, ApiStatus) and error.status == NOT_FOUND:
        return f"what answers there is not Frigate, or not at this path: {CORRECT}"
    return ADDRESSES


def _version(url: str, version: str) -> Iterator[Finding]:
    if version.startswith(tuple(f"{one}." for one in KNOWN)):
        yield Finding(OK, f"Frigate {version} answers at {url}")
    else:
        what = f"Frigate {version} answers at {url}, and the companion was tried with others"
        yield Finding(NOTE, what, f"it knows Frigate {', '.join(KNOWN)}")


# -- the account


@dataclass
class _Profile:
    username: str
    role: str
    allowed_cameras: list[str] | None


def account(
    api: FrigateApi, settings: CompanionSettings, ask: config.Ask
) -> Generator[Finding, None, str]:
    """Says what the companion may do and see at Frigate. Returns whose reviews count there."""
    try:
        found = shaped(api.json("/api/profile"), _Profile)
    except ApiLogin as error:
        yield Finding(FAULT, f"Frigate: {error}", _advice(error))
        return _whose("")
    except (ApiError, ValueError) as error:
        yield Finding(NOTE, f"Frigate does not say which account this is: {plain(str(error))}")
        return _whose("")
    yield from _login(settings, api)
    name, role = plain(found["username"], 100), plain(found["role"], 100)
    yield _role(api, name, role)
    allowed = found["allowed_cameras"]
    if allowed is not None:
        yield from _cameras(ask, set(map(plain, allowed)))
    return _whose(name)


def _login(settings: CompanionSettings, api: FrigateApi) -> Iterator[Finding]:
    if api.logins:
        yield Finding(OK, f"Frigate accepts the login of {settings.user!r}")
        if not settings.url.startswith("https:"):
            what = "the password goes to Frigate without TLS, so whoever stands between can read it"
            yield Finding(NOTE, what, "use https, as Frigate's port 8971 does by default")
    elif settings.user:
        yield Finding(
            NOTE,
            f"Frigate answers without a login, so the password of {settings.user!r} is not tried",
            "leave FRIGATE_USER and FRIGATE_PASSWORD empty, or use port 8971, which wants a login",
        )


def _role(api: FrigateApi, name: str, role: str) -> Finding:
    if role != "admin":
        return Finding(OK, f"the account is {name!r} with the role {role}")
    if api.logins:
        what = f"the account {name!r} is an admin, who may change and delete everything"
        return Finding(NOTE, what, "make a user with the role viewer, which is enough")
    return Finding(
        NOTE,
        f"whoever reaches {api.url} is an admin there, without a login",
        "see that nobody else reaches it, or use port 8971 with a user whose role is viewer",
    )


def _cameras(ask: config.Ask, allowed: Collection[str]) -> Iterator[Finding]:
    """Names the cameras that the account may not see."""
    with suppress(config.ConfigError):  # `frigate.cameras` tells it
        names = [one.name for one in config.cameras(ask())]
        if hidden := [name for name in names if name not in allowed]:
            what = f"the account may not see the camera(s) {', '.join(hidden)}"
            yield Finding(
                NOTE, f"{what}, so nothing of them is mirrored", "add them to the account's role"
            )


def _whose(name: str) -> str:
    own = f"{name!r}" if name else "the companion's own account"
    return f"over Frigate's API a review counts only if {own} has made it"


# -- what Frigate answers


def settings_of(api: FrigateApi) -> Any:
    """Returns Frigate's settings as JSON gave them. Raises ConfigError."""
    try:
        return api.json("/api/config")
    except ApiError as error:
        raise config.ConfigError(str(error)) from error


def catalog_of(api: FrigateApi, kinds: Collection[str]) -> ApiCatalog:
    """Returns the catalog of the events that the mirror lists."""
    return ApiCatalog(api, reviews=True, without_snapshot=set(kinds) != {SNAPSHOT})


def publishing(ask: config.Ask) -> config.Publishing | None:
    """Returns how Frigate publishes by MQTT, or None if its settings cannot be read."""
    with suppress(config.ConfigError):
        return config.publishing(ask())
    return None


def clock(api: FrigateApi) -> Iterator[Finding]:
    """Compares Frigate's clock with that of this machine."""
    try:
        skew = api.clock_skew()
    except ApiError as error:
        yield Finding(FAULT, f"Frigate: {error}", _advice(error))
        return
    if skew is None:
        yield Finding(NOTE, "clock: Frigate's answer had no date to compare with")
    elif abs(skew) > SKEW:
        advice = "set the clocks of both machines (NTP), or events end in the future or too late"
        yield Finding(NOTE, f"clock: {abs(skew):.0f} s off Frigate's", advice)
    else:
        yield Finding(OK, "clock: agrees with Frigate's")


def events(catalog: ApiCatalog, kinds: Collection[str], now: float) -> Iterator[Finding]:
    """Looks whether Frigate has recent events and, if snapshots are mirrored, whether the newest
    ones have snapshots."""
    try:
        ids = next(catalog.window(now - WEEK), [])[:SOME]
        newest = catalog.subjects(ids)
    except CatalogError as error:
        advice = _advice(error) if isinstance(error, ApiError) else ""
        yield Finding(FAULT, f"Frigate's events cannot be read: {error}", advice)
        return
    pictured = sum(event.has_snapshot for event in newest)
    if not newest:
        yield Finding(NOTE, "Frigate has no event of the last 7 days", needed(kinds))
    elif SNAPSHOT not in kinds:
        yield Finding(OK, f"Frigate's newest {len(newest)} events can be read")
    elif not pictured:
        what = f"none of Frigate's newest {len(newest)} events has a snapshot"
        yield Finding(NOTE, what, needed(kinds))
    else:
        what = f"{pictured} of Frigate's newest {len(newest)} events have a snapshot"
        yield Finding(OK, what)
