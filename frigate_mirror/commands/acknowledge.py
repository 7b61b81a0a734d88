"""`acknowledge`: the owner knows of what failed or was lost, so that health may be OK again."""

from __future__ import annotations

import argparse

from frigate_mirror.commands.retry import add_options, change_dead_letters

__all__ = ["add_options", "main"]


def main(arguments: argparse.Namespace) -> int:
    return change_dead_letters(
        lambda ledger: ledger.acknowledge(arguments.event, arguments.camera),
        "failed or lost picture(s) acknowledged; .s3_failed_events still lists them",
    )
