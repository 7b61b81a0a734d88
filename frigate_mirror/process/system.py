"""What a long-running child process needs of its operating system: descriptors of its own, low
priority, a way to learn that its parent is gone, and threads that do something now and then.

Knows nothing of pictures, buckets or ledgers.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import platform
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger("frigate_s3")
END = b"\x04"  # the hook's last line
LONGEST_LINE = 4096  # bytes; an event id has about 24
START_WITHIN = 10.0  # seconds; threads start in milliseconds
HIGHEST_GUESSED = 65_536  # descriptors are closed up to this number where they cannot be listed
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # system call numbers; glibc has no wrapper
_IOPRIO_LOWEST = (2 << 13) | 7  # best-effort class, last of its eight levels


def set_up_logging(level: str) -> None:
    """Frigate's own log format, on stderr, where Frigate's lines go."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format="[%(asctime)s] %(name)-30s %(levelname)-8s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    for library in ("boto3", "botocore", "s3transfer", "peewee"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # It warns, with a traceback, of each answer that is cut short; what matters is raised anyway.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def let_go() -> None:
    """Keeps nothing of Frigate's but the three standard streams: closes every file that one of its
    libraries let us inherit, and leaves its working directory."""
    inherited = _open_descriptors()
    if inherited is None:
        os.closerange(3, HIGHEST_GUESSED)
    for descriptor in inherited or ():
        if descriptor > 2:
            with suppress(OSError):  # the listing's own one is closed already
                os.close(descriptor)
    os.chdir("/")


def _open_descriptors() -> list[int] | None:
    """Every open descriptor of this process; None where the system does not list them.

    Closing all numbers up to the limit instead takes minutes where the kernel or the C library has
    no close_range (musl, gVisor) and the limit is 2^30, as it is in many containers.
    """
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return None


def step_back(niceness: int) -> None:
    """Last in line for CPU and disk, so that Frigate never waits behind us."""
    with suppress(OSError):
        os.nice(niceness)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, 1, 0, _IOPRIO_LOWEST)


class Parent:
    """The process that started us, as seen through the pipe that is our stdin."""

    def __init__(self, pipe: int, pid: int) -> None:
        """`pid` is the parent's as it told us; it may have died before we could ask."""
        self._pipe = pipe
        self._pid = pid
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._rest = b""
        self._ended = False

    @property
    def dead(self) -> bool:
        """Whether it died, even if some third process still holds the pipe open."""
        return os.getppid() != self._pid

    @property
    def gone(self) -> bool:
        """Whether it died, or said its last line or closed the pipe, and all before was read."""
        return self._ended or self.dead

    @property
    def hung_up(self) -> bool:
        """Whether it died or closed the pipe, whatever is still to be read."""
        found = self._poll.poll(0)
        return self.gone or bool(found and found[0][1] & select.POLLHUP)

    def ids(self, timeout: float) -> list[str]:
        """The lines that arrive within `timeout` seconds, as soon as there are any."""
        if not self._ended and self._poll.poll(timeout * 1000):
            data = os.read(self._pipe, 65536)
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._ended = not data or END in lines
            if len(self._rest) > LONGEST_LINE:
                self._rest = b""
            return [line.decode("ascii", "replace") for line in lines if line and line != END]
        return []


def start_all(*starts: Callable[[], None]) -> None:
    """Calls each of `starts`, which start threads and do nothing else that could take long.

    Python waits without a limit for a new thread, even for one that died of want of memory before
    it could say that it runs. If that takes more than START_WITHIN seconds, the process ends with
    exit code 1 and tells on stderr where it was; this needs no memory. Whoever started it tries
    again.
    """
    faulthandler.dump_traceback_later(START_WITHIN, exit=True)
    for start in starts:
        start()
    faulthandler.cancel_dump_traceback_later()


class Rounds(threading.Thread):
    """Calls each task every so many seconds, first at once, one after the other, until stopped.

    A task that takes long delays those of its own thread only; one that fails is logged and
    called again, unless for want of memory: that ends the thread.
    """

    def __init__(
        self,
        name: str,
        *tasks: tuple[float, Callable[[], None]],
        told: Callable[[str, str], None] = lambda task, fault: None,
    ) -> None:
        """`told` hears after each call which task it was and how it failed; empty: it did not."""
        super().__init__(name=name, daemon=True)
        self._tasks = tasks
        self._told = told
        self._stopped = threading.Event()

    def run(self) -> None:
        due = [0.0 for _ in self._tasks]
        while not self._stopped.is_set():
            for number, (interval, task) in enumerate(self._tasks):
                if time.monotonic() >= due[number]:
                    due[number] = time.monotonic() + interval
                    self._call(task)
            self._stopped.wait(max(0.05, min(due) - time.monotonic()))

    def stop(self) -> None:
        self._stopped.set()

    def _call(self, task: Callable[[], None]) -> None:
        fault = ""
        try:
            task()
        except MemoryError:
            raise
        except Exception as error:
            log.exception("S3 snapshot mirror: %s failed", task.__name__)
            fault = f"{type(error).__name__}: {error}"
        self._told(task.__name__, fault)
