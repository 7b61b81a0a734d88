"""Object metadata, both ways, within S3's rules: values are ASCII, and all names and values
together have at most 2 KB (S3 user guide, "Working with object metadata").

Percent-encoding keeps names in any script, and leaves plain ASCII readable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

LIMIT = 2048  # bytes of all names and values together
OVERHEAD = len("x-amz-meta-")  # MinIO and rclone count it for each name, AWS does not
_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in "%,?")
_WORD = f"[{re.escape(_PLAIN.lstrip())}]+"
_AS_IT_IS = re.compile(f"{_WORD}(?: {_WORD})*")  # nearly every value
_FRAGILE_BLANK = re.compile(r"\A |(?<= ) | \Z")


def encode(values: Mapping[str, str], zones: Sequence[str] = ()) -> dict[str, str]:
    """Returns the metadata for `values`, in their order of importance, and for `zones`.

    What does not fit into 2 KB is left out, zones first; `left-out` names it.
    """
    encoded: dict[str, str] = {}
    left_out: list[str] = []
    room = LIMIT - OVERHEAD - len("left-outzones") - sum(map(len, values)) - len(values)
    for name, value in values.items():
        text = _quoted(value)
        if not text:
            continue
        needed = OVERHEAD + len(name) + len(text)
        if needed > room:
            left_out.append(name)
            continue
        encoded[name] = text
        room -= needed
    zones = [_quoted(zone) for zone in zones if zone]
    fitting = _fitting(zones, room - OVERHEAD - len("zones"))
    if fitting:
        encoded["zones"] = ",".join(fitting)
    if len(fitting) < len(zones):
        left_out.append("zones")
    if left_out:
        encoded["left-out"] = ",".join(left_out)
    return encoded


def least(metadata: Mapping[str, str]) -> dict[str, str]:
    """Returns the smallest useful part of what `encode` returned, for a service that allows less
    than 2 KB: `event-id`, and `left-out`, which names the rest."""
    kept = {name: text for name, text in metadata.items() if name == "event-id"}
    names = [*metadata.keys() - {"event-id", "left-out"}, *metadata.get("left-out", "").split(",")]
    left_out = ",".join(sorted({name for name in names if name}))
    return kept | ({"left-out": left_out} if left_out else {})


def decode(metadata: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Returns the values and the zones that were given to `encode`, as far as they fitted."""
    values = {k: unquote(v) for k, v in metadata.items() if k not in ("zones", "left-out")}
    zones = [unquote(zone) for zone in metadata.get("zones", "").split(",") if zone]
    return values, zones


def _quoted(text: str) -> str:
    """Percent-encodes a value. Single blanks within it stay readable. At either end they would be
    trimmed, and several in a row folded, by a proxy or in the signature. `=?` would be taken for
    the beginning of an encoded word (RFC 2047)."""
    if _AS_IT_IS.fullmatch(text):
        return text
    return _FRAGILE_BLANK.sub("%20", quote(text, safe=_PLAIN, errors="replace"))


def _fitting(zones: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    for zone in zones:
        room -= len(zone) + 1
        if room < 0:
            break
        kept.append(zone)
    return kept
