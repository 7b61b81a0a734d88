"""Boot: how much longer `python3 -c pass` takes with boot/ on PYTHONPATH.

The bench starts Pythons in pairs that take turns, and measures the wall time of each. There are two
controls. The first is an empty folder in the place of boot/: it shows by how much two runs differ
although nothing of the mirror differs. The second is an empty sitecustomize.py: it shows what any
file costs that every Python runs at its start. A difference is not measurable if the 95 %
confidence interval of the median difference of the pairs (boot/ minus the control) contains 0.
`setup_s3_mirror.sh` compiles boot/ in advance. If it could not, each Python compiles the file
again, because the mount is read-only. The last figure shows this case. Any file would cost two
thirds of that.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator

from bench import ROOT
from bench.figures import Figure
from bench.lab import Lab

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
    for path in paths.values():  # what is compiled is kept
        _run(path, keep=path != str(raw))
    for number in range(pairs):
        order = list(paths) if number % 2 else list(reversed(paths))
        for name in order:
            took[name].append(_run(paths[name], keep=name != "raw"))
    for name, against in AGAINST.items():
        note, none = compared(took["boot"], took[name])
        yield Figure("python3 -c pass with boot/", "ms", took["boot"], against, took[name],
                     note=note, verdict=none)  # fmt: skip
    for name, figure in (("bare", "python3 -c pass with an empty sitecustomize.py"),
                         ("raw", "python3 -c pass with boot/ never compiled")):  # fmt: skip
        note, _ = compared(took[name], took["empty"])
        yield Figure(figure, "ms", took[name], AGAINST["empty"], took["empty"], note=note)


def compared(ours: list[float], others: list[float]) -> tuple[str, bool]:
    """What the pairs differ by, and whether that may be nothing."""
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
    """Milliseconds of wall time of one interpreter, which may `keep` what it compiles."""
    environ = {"PATH": os.environ["PATH"]} | ({"PYTHONPATH": path} if path else {})
    environ |= {} if keep else {"PYTHONDONTWRITEBYTECODE": "1"}
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], environ)
    os.waitpid(child, 0)
    return 1000 * (time.perf_counter() - began)
