"""Frigate's events over its HTTP API, as a catalog.

It gives the same events as `FrigateDatabase` does, with the same rows. The API tells less in these
points: an item counts as reviewed only if the mirror's own account has reviewed it, and a list can
be asked for by the start of events, not by their end. These facts are those of Frigate v0.16.4,
v0.17.2 and v0.18.0-beta1 (frigate.api.event, frigate.api.review, frigate.api.app).

What Frigate answers is checked: ids that could stand in no name, rows of other events, and a list
without an end do no harm.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from frigate_mirror.frigate.api import ApiError, ApiStatus, ApiTooLarge, FrigateApi, Parameter
from frigate_mirror.frigate.events import (
    Event,
    Review,
    event_of,
    number,
    with_reviews,
    with_rows,
)
from frigate_mirror.frigate.segments import Segment
from frigate_mirror.keys import is_event_id, quote_camera

log = logging.getLogger("frigate_s3.catalog")
PAGE = 200  # events of a list; each has about 2 KB, and an hour of movement 300 KB
MOST_REVIEWS = 500  # of one answer
MOST_MOMENTS = 5_000  # rows of the timeline in one answer
PIECES = 48  # of a span of time whose segments are asked for, of an hour each or longer
APART = 3_600.0  # seconds between two events whose reviews are asked for separately
LONG = 3_600.0  # seconds; longer events are compared by `Sweep.compare` only
NOT_ALLOWED = 403
MOST_PAGES = 10_000
ENDLESS = "Frigate's list does not come to an end"


class ApiCatalog:
    """The catalog of Frigate's events. See `catalog.Catalog`. Its events always have their row,
    which costs nothing here."""

    def __init__(
        self,
        api: FrigateApi,
        batch: int = 50,
        *,
        reviews: bool = False,
        whole: bool = False,
        without_snapshot: bool = False,
        ended_from: float = -math.inf,
        version: Callable[[], str] = lambda: "",
    ) -> None:
        """`batch` is how many events one question names. With `reviews` it also asks for their
        review items, with `whole` for these and everything else that Frigate knows of them. It
        lists the events that have a snapshot, or, with `without_snapshot`, all events; but none
        that ended before `ended_from` (Unix seconds). `version` returns Frigate's version, or an
        empty text if it is unknown."""
        self._api = api
        self._batch = batch
        self._reviews = reviews or whole
        self._whole = whole
        self._without_snapshot = without_snapshot
        self._ended_from = ended_from
        self._version = version

    def subjects(self, ids: Sequence[str]) -> list[Event]:
        """Returns the events with these ids whose rows make sense, and whose cameras the account
        may see. Raises ApiError."""
        known = sorted(filter(is_event_id, ids))  # neighbours share their reviews
        events: list[Event] = []
        for at in range(0, len(known), self._batch):
            rows = self._rows(known[at : at + self._batch])
            page = list(filter(None, map(event_of, rows.values())))
            if self._reviews and page:
                page = with_reviews(page, self._reviews_of(page))
            whole = page if self._whole else []
            events += with_rows(page, rows, self._timeline([event.id for event in whole]))
        return events

    def window(self, since: float, until: float = math.inf) -> Iterator[list[str]]:
        """See `Catalog.window`. The newest event comes first. Raises ApiError."""
        for rows in self._list(since, until):
            yield [row["id"] for row in rows if self._is_listed(row)]

    def ended_since(self, ended: float, since: float, most: int) -> list[str]:
        """See `Catalog.ended_since`. It finds no event that lasted longer than an hour. Raises
        ApiError."""
        found: list[tuple[float, str]] = []
        for rows in self._list(max(since, ended - LONG), math.inf):
            for row in filter(self._is_listed, rows):
                at = number(row.get("end_time"))
                if at is not None and at >= ended:
                    found.append((at, row["id"]))
        return [event_id for _, event_id in sorted(found, reverse=True)[:most]]

    def any_review_since(self, since: float) -> bool:
        """Returns whether the mirror's own account has reviewed an item that ended from `since` on.
        Raises ApiError."""
        rows = self._overlapping(since, math.inf)
        return any(row.get("has_been_reviewed") is True for row in rows)

    def recordings(self, camera: str, since: float, until: float) -> list[Segment]:
        """Returns the segments of the camera's recording that overlap this span, in order. They
        have no path. Raises ApiError."""
        path = f"/api/{quote_camera(camera)}/recordings"
        length = max(3_600.0, (until - since) / PIECES)
        found: set[tuple[float, float]] = set()
        while since < until:
            for row in self._ask(path, after=since, before=min(since + length, until)):
                start, end = number(row.get("start_time")), number(row.get("end_time"))
                if start is not None and end is not None:
                    found.add((start, end))
            since += length
        return [Segment("", *span) for span in sorted(found)]

    def last_seen(self, event_id: str) -> float | None:
        """Returns when Frigate last saw the event's object, or None if it noted no such time.
        Raises ApiError."""
        times = (
            number(row.get("timestamp"))
            for row in self._timeline([event_id])
            if row.get("class_type") == "gone"
        )
        return max((at for at in times if at is not None), default=None)

    # -- rows

    def _rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns the rows of these events by id, as they stand in Frigate's table, without the
        thumbnail. Frigate refuses the whole question if the account may not see one of the cameras,
        and the answer may be too large, so it is then asked in halves."""
        try:
            answer = self._ask("/api/event_ids", ids=",".join(ids))
        except (ApiStatus, ApiTooLarge) as error:
            if isinstance(error, ApiStatus) and error.status != NOT_ALLOWED:
                raise
            if len(ids) == 1:
                log.info("S3 sweep: event %s is left out: %s", ids[0], error)
                return {}
            middle = len(ids) // 2
            return self._rows(ids[:middle]) | self._rows(ids[middle:])
        rows = {}
        for row in answer:
            event_id = row.get("id")
            if isinstance(event_id, str) and event_id in ids:
                # SQLite has numbers where the API says true and false.
                rows[event_id] = {
                    name: int(value) if isinstance(value, bool) else value
                    for name, value in row.items()
                    if name != "thumbnail"
                }
        return rows

    def _timeline(self, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yields the rows of the timeline of these events. Frigate 0.16 knows one event for each
        question, and answers nothing to a question for several."""
        rows = None
        if len(ids) > 1 and (version := self._version()) and not version.startswith("0.16."):
            rows = self._moments(",".join(ids))
        if rows is None or len(rows) >= MOST_MOMENTS:
            rows = [row for event_id in ids for row in self._moments(event_id)]
        wanted = set(ids)
        for row in rows:
            event_id = row.get("source_id")
            if isinstance(event_id, str) and event_id in wanted:
                yield row

    def _moments(self, ids: str) -> list[dict[str, Any]]:
        for limit in (MOST_MOMENTS, MOST_MOMENTS // 50):
            try:
                return self._ask("/api/timeline", source_id=ids, limit=limit)
            except ApiTooLarge as error:
                log.debug("%s", error)
        return []

    def _reviews_of(self, events: Sequence[Event]) -> Iterator[tuple[str, Review]]:
        """Yields the review items that contain these events, each with the event's id."""
        ids = {event.id for event in events}
        found: dict[str, tuple[float, Mapping[str, Any]]] = {}
        for since, until in _spans(events):
            for row in self._overlapping(since, until):
                found[row["id"]] = (number(row.get("start_time")) or 0.0, row)
        for _, row in sorted(found.values(), key=lambda one: (one[0], one[1]["id"])):
            review = Review(
                row["id"], str(row.get("severity")), row.get("has_been_reviewed") is True
            )
            data = row.get("data")
            detections = data.get("detections") if isinstance(data, dict) else None
            for event_id in detections if isinstance(detections, list) else []:
                if isinstance(event_id, str) and event_id in ids:
                    yield event_id, review

    def _overlapping(self, since: float, until: float) -> Iterator[Mapping[str, Any]]:
        """Yields the review items that overlap this span, from the newest to the oldest."""
        # Frigate leaves out an item that ends exactly at `after` or starts exactly at `before`.
        after, before = math.nextafter(since, -math.inf), math.nextafter(until, math.inf)
        limit = MOST_REVIEWS
        for _ in range(MOST_PAGES):
            try:
                rows = self._ask("/api/review", after=after, before=_finite(before), limit=limit)
            except ApiTooLarge:
                if limit == 1:
                    raise
                limit //= 2
                continue
            yield from (row for row in rows if isinstance(row.get("id"), str))
            starts = [at for row in rows if (at := number(row.get("start_time"))) is not None]
            if len(rows) < limit or not starts:
                return
            before = _earlier(min(starts), before)
        raise ApiError(ENDLESS)

    # -- lists

    def _list(self, since: float, until: float) -> Iterator[list[dict[str, Any]]]:
        """Yields, in pages, the rows of events that started from `since` to before `until`. A page
        begins with the start of the last row before it, so that events which come or go meanwhile
        neither repeat nor hide another."""
        after, before, limit = math.nextafter(since, -math.inf), until, PAGE
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            try:
                rows = self._ask(
                    "/api/events",
                    after=max(after, 0.0),
                    before=_finite(before),
                    limit=limit,
                    has_snapshot=None if self._without_snapshot else 1,
                )
            except ApiTooLarge:
                if limit == 1:
                    raise
                limit //= 2
                continue
            times = ((number(row.get("start_time")), row) for row in rows)
            inside = [(at, row) for at, row in times if at is not None and since <= at < until]
            fresh = [row for _, row in inside if _is_named(row) and row["id"] not in seen]
            if fresh:
                yield fresh
            if len(rows) < limit or not inside:
                return
            last = min(at for at, _ in inside)
            seen = {row["id"] for at, row in inside if at == last and _is_named(row)}
            # The events that started together with the last one may not all be on this page.
            following = math.nextafter(last, math.inf)
            before = following if fresh and following < before else _earlier(last, before)
        raise ApiError(ENDLESS)

    def _is_listed(self, row: Mapping[str, Any]) -> bool:
        ended = number(row.get("end_time"))
        return ended is None or ended >= self._ended_from

    def _ask(self, path: str, **parameters: Parameter) -> list[dict[str, Any]]:
        """Returns the objects of a list. Raises ApiError."""
        answer = self._api.json(path, **parameters)
        if not isinstance(answer, list):
            raise ApiError(f"ask {self._api.url}{path}: the answer is not a list")
        return [row for row in answer if isinstance(row, dict)]


def _is_named(row: Mapping[str, Any]) -> bool:
    event_id = row.get("id")
    return isinstance(event_id, str) and is_event_id(event_id)


def _finite(time: float) -> float | None:
    return time if math.isfinite(time) else None


def _earlier(following: float, before: float) -> float:
    """Returns where the next page of a list begins. Raises ApiError if it would be this page
    again."""
    if following >= before:
        raise ApiError(ENDLESS)
    return following


def _spans(events: Sequence[Event]) -> Iterator[tuple[float, float]]:
    """Yields the times of these events, those together that are near to each other."""
    ordered = sorted(events, key=lambda event: event.started)
    begun = ordered[0].started
    until = -math.inf
    for event, following in pairwise([*ordered, None]):
        assert event is not None
        until = max(until, math.inf if event.ended is None else event.ended)
        if following is None or following.started - until > APART:
            yield begun, until
            if following is not None:
                begun, until = following.started, -math.inf
