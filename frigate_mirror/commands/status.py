"""`status`: the mirror's health, and what it is based on."""

from __future__ import annotations

import argparse
import json
import os
import time

from frigate_mirror.commands.terminal import fit
from frigate_mirror.report import status
from frigate_mirror.settings import settings

EXITS = {status.OK: 0, status.DEGRADED: 1, status.UNKNOWN: 1, status.DOWN: 2}


def add_options(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print the whole status document")
    forms.add_argument(
        "--alive",
        action="store_true",
        help="say only whether a mirror runs, for a container's health check: an outage of the "
        "bucket is no reason to start it anew",
    )


def main(arguments: argparse.Namespace) -> int:
    document = status.read(settings.load(os.environ).state.status_path)
    if arguments.alive:
        print("alive" if document["running"] else document["reasons"][0])
        return 0 if document["running"] else 1
    if arguments.json:
        print(json.dumps(document, indent=1))
    else:
        print(fit(status.report(document, time.time()), 15))
    return EXITS[document["health"]]
