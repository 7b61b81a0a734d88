"""`retry`: uploads failed and lost files again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from frigate_mirror.commands.loading import EX_OK, complain, load
from frigate_mirror.ledger import folders
from frigate_mirror.ledger.ledger import Ledger, LedgerError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--event", default="", help="only the files of this event")
    parser.add_argument("--camera", default="", help="only the files of this camera")


def main(arguments: argparse.Namespace) -> int:
    return change_dead_letters(
        lambda ledger: ledger.revive(arguments.event, arguments.camera, time.time()),
        "failed or lost file(s) are queued again",
    )


def change_dead_letters(change: Callable[[Ledger], int], done: str) -> int:
    """Applies `change` to the ledger, and prints how many dead letters it changed."""
    settings = load().state
    if not folders.ledgers(settings):
        names = " or ".join(map(str, settings.dirs))
        return complain(f"no ledger in {names}: no mirror has run with these folders")
    try:
        with folders.opened(settings) as (state, _):
            count = change(state.ledger)
    except (LedgerError, OSError) as error:
        return complain(str(error))
    print(f"{count} {done}")
    return EX_OK
