"""HOST edge: what of us runs inside Frigate's main process, and nothing else does.

It checks the shape of `EventProcessor` (names and parameters, never version numbers), wraps three
of its methods on the class, and keeps one child process that does all the work:

    run                         start the child before, close its pipe after
    handle_object_detection     at `end` with a snapshot: its id down the pipe
    handle_external_detection   at `start` (the picture is there then, and an event that was given a
                                duration has no `end`) and at `end`

The host's call comes first and stands outside our guard; its result and its exceptions pass
untouched. Only the standard library is imported: this process has its own pins, its own SQLite and
forks. What the shapes are in which version was read from Frigate v0.16.4, v0.17.2, v0.18.0-beta1.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
SEAM = {
    "run": ("self",),
    "handle_object_detection": ("self", "event_type", "camera", "event_data"),
    "handle_external_detection": ("self", "event_type", "event_data"),
}
# Functions whose work is not done yet when they return.
DEFERRED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
LONGEST_ID = 255  # characters; Frigate's own ids have about 24, and a short write is never torn
PAUSES = (1, 2, 5, 10, 30, 60)  # seconds before the child is started again
LIVED_WELL = 300  # seconds after which the pauses begin anew
# The last line, and no id. The end of the pipe alone would not do: the workers that Frigate 0.16
# forks hold copies of it for as long as they live.
END = b"\x04\n"
EX_CONFIG = 78  # sysexits.h; the child's word that starting it again would not help

log = logging.getLogger("frigate_s3")

_original: dict[str, Callable[..., Any]] = {}
_patched: type | None = None


def armed_after_import(spec: Any) -> Any:
    """`spec`, a ModuleSpec, with one step added after its module has run: `arm`."""
    run_module = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run_module(module)
        try:
            arm(module)
        except BaseException as error:
            _say_not_armed(repr(error))

    spec.loader.exec_module = exec_module
    return spec


def arm(maintainer: ModuleType, environ: Mapping[str, str] = os.environ) -> bool:
    """Wrap `maintainer.EventProcessor`, all of it or nothing; True if it was done."""
    reason = _not_wanted(environ) or shape_fault(maintainer)
    if reason:
        _say_not_armed(reason)
        return False
    if maintainer.EventProcessor is not _patched:
        _patch(maintainer.EventProcessor)
    return True


def unpatch() -> None:
    """Put Frigate's own methods back. A child that runs is left to the `run` that started it."""
    global _patched
    for name, method in _original.items():
        setattr(_patched, name, method)
    _original.clear()
    _patched = None


def _not_wanted(environ: Mapping[str, str]) -> str:
    for name in ("MIRROR_ENABLED", "S3_MIRROR_ENABLED"):  # the second is its older name
        if environ.get(name, "").strip().lower() in ("false", "0", "no", "off"):
            return f"{name} is false"
    return "" if environ.get("S3_BUCKET", "").strip() else "S3_BUCKET is not set"


def shape_fault(maintainer: ModuleType) -> str:
    """What differs from the seam that we know, as `<found>, expected <...>`; empty if nothing."""
    if sys.version_info < (3, 11):  # noqa: UP036 (it may well run in an older Frigate)
        return f"Python {sys.version.split()[0]}, expected 3.11 or later (Frigate 0.16 or later)"
    if importlib.util.find_spec("frigate.events.external") is not None:
        return "frigate.events.external, expected Frigate 0.16 or later, which has none"
    processor = getattr(maintainer, "EventProcessor", None)
    if not inspect.isclass(processor):
        return f"EventProcessor {processor!r}, expected a class"
    faults = [_method_fault(processor, name, wanted) for name, wanted in SEAM.items()]
    return "; ".join(filter(None, faults))


def _method_fault(processor: type, name: str, wanted: tuple[str, ...]) -> str:
    expected = f"expected {name}({', '.join(wanted)})"
    method = processor.__dict__.get(name)
    if not inspect.isfunction(method):
        return f"{'no' if method is None else type(method).__name__} {name}, {expected}"
    if any(kind(method) for kind in DEFERRED):
        return f"{name} asynchronous, {expected}"
    parameters = inspect.signature(method).parameters.values()
    plain = all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)
    if not plain or tuple(p.name for p in parameters) != wanted:
        return f"{name}({', '.join(map(str, parameters))}), {expected}"
    return ""


def _patch(processor: type) -> None:
    global _patched
    observer = Observer()
    for name, wrap in zip(SEAM, (_wrap_run, _wrap_object, _wrap_external), strict=True):
        _original[name] = processor.__dict__[name]
        setattr(processor, name, wrap(_original[name], observer))
    _patched = processor


def _wrap_run(host: Callable[..., Any], observer: Observer) -> Callable[..., Any]:
    @functools.wraps(host)
    def run(self: Any) -> Any:
        try:
            observer.start(child_environment(self))
        except Exception:
            log.exception("S3 snapshot mirror not started")
        try:
            return host(self)
        finally:
            with contextlib.suppress(Exception):
                observer.stop()

    return run


def _wrap_object(host: Callable[..., Any], observer: Observer) -> Callable[..., Any]:
    @functools.wraps(host)
    def handle_object_detection(self: Any, event_type: Any, camera: Any, event_data: Any) -> Any:
        result = host(self, event_type, camera, event_data)
        try:
            # False positives end too, without a row or a picture.
            if event_type == "end" and event_data["has_snapshot"]:
                observer.notice(event_data["id"])
        except Exception as error:
            observer.complain(error)
        return result

    return handle_object_detection


def _wrap_external(host: Callable[..., Any], observer: Observer) -> Callable[..., Any]:
    @functools.wraps(host)
    def handle_external_detection(self: Any, event_type: Any, event_data: Any) -> Any:
        result = host(self, event_type, event_data)
        try:
            # `end` carries only id and end_time, so it cannot say whether there is a picture.
            if event_data.get("has_snapshot", event_type == "end"):
                observer.notice(event_data["id"])
        except Exception as error:
            observer.complain(error)
        return result

    return handle_external_detection


class Observer:
    """Frigate's end of the pipe. `notice` is one non-blocking write and takes no lock.

    One pipe serves every child of a run, so ids written while none lives wait for the next one.
    The event thread alone opens and closes its write end: closed by another thread, its number
    could be a file of Frigate's by the time we write.
    """

    def __init__(self) -> None:
        self._writing = -1
        self._stopping = threading.Event()
        self._complained = False

    def start(self, environment: dict[str, str]) -> None:
        """Start the child, and the thread that starts it again should it die."""
        version = environment.get("S3_MIRROR_FRIGATE", "of unknown version")
        bucket = environment.get("S3_BUCKET", "")
        with contextlib.suppress(Exception):  # said before the other thread can say what follows
            log.info("S3 snapshot mirror armed: Frigate %s, bucket %s", version, bucket)
        self._stopping = threading.Event()
        reading, self._writing = os.pipe()  # neither end survives an exec
        os.set_blocking(self._writing, False)
        words = (environment, reading, self._stopping)
        keeper = threading.Thread(target=self._keep, args=words, name="s3_keeper", daemon=True)
        try:
            keeper.start()
        except RuntimeError:  # no more threads
            os.close(reading)
            raise

    def stop(self) -> None:
        """The last line. The child drains by itself for a bounded time; nobody waits for it."""
        self._stopping.set()
        writing, self._writing = self._writing, -1
        if writing >= 0:
            with contextlib.suppress(OSError):  # full, or nobody reads
                os.write(writing, END)
            os.close(writing)

    def notice(self, event_id: Any) -> None:
        """Hand an event's id to the child; a full pipe drops it, and the sweep finds the event.
        Raises ValueError for what is not one plain word: a line break in it would be two ids."""
        if self._writing < 0:
            return
        plain = isinstance(event_id, str) and event_id.isascii() and event_id.isprintable()
        if not plain or len(event_id) > LONGEST_ID:
            raise ValueError(f"event id {event_id!r:.80}")
        try:
            os.write(self._writing, f"{event_id}\n".encode())
        except (BlockingIOError, BrokenPipeError):  # no reader: that it is off was said
            pass

    def complain(self, error: Exception) -> None:
        """Say once that our line failed; the sweep goes on finding what the hook does not."""
        if not self._complained:
            self._complained = True
            words = "S3 snapshot mirror: hook failed, events are found by the sweep: %r"
            with contextlib.suppress(Exception):
                log.warning(words, error)

    def _keep(self, environment: dict[str, str], reading: int, stopping: threading.Event) -> None:
        """Run one child after the other until Frigate stops or its settings make it pointless."""
        early_ends = 0
        try:
            while not stopping.is_set():
                began = time.monotonic()
                status = _run_child(environment, reading)
                if stopping.is_set():
                    return
                if status == EX_CONFIG:
                    log.warning("S3 snapshot mirror stays off until what it said above is mended")
                    return
                early_ends = 0 if time.monotonic() - began > LIVED_WELL else early_ends + 1
                pause = PAUSES[min(max(early_ends - 1, 0), len(PAUSES) - 1)]
                log.warning("S3 snapshot mirror ended (%s), starting again in %g s", status, pause)
                stopping.wait(pause)
        except Exception:
            log.exception("S3 snapshot mirror is no longer started")
        finally:
            os.close(reading)


def _run_child(environment: dict[str, str], reading: int) -> int | str:
    """The exit status of one child, or why it could not be started. Not by subprocess: it waits
    for the end of a pipe that a worker of Frigate, forked at that moment, would hold open."""
    command = [sys.executable or "python3", str(HERE / "s3_snapshot_mirror.py"), "run"]
    stdin = [(os.POSIX_SPAWN_DUP2, reading, 0)]
    try:  # in a session of its own: a signal for Frigate's group must not cut the drain short
        child = os.posix_spawnp(command[0], command, environment, file_actions=stdin, setsid=True)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except OSError as error:
        return f"not started: {error}"


def child_environment(processor: Any) -> dict[str, str]:
    """Frigate's environment less what would arm the hook again, plus what only Frigate knows:
    where its database and its clips are, and its version. The owner's own words win."""
    environment = dict(os.environ, S3_MIRROR_PARENT=str(os.getpid()))
    entries = environment.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and os.path.realpath(entry) != f"{HERE}/boot"]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    with contextlib.suppress(Exception):  # Frigate's own defaults serve where it tells us nothing
        for name, value in _known_to_frigate(processor).items():
            if value and not environment.get(name, "").strip():
                environment[name] = str(value)
    return environment


def _known_to_frigate(processor: Any) -> dict[str, Any]:
    config = getattr(processor, "config", None)
    return {
        "FRIGATE_DB_PATH": getattr(getattr(config, "database", None), "path", None),
        "FRIGATE_CLIPS_DIR": getattr(sys.modules.get("frigate.const"), "CLIPS_DIR", None),
        "S3_MIRROR_FRIGATE": getattr(sys.modules.get("frigate.version"), "VERSION", None),
    }


def _say_not_armed(reason: str) -> None:
    """One line straight to stderr, in Frigate's format: Frigate sets up its logging only after
    this import and would drop it."""
    line = f"{log.name:30} {'INFO':8}: S3 snapshot mirror not armed: {reason}"
    with contextlib.suppress(BaseException):  # without a stderr there is nobody to tell
        sys.stderr.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {line}\n")
