"""How this project reads and replaces files in folders where others can write too."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path | str) -> BinaryIO:
    """Open a file for reading, but nothing that a name could have been swapped for: no link, no
    pipe (which would block), no folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")


@contextmanager
def replacing(path: Path, mark: str = "") -> Iterator[BinaryIO]:
    """A new file, readable by its owner only, that takes the place of `path` when all of it was
    written. Raises OSError; whatever is raised, `path` is then as it was. Two processes that may
    write the same `path` at once need a `mark` each."""
    partial = path.with_name(f"{path.name}{mark}.part")
    with suppress(FileNotFoundError):
        partial.unlink()  # left by a crash, or a link that somebody laid there
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
