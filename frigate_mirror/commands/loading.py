"""Loads the settings for a command, and prints errors for people."""

from __future__ import annotations

import os
import sys

from frigate_mirror.report import status
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings, SettingsError

EX_OK, EX_LEFT, EX_USAGE, EX_SOFTWARE, EX_CONFIG = 0, 1, 64, 70, 78


def load() -> Settings:
    """Returns the settings for a command beside a running mirror. Raises SettingsError.

    Frigate tells the mirror where its database lies, and the mirror writes that into its status.
    The command takes the paths from there unless the environment names them.
    """
    environ = dict(os.environ)
    document = status.read(settings.load(environ).state.status_path)
    paths = document.get("paths", {})
    for name, path in (("FRIGATE_DB_PATH", "database"), ("MIRROR_STATE_DIR", "state")):
        if paths.get(path) and not settings.VARIABLES[name].is_set(environ):
            environ[name] = paths[path]
    return with_bucket(settings.load(environ))


def with_bucket(loaded: Settings) -> Settings:
    """Returns the settings if they name a bucket. Raises SettingsError."""
    if not loaded.s3.bucket:
        raise SettingsError(["S3_BUCKET: missing, set it to the name of your bucket"])
    return loaded


def complain(message: str) -> int:
    """Prints an error; returns the exit code for it."""
    print(f"S3 snapshot mirror: {message}", file=sys.stderr)
    return EX_SOFTWARE
