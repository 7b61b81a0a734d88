"""`setup`: what `setup_s3_mirror.sh` starts as soon as it has found a Python."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import frigate_mirror
from frigate_mirror.checks.bucket import bucket
from frigate_mirror.checks.finding import FAULT
from frigate_mirror.checks.variables import misspelt
from frigate_mirror.settings import settings
from frigate_mirror.setup import envfile
from frigate_mirror.setup.docker import Docker, on_the_host, on_this_machine
from frigate_mirror.setup.envfile import EnvFile
from frigate_mirror.setup.given import collect
from frigate_mirror.setup.install import (
    DONE,
    FAILED,
    FRIGATE_IMAGE,
    NEEDED,
    Install,
    Options,
    Tools,
    Verdict,
)
from frigate_mirror.setup.libraries import Libraries, LibrariesError
from frigate_mirror.setup.screen import Screen, Stopped
from frigate_mirror.setup.uninstall import uninstall
from frigate_mirror.sinks.sink import SinkError, Unavailable

OURS = Path(frigate_mirror.__file__).resolve().parent.parent
EX_USAGE = 64
NO_TERMINAL = (
    "There is no terminal to ask you on, so nothing was changed. Use --yes to set up with the\n"
    "settings from the environment and from .env, or --dry-run to see what would be written."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.prog = "setup_s3_mirror.sh"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Sets the mirror up for a Frigate that runs with Docker Compose. Run it in the folder of\n"
        "Frigate's compose file. It takes the settings from the environment (S3_BUCKET,\n"
        "S3_ACCESS_KEY, S3_SECRET_KEY, ...) and from .env, and asks for them on a terminal.\n\n"
        "setup_s3_mirror.sh demo [--keep] shows the mirror at work on this machine, without\n"
        "Docker and without a bucket."
    )
    parser.epilog = (
        "exit codes: 0 done, 1 not done, 3 done, but the check found faults, 64 wrong command\n"
        "line, or no terminal and neither --yes nor --dry-run"
    )
    # fmt: off
    parser.add_argument("--dir", type=_folder, default=Path.cwd(), metavar="FOLDER",
                        help="the folder of the compose file (default: the current folder)")
    parser.add_argument("--service", type=_service, metavar="NAME",
                        help="Frigate's service in the compose file (default: setup finds it)")
    parser.add_argument("--image", default="", metavar="IMAGE",
                        help="the Frigate image to use if this machine has no Python 3.11 with pip")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask anything")
    parser.add_argument("--dry-run", "-n", action="store_true",
                        help="show what would be written, and write nothing")
    parser.add_argument("--no-try", action="store_true",
                        help="do not try the key on the bucket before writing")
    parser.add_argument("--uninstall", dest="what", action="store_const", const="uninstall",
                        help="remove what setup wrote; the mirror's state and the bucket stay")
    parser.add_argument("--vendor-only", dest="what", action="store_const", const="vendor",
                        help="only download the libraries into vendor/")
    parser.add_argument("--bridge", type=Path, help=argparse.SUPPRESS)  # see setup_s3_mirror.sh


def main(arguments: argparse.Namespace) -> int:
    options = Options(
        folder=arguments.dir,
        service=arguments.service or "",
        image=arguments.image,
        yes=arguments.yes,
        dry_run=arguments.dry_run,
        no_try=arguments.no_try,
    )
    screen = Screen()
    bridge: Path | None = arguments.bridge
    run = on_the_host(bridge) if bridge else on_this_machine(options.folder)
    tools = Tools(
        docker=Docker(run),
        screen=screen,
        libraries=Libraries(OURS),
        ours=OURS,
        try_key=lambda environ: _try_key(environ, screen),
        misspelt=_misspelt,
    )
    if arguments.what == "vendor":
        return _vendor_only(options, tools)
    if not screen.interactive and not options.yes and not options.dry_run:
        screen.complain(NO_TERMINAL)
        return EX_USAGE
    try:
        return uninstall(options, tools) if arguments.what else Install(options, tools).run()
    except Stopped:
        screen.complain("\nNothing was changed.")
        return FAILED


def _vendor_only(options: Options, tools: Tools) -> int:
    screen, libraries = tools.screen, tools.libraries
    missing = [name for name in NEEDED if not (OURS / name).is_file()]
    if missing:
        screen.complain(f"{OURS / missing[0]} is missing: download the whole project again")
        return FAILED
    if options.dry_run:
        screen.say("Nothing was downloaded (--dry-run).")
        return DONE
    try:
        env = envfile.read(options.folder / ".env")
    except OSError:  # then only the environment of this run counts
        env = EnvFile()
    libraries.choose(collect(os.environ, env, {}).effective)
    if libraries.are_current:
        screen.say("vendor/ is up to date.")
    else:
        screen.say("Downloading the libraries into vendor/ ...")
        try:
            libraries.download()
        except LibrariesError as error:
            screen.complain(str(error))
            return FAILED
        screen.say("vendor/ has the libraries now.")
    libraries.compile(tools.docker, options.image or FRIGATE_IMAGE)
    return DONE


def _try_key(environ: Mapping[str, str], screen: Screen) -> Verdict:
    """Lists and puts as the mirror would, with the libraries that setup has just downloaded."""
    sys.path.insert(1, str(OURS / "vendor"))
    from s3 import S3Sink

    loaded = settings.load(environ)
    sink = S3Sink(loaded.s3, environ, attempts=1)
    try:
        sink.check()
    except Unavailable as error:
        screen.tell(FAULT, _with_advice(error.args[0], error.hint))
        return Verdict.UNREACHABLE
    except SinkError:
        pass  # the findings below tell it
    verdict, told = Verdict.WORKS, set()
    for finding in bucket(sink, loaded.s3, put=True):
        if finding.grade == FAULT:
            verdict = Verdict.REFUSED
        if not finding.advice or finding.advice not in told:  # one wrong key has two faults
            screen.tell(finding.grade, _with_advice(finding.what, finding.advice))
        told.add(finding.advice)
    return verdict


def _with_advice(what: str, advice: str) -> str:
    return f"{what}\n       -> {advice}" if advice else what


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    for finding in misspelt(environ):
        yield f"{finding.what}: {finding.advice}"


def _folder(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


def _service(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a service")
    return text
