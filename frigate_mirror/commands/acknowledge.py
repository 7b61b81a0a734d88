"""`acknowledge`: the owner confirms failed and lost files, so that health can be OK again."""

from __future__ import annotations

import argparse

from frigate_mirror.commands.retry import add_options, change_dead_letters

__all__ = ["add_options", "main"]


def main(arguments: argparse.Namespace) -> int:
    return change_dead_letters(
        arguments,
        lambda ledger: ledger.acknowledge(arguments.event, arguments.camera),
        "failed or lost file(s) acknowledged; .s3_failed_events still lists them",
        "nothing to do: every failed or lost file, if there is one, is acknowledged already",
    )
