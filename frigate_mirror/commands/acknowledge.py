"""`acknowledge`: the owner confirms failed and lost files, so that health can be OK again."""

from __future__ import annotations

import argparse

from frigate_mirror.commands.loading import load
from frigate_mirror.commands.retry import add_options, change_dead_letters
from frigate_mirror.settings.settings import StateSettings

__all__ = ["acknowledge", "add_options", "main"]


def main(arguments: argparse.Namespace) -> int:
    return acknowledge(load().state, arguments.event, arguments.camera)


def acknowledge(settings: StateSettings, event: str, camera: str) -> int:
    """Notes that the owner knows of the failed and lost files of an event, of a camera or of all;
    returns the exit code."""
    return change_dead_letters(
        settings,
        (event, camera),
        lambda ledger: ledger.acknowledge(event, camera),
        "failed or lost file(s) acknowledged; .s3_failed_events still lists them",
        "nothing to do: every failed or lost file, if there is one, is acknowledged already",
    )
