"""What the mirror's child must find changed around it: the time, the name service, a library.

Stands on PYTHONPATH behind the boot file, so every Python of the host runs it, and acts in the
mirror's own processes only. A small file that the campaign replaces says what is to be different:

    {"clock": seconds to add to time.time(), "dns": "gone",
     "broken": {"module": name, "how": "import" | "raise" | "exit" | "signal"}}

`datetime` stays right, since requests are signed by it.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # typing itself would cost every Python of the host its import
if TYPE_CHECKING:
    from typing import Any

CONTROL = os.environ.get("CAMPAIGN_CONTROL", "")
_real_time, _monotonic = time.time, time.monotonic
_known: tuple[float, dict[str, Any]] = (-1.0, {})


def control() -> dict[str, Any]:
    """What is to be different now; looked up at most every 20 ms."""
    global _known
    now = _monotonic()
    if now - _known[0] > 0.02:
        try:
            with open(CONTROL, encoding="utf-8") as file:
                _known = (now, json.load(file))
        except OSError:  # no descriptor left: as it was
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
    """Stands on sys.meta_path; breaks the import of one module."""

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


def _install() -> None:
    import socket

    time.time = shifted_time
    socket.getaddrinfo = _getaddrinfo_that_may_fail(socket.getaddrinfo)
    sys.meta_path.insert(0, _Breaker)


if CONTROL and any(word.endswith("s3_snapshot_mirror.py") for word in sys.orig_argv):
    _install()
