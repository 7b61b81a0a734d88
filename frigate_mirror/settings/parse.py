"""Parsers of settings.

Each takes the text of a setting and returns its value, or raises ValueError with a sentence that
says what was expected. No such sentence repeats a secret.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from frigate_mirror import policy
from frigate_mirror.keys import template, zone
from frigate_mirror.settings.secret import Secret

T = TypeVar("T")
Timetable = tuple[tuple[int, float], ...]
"""Pairs of a minute of the day and the bytes a second that are allowed from then on, in order.
Infinity means no limit. Before the first entry of a day the last one applies."""

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_LONGEST_PREFIX = 240  # bytes; then every camera of which a file can exist has a key (`keys`)


@dataclass(frozen=True, slots=True)
class Names:
    """A list of names. Without `only`, every name passes that is not in `never`."""

    only: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return ", ".join([*sorted(self.only), *(f"not {name}" for name in sorted(self.never))])

    def why_not(self, *names: str) -> str:
        """Returns why something with these names does not pass, or an empty text. One name of
        `only` is enough; one name of `never` is too much."""
        if unwanted := sorted(self.never.intersection(names)):
            return f"{unwanted[0]} is left out"
        if self.only and not self.only.intersection(names):
            return f"{', '.join(names) or 'none'} is not among {', '.join(sorted(self.only))}"
        return ""


def secret(text: str) -> Secret:
    """A secret ends in a header, so it must be printable ASCII without blanks. The error message
    states that rule and never repeats the value."""
    if not re.fullmatch(r"[\x21-\x7e]*", text):
        raise ValueError("has blanks, line ends or characters that no key has")
    return Secret(text)


def password(text: str) -> Secret:
    """A secret that a person has chosen: it may have blanks and letters of any script."""
    if not text.isprintable():
        raise ValueError("has line ends or control characters")
    return Secret(text)


def boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def seconds(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"{text!r} is not a number from {low} to {high}")
        return value

    return read


def names(text: str) -> Names | None:
    """Names with commas between them; one that begins with `!` is left out. None if there are
    none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    never = [word[1:].strip() for word in words if word.startswith("!")]
    only = [word for word in words if not word.startswith("!")]
    if not all(never):
        raise ValueError(f"{text!r} has a `!` without a name")
    if both := sorted(set(only).intersection(never)):
        raise ValueError(f"{text!r} both names and leaves out {both[0]}")
    return Names(frozenset(only), frozenset(never)) if words else None


def optional(read: Callable[[str], T]) -> Callable[[str], T | None]:
    """Reads a setting that may be unset, which gives None."""
    return lambda text: read(text) if text else None


def duration(low: float, high: float) -> Callable[[str], float]:
    """A length of time with its unit, in seconds."""

    def read(text: str) -> float:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?([smhd])", text)
        value = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if match is None or not low <= value <= high:
            raise ValueError(
                f"{text!r} is not a length of time such as 90s, 15m or 2h, from {low:g} s to "
                f"{high / 86_400:g} d"
            )
        return value

    return read


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def minute_of_the_day(text: str) -> int:
    """A time of day, as the minutes since midnight."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of day such as 08:00")
    return int(match[1]) * 60 + int(match[2])


_UNITS = {"": 1, "B": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def bandwidth(text: str) -> Timetable:
    """`off`, bytes a second such as `2M`, or several of these, each with the time of the day from
    which on it applies."""
    words = [word if "," in word else f"00:00,{word}" for word in text.split() or ["off"]]
    limits = dict(map(_from_then_on, words))
    if len(limits) < len(words):
        raise _no_bandwidth(text)
    return tuple(sorted(limits.items()))


def _from_then_on(word: str) -> tuple[int, float]:
    """The minute of the day, and the limit from then on."""
    match = re.fullmatch(
        r"([01]?\d|2[0-3]):([0-5]\d),(?:(off)|(\d{1,12}(?:\.\d{1,6})?)([BKMG]?))",
        word,
        re.IGNORECASE,
    )
    limit = float(match[4]) * _UNITS[match[5].upper()] if match and match[4] else math.inf
    if match is None or limit < 1:
        raise _no_bandwidth(word)
    return int(match[1]) * 60 + int(match[2]), limit


def _no_bandwidth(text: str) -> ValueError:
    return ValueError(
        f"{text!r} is none of: off; bytes a second such as 2M; 08:00,512K 22:00,off by the hour"
    )


def one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        for word in words:
            if text.lower() == word.lower():
                return word
        raise ValueError(f"{text!r} is none of {', '.join(word for word in words if word)}")

    return read


def words(*known: str) -> Callable[[str], frozenset[str]]:
    """At least one of the known words, with commas between them."""

    def read(text: str) -> frozenset[str]:
        found = {word.strip().lower() for word in text.split(",") if word.strip()}
        unknown = sorted(found.difference(known))
        if unknown or not found:
            raise ValueError(f"{', '.join(unknown) or text!r} is none of {', '.join(known)}")
        return frozenset(found)

    return read


def padding(text: str) -> tuple[float, float]:
    """Seconds before and after, or one number for both."""
    number = r"(\d{1,3}(?:\.\d{1,3})?)"
    match = re.fullmatch(rf"{number}(?: *, *{number})?", text)
    before, after = (float(match[1]), float(match[2] or match[1])) if match else (-1.0, -1.0)
    if not (0 <= before <= 300 and 0 <= after <= 300):
        raise ValueError(f"{text!r} is not two numbers from 0 to 300 such as 5,10, or one for both")
    return before, after


def token(text: str) -> str:
    """A word without blanks or control characters, as headers and host names need."""
    if not re.fullmatch(r"[\x21-\x7e]{0,512}", text):
        raise ValueError(f"{text!r} has blanks or characters that do not belong there")
    return text


def region(text: str) -> str:
    if not re.fullmatch(_LABEL, text):
        raise ValueError(f"{text!r} is not a region such as eu-central-1")
    return text


def bucket(text: str) -> str:
    """No path and no URL. Looser than AWS's own rule, since compatible services allow more."""
    if text and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", text):
        raise ValueError(f"{text!r} is not a bucket's name (only the name: no s3://, no slash)")
    return text


def account(text: str) -> str:
    if text and not re.fullmatch(r"[0-9]{12}", text):
        raise ValueError(f"{text!r} is not an AWS account id of 12 digits")
    return text


def storage_class(text: str) -> str:
    if text and not re.fullmatch(r"[A-Z0-9_]{1,64}", text):
        raise ValueError(f"{text!r} is not a storage class such as STANDARD_IA")
    return text


def _split(text: str) -> SplitResult:
    """Returns the parts of an address. Raises ValueError if it has a login, or a port that is
    none."""
    if "@" in text:
        raise ValueError("an address must not hold a user or password")
    try:
        parts = urlsplit(text)
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_a_number = False
    if not port_is_a_number:
        raise ValueError(f"{text!r} is not an address")
    return parts


def endpoint(text: str) -> str:
    if not text:
        return text
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not text.isprintable():
        raise ValueError(f"{text!r} is not an address such as https://s3.example.com:9000")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise ValueError(f"{text!r}: a host's name has letters, digits and hyphens between dots")
    if parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError(
            f"{text!r} must end after the host and port; the bucket belongs in S3_BUCKET"
        )
    return text.rstrip("/")


def address(text: str) -> str:
    """An address of a web server, with or without a path."""
    if not text:
        return text
    parts = _split(text)
    # Names of services in a compose file may have underscores, which names of hosts do not have.
    host = (parts.hostname or "").replace("_", "-")
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not an address such as http://frigate:5000")
    if parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]*", text):
        raise ValueError(f"{text!r} must end after the host, the port and a path")
    return text.rstrip("/")


def secret_address(text: str) -> Secret:
    """An address of a web service, which may hold a token, so no message repeats it."""
    try:
        parts = urlsplit(text)
        is_address = (
            parts.scheme in ("http", "https")
            and bool(_HOST.fullmatch((parts.hostname or "").replace("_", "-")))
            and parts.port != 0
            and bool(re.fullmatch(r"[\x21-\x7e]*", text))
            and not parts.fragment
        )
    except ValueError:
        is_address = False
    if text and not is_address:
        raise ValueError("is not an address such as https://example.com/path")
    if text and "@" in parts.netloc:
        raise ValueError("must not hold a user or password")
    return Secret(text)


def ntfy_topic(text: str) -> Secret:
    """The address of a topic of ntfy. Who knows a topic can read it, so it is a secret."""
    found = secret_address(text)
    if text and not re.search(r"/[-_A-Za-z0-9]{1,64}$", urlsplit(text).path):
        raise ValueError("is not the address of a topic such as https://ntfy.sh/my-topic")
    return found


def apprise_urls(text: str) -> Secret:
    """Addresses as apprise knows them, with blanks or line ends between them."""
    urls = text.split()
    known = all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*://[\x21-\x7e]+", url) for url in urls)
    if not known or len(urls) > 16:
        raise ValueError(
            "is not a list of at most 16 addresses of apprise such as tgram://token/chat, with "
            "blanks between them"
        )
    return Secret(" ".join(urls))


def mirror_name(text: str) -> str:
    """The owner's name for a mirror. It is a part of topics and of titles."""
    if not text.isprintable() or len(text) > 64 or re.search("[/+#]", text):
        raise ValueError(
            f"{text!r} is not a name of at most 64 printable characters without /, + and #"
        )
    return text


def fingerprint(text: str) -> str:
    """Returns the SHA-256 of a certificate as 64 small hex digits. Colons between them and
    `sha256:` before them may be there, as other programs show them."""
    digits = text.lower().removeprefix("sha256:").removeprefix("sha256 fingerprint=")
    digits = digits.replace(":", "")
    if digits and not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("a SHA-256 fingerprint has 64 hex digits")
    return digits


def text(value: str) -> str:
    """One line of printable characters."""
    if not value.isprintable():
        raise ValueError(f"{value!r} has control characters or line ends")
    return value


def prefix(text: str) -> str:
    """Slashes at both ends are dropped. Each part must be a name that a file could have."""
    trimmed = text.strip("/")
    if not trimmed.isprintable():
        raise ValueError(f"{text!r} has control characters")
    if "\\" in trimmed:
        raise ValueError(f"{text!r} has a backslash, which some services turn into a slash")
    if len(trimmed.encode()) > _LONGEST_PREFIX:
        raise ValueError(f"longer than {_LONGEST_PREFIX} bytes")
    if any(part in ("", ".", "..") for part in trimmed.split("/")) and trimmed:
        raise ValueError(f"{text!r} has an empty part, '.' or '..'")
    return trimmed


def tags(text: str) -> str:
    if not text:
        return text
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ValueError(f"{text!r} is not of the form a=b&c=d") from None
    if len(pairs) != len(dict(pairs)) or not text.isprintable():
        raise ValueError(f"{text!r} names a tag twice or has control characters")
    if len(pairs) > 10 or any(len(k) > 128 or len(v) > 256 or not k for k, v in pairs):
        raise ValueError("at most 10 tags, names of 1 to 128 and values of at most 256 characters")
    return text


def key_template(text: str) -> str:
    return template(text)


def key_templates(text: str) -> tuple[str, ...]:
    return tuple(template(one.strip()) for one in text.split(",") if one.strip())


def retention(text: str) -> policy.Policy | None:
    return policy.parse(text)


def host(text: str) -> str:
    # Names of services in a compose file may have underscores, which names of hosts do not have.
    if text.count(":") == 1 and "/" not in text:  # an IPv6 address has more of them
        raise ValueError(f"{text!r} has a port, which belongs in a setting of its own")
    if text and not _HOST.fullmatch(text.replace("_", "-")):
        raise ValueError(f"{text!r} is not the name or the IP address of a host")
    return text


def topic(text: str) -> str:
    """The beginning of MQTT topics, without wildcards."""
    if not text or not text.isprintable() or re.search("[+#]|^/|/$", text):
        raise ValueError(f"{text!r} is not the beginning of a topic such as frigate")
    return text


def timezone(text: str) -> str:
    try:
        zone(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{text!r} is not an IANA time zone such as Europe/Berlin") from None
    return text


def readable_file(text: str) -> str:
    if text and not (os.path.isfile(text) and os.access(text, os.R_OK)):
        raise ValueError(f"{text!r} is not a file that can be read")
    return text


def absolute_path(text: str) -> Path:
    if not text.startswith("/") or not text.isprintable():
        raise ValueError(f"{text!r} is not an absolute path of printable characters")
    return Path(text)


def absolute_path_or_none(text: str) -> str:
    return str(absolute_path(text)) if text else ""


def program(text: str) -> str:
    if not text.isprintable() or ("/" in text and not text.startswith("/")):
        raise ValueError(f"{text!r} is neither an absolute path nor a name on PATH")
    return text


def remote(text: str) -> str:
    """A remote of rclone's configuration with a folder, or an absolute path of this machine.

    Options of the remote belong in rclone's configuration: there they may be secrets.
    """
    if not text.isprintable():
        raise ValueError(f"{text!r} has control characters")
    name, colon, folder = text.partition(":")
    if not colon and (not text or text.startswith("/")):
        return text.rstrip("/") or text
    if not colon or not re.fullmatch(r"[\w.+@][\w.+@ -]*", name):
        # The message does not repeat the value, since some people put a password into it.
        raise ValueError(
            "is not a remote of rclone's configuration such as gdrive:frigate, or an absolute path"
        )
    if any(part in (".", "..") for part in folder.split("/")):
        raise ValueError(f"{text!r} has a part '.' or '..'")
    return f"{name}:{folder.rstrip('/') or folder[:1]}"


def optional_path(text: str) -> Path:
    return absolute_path(text) if text else Path()
