"""Small file systems that only one run sees. They give real ENOSPC, EROFS and EIO.

They are mounted in a mount namespace of the run's thread, which its processes inherit. They end
with the last process of the namespace, so a campaign that is killed leaves none behind.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

MB = 1 << 20
BALLAST = "ballast"
# What a fault may need of the machine, and commands that try it. $1 is an empty folder.
MOUNTS, LOOP, CHATTR = "mounts (root)", "a loop device (root)", "chattr +i (root)"
NEEDS = {
    MOUNTS: "mount -t tmpfs campaign $1",
    LOOP: "mount -t tmpfs campaign $1; truncate -s 4M $1/image; mkfs.ext4 -q $1/image;"
    " mkdir $1/disk; mount -o loop $1/image $1/disk",
    CHATTR: "touch $1/file; chattr +i $1/file; chattr -i $1/file",
}
_CLONE_NEWNS = 0x00020000
_own = threading.local()


class Closing(Protocol):
    """Whatever has a folder and undoes at its end what was done for it, as a world does."""

    folder: Path

    def at_close(self, undo: Callable[[], object]) -> None: ...


@functools.cache
def lacking(need: str) -> str:
    """Why this machine cannot give a fault what it needs (see `NEEDS`). Empty if it can."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run("unshare", "--mount", "sh", "-ec", NEEDS[need], "sh", folder)
        except (OSError, subprocess.CalledProcessError):
            return f"needs {need}"
    return ""


def small(world: Closing, folder: Path, size: int) -> None:
    """Mounts a file system of `size` bytes in memory over `folder`, until the world ends."""
    _unshare()
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "campaign", str(folder))
    world.at_close(lambda: detach(folder))


def dying(world: Closing, folder: Path, size: int) -> Path:
    """Mounts a file system over `folder` whose disk lies in a second, small file system. Returns
    the folder of the latter. Once it is full the disk takes no more, which is EIO and not ENOSPC.
    """
    behind = world.folder / "disk"
    small(world, behind, size)
    image = behind / "image"
    with image.open("wb") as file:
        file.truncate(4 * size)
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(image))
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-o", "loop,sync,errors=continue", str(image), str(folder))
    world.at_close(lambda: detach(folder))
    return behind


def detach(folder: Path) -> None:
    """Unmounts lazily, so that open files do not prevent it."""
    _run("umount", "-l", str(folder))


def fill(folder: Path) -> None:
    """Leaves no space. A file that is open already can still use the rest of its last page."""
    with suppress(OSError), (folder / BALLAST).open("ab", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with suppress(OSError), (folder / BALLAST).open("ab", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass


def empty(folder: Path) -> None:
    (folder / BALLAST).unlink(missing_ok=True)


def read_only(folder: Path) -> bool:
    """Makes it read-only. False if a file on it is open for writing, which keeps it writable."""
    return _remount(folder, "ro")


def writable(folder: Path) -> bool:
    return _remount(folder, "rw")


def immutable(paths: list[Path], *, on: bool) -> None:
    """Makes files immutable even for root. Some file systems ignore this."""
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
