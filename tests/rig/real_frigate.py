"""Runs programs in Frigate's own interpreter, with Frigate's own source tree.

FRIGATE_SRC names a source tree of Frigate 0.16, 0.17 or 0.18. It contains `frigate/`,
`migrations/`, `labelmap.txt` and a `frigate/version.py` (VERSION = "0.17.2") as Frigate's build
writes it.
FRIGATE_PYTHON names a Python 3.11 that has Frigate's wheels. Without it, the Python that runs the
tests is used. Nothing of Frigate is part of this project.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = os.environ.get("FRIGATE_SRC", "")
PYTHON = os.environ.get("FRIGATE_PYTHON", sys.executable)
# Frigate imports these large packages, and these tests never call them.
EMPTY = ("transformers", "sherpa_onnx", "librosa", "soundfile", "faster_whisper", "tflite_runtime")
LACKING = 77  # a program exits with this code when an import is missing

needs_frigate = pytest.mark.skipif(not SOURCE, reason="FRIGATE_SRC names no source tree of Frigate")


def run(
    program: str, folder: Path, *words: str, first: Path | None = None, timeout: float = 90,
    **environ: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Runs the text of a program, whose first argument is `folder`, in which it may write. `first`
    is a folder that stands first on PYTHONPATH. The program must succeed; the test is skipped if
    this Python cannot import Frigate."""
    for name in EMPTY:
        package = folder / "empty" / name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
    script = folder / "program.py"
    script.write_text(program)
    path = [*([first] if first else []), SOURCE, folder / "empty"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "CONFIG_FILE": str(folder / "config.yml"),
        **environ,
    }
    done = subprocess.run(
        [PYTHON, str(script), str(folder), *words],
        env=environment, cwd=SOURCE, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    if done.returncode == LACKING:
        pytest.skip(f"{PYTHON} cannot import Frigate: {done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done
