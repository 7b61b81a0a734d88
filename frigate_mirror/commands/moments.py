"""Moments: points in time as people type them."""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0}


def moment(text: str, now: float | None = None) -> float:
    """Returns the Unix seconds of an ISO date or time (local unless it names a zone), of a time
    ago such as `3d`, or of a number that is Unix seconds. Raises argparse.ArgumentTypeError."""
    if re.fullmatch(r"\d{9,11}|\d{1,11}\.\d+", text):  # fewer digits may be a date
        return float(text)
    ago = re.fullmatch(r"(\d{1,6})([dhm])", text)
    if ago:
        return (time.time() if now is None else now) - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date or time nor a time ago such as 3d, 12h, 30m"
        ) from None
