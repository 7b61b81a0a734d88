"""Boot: `python3 -c pass` with and without boot/ on PYTHONPATH.

The runs take turns. Each is timed from the start of the process to its end. There are two controls.
An empty folder in the place of boot/ shows how much two equal runs differ. A sitecustomize.py
without a line shows the least cost of any file that every Python runs at its start.
No difference is measurable where the 95 % confidence interval of the median difference (boot/ minus
the control) contains 0. `setup_s3_mirror.sh` compiles boot/. Where it cannot, each Python compiles
the file again, because the mount is read-only. The last figure shows this case; two thirds of it
are the cost of compiling any file.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator

from lab.bench.figures import Figure
from lab.bench.lab import Lab
from tests.rig import ROOT

AGAINST = {"without": "no PYTHONPATH", "empty": "an empty folder",
           "bare": "an empty sitecustomize.py"}  # fmt: skip


def run(lab: Lab) -> Iterator[Figure]:
    pairs = lab.size(20, 200)
    bare = lab.room("bare")
    (bare / "sitecustomize.py").touch()
    raw = lab.room("raw") / "boot"
    shutil.copytree(ROOT / "boot", raw, ignore=shutil.ignore_patterns("__pycache__"))
    paths = {"without": "", "empty": str(lab.room("empty")), "bare": str(bare),
             "raw": str(raw), "boot": str(ROOT / "boot")}  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name in paths}
    for path in paths.values():  # so that each is compiled before it is measured
        _run(path, keep=path != str(raw))
    for number in range(pairs):
        order = list(paths) if number % 2 else list(reversed(paths))
        for name in order:
            took[name].append(_run(paths[name], keep=name != "raw"))
    for name, against in AGAINST.items():
        note, _ = compared(took["boot"], took[name])
        yield Figure("python3 -c pass with boot/", "ms", took["boot"], against, took[name],
                     note=note)  # fmt: skip
    for name, figure in (("bare", "python3 -c pass with an empty sitecustomize.py"),
                         ("raw", "python3 -c pass with boot/ never compiled")):  # fmt: skip
        note, _ = compared(took[name], took["empty"])
        yield Figure(figure, "ms", took[name], AGAINST["empty"], took["empty"], note=note)


def compared(ours: list[float], others: list[float]) -> tuple[str, bool]:
    """The difference of the pairs in words, and whether it may be zero."""
    differences = [a - b for a, b in zip(ours, others, strict=True)]
    low, high = interval(differences)
    return (
        f"{statistics.median(differences):+.3f} ms a pair in the median,"
        f" 95 % between {low:+.3f} and {high:+.3f} ms, {len(differences)} pairs",
        low <= 0 <= high,
    )


def interval(differences: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, by the sign test."""
    ordered, count = sorted(differences), len(differences)
    off = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)))
    return ordered[off], ordered[count - 1 - off]


def _run(path: str, *, keep: bool = True) -> float:
    """Milliseconds of one interpreter. It writes compiled files if it may `keep` them."""
    environ = {"PATH": os.environ["PATH"]} | ({"PYTHONPATH": path} if path else {})
    environ |= {} if keep else {"PYTHONDONTWRITEBYTECODE": "1"}
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], environ)
    os.waitpid(child, 0)
    return 1000 * (time.perf_counter() - began)
