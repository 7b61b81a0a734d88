"""Checks values from files that other programs can write, and makes their texts safe to print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

LARGEST = 2**63  # all numbers that the mirror writes are smaller


def shaped(value: Any, kind: Any) -> Any:
    """Returns the part of `value`, as JSON gave it, that `kind` describes.

    `kind` is a dataclass, `X | None`, `list[X]`, `Mapping[str, X]`, str, bool, int or float. A
    dataclass becomes a dict of its fields; all other keys are dropped. Raises ValueError for a
    value of another shape.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else shaped(value, inner[0])
    if is_dataclass(kind) and isinstance(value, dict):
        fields = get_type_hints(kind).items()
        return {name: shaped(value.get(name), one) for name, one in fields}
    if origin is list and isinstance(value, list):
        return [shaped(one, inner[0]) for one in value]
    if origin is Mapping and isinstance(value, dict):
        return {name: shaped(one, inner[1]) for name, one in value.items()}
    if not _is(value, kind):
        raise ValueError(f"{type(value).__name__} where {getattr(kind, '__name__', kind)} belongs")
    return value


def _is(value: Any, kind: Any) -> bool:
    if kind in (str, bool):
        return isinstance(value, kind)
    if isinstance(value, bool) or kind not in (int, float):
        return False
    return isinstance(value, (int, kind)) and abs(value) < LARGEST


def plain(text: str, longest: int = 500) -> str:
    """Returns `text` as one line of at most `longest` characters that is safe on any terminal: it
    cannot move the cursor, change colours or turn the direction of writing."""
    cut = text if len(text) <= longest else f"{text[:longest]}..."
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in cut
    )
