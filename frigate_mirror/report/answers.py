"""Answers: what each page says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from frigate_mirror.report.pages import Answer, Page, document, text
from frigate_mirror.report.reporter import Reporter
from frigate_mirror.report.status import DOWN, STALE_AFTER, UNKNOWN, Status
from frigate_mirror.report.survey import Figures

NO_STATUS = "the mirror has just started, and has no status yet"
NO_ANSWER = "the destination has not answered yet"
NO_METRICS = (
    "the library prometheus_client is missing: run setup_s3_mirror.sh again, or install "
    "frigate-s3-mirror[metrics]"
)


def pages_of(
    reporter: Reporter, make: Callable[[Status], Mapping[str, Any]], metrics: Page
) -> dict[str, Page]:
    """Returns the pages by their paths."""

    def healthz() -> Answer:
        silent = time.monotonic() - reporter.pulse
        if silent > STALE_AFTER:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "the mirror does not work any more")
        return text(HTTPStatus.OK, "alive")

    def readyz() -> Answer:
        status, alive = reporter.newest(), healthz()
        if alive.status != HTTPStatus.OK:
            return alive
        if status is None:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, NO_STATUS)
        reasons = make(status)["reasons"]
        if status.health == UNKNOWN:
            reasons = [NO_ANSWER, *reasons]
        words = "\n".join([status.health, *reasons])
        ready = status.health not in (DOWN, UNKNOWN)
        return text(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, words)

    def status_page() -> Answer:
        status = reporter.newest()
        if status is None:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, NO_STATUS)
        return document(make(status))

    return {"/healthz": healthz, "/readyz": readyz, "/status": status_page, "/metrics": metrics}


def metrics_page(
    name: str, newest: Callable[[], Status | None], figures: Callable[[], Figures]
) -> Page:
    """Returns the page of the metrics. Without the library for them it says what to do."""
    try:
        from frigate_mirror.report.metrics import CONTENT_TYPE, Metrics
    except ImportError:
        return lambda: text(HTTPStatus.NOT_IMPLEMENTED, NO_METRICS)
    metrics = Metrics(name, newest, figures)
    return lambda: Answer(HTTPStatus.OK, CONTENT_TYPE, metrics.text())
