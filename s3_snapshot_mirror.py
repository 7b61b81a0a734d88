#!/usr/bin/env python3
"""Command-line interface of the mirror: what Frigate's hook starts, and what people ask.

    run       mirror until the end of stdin (what the hook starts; event ids come in, one a line)
    status    how it stands          exit 0 OK, 1 DEGRADED or UNKNOWN, 2 DOWN or not running
    check     the doctor             exit 0 no fault, 1 faults
    retry     failed pictures live again
    acknowledge   what failed or was lost no longer keeps health from OK
    backfill  mirror what Frigate's database still has of a span of time
    rebuild   fill a lost ledger from the bucket
    settings  every setting, for scripts and the README

Other exits: 64 a wrong command line, 70 an error that is told, 78 wrong settings.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

HERE = Path(__file__).resolve().parent
if (HERE / "vendor").is_dir():
    sys.path.insert(1, str(HERE / "vendor"))  # on this process's path only, never on Frigate's

try:
    from frigate_mirror import __version__
    from frigate_mirror.commands import moments
    from frigate_mirror.commands import settings as listing
    from frigate_mirror.process import system
    from frigate_mirror.report import health
    from frigate_mirror.settings import settings
    from frigate_mirror.settings.settings import Settings, SettingsError
except ImportError as error:
    print(f"Failed to import S3 modules: {error}; run setup_s3_mirror.sh again", file=sys.stderr)
    sys.exit(78)

if TYPE_CHECKING:
    from frigate_mirror.commands.doctor import Finding

log = logging.getLogger("frigate_s3")
EX_USAGE, EX_SOFTWARE, EX_CONFIG = 64, 70, 78
FRIGATE_SOURCE = Path("/opt/frigate")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except SettingsError as error:
        for fault in error.faults:
            print(f"S3 snapshot mirror: wrong setting {fault}", file=sys.stderr)
        return EX_CONFIG
    except ImportError as error:
        print(
            f"Failed to import S3 modules: {error}; run setup_s3_mirror.sh to vendor them again",
            file=sys.stderr,
        )
        return EX_CONFIG
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=function)
        return added

    command("run", run, "mirror until the end of stdin")
    one = command("status", status, "its health; exit 0 OK, 1 DEGRADED or UNKNOWN, 2 DOWN")
    one.add_argument("--json", action="store_true", help="the whole status document")
    _check_options(
        command("check", check, "look at everything the mirror needs; exit 1 on any fault")
    )
    for one in (
        command("retry", retry, "give failed and lost pictures all their tries again"),
        command("acknowledge", acknowledge, "know of what failed or was lost: health may be OK"),
    ):
        one.add_argument("--event", default="", help="only this event's")
        one.add_argument("--camera", default="", help="only this camera's")
    one = command(
        "backfill", backfill, "mirror what Frigate's database still has of a span of time"
    )
    form = "2026-01-31, 2026-01-31T18:30 (local time) or 3d, 12h, 30m ago"
    one.add_argument("--since", type=moments.moment, required=True, help=form)
    one.add_argument(
        "--until", type=moments.moment, default=None, help="the same; now unless given"
    )
    one.add_argument(
        "--verify",
        action="store_true",
        help="compare with the bucket, upload what is missing there",
    )
    command("rebuild", rebuild, "tell the ledger what is in the bucket already")
    _settings_options(command("settings", list_settings, "list every setting"))
    return parser


def _check_options(check: argparse.ArgumentParser) -> None:
    check.add_argument("--bucket-only", action="store_true", help="only what needs no Frigate")
    tries = check.add_mutually_exclusive_group()
    tries.add_argument("--no-put", action="store_true", help="do not prove the right to put")
    tries.add_argument("--prove-no-delete", action="store_true", help="show it cannot delete")


def _settings_options(command: argparse.ArgumentParser) -> None:
    forms = command.add_mutually_exclusive_group(required=True)
    for name, form, about in (
        ("--names", listing.names, "each variable; after an older name a tab and the newer one"),
        ("--table", listing.table, "the table of the README, in Markdown"),
        ("--json", listing.as_json, "name, aliases, default, about, secret and part of each"),
    ):
        forms.add_argument(name, dest="form", action="store_const", const=form, help=about)


def load() -> Settings:
    """Returns the settings for a command that works beside a running mirror.

    The mirror knows from Frigate where the database lies, and writes it into its status. Those
    places are used where the environment does not name them. Raises SettingsError.
    """
    environ = dict(os.environ)
    document = health.read(settings.load(environ).state.status_path)
    places = document.get("paths", {})
    for name, place in (("FRIGATE_DB_PATH", "database"), ("MIRROR_STATE_DIR", "state")):
        if places.get(place) and not settings.VARIABLES[name].is_set(environ):
            environ[name] = places[place]
    return _wanted(settings.load(environ))


def _wanted(loaded: Settings) -> Settings:
    if not loaded.s3.bucket:
        raise SettingsError(["S3_BUCKET: missing"])
    return loaded


def run(arguments: argparse.Namespace) -> int:
    """The child: reads ids until Frigate is gone, drains for a bounded time, ends."""
    system.let_go()
    loaded = _wanted(settings.load(os.environ))
    system.step_back(loaded.process.niceness)
    system.set_up_logging(loaded.report.log_level)
    if not loaded.process.enabled:
        log.info("S3 snapshot mirror not started: MIRROR_ENABLED is false")
        return EX_CONFIG
    from frigate_mirror.process.child import serve
    from s3 import S3Sink

    return serve(loaded, S3Sink(loaded.s3, os.environ), _versions())


def _versions() -> dict[str, str]:
    found = {"mirror": __version__, "python": sys.version.split()[0]}
    for package in ("boto3", "peewee"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found | {"frigate": os.environ.get("S3_MIRROR_FRIGATE", "unknown")}


def status(arguments: argparse.Namespace) -> int:
    document = health.read(settings.load(os.environ).state.status_path)
    print(
        json.dumps(document, indent=1) if arguments.json else health.report(document, time.time())
    )
    return {health.OK: 0, health.DEGRADED: 1, health.UNKNOWN: 1}.get(document["health"], 2)


def check(arguments: argparse.Namespace) -> int:
    from frigate_mirror.commands import doctor

    return 1 if doctor.tell(_findings(arguments), print) else 0


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    from frigate_mirror.commands import doctor

    yield from doctor.misspelt(os.environ)
    try:
        loaded = _wanted(settings.load(os.environ)) if arguments.bucket_only else load()
    except SettingsError as error:
        for fault in error.faults:
            yield doctor.Finding(doctor.FAULT, f"setting {fault}")
        return
    yield doctor.Finding(doctor.OK, "settings: all of them make sense")
    if not loaded.process.enabled:
        yield doctor.Finding(doctor.NOTE, "MIRROR_ENABLED is false", "the hook stays off")
    if not arguments.bucket_only:
        yield from _at_home(loaded)
    yield doctor.credentials(loaded.s3)
    try:
        from s3 import S3Sink
    except ImportError as error:
        advice = "run setup_s3_mirror.sh again, it vendors what is missing"
        yield doctor.Finding(doctor.FAULT, f"Failed to import S3 modules: {error}", advice)
        return
    sink = S3Sink(loaded.s3, os.environ)
    yield from doctor.bucket(sink, loaded.s3, put=not arguments.no_put)
    if arguments.prove_no_delete:
        yield doctor.deletion(sink, loaded.s3)


def _at_home(loaded: Settings) -> Iterator[Finding]:
    """What can be seen in Frigate's container only."""
    from frigate_mirror.commands import doctor
    from frigate_s3_patcher import SEAM

    yield doctor.frigate(health.read(loaded.state.status_path), FRIGATE_SOURCE, SEAM)
    yield from doctor.paths(loaded)


def retry(arguments: argparse.Namespace) -> int:
    from frigate_mirror.commands import commands

    return commands.retry(load().state, arguments.event, arguments.camera)


def acknowledge(arguments: argparse.Namespace) -> int:
    from frigate_mirror.commands import commands

    return commands.acknowledge(load().state, arguments.event, arguments.camera)


def backfill(arguments: argparse.Namespace) -> int:
    from frigate_mirror.commands import commands
    from s3 import S3Sink

    loaded = load()
    system.set_up_logging("WARNING")
    sink = S3Sink(loaded.s3, os.environ)
    until, verify = arguments.until, arguments.verify
    return commands.backfill(loaded, sink, arguments.since, until, verify=verify)


def rebuild(arguments: argparse.Namespace) -> int:
    from frigate_mirror.commands import commands
    from s3 import S3Sink

    loaded = load()
    system.set_up_logging("INFO")
    return commands.rebuild(loaded, S3Sink(loaded.s3, os.environ))


def list_settings(arguments: argparse.Namespace) -> int:
    print(arguments.form())
    return 0


def command_line() -> NoReturn:
    """Runs the command that sys.argv names and ends the process with its exit code.

    `python3 s3_snapshot_mirror.py` and the installed command `frigate-mirror` both start here.
    """
    if sys.argv[1:2] != ["run"]:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if isinstance(sys.stdout, io.TextIOWrapper):  # not every terminal has every letter
            sys.stdout.reconfigure(errors="backslashreplace")
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # at once, whatever a thread with a hung upload is doing


if __name__ == "__main__":
    command_line()
