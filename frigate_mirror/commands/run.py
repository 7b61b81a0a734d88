"""`run`: the child process that Frigate's hook starts."""

from __future__ import annotations

import argparse
import logging
import os

from frigate_mirror.commands.loading import EX_CONFIG, versions, with_bucket
from frigate_mirror.process import system
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import SettingsError

log = logging.getLogger("frigate_s3")


def add_options(parser: argparse.ArgumentParser) -> None:
    """`run` has no options."""


def main(arguments: argparse.Namespace) -> int:
    """Mirrors the events whose ids come in on stdin, one a line, until stdin ends. Raises
    SettingsError."""
    system.close_inherited_files()
    loaded = with_bucket(settings.load(os.environ))
    if loaded.companion.url:  # it would begin anew, in a folder that the container forgets
        raise SettingsError(
            ["FRIGATE_URL: it is for the companion; remove it from the container of Frigate"]
        )
    system.lower_priority(loaded.process.niceness)
    system.set_up_logging(loaded.report.log_level)
    if not loaded.process.enabled:
        log.info("S3 snapshot mirror not started: MIRROR_ENABLED is false")
        return EX_CONFIG
    from frigate_mirror.process.child import serve
    from s3 import S3Sink

    frigate = os.environ.get("S3_MIRROR_FRIGATE", "unknown")
    told = versions("boto3", "peewee") | {"frigate": frigate}
    return serve(loaded, S3Sink(loaded.s3, os.environ), told)
