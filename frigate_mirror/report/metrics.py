"""Metrics: the newest status and the survey's figures in the text format of Prometheus.

The names follow Prometheus's own conventions: base units, and `_total` for what only grows. The
only labels that come from other programs are kinds and cameras, and both are bounded.
docs/report.md lists the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from frigate_mirror import __version__
from frigate_mirror.report.document import cameras_of, whole
from frigate_mirror.report.status import WORDS, Status
from frigate_mirror.report.survey import Figures
from frigate_mirror.untrusted import plain

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "frigate_mirror"


class Metrics(Collector):
    """The metrics of the mirror `name`, each time from what `newest` and `figures` return then."""

    def __init__(
        self, name: str, newest: Callable[[], Status | None], figures: Callable[[], Figures]
    ) -> None:
        self._name = name
        self._newest = newest
        self._figures = figures
        # A registry of our own has none of the metrics about the process that the usual one has:
        # looking for them takes longer than all of ours.
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Returns all metrics as Prometheus reads them."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Returns nothing, so that registering asks for no metrics."""
        return ()

    def collect(self) -> Iterator[Metric]:
        about = {"version": __version__, "name": plain(self._name)}
        yield InfoMetricFamily(PREFIX, "The version and the name of the mirror.", about)
        status = self._newest()
        if status is not None:
            yield from _of_status(status)
            yield from _of_counts(status)
            yield from _of_figures(self._figures())


def _of_status(status: Status) -> Iterator[Metric]:
    health = _gauge("health", "1 for the health that the mirror has, 0 for the others.", "health")
    for word in WORDS:
        health.add_metric([word], float(word == status.health))
    yield health
    yield _value(
        "reasons", "How many reasons there are why the health is not OK.", len(status.reasons)
    )
    yield _value("start_time_seconds", "When the mirror started, in Unix time.", status.started_at)
    yield _value(
        "status_timestamp_seconds", "When these figures were made, in Unix time.", status.written_at
    )
    if status.service_down or status.service_answered:
        yield _value(
            "destination_up",
            "1 if the destination answers, 0 during an outage.",
            not status.service_down,
        )
    if status.last_success is not None:
        yield _value(
            "last_success_timestamp_seconds",
            "When the last upload ended, in Unix time.",
            status.last_success,
        )
    if status.swept_at is not None and status.sweep_took is not None:
        yield _value(
            "last_sweep_timestamp_seconds",
            "When Frigate's events were last compared with the uploads, in Unix time.",
            status.swept_at,
        )
        yield _value("last_sweep_duration_seconds", "How long that took.", status.sweep_took)
    yield _value(
        "behind_seconds", "How long the oldest file in the queue has been waiting.", status.behind
    )
    attempts = CounterMetricFamily(
        f"{PREFIX}_upload_attempts", "Attempts to upload a file since the start.", labels=["result"]
    )
    attempts.add_metric(["success"], status.successes)
    attempts.add_metric(["failure"], status.failures)
    yield attempts
    yield _value(
        "spool_files", "Files that the mirror holds until they are uploaded.", status.spool_files
    )
    yield _value("spool_bytes", "How large these files are together.", status.spool_bytes)


def _of_counts(status: Status) -> Iterator[Metric]:
    counts = status.counts
    files = _gauge("files", "Files that the ledger knows, by kind and state.", "kind", "state")
    pending = _gauge("pending_files", "Files in the queue, by kind.", "kind")
    for kind, states in counts.kinds.items():
        for state, count in whole(states).items():
            files.add_metric([kind, state], count)
        pending.add_metric([kind], states.get("pending", 0))
    yield files
    yield pending
    yield _value("retrying_files", "Files in the queue that have failed before.", counts.retrying)
    dead = _gauge(
        "dead_letters",
        "Files that need the owner, not yet acknowledged: failed for "
        "good, lost, or uploaded with a flaw.",
        "fate",
    )
    for fate in ("failed", "lost", "flawed"):
        dead.add_metric([fate], getattr(counts, fate))
    yield dead


def _of_figures(figures: Figures) -> Iterator[Metric]:
    cameras = _gauge(
        "camera_files", "Files that the ledger knows, by camera and state.", "camera", "state"
    )
    for camera, states in cameras_of(figures.cameras).items():
        for state, count in states.items():
            cameras.add_metric([camera, state], count)
    yield cameras
    if figures.bytes is not None and figures.bytes_today is not None:
        uploaded = CounterMetricFamily(
            f"{PREFIX}_uploaded_bytes", "Bytes that were uploaded since the ledger was made."
        )
        uploaded.add_metric([], figures.bytes)
        yield uploaded
        yield _value(
            "uploaded_today_bytes", "Bytes that were uploaded since midnight.", figures.bytes_today
        )
    if figures.spool_free is not None:
        yield _value(
            "spool_free_bytes", "Free space on the disk of the files that wait.", figures.spool_free
        )
    if figures.remote_free is not None:
        yield _value(
            "destination_free_bytes",
            "Free space at the destination, if it tells.",
            figures.remote_free,
        )


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=labels)


def _value(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, value)
