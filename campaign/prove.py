"""The proof that the campaign can fail: each sabotage must be noticed, and by its own doing.

For every broken program the faults that should notice are run until one does. The same run, same
seed, is then made with a copy that is not broken: it must pass.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.faults import Fault, by_name
from campaign.lab import Lab, side_by_side
from campaign.report import PROOF
from campaign.run import Outcome, run
from campaign.sabotage import PatchError, Sabotage, broken_copy, copy

BOUND = 15.0  # seconds; without a sabotage a few are enough
LASTS = (8.0, 9.0)  # as long as three tries and a retention take
TRIES = 3  # seeds for each fault
LONGEST_SEEN = 200  # characters


@dataclass(frozen=True)
class Proof:
    """`by`, `saw` and `seed` tell which fault noticed, what it saw, and how to see it again;
    `fault` says why there is no proof, and is empty if there is."""

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
    """The proof for each sabotage."""
    lab = dataclasses.replace(lab, share=0.9, patience=BOUND)
    sound = lab.folder / "sound"
    copy(sound)

    def one(sabotage: Sabotage) -> Proof:
        proof = _prove(lab, sabotage, sound, seed)
        tell(proof)
        return proof

    return side_by_side(lab, at_once, [functools.partial(one, each) for each in sabotages])


def _prove(lab: Lab, sabotage: Sabotage, sound: Path, seed: int) -> Proof:
    try:
        root = broken_copy(sabotage, lab.room() / "program")
    except PatchError as error:
        return Proof(sabotage.name, fault=str(error))
    broken = dataclasses.replace(lab, root=root)
    for faults, one_seed in _runs(sabotage, seed):
        outcome = run(broken, faults, one_seed)
        if outcome.clean:
            continue
        control = run(dataclasses.replace(lab, root=sound), faults, one_seed)
        by, saw = " + ".join(outcome.names), _seen(outcome)
        fault = "" if control.clean else f"the sound program fails too: {_seen(control)}"
        return Proof(sabotage.name, by, saw, one_seed, fault)
    return Proof(sabotage.name, fault=f"not noticed by {', '.join(sabotage.noticed_by)}")


def _runs(sabotage: Sabotage, seed: int) -> Iterator[tuple[list[Fault], str]]:
    for number in range(TRIES):
        for name in sabotage.noticed_by:
            faults = [_longer(by_name()[one]) for one in name.split(" + ")]
            if not any(fault.lacks for fault in faults):
                yield faults, f"{seed}:{number}:{name}"


def _longer(fault: Fault) -> Fault:
    """Three tries and a retention take their time; blows that fall on the mirror do not."""
    return fault if fault.strikes else dataclasses.replace(fault, lasts=LASTS)


def _seen(outcome: Outcome) -> str:
    v = outcome.verdict
    counts = {"lost": v.lost, "twice": v.duplicated, "wrong": v.wrong, "alien": v.alien}
    told = [f"{len(found)} {name}" for name, found in counts.items() if found]
    text = ", ".join([*told, *outcome.complaints]).replace("|", "\\|")
    return f"{text if len(text) <= LONGEST_SEEN else text[:LONGEST_SEEN] + '…'} (of {v.offered})"


def markdown(proofs: Sequence[Proof]) -> str:
    """The proof as a section of the report."""
    proven = sum(not one.fault for one in proofs)
    lines = [
        PROOF,
        f"The program was broken on purpose in {len(proofs)} ways; {proven} were noticed. The same",
        "run with the program as it is passed each time. `python -m campaign --prove` does this.\n",
        "| broken so that | noticed by | which saw |",
        "|---|---|---|",
        *(f"| {one.name} | {one.by} | {one.fault or one.saw} |" for one in proofs),
    ]
    return "\n".join(lines) + "\n"
