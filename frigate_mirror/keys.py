"""The object key of an artifact, both ways.

    {prefix}/{camera}/{date}/{event-id}-{timestamp}{ending}
    frigate/front_door/2024-01-15/1705329022.123456-abc123-20240115_143022.jpg

A key is a pure function of the event and of two settings; the time of upload plays no part. Its
ending names the kind of the file. Camera names with unusual characters are percent-encoded, so that
no name can leave the prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
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
_NAME = re.compile(
    r"(?P<event>.+)-(?P<stamp>\d{8}_\d{6})(?:"
    + "|".join(f"(?P<{kind}>{ending})" for kind, ending in ENDINGS.items())
    + ")"
)
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
    match = _NAME.fullmatch(key.rpartition("/")[2])
    return (match.lastgroup or "") if match else ""


@dataclass(frozen=True, slots=True)
class KeyCodec:
    """Makes and reads keys for one prefix (without slashes at its ends) and IANA time zone."""

    prefix: str
    timezone: str = "UTC"

    def key(self, camera: str, event_id: str, started: float, ending: str) -> str:
        """Returns the key of an event's file. `started` is Unix seconds, `ending` matches one of
        ENDINGS. Raises KeyFault."""
        if not is_event_id(event_id):
            raise KeyFault(f"event id {event_id!r} cannot stand in a key")
        if not 0 <= started < _LATEST:
            raise KeyFault(f"start time {started!r} is no time of an event")
        local = datetime.fromtimestamp(int(started), zone(self.timezone)).isoformat()
        date, time = local[:10], local[11:19]
        name = f"{event_id}-{date.replace('-', '')}_{time.replace(':', '')}{ending}"
        parts = [self.prefix, quote_camera(camera), date, name]
        key = "/".join(part for part in parts if part)
        if len(key.encode()) > LONGEST_KEY:
            raise KeyFault(f"key of camera {camera[:40]!r}… is longer than {LONGEST_KEY} bytes")
        return key

    def parse(self, key: str) -> KeyParts:
        """Returns the parts that made `key`. Raises KeyFault for a key that `KeyCodec.key` would
        not write in exactly this form."""
        head = f"{self.prefix}/" if self.prefix else ""
        pieces = key.removeprefix(head).split("/")
        match = _NAME.fullmatch(pieces[-1])
        if not key.startswith(head) or len(pieces) != 3 or match is None:
            raise KeyFault(f"{key!r} is not {head}camera/date/event-timestamp and a known ending")
        event_id, stamp, kind = match["event"], match["stamp"], match.lastgroup or ""
        ending = match[kind]
        try:
            camera = unquote(pieces[0], errors="surrogatepass")
            local = datetime.strptime(stamp, "%Y%m%d_%H%M%S")
        except ValueError:
            raise KeyFault(f"{key!r} has no name or no time that could be read") from None
        started = self._instant(local, event_id)
        if self.key(camera, event_id, started, ending) != key:
            raise KeyFault(f"{key!r} is not as this mirror writes keys")
        return KeyParts(self.prefix, camera, event_id, started, kind, ending)

    def _instant(self, local: datetime, event_id: str) -> int:
        """Returns the Unix seconds of a local time. In the hour that a clock change repeats, it
        chooses the instant that is nearer to the time in Frigate's event id."""
        timezone = zone(self.timezone)
        instants = {int(local.replace(tzinfo=timezone, fold=fold).timestamp()) for fold in (0, 1)}
        head = event_id.partition("-")[0]
        near = float(head) if re.fullmatch(r"\d+(\.\d+)?", head) else 0.0
        return min(instants, key=lambda second: abs(second - near))


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
