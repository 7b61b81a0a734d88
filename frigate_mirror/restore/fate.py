"""Foretells what Frigate's own cleanup will do with a segment once it has a row.

Frigate deletes the row together with the file, so a row that comes too late destroys what it was to
save. This module follows `RecordingCleanup.expire_recordings` (frigate.record.cleanup) and the
check of `StorageMaintainer` (frigate.storage) of v0.16.4, v0.17.2 and v0.18.0-beta1, for segments
whose motion is unknown: the retention modes `motion` and `active_objects` never delete these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from frigate_mirror.frigate.record_settings import Retention
from frigate_mirror.restore.recordings_table import ReviewItem

DAY = 86_400.0


class Fate:
    """The fate of the segments of one camera at the pass of the cleanup at `at`, in Unix seconds.

    `reviews` are the camera's review items in the order of their starts. `counts_later_reviews` is
    that of the table. Frigate deletes segments that start before `room_from` because the disk is
    full. Segments are asked for in the order of their starts.
    """

    def __init__(
        self,
        retention: Retention,
        reviews: Sequence[ReviewItem],
        at: float,
        *,
        counts_later_reviews: bool,
        room_from: float = 0.0,
    ) -> None:
        self._expires = _days_before(at, retention.days)
        counted = _days_before(
            at, retention.continuous_days if counts_later_reviews else retention.days
        )
        self._spans = [
            (one.start - kept.before, None if one.end is None else one.end + kept.after)
            for one in reviews
            if one.start < counted
            for kept in (retention.alerts if one.severity == "alert" else retention.detections,)
            if not _is_over(one, _days_before(at, kept.days))
        ]
        self._retention = retention
        self._at = at
        self._room_from = room_from
        self._next = 0

    def of(self, start: float, end: float) -> str:
        """Returns why Frigate will delete this segment with its file, and how to prevent that, or
        an empty text if Frigate keeps it."""
        if start < self._room_from:
            return (
                "the disk has less than an hour of room, so Frigate deletes the oldest recordings; "
                "make room first"
            )
        if end >= self._expires or self._has_review(start, end):
            return ""
        return (
            f"Frigate keeps recordings of this camera for {self._retention.days:g} day(s), so its "
            f"next cleanup would delete it; raise the retention to {self._needed(end):g} days first"
        )

    def _needed(self, end: float) -> int:
        """Returns the whole days for which Frigate would have to keep recordings."""
        return int((self._at - end) // DAY) + 1

    def _has_review(self, start: float, end: float) -> bool:
        """Returns whether Frigate keeps the segment for a review item. Like Frigate, this looks at
        the items in the order of their starts, and stops at the first one that begins later."""
        while self._next < len(self._spans):
            begin, until = self._spans[self._next]
            if begin > end:
                return False
            if until is None or until >= start:
                return True
            self._next += 1
        return False


def _days_before(at: float, days: float) -> float:
    """Returns the moment so many days before `at` as Frigate counts: by the clock on the wall, on
    which a day may have 23 or 25 hours. Our own time zone must be Frigate's."""
    try:
        return (datetime.fromtimestamp(at) - timedelta(days=days)).timestamp()
    except (OverflowError, ValueError):  # Frigate's cleanup fails then, and deletes nothing
        return -math.inf


def _is_over(item: ReviewItem, expired: float) -> bool:
    """Returns whether Frigate deletes the review item itself before it looks at recordings."""
    return item.severity in ("alert", "detection") and item.end is not None and item.end < expired
