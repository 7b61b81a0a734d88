"""`recorder`: records RTSP cameras without an NVR, and mirrors the recordings."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from frigate_mirror.process import system
from frigate_mirror.recorder import config
from frigate_mirror.recorder.config import CONFIG, Config
from frigate_mirror.settings.settings import SettingsError

if TYPE_CHECKING:
    from frigate_mirror.checks.finding import Finding

# Each function imports what only it needs: a recorder of one camera is a small process.

WHAT = {
    "run": "record and upload until a signal comes",
    "status": "say for each camera what is recorded, what is missing and what is on its way",
    "check": "check the configuration, ffmpeg, every camera and the destination",
    "notify": "send a test to you by each way that is set",
    "retry": "upload failed and lost segments again",
    "acknowledge": "confirm that you know of failed and lost segments, so that health can be OK",
    "install": "make the user, the folders and a template of the configuration",
    "demo": "show it on this machine, with cameras that ffmpeg makes and an S3 server",
    "generate": "write the units of systemd for the enabled cameras",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    told = "; ".join(f"{name}: {about}" for name, about in WHAT.items())
    parser.add_argument("what", choices=[*WHAT], help=told)
    parser.add_argument("--config", type=Path, default=CONFIG, help=f"the default is {CONFIG}")
    parser.add_argument("--keep", action="store_true", help="demo: keep its files")
    parser.add_argument(
        "--camera", metavar="NAME", default="",
        help="run: only record this camera; retry, acknowledge: only its segments",
    )  # fmt: skip
    parser.add_argument("--uploader", action="store_true", help="run: only upload")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="install, generate: work below this folder"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="install, generate: only say what would be done"
    )


def main(arguments: argparse.Namespace) -> int:
    what = arguments.what
    if arguments.uploader and what != "run":
        arguments.parser.error("--uploader belongs to run")
    if arguments.camera and what not in ("run", "retry", "acknowledge"):
        arguments.parser.error("--camera belongs to run, retry and acknowledge")
    if arguments.camera and arguments.uploader:
        arguments.parser.error("give either --camera or --uploader, or neither for all")
    if what == "demo":
        from frigate_mirror.demo import recorder

        return recorder.main(keep=arguments.keep)
    if what == "install":
        return _set_up(arguments, None)
    does: dict[str, Callable[[Config], int]] = {
        "run": lambda loaded: _run(loaded, arguments),
        "status": _status,
        "check": _check,
        "notify": _notify,
        "retry": lambda loaded: _retry(loaded, arguments.camera),
        "acknowledge": lambda loaded: _acknowledge(loaded, arguments.camera),
        "generate": lambda loaded: _set_up(arguments, loaded),
    }
    return does[what](config.load(arguments.config.absolute()))


def _set_up(arguments: argparse.Namespace, loaded: Config | None) -> int:
    from frigate_mirror.commands.loading import complain
    from frigate_mirror.recorder import install

    root = arguments.root.resolve()
    try:
        if loaded is None:
            install.install(root, print, dry=arguments.dry_run)
        else:
            install.generate(loaded, root, print, dry=arguments.dry_run)
    except install.InstallError as error:
        return complain(str(error))
    return 0


def _run(loaded: Config, arguments: argparse.Namespace) -> int:
    system.set_up_logging(loaded.mirror.report.log_level)
    if not arguments.uploader:
        from frigate_mirror.recorder import ffmpeg

        try:
            ffmpeg.version(loaded.ffmpeg)
        except ffmpeg.FfmpegError as error:
            raise SettingsError([f"recording.ffmpeg: {error}"]) from None
    if arguments.camera:
        _record(loaded, arguments.camera)
    from frigate_mirror.commands.loading import sink_of, versions
    from frigate_mirror.recorder import process

    folder = loaded.mirror.state.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sink = sink_of(loaded.mirror, loaded.environ, journal=folder / "uploads.jsonl")
    go = process.upload if arguments.uploader else process.run
    return go(loaded, sink, versions("boto3"))


def _record(loaded: Config, name: str) -> NoReturn:
    from frigate_mirror.recorder import record

    for camera in loaded.enabled:
        if camera.name == name:
            record.become(camera, loaded.mirror.report.log_level)
    raise SettingsError([f"cameras: no enabled camera has the name {name}"])


def _status(loaded: Config) -> int:
    from frigate_mirror.commands.status import EXITS
    from frigate_mirror.commands.terminal import fit
    from frigate_mirror.recorder import status
    from frigate_mirror.report import status as mirror

    for line in status.lines_of(loaded):
        print(line)
    document = mirror.read(loaded.mirror.state.status_path)
    print(fit(mirror.report(document, time.time()), 15))
    return EXITS[document["health"]]


def _notify(loaded: Config) -> int:
    from frigate_mirror.commands.notify import send_test

    return send_test(loaded.mirror)


def _retry(loaded: Config, camera: str) -> int:
    from frigate_mirror.commands.retry import retry

    return retry(loaded.mirror.state, "", camera)


def _acknowledge(loaded: Config, camera: str) -> int:
    from frigate_mirror.commands.acknowledge import acknowledge

    return acknowledge(loaded.mirror.state, "", camera)


def _check(loaded: Config) -> int:
    from frigate_mirror.checks.finding import tell
    from frigate_mirror.checks.notices import notices
    from frigate_mirror.commands.terminal import fit
    from frigate_mirror.recorder import probe

    findings = chain(
        probe.findings(loaded), _of_destination(loaded), notices(loaded.mirror, "recorder notify")
    )
    return tell(findings, lambda finding: print(fit(finding, 10)))


def _of_destination(loaded: Config) -> Iterator[Finding]:
    mirror = loaded.mirror
    if mirror.rclone.remote:
        from frigate_mirror.checks import remote

        yield from remote.remote(mirror.rclone, loaded.environ, put=True, prove=False)
        return
    from frigate_mirror.checks import bucket
    from s3 import S3Sink

    yield bucket.credentials(mirror.s3)
    yield from bucket.bucket(S3Sink(mirror.s3, loaded.environ), mirror.s3, put=True)
