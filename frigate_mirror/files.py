"""Reads and replaces files in folders that other programs can write to as well."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SPARE = 512_000_000  # bytes of the disk that large files leave to everything else


def open_regular(path: Path | str) -> BinaryIO:
    """Opens a regular file for reading. A link, a pipe (which would block) or a folder under this
    name is refused. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def regular_file(path: str) -> os.stat_result | None:
    """Returns the status of a regular file, or None for anything else and for no file."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):  # ValueError: no file can have this name
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def open_original(path: str) -> BinaryIO:
    """Opens a file of the recorder. Raises FileNotFoundError only if the file's folder is there,
    because a missing folder means that its disk is away; raises OSError for any other failure."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        folder = os.path.dirname(path)
        if folder and not os.path.isdir(folder):
            raise OSError(f"no folder {folder}") from None
        raise


def has_room(folder: Path, size: int = 0) -> bool:
    """Returns whether the disk of this folder has room for a large file of `size` bytes, and SPARE
    for everything else. Raises OSError."""
    disk = shutil.disk_usage(folder)
    return disk.free - size >= min(SPARE, disk.total // 20)


@contextmanager
def replacing(path: Path, mark: str = "") -> Iterator[BinaryIO]:
    """Writes a new file, readable by its owner only, that replaces `path` once all of it is
    written. After any exception `path` is as it was. Two processes that may write the same `path`
    at the same time each need a `mark` of their own. Raises OSError."""
    partial = path.with_name(f"{path.name}{mark}.part")
    with suppress(FileNotFoundError):
        partial.unlink()  # left by a crash, or a link that another program put there
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


_own: list[int] = []
"""Descriptors of the folders that this process has made for itself. They stay open."""


def own_folder(parent: Path) -> Path:
    """Makes a folder below `parent` that counts as abandoned when this process has ended, however
    it ends. Raises OSError."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(dir=parent)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _own.append(descriptor)
    return Path(folder)


def remove_abandoned(parent: Path) -> None:
    """Deletes the folders below `parent` whose processes have ended. Process ids would not tell,
    because those of a container begin anew at each start."""
    with suppress(OSError):
        for folder in parent.iterdir():
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(folder, flags)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
