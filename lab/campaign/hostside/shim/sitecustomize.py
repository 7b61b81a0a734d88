"""Changes the mirror's surroundings: the time, the name service, a library. It can also shorten the
mirror's waits, and end it between two of its steps.

It stands on PYTHONPATH behind the boot file, so every Python of the host runs it. It only acts in
the mirror's own processes. A small file that the campaign replaces says what is different:

    {"clock": seconds to add to time.time(), "dns": "gone",
     "broken": {"module": name, "how": "import" | "raise" | "exit" | "signal"},
     "constants": {module: {name: its value, or keywords for a function of this name}},
     "steps": {module: [functions and methods in which the mirror can die or pause]},
     "pauses": {function: seconds before each call}}

`constants` and `steps` count from the next start of the mirror. It dies at a step if the file
`CAMPAIGN_CONTROL.death` says so: {"step": name, "when": "before" | "after", "what": a text that the
arguments must contain}. The file is deleted first, so that it dies once.

`datetime` stays right, because requests are signed with its time.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # every Python of the host would have to import typing
if TYPE_CHECKING:
    from typing import Any

CONTROL = os.environ.get("CAMPAIGN_CONTROL", "")
_real_time, _monotonic = time.time, time.monotonic
_known: tuple[float, dict[str, Any]] = (-1.0, {})


def control() -> dict[str, Any]:
    """What is different now. It reads the file at most every 20 ms."""
    global _known
    now = _monotonic()
    if now - _known[0] > 0.02:
        try:
            with open(CONTROL, encoding="utf-8") as file:
                _known = (now, json.load(file))
        except OSError:  # there is no descriptor left, so nothing changes
            _known = (now, _known[1])
    return _known[1]


def shifted_time() -> float:
    shift: float = control().get("clock", 0.0)
    return _real_time() + shift


def _getaddrinfo_that_may_fail(real: Any) -> Any:
    import socket

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        if control().get("dns") == "gone":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(*args, **kwargs)

    return getaddrinfo


class _Breaker:
    """An entry of sys.meta_path that breaks the import of one module."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        broken = control().get("broken", {})
        if name != broken.get("module"):
            return None
        if broken["how"] == "import":
            raise ImportError(f"No module named {name!r}", name=name)
        if broken["how"] == "raise":
            raise RuntimeError(f"{name} is broken")
        if broken["how"] == "signal":
            os.kill(os.getpid(), 11)
        os._exit(1)


class _Changer:
    """An entry of sys.meta_path that changes a module right after its import."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        constants = control().get("constants", {}).get(name, {})
        steps = control().get("steps", {}).get(name, ())
        if not constants and not steps:
            return None
        from importlib.machinery import PathFinder

        spec: Any = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_change(module: Any) -> None:
            execute(module)
            for constant, value in constants.items():
                _set(module, constant, value)
            for step in steps:
                _make_mortal(module, step)

        spec.loader.exec_module = execute_and_change
        return spec


def _set(module: Any, name: str, value: Any) -> None:
    real = getattr(module, name)  # a name that is gone ends the mirror, so that it is noticed
    if isinstance(value, dict):
        import functools

        value = functools.partial(real, **value)
    setattr(module, name, value)


def _make_mortal(module: Any, step: str) -> None:
    """Lets the mirror die or pause before or after a function, such as `Ledger.add`."""
    owner, _, name = step.rpartition(".")
    place = getattr(module, owner) if owner else module
    real = getattr(place, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        _perhaps_die(step, "before", args)
        if pause := control().get("pauses", {}).get(step):
            time.sleep(pause)
        result = real(*args, **kwargs)
        _perhaps_die(step, "after", args)
        return result

    setattr(place, name, call)


def _perhaps_die(step: str, when: str, args: tuple[Any, ...]) -> None:
    try:
        with open(f"{CONTROL}.death", encoding="utf-8") as file:
            death = json.load(file)
        if (death["step"], death["when"]) == (step, when) and death["what"] in repr(args[1:]):
            os.unlink(f"{CONTROL}.death")
            os.kill(os.getpid(), 9)
    except OSError:  # nobody wants it to die
        pass


def _install() -> None:
    import socket

    time.time = shifted_time
    socket.getaddrinfo = _getaddrinfo_that_may_fail(socket.getaddrinfo)
    sys.meta_path.insert(0, _Changer)
    sys.meta_path.insert(0, _Breaker)


if CONTROL and any(word.endswith("s3_snapshot_mirror.py") for word in sys.orig_argv):
    _install()
