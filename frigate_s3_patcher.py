"""The hook: the part of the mirror that runs inside Frigate's main process.

It checks the names and parameters of three methods of `EventProcessor` (never a version number),
wraps them on the class, and keeps one child process, which does all the work:

    run                         starts the child before Frigate's method, closes the pipe after it
    handle_object_detection     writes the id to the pipe at the `end` of an event with a snapshot
    handle_external_detection   does so at `start`, when the snapshot is there (an event with a
                                duration sends no `end`), and at `end`

Frigate's own method runs first, outside the hook's guard, and its result and its exceptions are
passed on unchanged. The hook imports only the standard library, because this process has its own
pinned libraries and its own SQLite, and forks. The parameters were read from Frigate v0.16.4,
v0.17.2 and v0.18.0-beta1.

If RECORDINGS_BACKFILL_API is true, frigate_recordings_api.py adds the recording backfill to
Frigate's own API. The child answers its requests, with a mirror or without.
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
# The methods that the hook wraps, with the parameters that it expects.
SEAM = {
    "run": ("self",),
    "handle_object_detection": ("self", "event_type", "camera", "event_data"),
    "handle_external_detection": ("self", "event_type", "event_data"),
}
# Kinds of functions that return before their work is done.
DEFERRED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
LONGEST_ID = 255  # characters; Frigate's ids have about 24, and a pipe never splits short writes
PAUSES = (1, 2, 5, 10, 30, 60)  # seconds before the next child starts
STABLE_AFTER = (
    300  # seconds; after a child that lived longer, the pauses begin with the first again
)
# The last line, which is no id. The end of the pipe is not enough as a signal: the workers that
# Frigate 0.16 forks hold copies of the pipe for as long as they live.
END = b"\x04\n"
API_MODULE = "frigate.api.fastapi_app"
MIRROR = "S3 snapshot mirror not armed"
API = "S3 snapshot mirror: recording backfill not added to Frigate's API"
NO = ("false", "0", "no", "off")
EX_CONFIG = 78  # of sysexits.h; a child ends with it if another start would not help

log = logging.getLogger("frigate_s3")

_original: dict[str, Callable[..., Any]] = {}
_patched: type | None = None


def armed_after_import(spec: Any) -> Any:
    """Returns `spec`, a ModuleSpec, changed so that `arm` or `add_api` runs after the code of its
    module."""
    run_module = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run_module(module)
        try:
            add_api(module) if spec.name == API_MODULE else arm(module)
        except BaseException as error:
            _say_not_armed(repr(error), API if spec.name == API_MODULE else MIRROR)

    spec.loader.exec_module = exec_module
    return spec


def arm(maintainer: ModuleType, environ: Mapping[str, str] = os.environ) -> bool:
    """Wraps the methods of `maintainer.EventProcessor`, all or none; True if they are wrapped."""
    reason = _not_wanted(environ) or shape_fault(maintainer)
    if reason:
        _say_not_armed(reason)
        return False
    if maintainer.EventProcessor is not _patched:
        _patch(maintainer.EventProcessor)
    return True


def add_api(fastapi_app: ModuleType, environ: Mapping[str, str] = os.environ) -> None:
    """Adds the recording backfill to the application that Frigate will make, if it is wanted."""
    if _wants_backfill(environ):
        name = "frigate_recordings_api"
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.wrap(fastapi_app)


def unpatch() -> None:
    """Restores Frigate's own methods. The `run` that started a child still ends that child."""
    global _patched
    for name, method in _original.items():
        setattr(_patched, name, method)
    _original.clear()
    _patched = None


def _not_wanted(environ: Mapping[str, str]) -> str:
    """Returns why the settings want nothing of the child, or an empty text if they do."""
    return "" if _wants_backfill(environ) else _no_mirror(environ)


def _no_mirror(environ: Mapping[str, str]) -> str:
    """Returns why the settings switch the mirror off, or an empty text if they do not."""
    for name in ("MIRROR_ENABLED", "S3_MIRROR_ENABLED"):  # the second is its older name
        if environ.get(name, "").strip().lower() in NO:
            return f"{name} is false"
    return "" if environ.get("S3_BUCKET", "").strip() else "S3_BUCKET is not set"


def _wants_backfill(environ: Mapping[str, str]) -> bool:
    """Whether the recording backfill has an API. The child tells of a value that is no answer."""
    return environ.get("RECORDINGS_BACKFILL_API", "").strip().lower() not in ("", *NO)


def shape_fault(maintainer: ModuleType) -> str:
    """Returns how Frigate differs from what the hook expects, or an empty text."""
    if sys.version_info < (3, 11):  # noqa: UP036 (an older Frigate may load this file)
        return f"Python {sys.version.split()[0]}, expected 3.11 or later (Frigate 0.16 or later)"
    if importlib.util.find_spec("frigate.events.external") is not None:
        return (
            "the module frigate.events.external exists, expected Frigate 0.16 or later without it"
        )
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
            # False positives end too, but they have no row and no snapshot.
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
            # `end` has only id and end_time, so it does not say whether there is a snapshot.
            if event_data.get("has_snapshot", event_type == "end"):
                observer.notice(event_data["id"])
        except Exception as error:
            observer.complain(error)
        return result

    return handle_external_detection


class Observer:
    """Frigate's end of the pipe. `notice` makes one non-blocking write and takes no lock.

    One pipe serves all children of a run, so ids that are written while no child lives wait for the
    next child. Only the event thread opens and closes the write end: if another thread closed it,
    its number could belong to one of Frigate's files by the time of the write.
    """

    def __init__(self) -> None:
        self._writing = -1
        self._stopping = threading.Event()
        self._complained = False

    def start(self, environment: dict[str, str]) -> None:
        """Starts a thread that starts the child, and starts another whenever a child ends."""
        version = environment.get("S3_MIRROR_FRIGATE", "of unknown version")
        bucket = environment.get("S3_BUCKET", "")
        what = "only recording backfill" if _no_mirror(environment) else f"bucket {bucket}"
        with contextlib.suppress(Exception):  # before the thread starts, so that this line is first
            log.info("S3 snapshot mirror armed: Frigate %s, %s", version, what)
        self._stopping = threading.Event()
        reading, self._writing = os.pipe()  # programs that Frigate starts inherit neither end
        os.set_blocking(self._writing, False)
        needed = (environment, reading, self._stopping)
        keeper = threading.Thread(target=self._keep, args=needed, name="s3_keeper", daemon=True)
        try:
            keeper.start()
        except RuntimeError:  # the system gives no more threads
            os.close(reading)
            raise

    def stop(self) -> None:
        """Writes the last line. The child drains for a limited time, and Frigate does not wait."""
        self._stopping.set()
        writing, self._writing = self._writing, -1
        if writing >= 0:
            with contextlib.suppress(OSError):  # the pipe is full, or no process reads it
                os.write(writing, END)
            os.close(writing)

    def notice(self, event_id: Any) -> None:
        """Writes an event's id to the pipe. If the pipe is full, the id is dropped, and the sweep
        finds the event. Raises ValueError for an id that is not plain text, because a line break in
        it would make it two ids."""
        if self._writing < 0:
            return
        plain = isinstance(event_id, str) and event_id.isascii() and event_id.isprintable()
        if not plain or len(event_id) > LONGEST_ID:
            raise ValueError(f"event id {event_id!r:.80}")
        try:
            os.write(self._writing, f"{event_id}\n".encode())
        except (BlockingIOError, BrokenPipeError):  # it is full, or the mirror is off
            pass

    def complain(self, error: Exception) -> None:
        """Logs the first error of the hook itself. The sweep finds the events that it misses."""
        if not self._complained:
            self._complained = True
            message = (
                "S3 snapshot mirror: hook failed, the sweep finds the events that it misses: %r"
            )
            with contextlib.suppress(Exception):
                log.warning(message, error)

    def _keep(self, environment: dict[str, str], reading: int, stopping: threading.Event) -> None:
        """Runs one child after the other, until Frigate stops or another child would not help."""
        early_ends = 0
        try:
            while not stopping.is_set():
                began = time.monotonic()
                status = _run_child(environment, reading)
                if stopping.is_set():
                    return
                if status == EX_CONFIG:
                    log.warning("S3 snapshot mirror stays off until the fault above is corrected")
                    return
                early_ends = 0 if time.monotonic() - began > STABLE_AFTER else early_ends + 1
                pause = PAUSES[min(max(early_ends - 1, 0), len(PAUSES) - 1)]
                log.warning("S3 snapshot mirror ended (%s), starting again in %g s", status, pause)
                stopping.wait(pause)
        except Exception:
            log.exception(
                "S3 snapshot mirror is off until Frigate restarts, because its keeper failed"
            )
        finally:
            os.close(reading)


def _run_child(environment: dict[str, str], reading: int) -> int | str:
    """Runs one child; returns its exit status, or the reason why it did not start. Does not use
    subprocess, which waits for the end of a pipe of its own: a worker that Frigate forks at that
    moment would hold that pipe open."""
    command = [sys.executable or "python3", str(HERE / "s3_snapshot_mirror.py"), "run"]
    stdin = [(os.POSIX_SPAWN_DUP2, reading, 0)]
    try:  # in a session of its own, so that a signal for Frigate's group does not end the drain
        child = os.posix_spawnp(command[0], command, environment, file_actions=stdin, setsid=True)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except OSError as error:
        return f"not started: {error}"


def child_environment(processor: Any) -> dict[str, str]:
    """Returns Frigate's environment without the boot folder on PYTHONPATH, which would arm the hook
    again, and with what only Frigate knows: the places of its database and its clips, and its
    version. A value that the owner has set stays."""
    environment = dict(os.environ, S3_MIRROR_PARENT=str(os.getpid()))
    entries = environment.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and os.path.realpath(entry) != f"{HERE}/boot"]
    if kept:
        environment["PYTHONPATH"] = os.pathsep.join(kept)
    with contextlib.suppress(Exception):  # without Frigate's values, the settings have defaults
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


def _say_not_armed(reason: str, what: str = MIRROR) -> None:
    """Writes a line to stderr in the format of Frigate's log. Frigate sets up its logging after
    this import, so it would drop a line that was logged."""
    line = f"{log.name:30} {'INFO':8}: {what}: {reason}"
    with contextlib.suppress(BaseException):  # there may be no stderr
        sys.stderr.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {line}\n")
