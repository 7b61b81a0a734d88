"""`rebuild`: fills the ledger from a listing of the bucket, so that nothing is uploaded twice."""

from __future__ import annotations

import argparse
import os

from frigate_mirror.commands.loading import EX_OK, complain, load, sink_of
from frigate_mirror.ledger import folders, repair
from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.process import system
from frigate_mirror.sinks.sink import SinkError


def add_options(parser: argparse.ArgumentParser) -> None:
    """`rebuild` has no options."""


def main(arguments: argparse.Namespace) -> int:
    settings = load()
    system.set_up_logging("INFO")
    keys = settings.keys.codec
    sink = sink_of(settings, os.environ)
    try:
        with folders.opened(settings.state) as (state, _):
            listing = sink.list(keys.folder)
            count = state.ledger.add_settled(repair.from_listing(listing, keys))
    except (LedgerError, SinkError, OSError) as error:
        return complain(str(error))
    where = "remote" if settings.rclone.remote else "bucket"
    print(f"{count} file(s) of the {where} are new in the ledger")
    return EX_OK
