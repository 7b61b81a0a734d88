"""What a long-running child process needs of its operating system: a log, file descriptors of its
own, a low priority, and a way to notice that its parent has died."""

from __future__ import annotations

import logging
import os
import platform
import sys
from contextlib import suppress

HIGHEST_GUESSED = 65_536  # descriptors are closed up to this number where they cannot be listed
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # system call numbers; glibc has no wrapper
_IOPRIO_LOWEST = (2 << 13) | 7  # best-effort class, last of its eight levels


def set_up_logging(level: str) -> None:
    """Logs to stderr, where Frigate's lines go, in Frigate's format."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format="[%(asctime)s] %(name)-30s %(levelname)-8s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    for library in ("boto3", "botocore", "s3transfer", "peewee"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # urllib3 warns with a traceback of each answer that is cut short, which is an error anyway.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def close_inherited_files() -> None:
    """Closes every file descriptor but the standard streams, because Frigate's libraries leak some
    to its children, and leaves Frigate's working directory."""
    inherited = _open_descriptors()
    if inherited is None:
        os.closerange(3, HIGHEST_GUESSED)
    for descriptor in inherited or ():
        if descriptor > 2:
            with suppress(OSError):  # the descriptor of the listing is closed already
                os.close(descriptor)
    os.chdir("/")


def _open_descriptors() -> list[int] | None:
    """Returns every open descriptor of this process, or None where the system does not list them.

    Closing all numbers up to the limit takes minutes where the kernel or the C library has no
    close_range (musl, gVisor) and the limit is 2^30, as it is in many containers.
    """
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return None


def lower_priority(niceness: int) -> None:
    """Makes this process the last in line for CPU and disk, so that Frigate never waits for it."""
    with suppress(OSError):
        os.nice(niceness)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        import ctypes  # half a megabyte that a recorder of one camera does not need

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, 1, 0, _IOPRIO_LOWEST)


def has_died(parent: int) -> bool:
    """Returns whether the process `parent` has died, although a third process may still hold our
    pipe to it open. The parent tells us its id, because it may die before we can ask."""
    return os.getppid() != parent
