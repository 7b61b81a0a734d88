#!/usr/bin/env python3
"""Command-line interface of the mirror.

Exit codes of all commands: 0 success, 64 wrong command line, 70 an error that
is printed, 78 wrong settings. Some commands have more:

  status               1 for DEGRADED or UNKNOWN, 2 for DOWN; with --alive 1 if
                       no mirror runs
  check                1 for a fault; with --prove-no-delete also 2 if the key
                       can delete, and 3 if nobody can tell whether it can
  notify               1 if a way does not work, 78 if none is set
  retry, acknowledge   1 if the named event or camera has no failed or lost file
  backfill             1 if something is not uploaded
  recordings           1 if some files had errors, 2 if it refuses to begin
  retention            1 if it refuses to delete so much, or if something is left
  recorder             status: as status; check: 1 for a fault; notify, retry,
                       acknowledge: as those
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
if (HERE / "vendor").is_dir():
    sys.path.insert(1, str(HERE / "vendor"))  # on this process's path only, never on Frigate's

EX_USAGE, EX_CONFIG = 64, 78
try:
    from frigate_mirror import __version__
    from frigate_mirror.settings.settings import SettingsError
except ImportError as error:
    print(f"Failed to import S3 modules: {error}; run setup_s3_mirror.sh again", file=sys.stderr)
    sys.exit(EX_CONFIG)

COMMANDS = {
    "run": "mirror events; Frigate's hook starts this and sends their ids on stdin",
    "companion": "mirror a Frigate beside which this runs, over MQTT and HTTP",
    "status": "show the health of the mirror, and why",
    "check": "check everything that the mirror needs, and say how to correct each fault",
    "notify": "send a test to you by each way that is set",
    "retry": "upload failed and lost files again",
    "acknowledge": "confirm that you know of failed and lost files, so that health can be OK",
    "backfill": "upload the files of a span of time that the ledger does not know",
    "rebuild": "fill the ledger from a listing of the bucket",
    "recordings": "give recordings on the disk their rows in Frigate's database again",
    "recorder": "record RTSP cameras without an NVR, and mirror the recordings",
    "retention": "delete at the destination what you do not want to keep any longer",
    "settings": "list every setting",
    "setup": "set the mirror up; setup_s3_mirror.sh runs this",
}
"""Each command is a module of `frigate_mirror.commands`; only the chosen one is imported."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def main(arguments: list[str]) -> int:
    """Runs a command; returns its exit code."""
    try:
        parsed, unknown = _parser(arguments).parse_known_args(arguments)
        if unknown:
            parsed.parser.error(f"unknown arguments: {' '.join(unknown)}")
        return int(parsed.main(parsed))
    except SettingsError as error:
        for fault in error.faults:
            print(f"S3 snapshot mirror: wrong setting {fault}", file=sys.stderr)
        return EX_CONFIG
    except ImportError as error:
        print(
            f"Failed to import S3 modules: {error}; run setup_s3_mirror.sh to install them again, "
            "or for the companion pip install '.[companion]' in the folder of this project",
            file=sys.stderr,
        )
        return EX_CONFIG
    except KeyboardInterrupt:
        return 130


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        if name in arguments[:1]:
            module = importlib.import_module(f"frigate_mirror.commands.{name}")
            module.add_options(command)
            command.set_defaults(main=module.main, parser=command)
    return parser


def command_line() -> NoReturn:
    """Runs the command that the process was started with, and ends the process."""
    run_as(sys.argv[1:])


def camera_backup_install() -> NoReturn:
    """Runs `recorder install`."""
    run_as(["recorder", "install", *sys.argv[1:]])


def camera_backup_generate() -> NoReturn:
    """Runs `recorder generate`."""
    run_as(["recorder", "generate", *sys.argv[1:]])


def run_as(words: list[str]) -> NoReturn:
    """Runs the command that `words` name, and ends the process."""
    long = ["recorder", "run"], ["recorder", "demo"]
    if words[:1] not in (["run"], ["companion"]) and words[:2] not in long:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if isinstance(sys.stdout, io.TextIOWrapper):  # some terminals lack some letters
            sys.stdout.reconfigure(errors="backslashreplace")
    code = main(words)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # at once, even if a thread hangs in an upload


if __name__ == "__main__":
    command_line()
