"""Shows the companion at work on this machine: three companions mirror one Frigate.

The broker, the S3 server, rclone and its WebDAV server are real, and so are the companions, which
are processes as an owner starts them. Only Frigate is a stand-in. All files are in one temporary
folder, which the demo deletes at its end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from frigate_mirror.demo import servers
from frigate_mirror.demo.paper import Paper
from frigate_mirror.demo.servers import DemoFailed

EX_OK, EX_FAILED = 0, 1


def main(*, keep: bool) -> int:
    """Runs the demo. Returns 0 if every file of every event is at every destination with the right
    bytes, and otherwise 1."""
    if lacking := servers.missing():
        command = f"{sys.executable} -m pip install {' '.join(lacking)}"
        print(f"The demo lacks what this installs: {command}", file=sys.stderr)
        return EX_FAILED
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="frigate-demo-"))
    try:
        faults = _run(folder)
        if keep:
            print(f"\nThe files are in {folder}")
        if not faults:
            Paper().title("Every file of every event is at every destination.")
            return EX_OK
        print(f"\nThe demo failed: {faults[0]}", file=sys.stderr)
    except BrokenPipeError:  # nobody reads what the demo prints
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return EX_FAILED


def _run(folder: Path) -> list[str]:
    """Returns what is missing or wrong at the destinations, or why the demo could not go on."""
    from frigate_mirror.demo.steps import Demo  # needs the libraries of the companion

    try:
        with ExitStack() as stack:
            return Demo(folder, stack).run()
    except DemoFailed as error:
        return [str(error)]
