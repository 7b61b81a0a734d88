"""`run`: the child process that Frigate's hook starts."""

from __future__ import annotations

import argparse
import logging
import os

from frigate_mirror.commands.loading import EX_CONFIG, versions, with_bucket
from frigate_mirror.process import system
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings, SettingsError

OF_BACKFILL = ("process", "report", "frigate", "backfill", "state")
"""The parts of the settings that the recording backfill needs. No other reaches its jobs."""

log = logging.getLogger("frigate_s3")


def add_options(parser: argparse.ArgumentParser) -> None:
    """`run` has no options."""


def main(arguments: argparse.Namespace) -> int:
    """Mirrors the events whose ids come in on stdin, one a line, until stdin ends, and answers the
    API of the recording backfill if there is one. Raises SettingsError."""
    system.close_inherited_files()
    loaded, faults = _load()
    system.set_up_logging(loaded.report.log_level)
    for fault in faults:
        log.error("S3 snapshot mirror: wrong setting %s", fault)
    if not loaded.backfill.api:
        system.lower_priority(loaded.process.niceness)
        return _mirror(loaded)
    from frigate_mirror.process.child import attend
    from frigate_mirror.process.rounds import start_all
    from frigate_mirror.restore.service import Service

    environ = settings.only_parts(os.environ, *OF_BACKFILL)
    service = Service(loaded.state.dirs, environ=environ)
    start_all(service.start)
    # The service has begun with the usual priority, and its jobs choose their own.
    system.lower_priority(loaded.process.niceness)
    try:
        if loaded.s3.bucket and loaded.process.enabled:
            return _mirror(loaded)
        log.info("S3 snapshot mirror not started, only the API of the recording backfill")
        return attend()
    finally:
        service.stop()


def _load() -> tuple[Settings, list[str]]:
    """Returns the settings. If they are wrong for the mirror but right for the recording backfill,
    returns those that this needs, and what is wrong. Raises SettingsError."""
    try:
        loaded = settings.load(os.environ)
        if loaded.companion.url:  # it would begin anew, in a folder that the container forgets
            raise SettingsError(
                ["FRIGATE_URL: it is for the companion; remove it from the container of Frigate"]
            )
        return loaded if loaded.backfill.api else with_bucket(loaded), []
    except SettingsError as error:
        try:
            loaded = settings.load(settings.only_parts(os.environ, *OF_BACKFILL))
        except SettingsError:
            raise error from None
        if not loaded.backfill.api:
            raise
        return loaded, error.faults


def _mirror(loaded: Settings) -> int:
    if not loaded.process.enabled:
        log.info("S3 snapshot mirror not started: MIRROR_ENABLED is false")
        return EX_CONFIG
    from frigate_mirror.process.child import serve
    from s3 import S3Sink

    frigate = os.environ.get("S3_MIRROR_FRIGATE", "unknown")
    told = versions("boto3", "peewee") | {"frigate": frigate}
    return serve(loaded, S3Sink(loaded.s3, os.environ), told)
