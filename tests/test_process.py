"""A child process closes what it inherited, starts its threads, and calls its tasks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from frigate_mirror.part import Task
from frigate_mirror.process.rounds import Rounds
from tests.rig import ROOT
from tests.rig.waiting import PATIENCE, until

# This program opens files below and above the usual limits and closes all inherited files. It
# prints which files are still open, and the highest numbers that it asked the C library to close.
CLOSES_ALL = """
import json, os
from frigate_mirror.process import system

listing, closing, bounds = os.listdir, os.closerange, []

def closerange(low, high):
    bounds.append(high)
    assert high < 1 << 20, "this would take minutes where close_range is missing"
    closing(low, high)

def listdir(folder):
    if folder in HIDDEN:
        raise FileNotFoundError(folder)
    return listing(folder)

os.closerange, os.listdir = closerange, listdir
mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
mine.append(os.dup2(mine[0], 900))
system.close_inherited_files()
os.listdir = listing
still = []
for number in (0, 1, 2, *mine):
    try:
        os.fstat(number)
        still.append(number)
    except OSError:
        pass
print(json.dumps([still, bounds, os.getcwd()]))
"""


@pytest.mark.parametrize("hidden", [[], ["/proc/self/fd"], ["/proc/self/fd", "/dev/fd"]])
def test_every_inherited_descriptor_is_closed_without_going_through_all_possible_numbers(
    hidden: list[str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"HIDDEN = {hidden!r}{CLOSES_ALL}"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    still, bounds, folder = json.loads(done.stdout)
    assert still == [0, 1, 2] and folder == "/"
    assert len(bounds) == (1 if len(hidden) == 2 else 0)


def test_a_task_is_called_at_once_and_then_not_before_it_is_due_again() -> None:
    hourly: list[str] = []
    often: list[str] = []
    rounds = Rounds(
        "test",
        Task("test", 3600.0, lambda: hourly.append("called")),
        Task("test", 0.01, lambda: often.append("called")),
    )
    rounds.start()
    until(lambda: len(often) >= 4)
    rounds.stop()
    rounds.join(PATIENCE)
    assert len(hourly) == 1


def test_a_thread_that_never_starts_ends_the_process_with_a_traceback() -> None:
    program = (
        "import threading\nfrom frigate_mirror.process import rounds\n"
        "rounds.START_WITHIN = 0.5\n"
        "def stuck(): threading.Event().wait()\n"
        "rounds.start_all(stuck)\nprint('started')"
    )
    done = started(program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Timeout (0:00:00.5") and "in stuck" in done.stderr


def test_the_time_limit_for_the_start_ends_when_all_threads_have_started() -> None:
    program = (
        "import threading\nfrom frigate_mirror.process import rounds\n"
        "rounds.START_WITHIN = 2.0\n"
        "rounds.start_all(threading.Thread(target=print).start)\n"
        "threading.Event().wait(2.5)"
    )
    done = started(program)
    assert (done.returncode, done.stderr) == (0, "")


def started(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
