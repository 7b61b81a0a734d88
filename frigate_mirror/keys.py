"""The object key of an artifact, both ways.

    {prefix}/{camera}/{date}/{event_id}-{timestamp}{kind_ending}
    frigate/front_door/2024-01-15/1705329022.123456-abc123-20240115_143022.jpg

A key is a pure function of the event and of the owner's settings; the time of upload plays no part.
The owner can choose another template. Whatever it is, the id of the event and the kind of the file
can be read back from a key. Names with unusual characters are percent-encoded, so that no name can
leave the prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

LONGEST_KEY = 1024  # bytes; the S3 user guide, "Object key naming guidelines"
EVENT_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
ARTIFACT_ID = re.compile(rf"[a-z]{{1,20}}:{EVENT_ID.pattern}(?::[1-9]\d{{0,3}})?")
SNAPSHOT, THUMBNAIL, CLIP, METADATA = "snapshot", "thumbnail", "clip", "metadata"
ENDINGS = {
    SNAPSHOT: r"\.(?:jpg|webp|png)",
    THUMBNAIL: r"-thumb\.(?:webp|jpg)",
    CLIP: r"(?:-part-\d{4})?\.mp4",
    METADATA: r"\.json",
}
"""What the key of each kind of file ends with, as a regular expression."""
KINDS = frozenset(ENDINGS)
CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".png": "image/png",
    ".mp4": "video/mp4",
    ".json": "application/json",
}
INSIDE = "{prefix}/{camera}/{date}/{event_id}-{timestamp}{kind_ending}"
READABLE = "{prefix}/{camera}/{date}/{time}-{label}-{event_id}{kind_ending}"
"""The templates of the mirror inside Frigate and of the companion."""
FIELDS = {
    "camera": "[^/]+",
    "label": "[^/]+",
    "date": r"\d{4}-\d\d-\d\d",
    "year": r"\d{4}",
    "month": r"\d\d",
    "day": r"\d\d",
    "hour": r"\d\d",
    "time": r"\d\d-\d\d-\d\d",
    "timestamp": r"\d{8}_\d{6}",
    "event_id": "",  # see _patterns
    "kind_ending": "|".join(f"(?P<{kind}>{ending})" for kind, ending in ENDINGS.items()),
}
"""What a template may have besides `{prefix}`, each as a regular expression of its value."""
_ENDING = re.compile(f"(?:{FIELDS['kind_ending']})$")
_USUAL_ID = r"\d{1,12}\.\d{1,12}-[0-9a-z]{1,24}"  # as Frigate's; others fit nearly all
_LITERAL = re.compile(r"[0-9A-Za-z _.@+=~()/-]*")
_NO_LABEL = "unknown"
_LATEST = 32_503_680_000  # the year 3000; a later time is a fault in the data


class KeyFault(ValueError):
    """These parts make no key, or the mirror cannot have written this key."""


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What a key is made of. `started` is whole Unix seconds, because a key has no fraction;
    `ending` begins after the time."""

    prefix: str
    camera: str
    event_id: str
    started: int
    kind: str
    ending: str

    @property
    def artifact_id(self) -> str:
        part = re.match(r"-part-(\d{4})", self.ending)
        return artifact_id(self.kind, self.event_id, int(part[1]) if part else 1)


def is_event_id(text: str) -> bool:
    """Returns whether `text` can stand unchanged in a key, a file name and a log line. Frigate's
    own ids are `{Unix time}-{6 letters or digits}`."""
    return EVENT_ID.fullmatch(text) is not None


def artifact_id(kind: str, event_id: str, part: int = 1) -> str:
    """Returns the ledger's name for one file of a subject, or for a further part of that file:
    `clip:1705329022.123456-abc123`, `clip:1705329022.123456-abc123:2`."""
    return f"{kind}:{event_id}:{part}" if part > 1 else f"{kind}:{event_id}"


def is_artifact_id(text: str) -> bool:
    """Returns whether `artifact_id` can have made `text`."""
    return ARTIFACT_ID.fullmatch(text) is not None


def content_type(key: str) -> str:
    """Returns the content type of an object by the end of its key."""
    return CONTENT_TYPES.get(key[key.rfind(".") :], "application/octet-stream")


def kind_in(key: str) -> str:
    """Returns the kind that the ending of a key names, or an empty text if it names none."""
    match = _ENDING.search(key)
    return (match.lastgroup or "") if match else ""


def template(text: str) -> str:
    """Returns `text` if it is a template of keys. Raises ValueError, which says what is wrong."""
    pieces = re.split(r"\{([^{}]*)\}", text)
    literals, names = pieces[::2], pieces[1::2]
    if unknown := [name for name in names if name not in FIELDS and name != "prefix"]:
        known = " ".join(f"{{{name}}}" for name in ["prefix", *FIELDS])
        raise ValueError(f"{{{unknown[0]}}} is none of {known}")
    if wrong := [literal for literal in literals if not _LITERAL.fullmatch(literal)]:
        allowed = "letters, digits, blanks and _ . @ + = ~ ( ) - /"
        raise ValueError(f"{wrong[0]!r} has other characters than {allowed}")
    if "event_id" not in names or names[-1] != "kind_ending" or literals[-1]:
        raise ValueError("it must have {event_id}, and end in {kind_ending}")
    if len(set(names)) < len(names):
        raise ValueError("it names a field twice")
    if "prefix" in names and not text.startswith("{prefix}/"):
        raise ValueError("{prefix} must be its first part, before a slash")
    if {"", ".", ".."} & set(text.split("/")):
        raise ValueError("it has an empty part, '.' or '..' between slashes")
    return text


@lru_cache(maxsize=64)
def _patterns(template: str, prefix: str) -> tuple[re.Pattern[str], ...]:
    """Returns regular expressions of the keys that a template makes. The first one that fits
    counts."""
    pieces = re.split(r"\{([^{}]*)\}", template.removeprefix("{prefix}/"))
    found = []
    for event_id in (_USUAL_ID, EVENT_ID.pattern + "?"):
        fields = FIELDS | {"event_id": event_id}
        pattern = re.escape(f"{prefix}/" if prefix and template.startswith("{prefix}") else "")
        for number, piece in enumerate(pieces):
            field = fields[piece] if number % 2 else ""
            if field.endswith("+") and pieces[number + 1 : number + 3] == ["", "kind_ending"]:
                field += "?"  # leaves all of `-thumb.webp` to the ending, and not only `.webp`
            pattern += f"(?P<{piece}>{field})" if number % 2 else re.escape(piece)
        found.append(re.compile(pattern))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class KeyCodec:
    """Makes and reads keys for one prefix (without slashes at its ends) and IANA time zone. It
    makes them with `template`, and also reads those that one of `old` made."""

    prefix: str
    timezone: str = "UTC"
    template: str = INSIDE
    old: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """What every key begins with: the prefix and a slash, or nothing."""
        every = all(one.startswith("{prefix}") for one in (self.template, *self.old))
        return f"{self.prefix}/" if self.prefix and every else ""

    def key(self, camera: str, event_id: str, started: float, ending: str, label: str = "") -> str:
        """Returns the key of an event's file. `started` is Unix seconds, `ending` matches one of
        ENDINGS. Raises KeyFault."""
        if not is_event_id(event_id):
            raise KeyFault(f"event id {event_id!r} cannot stand in a key")
        if not 0 <= started < _LATEST:
            raise KeyFault(f"start time {started!r} is no time of an event")
        label = quote_camera(label or _NO_LABEL)
        key = self._made(self.template, quote_camera(camera), event_id, started, ending, label)
        if len(key.encode()) > LONGEST_KEY:
            raise KeyFault(f"key of camera {camera[:40]!r}… is longer than {LONGEST_KEY} bytes")
        if self.template != INSIDE:
            match = self._match(self.template, key)
            if match is None or (match["event_id"], match["kind_ending"]) != (event_id, ending):
                raise KeyFault(f"the event could not be read back from the key {key!r}")
        return key

    def _made(
        self, template: str, camera: str, event_id: str, started: float, ending: str, label: str
    ) -> str:
        local = datetime.fromtimestamp(int(started), zone(self.timezone)).isoformat()
        date, time = local[:10], local[11:19]
        key = template.format(
            prefix=self.prefix,
            camera=camera,
            label=label,
            date=date,
            year=date[:4],
            month=date[5:7],
            day=date[8:],
            hour=time[:2],
            time=time.replace(":", "-"),
            timestamp=f"{date.replace('-', '')}_{time.replace(':', '')}",
            event_id=event_id,
            kind_ending=ending,
        )
        return key.removeprefix("/")  # of an empty prefix

    def _match(self, template: str, key: str) -> re.Match[str] | None:
        found = (pattern.fullmatch(key) for pattern in _patterns(template, self.prefix))
        return next(filter(None, found), None)

    def parse(self, key: str) -> KeyParts:
        """Returns the parts that made `key`; a part that its template does not have is empty.
        Raises KeyFault for a key that no template would make in exactly this form."""
        for template in (self.template, *self.old):
            if match := self._match(template, key):
                return self._parts(template, key, match)
        raise KeyFault(f"{key!r} does not fit the template {self.template}")

    def _parts(self, template: str, key: str, match: re.Match[str]) -> KeyParts:
        found = match.groupdict()
        event_id, ending = found["event_id"], found["kind_ending"]
        quoted, label = found.get("camera", ""), found.get("label", "")
        try:
            camera = unquote(quoted, errors="surrogatepass")
            local = _local_time(found)
            started = self._instant(local, event_id) if local else int(_time_in(event_id))
            if not 0 <= started < _LATEST:
                raise KeyFault
            # Without a full time in the key, the start is that of the id, which may be another one.
            again = self._made(template, quoted, event_id, started, ending, label) if local else key
            # If another field shares its part of the path, nobody can tell where the camera ends.
            alone = "/{camera}/" in f"/{template}"
            if (
                again != key
                or not is_event_id(event_id)
                or (alone and quote_camera(camera) != quoted)
            ):
                raise KeyFault
        except (ValueError, OverflowError):
            raise KeyFault(f"{key!r} is not as this mirror writes keys") from None
        return KeyParts(self.prefix, camera, event_id, started, kind_in(ending), ending)

    def _instant(self, local: datetime, event_id: str) -> int:
        """Returns the Unix seconds of a local time. In the hour that a clock change repeats, it
        chooses the instant that is nearer to the time in Frigate's event id."""
        timezone = zone(self.timezone)
        if timezone is UTC:
            return int(local.replace(tzinfo=UTC).timestamp())
        instants = {int(local.replace(tzinfo=timezone, fold=fold).timestamp()) for fold in (0, 1)}
        near = _time_in(event_id)
        return min(instants, key=lambda second: abs(second - near))


def _time_in(event_id: str) -> float:
    """Returns the Unix seconds with which Frigate's event ids begin, or 0."""
    head = event_id.partition("-")[0]
    return float(head) if re.fullmatch(r"\d+(\.\d+)?", head) else 0.0


def _local_time(found: dict[str, str | None]) -> datetime | None:
    """Returns the local time that a key has, or None if it has not all of it. Raises ValueError."""
    # A listing may have a million keys, and strptime would take a third of the time for each.
    if stamp := found.get("timestamp"):
        return datetime.fromisoformat(stamp.replace("_", "T"))
    date = found.get("date") or "-".join(found.get(part) or "" for part in ("year", "month", "day"))
    time = found.get("time")
    if not time or not date[9:]:
        return None
    return datetime.fromisoformat(f"{date}T{time.replace('-', ':')}")


def names_subject(key: str, subject_id: str) -> bool:
    """Returns whether the id of a subject stands in a key, and not only as a piece of another
    id."""
    at = key.find(subject_id)
    end = at + len(subject_id)
    return at >= 0 and not key[max(0, at - 1) : at].isalnum() and not key[end : end + 1].isalnum()


def zone(name: str) -> tzinfo:
    """Returns the IANA time zone of this name. UTC works without a time zone database. Raises
    KeyError, ValueError, OSError."""
    return UTC if name == "UTC" else ZoneInfo(name)


def quote_camera(camera: str) -> str:
    """Returns the one path segment that stands for a camera name. Plain names stay as they are."""
    if not camera:
        raise KeyFault("the camera has no name")
    quoted = quote(camera, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") if set(camera) == {"."} else quoted


def utc(seconds: float) -> str:
    """Returns Unix seconds as people read them: 2024-01-15T14:30:22Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"
