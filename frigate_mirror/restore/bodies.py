"""Judges the bodies of requests to the API of the recording backfill.

A body comes from whoever may use the API, as a text that should be JSON. All its faults are told at
once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from frigate_mirror.untrusted import plain

LATEST = 4_102_444_800.0  # seconds, the year 2100; a time in milliseconds is later
LONGEST_PATH = 4_096  # characters
MOST_HOURS, MOST_DAYS = 8_760, 3_650


class WrongBody(Exception):
    """A body cannot be understood. The text names every fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a backfill is to do. Times are Unix seconds; None means no limit on this side. None as
    `directory_path` is Frigate's own folder of recordings."""

    start_time: float | None = None
    end_time: float | None = None
    directory_path: str | None = None
    dry_run: bool = False
    force: bool = False

    @property
    def options(self) -> list[str]:
        """The options of the command line that say the same."""
        texts = {"--start-time": self.start_time, "--end-time": self.end_time,
                 "--directory": self.directory_path}  # fmt: skip
        options = [f"{name}={value}" for name, value in texts.items() if value is not None]
        return options + [
            name for name, on in (("--dry-run", self.dry_run), ("--force", self.force)) if on
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """How often the backfill of a camera runs, and how many days it looks back."""

    interval_hours: float
    retention_days: float
    enabled: bool = True


def wanted(text: str) -> Wanted:
    """Reads the body of a backfill. An empty one asks for a backfill without limits. Raises
    WrongBody."""
    rules = {
        "start_time": _number(0, LATEST, "Unix seconds, such as 1640995200"),
        "end_time": _number(0, LATEST, "Unix seconds, such as 1641081600"),
        "directory_path": _path,
        "dry_run": _boolean,
        "force": _boolean,
    }
    values, faults = _judge(text, rules)
    start, end = values.get("start_time"), values.get("end_time")
    if start is not None and end is not None and end <= start:
        faults.append("end_time: it is not later than start_time")
    _raise(faults)
    return Wanted(**values)


def interval(text: str, camera: str) -> Interval:
    """Reads the body of a schedule of this camera. Raises WrongBody."""
    rules = {
        "camera_name": _same(camera),
        "enabled": _boolean,
        "interval_hours": _number(1, MOST_HOURS, f"hours, from 1 to {MOST_HOURS}"),
        "retention_days": _number(1, MOST_DAYS, f"days, from 1 to {MOST_DAYS}"),
    }
    values, faults = _judge(text, rules)
    told = " ".join(faults)
    faults += [
        f"{name}: missing, give the number of {unit}"
        for name, unit in (("interval_hours", "hours"), ("retention_days", "days"))
        if name not in values and name not in told
    ]
    _raise(faults)
    values.pop("camera_name", None)
    return Interval(**values)


def as_json(one: Wanted | Interval) -> dict[str, Any]:
    """Returns the fields as a body has them."""
    return asdict(one)


Rule = Callable[[Any], Any]


def _judge(text: str, rules: Mapping[str, Rule]) -> tuple[dict[str, Any], list[str]]:
    """Returns the values that are right, and a sentence for each fault. A field that is null counts
    as one that is not there."""
    try:
        body = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it is too large"
        raise WrongBody(f"the body is no JSON ({reason})") from None
    if not isinstance(body, dict):
        raise WrongBody("the body is no JSON object")
    values, faults = {}, []
    for name, value in body.items():
        if name not in rules:
            known = ", ".join(rules)
            faults.append(f"{plain(name, 50)}: there is no such field, the fields are {known}")
        elif value is not None:
            try:
                values[name] = rules[name](value)
            except ValueError as fault:
                faults.append(f"{name}: {fault}")
    return values, faults


def _raise(faults: list[str]) -> None:
    if faults:
        raise WrongBody("; ".join(faults[:10]))


def _number(low: float, high: float, expected: str) -> Rule:
    def read(value: Any) -> float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not right or not low <= value <= high:  # which NaN is not either
            raise ValueError(f"expected {expected}")
        return float(value)

    return read


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise ValueError("expected an absolute path, such as /media/frigate/recordings")
    if len(value) > LONGEST_PATH:
        raise ValueError(f"the path has more than {LONGEST_PATH} characters")
    return value


def _same(camera: str) -> Rule:
    def read(value: Any) -> str:
        if value != camera:
            raise ValueError(f"it is not the camera of the address, which is {plain(camera, 100)}")
        return camera

    return read
