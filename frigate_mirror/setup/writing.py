"""Writes and removes the owner's files: the whole of each or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from frigate_mirror.files import replacing

ENV_MODE, OVERRIDE_MODE = 0o600, 0o644
COPY_ENDING = ".before-s3-mirror"


class WriteError(Exception):
    """A file cannot be written or removed."""


def mode_of(path: Path) -> int | None:
    """Returns the mode of a file, or None if there is no file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def write(path: Path, text: str, mode: int, like: Path) -> None:
    """Writes a file. If root runs this, the file keeps its owner, and a new one gets the owner of
    the file `like`. A link stays a link. Raises WriteError."""
    path = Path(os.path.realpath(path))
    try:
        with replacing(path, ".s3-mirror") as file:
            if os.geteuid() == 0:
                found = (path if path.exists() else like).stat()
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(text.encode(errors="surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}") from error


def copy_of(path: Path) -> Path:
    """Returns the path of the copy that is kept of a file before it changes."""
    return path.with_name(path.name + COPY_ENDING)


def keep_copy(path: Path, like: Path) -> Path | None:
    """Keeps a copy of a file, which only its owner can read. Returns its path, or None if there is
    no such file. Raises WriteError."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WriteError(f"cannot read {path}: {error.strerror}") from error
    write(copy_of(path), text, ENV_MODE, like)
    return copy_of(path)


def remove(path: Path) -> None:
    """Removes a file, if it is there. Raises WriteError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"cannot remove {path}: {error.strerror}") from error
