"""Tellers: the parts that tell the status in other ways than by the status file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from frigate_mirror.faults import Troubles
from frigate_mirror.keys import zone
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.part import Part
from frigate_mirror.report.document import report_of
from frigate_mirror.report.reporter import Reporter
from frigate_mirror.report.status import Status
from frigate_mirror.report.survey import Survey
from frigate_mirror.settings.settings import Settings


def tellers(
    settings: Settings,
    identity: Callable[[], str],
    reporter: Reporter,
    ledger: Ledger,
    sink: object,
    troubles: Troubles,
) -> list[Part]:
    """Returns the parts that the settings ask for. Whatever keeps a report from being published is
    a trouble and stops nothing: the files matter more. `identity` returns this mirror's name at the
    broker, and raises LedgerError."""
    told = settings.report
    if not told.over_mqtt and not told.http_port:
        return []
    days = zone(settings.keys.timezone)
    survey = Survey(reporter.newest, ledger, settings.state.cache_dir, sink, days, troubles)
    parts: list[Part] = [survey]

    def make(status: Status) -> dict[str, Any]:
        return report_of(status, survey.found, told.name)

    if told.over_mqtt:
        parts += _publisher(settings, identity, reporter, make, ledger, troubles)
    if told.http_port:
        # The server of the standard library takes a megabyte of memory, which most mirrors inside
        # Frigate do not need.
        from frigate_mirror.report.answers import metrics_page, pages_of
        from frigate_mirror.report.pages import Pages

        metrics = metrics_page(told.name, reporter.newest, lambda: survey.found)
        pages = pages_of(reporter, make, metrics)
        parts.append(Pages(told.http_address, told.http_port, pages, troubles))
    return parts


def _publisher(
    settings: Settings,
    identity: Callable[[], str],
    reporter: Reporter,
    make: Callable[[Status], Mapping[str, Any]],
    ledger: Ledger,
    troubles: Troubles,
) -> list[Part]:
    told, broker = settings.report, settings.mqtt
    try:
        from frigate_mirror.report.publisher import Publisher

        return [Publisher(told, broker, identity(), reporter.newest, make, ledger)]
    except ImportError:
        why = (
            "the library paho-mqtt is missing: run setup_s3_mirror.sh again, or install "
            "frigate-s3-mirror[companion]"
        )
    except (LedgerError, OSError) as error:  # an OSError: a certificate is none
        why = str(error)
    troubles.note("report", f"no report is published: {why}")
    return []
