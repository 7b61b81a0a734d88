"""Loads the settings for a command, and prints errors for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from frigate_mirror import __version__
from frigate_mirror.report import status
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings, SettingsError
from frigate_mirror.sinks.sink import Archivable

EX_OK, EX_LEFT, EX_USAGE, EX_SOFTWARE, EX_CONFIG = 0, 1, 64, 70, 78


def load() -> Settings:
    """Returns the settings for a command beside a running mirror. Raises SettingsError."""
    return with_destination(load_any())


def load_any() -> Settings:
    """Returns the settings for a command that needs no destination. Raises SettingsError.

    Frigate tells the mirror where its database lies, and the mirror writes that into its status.
    The command takes the paths from there unless the environment names them.
    """
    environ = dict(os.environ)
    document = status.read(settings.load(environ).state.status_path)
    paths = document.get("paths", {})
    for name, path in (("FRIGATE_DB_PATH", "database"), ("MIRROR_STATE_DIR", "state")):
        if paths.get(path) and not settings.VARIABLES[name].is_set(environ):
            environ[name] = paths[path]
    return settings.load(environ)


def with_bucket(loaded: Settings) -> Settings:
    """Returns the settings if they name a bucket. Raises SettingsError."""
    if not loaded.s3.bucket:
        raise SettingsError(["S3_BUCKET: missing, set it to the name of your bucket"])
    return loaded


def with_destination(loaded: Settings) -> Settings:
    """Returns the settings if they name a bucket or a remote of rclone. Raises SettingsError."""
    if loaded.companion.url and not (loaded.rclone.remote or loaded.s3.bucket):
        raise SettingsError(
            ["S3_BUCKET: missing, set it to the name of your bucket, or set RCLONE_REMOTE"]
        )
    return loaded if loaded.rclone.remote else with_bucket(loaded)


def sink_of(loaded: Settings, environ: Mapping[str, str], **options: Any) -> Archivable:
    """Returns the destination that the settings name. `options` are those of S3Sink. Raises
    ImportError if a library is missing."""
    if loaded.rclone.remote:
        from frigate_mirror.sinks.rclone.sink import RcloneSink

        return RcloneSink(loaded.rclone, environ)
    from s3 import S3Sink

    return S3Sink(loaded.s3, environ, **options)


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions of the mirror, of Python and of these packages."""
    found = {"mirror": __version__, "python": sys.version.split()[0]}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def complain(message: str) -> int:
    """Prints an error; returns the exit code for it."""
    print(f"S3 snapshot mirror: {message}", file=sys.stderr)
    return EX_SOFTWARE
