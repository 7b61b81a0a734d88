"""`retry`: uploads failed and lost files again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from frigate_mirror.commands.loading import EX_LEFT, EX_OK, complain, load
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.ledger import Ledger, LedgerError
from frigate_mirror.settings.settings import StateSettings
from frigate_mirror.untrusted import plain

STATES = {
    "waiting": "the mirror still looks for its file",
    "pending": "its file is in the queue",
    "uploaded": "its file is uploaded",
    "failed": "its file has failed for good",
    "lost": "its file is lost",
    "gone": "it has no file",
    "unwanted": "your filters leave it out",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--event", default="", help="only the files of this event")
    parser.add_argument("--camera", default="", help="only the files of this camera")


def main(arguments: argparse.Namespace) -> int:
    return retry(load().state, arguments.event, arguments.camera)


def retry(settings: StateSettings, event: str, camera: str) -> int:
    """Queues the failed and lost files of an event, of a camera or of all again; returns the exit
    code."""
    return change_dead_letters(
        settings,
        (event, camera),
        lambda ledger: ledger.revive(event, camera, time.time()),
        "failed or lost file(s) are queued again",
        "nothing to do: no file has failed or is lost",
    )


def change_dead_letters(
    settings: StateSettings,
    whose: tuple[str, str],
    change: Callable[[Ledger], int],
    done: str,
    nothing: str,
) -> int:
    """Applies `change` to the ledger, and prints how many dead letters it changed, or `nothing`. If
    it changed none of the event or camera in `whose`, says what the ledger knows instead."""
    if not folders.ledgers(settings):
        names = " or ".join(map(str, settings.dirs))
        return complain(f"no ledger in {names}: no mirror has run with these folders")
    try:
        with folders.opened(settings) as (state, _):
            count = change(state.ledger)
            if not count and any(whose):
                known = _known(state.ledger, *whose)
                print(plain(known, longest=10_000), file=sys.stderr)
                return EX_LEFT
    except (LedgerError, OSError) as error:
        return complain(str(error))
    print(f"{count} {done}" if count else nothing)
    return EX_OK


def _known(ledger: Ledger, event_id: str, camera: str) -> str:
    """Returns what the ledger knows of the event or, without one, of the cameras."""
    if event_id:
        states = ledger.states(event_id)
        known = "; ".join(
            f"camera {name}: {STATES[state]}{', which is acknowledged' if acknowledged else ''}"
            for name, state, acknowledged in states
        )
        unknown = "the ledger does not know it; .s3_failed_events lists all failed and lost files"
        return f"nothing to do for event {event_id!r}: {known or unknown}"
    cameras = ledger.cameras()
    if camera not in cameras:
        why = "the ledger does not know it"
    elif cameras[camera]:
        why = "its failed and lost files are acknowledged"
    else:
        why = "none of its files has failed or is lost"
    known = ", ".join(f"{name} {dead}" for name, dead in cameras.items()) or "the ledger is empty"
    return f"nothing to do for camera {camera!r}: {why}. Failed and lost files by camera: {known}"
