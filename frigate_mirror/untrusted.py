"""Values from files that others can write too, and texts for a terminal made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

LARGEST = 2**63  # numbers from here on, and what is no number, are none of ours


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
    """`text` as one line that is safe on any terminal: nothing in it moves the cursor, changes
    colours or turns the direction of writing. What is longer than `longest` is cut."""
    cut = text if len(text) <= longest else f"{text[:longest]}..."
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in cut)
