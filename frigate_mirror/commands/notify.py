"""`notify`: tries the ways on which the owner gets notices."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

from frigate_mirror.commands.loading import EX_CONFIG, EX_LEFT, EX_OK
from frigate_mirror.commands.terminal import fit
from frigate_mirror.notify import notice, ping
from frigate_mirror.notify.way import NotSent
from frigate_mirror.notify.ways import ways_of
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings

NONE_SET = (
    "no way is set: set NOTIFY_WEBHOOK_URL, NOTIFY_NTFY_URL, NOTIFY_PING_URL or MQTT_HOST with "
    "MIRROR_REPORT_MQTT=true, or for the companion NOTIFY_APPRISE_URLS; docs/notifications.md has "
    "examples"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--test", action="store_true", required=True, help="send a test by each way that is set"
    )


def main(arguments: argparse.Namespace) -> int:
    return send_test(settings.load(os.environ))


def send_test(loaded: Settings) -> int:
    """Sends a test by each way that is set, and says how that went; returns the exit code."""
    sends = _sends(loaded)
    if not sends:
        print(fit(NONE_SET, 0))
        return EX_CONFIG
    failed = 0
    for name, send in sends:
        try:
            send()
            result = "sent"
        except NotSent as error:
            failed += 1
            result = f"NOT SENT: {error}"
        print(fit(f"{name:<20} {result}", 21), flush=True)
    return EX_LEFT if failed else EX_OK


def _sends(loaded: Settings) -> list[tuple[str, Callable[[], None]]]:
    """Returns the name of each way and how a test is sent by it."""
    test = notice.test(loaded.report.name, time.time())
    sends: list[tuple[str, Callable[[], None]]] = [
        (way.name, partial(way.send, test)) for way in ways_of(loaded)
    ]
    if loaded.notify.ping_url:
        sends.append(("ping", partial(ping.send, loaded.notify.ping_url)))
    return sends
