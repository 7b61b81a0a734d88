"""A disk that fails under what the mirror itself opens: EIO, now and then or always.

Stands on PYTHONPATH before the other shim, to which it gives way. The same small file steers it:

    {"eio": {"in": [parts of paths], "share": of the calls that fail, 0 to 1}}

SQLite's own files are opened in C, out of reach from here; see `mounts.dying` for those.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
CONTROL = os.environ.get("CAMPAIGN_CONTROL", "")
_draw = random.Random(os.getpid()).random


def _fails(*paths: object) -> bool:
    named = [os.fspath(path) for path in paths if isinstance(path, (str, os.PathLike))]
    if CONTROL in named:
        return False
    try:
        with open(CONTROL, encoding="utf-8") as file:
            wanted = json.load(file).get("eio")
    except OSError:
        return False
    if not wanted or _draw() >= wanted["share"]:
        return False
    return any(word in path for word in wanted["in"] for path in named)


def _failing(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if _fails(*args[:2]):
            raise OSError(errno.EIO, os.strerror(errno.EIO), args[0])
        return real(*args, **kwargs)

    return call


if CONTROL and any(word.endswith("s3_snapshot_mirror.py") for word in sys.orig_argv):
    for name in ("open", "link", "replace"):
        setattr(os, name, _failing(getattr(os, name)))

sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
_ours = sys.modules.pop("sitecustomize")
try:
    import sitecustomize  # noqa: F401
except ImportError:
    sys.modules["sitecustomize"] = _ours
