"""The proof that the campaign and the tests can fail: they must notice each sabotage, and nothing
else.

For each broken program it runs the faults and tests that should notice, until one does. Then it
repeats that run with the same seed, or that test, with a sound copy, which must pass.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.campaign.faults import Fault, by_name
from lab.campaign.lab import Lab, side_by_side
from lab.campaign.report import PROOF
from lab.campaign.run import Outcome, run
from lab.campaign.sabotage import PatchError, Sabotage, broken_copy, copy, is_test

BOUND = 15.0  # seconds; a sound program needs only a few
LASTS = (8.0, 9.0)  # seconds, as long as three tries and retention take
TRIES = 3  # runs of each fault, each with another seed
LONGEST_SEEN = 200  # characters
LONGEST_TEST = 300.0  # seconds
EX_PASSED, EX_FAILED = 0, 1  # pytest's exit codes


@dataclass(frozen=True)
class Proof:
    """`by` is the fault or test that noticed, `saw` is what it saw, and `seed` repeats the run (a
    test has no seed). `fault` says why there is no proof, and is empty if there is one."""

    name: str
    by: str = ""
    saw: str = ""
    seed: str = ""
    fault: str = ""


def prove(
    lab: Lab,
    sabotages: Sequence[Sabotage],
    seed: int,
    at_once: int,
    tell: Callable[[Proof], None],
) -> list[Proof]:
    """The proofs of all sabotages."""
    lab = dataclasses.replace(lab, share=0.9, patience=BOUND)
    sound = lab.room() / "program"
    copy(sound)

    def one(sabotage: Sabotage) -> Proof:
        room = lab.room()
        proof = _prove(lab, sabotage, room / "program", sound, seed)
        shutil.rmtree(room)  # a hundred copies would need much space
        tell(proof)
        return proof

    return side_by_side(lab, at_once, [functools.partial(one, each) for each in sabotages])


def _prove(lab: Lab, sabotage: Sabotage, root: Path, sound: Path, seed: int) -> Proof:
    try:
        broken_copy(sabotage, root)
    except PatchError as error:
        return Proof(sabotage.name, fault=str(error))
    for number in range(TRIES):
        for name in sabotage.noticed_by:
            if not is_test(name):
                proof = _by_fault(lab, sabotage, root, sound, f"{seed}:{number}:{name}")
            elif number == 0:  # a second run of a test would show the same
                proof = _by_test(lab, sabotage, root, sound, name)
            else:
                continue
            if proof is not None:
                return proof
    return Proof(sabotage.name, fault=f"not noticed by {', '.join(sabotage.noticed_by)}")


def _by_fault(lab: Lab, sabotage: Sabotage, root: Path, sound: Path, seed: str) -> Proof | None:
    """The proof by the faults that the seed names. None if they do not notice, or if this machine
    lacks what they need."""
    _, _, name = seed.split(":", 2)
    faults = [_longer(by_name()[one]) for one in name.split(" + ")]
    if any(fault.lacks for fault in faults):
        return None
    outcome = run(dataclasses.replace(lab, root=root), faults, seed)
    if outcome.clean:
        return None
    control = run(dataclasses.replace(lab, root=sound), faults, seed)
    fault = "" if control.clean else f"the sound program fails too: {_seen(control)}"
    return Proof(sabotage.name, name, _seen(outcome), seed, fault)


def _by_test(lab: Lab, sabotage: Sabotage, root: Path, sound: Path, test: str) -> Proof | None:
    """The proof by a test that is run in the copies. None if it does not notice."""
    code, saw = _run_test(lab, test, root)
    if code == EX_PASSED:
        return None
    if code != EX_FAILED:  # pytest did not find the test or could not collect it
        return Proof(sabotage.name, test, saw, fault=f"pytest ended with {code}: {saw}")
    code, seen = _run_test(lab, test, sound)
    fault = "" if code == EX_PASSED else f"the sound program fails too: {seen}"
    return Proof(sabotage.name, test, saw, fault=fault)


def _run_test(lab: Lab, test: str, folder: Path) -> tuple[int, str]:
    """Runs one test in that folder. Returns pytest's exit code and the first error of its output. A
    test that does not end has failed, because a slip may make it wait for ever."""
    # Its files get a folder of their own, because every pytest tidies up the usual one.
    options = ["-n0", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={lab.room() / 't'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", test, *options],
        cwd=folder,
        # It must find the modules in that folder and nowhere else.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that everything that it starts can be ended with it
    )
    until = time.monotonic() + LONGEST_TEST
    try:
        while time.monotonic() < until:
            with suppress(subprocess.TimeoutExpired):
                said, _ = process.communicate(timeout=1)
                errors = re.findall(r"(?m)^(?:E +|ERROR:? )(.+)$", said)
                return process.returncode, _short(errors[0] if errors else said[-LONGEST_SEEN:])
            lab.rest(0.0)
        return EX_FAILED, f"no end within {LONGEST_TEST:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _longer(fault: Fault) -> Fault:
    """Lets a fault last as long as three tries and retention take, unless it only strikes."""
    return fault if fault.strikes else dataclasses.replace(fault, lasts=LASTS)


def _seen(outcome: Outcome) -> str:
    v = outcome.verdict
    counts = {"lost": v.lost, "twice": v.duplicated, "wrong": v.wrong, "alien": v.alien}
    told = [f"{len(found)} {name}" for name, found in counts.items() if found]
    return f"{_short(', '.join([*told, *outcome.complaints]))} (of {v.offered})"


def _short(text: str) -> str:
    """The text as one cell of the report's table."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= LONGEST_SEEN else text[:LONGEST_SEEN] + "…"


def markdown(proofs: Sequence[Proof]) -> str:
    """The proof as a section of the report."""
    proven = sum(not one.fault for one in proofs)
    lines = [
        PROOF,
        "`python -m lab.campaign --prove` breaks copies of the program on purpose. A run or a test",
        f"noticed {proven} of {len(proofs)} broken copies. The same run or test with the unbroken",
        "program passed each time.\n",
        "| how the copy is broken | what noticed it | what it saw |",
        "|---|---|---|",
        *(f"| {one.name} | {one.by} | {one.fault or one.saw} |" for one in proofs),
    ]
    return "\n".join(lines) + "\n"
