"""`companion`: mirrors a Frigate that cannot be patched, from beside it."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import frigate_mirror
from frigate_mirror.commands.loading import EX_CONFIG, EX_OK, sink_of, versions, with_destination
from frigate_mirror.process import system
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import SettingsError

log = logging.getLogger("frigate_s3")
UNIT = Path(frigate_mirror.__file__).with_name("companion.service")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=["run", "demo", "unit"],
        default="run",
        help="run (the default): mirror until a signal comes; demo: show it on this machine, with "
        "a stand-in for Frigate, a broker and three destinations; unit: print a unit of systemd",
    )
    parser.add_argument("--keep", action="store_true", help="demo: keep its files")


def main(arguments: argparse.Namespace) -> int:
    if arguments.what == "demo":
        from frigate_mirror.demo import demo

        return demo.main(keep=arguments.keep)
    if arguments.what == "unit":
        print(UNIT.read_text(encoding="utf-8"), end="")
        return EX_OK
    loaded = settings.load(os.environ)
    if not loaded.companion.url:
        raise SettingsError(
            ["FRIGATE_URL: missing, set it to Frigate's address as http://frigate:5000"]
        )
    with_destination(loaded)
    system.lower_priority(loaded.process.niceness)
    system.set_up_logging(loaded.report.log_level)
    if not loaded.process.enabled:
        log.info("S3 snapshot mirror not started: MIRROR_ENABLED is false")
        return EX_CONFIG
    from frigate_mirror.process.companion import serve

    sink = sink_of(loaded, os.environ)
    return serve(loaded, sink, versions("boto3", "peewee", "urllib3", "paho-mqtt"))
