"""Small file systems of a run's own: real ENOSPC, EROFS and EIO, seen by nobody else.

They are mounted in a mount namespace of the thread that makes the run, which its processes inherit.
So a campaign that is killed leaves none behind: they go with the last process of the namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from campaign.world import World

MB = 1 << 20
BALLAST = "ballast"
_CLONE_NEWNS = 0x00020000
_own = threading.local()


def possible() -> bool:
    """Whether this process may mount; the faults that need it are left out elsewhere."""
    return os.geteuid() == 0


def at_close(world: World, undo: Callable[[], object]) -> None:
    """Call `undo` when the world ends, too, before its folder goes; a run may fail anywhere."""
    close = world.close

    def closing() -> None:
        with suppress(OSError, subprocess.CalledProcessError):
            undo()
        close()

    world.close = closing  # type: ignore[method-assign]


def small(world: World, folder: Path, size: int) -> None:
    """A file system of `size` bytes in memory over `folder`, until the world ends."""
    _unshare()
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "campaign", str(folder))
    at_close(world, lambda: detach(folder))


def dying(world: World, folder: Path, size: int) -> Path:
    """A file system over `folder` whose disk lies in a small one: fill what is returned, and the
    disk can take no more, which is EIO and not ENOSPC."""
    behind = world.folder / "disk"
    small(world, behind, size)
    image = behind / "image"
    with image.open("wb") as file:
        file.truncate(4 * size)
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(image))
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", "loop,sync,errors=continue", str(image), str(folder))
    at_close(world, lambda: detach(folder))
    return behind


def detach(folder: Path) -> None:
    """Lazily: files that are still open do not keep it."""
    _run("umount", "-l", str(folder))


def fill(folder: Path) -> None:
    """Leave no space; what is open there already may still have the rest of its last page."""
    with suppress(OSError), (folder / BALLAST).open("ab", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with suppress(OSError), (folder / BALLAST).open("ab", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass


def empty(folder: Path) -> None:
    (folder / BALLAST).unlink(missing_ok=True)


def read_only(folder: Path) -> bool:
    """False where a file on it is open for writing, which keeps it writable."""
    return _remount(folder, "ro")


def writable(folder: Path) -> bool:
    return _remount(folder, "rw")


def immutable(paths: list[Path], *, on: bool) -> None:
    """What even root may not change; where the file system knows no such thing, nothing."""
    for path in paths:
        if path.exists():
            command = ["chattr", "+i" if on else "-i", str(path)]
            subprocess.run(command, capture_output=True, check=False)


def _remount(folder: Path, how: str) -> bool:
    command = ["mount", "-o", f"remount,{how}", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _unshare() -> None:
    if getattr(_own, "namespace", False):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, f"a mount namespace of our own: {os.strerror(number)}")
    _run("mount", "--make-rprivate", "/")
    _own.namespace = True


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
