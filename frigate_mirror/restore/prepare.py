"""Opens all that a backfill needs, and refuses to begin where it would do harm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.frigate import config, record_settings
from frigate_mirror.frigate.config import ConfigError
from frigate_mirror.frigate.record_settings import RecordSettings
from frigate_mirror.restore.recordings_folder import OutsideError, RecordingsFolder
from frigate_mirror.restore.recordings_table import RecordingsTable, TableError
from frigate_mirror.settings.settings import Settings
from frigate_mirror.untrusted import plain

IN_FRIGATE = "/media/frigate/recordings"
"""Where Frigate has its recordings (RECORD_DIR of frigate.const), whatever its settings say."""
CAMERA, REQUEST, STATE = "camera", "request", "state"
CONFIG_FILES = ("config.yml", "config.yaml")


class RefusedError(Exception):
    """The backfill does not begin. `kind` says what is at fault: the camera, the request, or the
    state of this machine. `cameras` are those that Frigate knows, if that is known."""

    def __init__(self, kind: str, message: str, cameras: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.cameras = sorted(cameras)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a backfill works with."""

    folder: RecordingsFolder
    table: RecordingsTable
    settings: RecordSettings


def prepare(
    loaded: Settings,
    cameras: Sequence[str],
    *,
    directory: str = "",
    shown: str = "",
    config_file: Path | None = None,
    ask: config.Ask = config.read,
) -> Prepared:
    """Opens the recordings folder, which Frigate sees at `shown`, its table, and Frigate's
    settings, which lie in `config_file` or are asked for. `directory` is the only folder to look
    into. Raises RefusedError."""
    settings = _settings(loaded, config_file, ask)
    if strangers := sorted(set(cameras) - settings.cameras.keys()):
        known = ", ".join(sorted(settings.cameras)) or "none"
        raise RefusedError(
            CAMERA,
            f"Frigate does not know the camera {', '.join(map(repr, strangers))}; it knows {known}",
            list(settings.cameras),
        )
    root = loaded.frigate.recordings_dir
    try:
        folder = RecordingsFolder(root, shown or str(root))
    except OutsideError as error:
        raise RefusedError(STATE, f"{error}; set FRIGATE_RECORDINGS_DIR") from error
    try:
        if directory:
            folder.narrow(directory)
    except OutsideError as error:
        raise RefusedError(REQUEST, f"{error}; FRIGATE_RECORDINGS_DIR names that folder") from error
    try:
        table = RecordingsTable(loaded.frigate.db_path)
        _check_paths(table, folder, told=bool(shown))
    except TableError as error:
        raise RefusedError(STATE, str(error)) from error
    return Prepared(folder, table, settings)


def _settings(loaded: Settings, config_file: Path | None, ask: config.Ask) -> RecordSettings:
    """Returns Frigate's settings: from the file, from Frigate itself, or from the file beside the
    database of a Frigate that is stopped."""
    faults = []
    try:
        if config_file is not None:
            return record_settings.of_file(config_file)
        try:
            return record_settings.of_api(ask())
        except ConfigError as error:
            faults.append(str(error))
        named = os.environ.get("CONFIG_FILE", "").strip()
        places = [Path(named)] if named else []
        places += [loaded.frigate.db_path.parent / name for name in CONFIG_FILES]
        for place in places:
            if place.is_file():
                return record_settings.of_file(place)
        faults.append(f"no {' or '.join(CONFIG_FILES)} beside {loaded.frigate.db_path}")
    except ConfigError as error:
        faults.append(str(error))
    raise RefusedError(
        STATE,
        f"Frigate's settings cannot be read ({'; '.join(faults)}), so nobody can tell what its "
        "cleanup would delete; name its configuration by --frigate-config",
    )


def _check_paths(table: RecordingsTable, folder: RecordingsFolder, *, told: bool) -> None:
    """Checks that rows of this folder would look like those that are there. Frigate's own sync
    deletes rows whose files it does not see."""
    paths = table.newest_paths()
    if any(path.startswith(folder.shown + "/") for path in paths):
        return
    if paths:
        path = plain(paths[0])
        root = path.rsplit("/", 4)[0]
        raise RefusedError(
            STATE,
            f"the rows of this database have paths such as {path}, but new ones would begin "
            f"with {folder.shown}; if it is the same folder, add "
            f"--recordings-path-in-frigate {root}",
        )
    if not told and folder.shown != IN_FRIGATE:
        raise RefusedError(
            STATE,
            f"this database has no recordings that would show how Frigate sees {folder.shown}; "
            f"add --recordings-path-in-frigate {IN_FRIGATE} if Frigate has this folder there, as "
            "in its container",
        )
