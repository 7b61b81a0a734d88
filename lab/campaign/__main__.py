"""python -m lab.campaign: runs the fault campaign, or proves that it can fail.

Some faults need mounts, a loop device or chattr, which usually only root may use. Where the machine
does not allow them, the campaign reports these faults as skipped and itself as incomplete.

Exit codes: 0 nothing was lost, doubled, wrong or alien, and nothing else failed; 1 something did,
or the report could not be written; 2 nothing failed, but a fault was skipped or not reached in
time; 64 a wrong command line.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from lab import tree
from lab.campaign import faults, prove, report
from lab.campaign.lab import open_lab
from lab.campaign.plan import AT_ONCE, Campaign, Planned, plan
from lab.campaign.run import Outcome
from lab.campaign.sabotage import TABLE
from lab.campaign.slips import SLIPS

EX_FAILED, EX_INCOMPLETE, EX_USAGE = 1, 2, 64
LAST_RUN = 120.0  # seconds that the last runs may take in all


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every world is closed
    if arguments.list:
        for group, members in faults.groups().items():
            print(group, *(f"    {fault.name}" for fault in members), sep="\n")
        return 0
    planned = _planned(arguments)
    if planned is None:
        return EX_USAGE
    if arguments.report and (why := tree.refusal(arguments.report)):
        print(why, file=sys.stderr)
        return EX_FAILED
    if arguments.prove:
        return _prove(arguments)
    return _campaign(arguments, planned)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what everything random comes from")
    parser.add_argument("--minutes", type=float, default=45, help="how long it may take")
    parser.add_argument("--only", nargs="+", metavar="NAME",
                        help="these faults or groups; `A + B` is a pair")  # fmt: skip
    parser.add_argument("--again", metavar="SEED", help="one run, by the seed that a failure named")
    parser.add_argument("--runs-scale", type=float, default=1.0, help="times as many runs")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="worlds at the same time")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--json", action="store_true", help="every run as JSON on stdout")
    parser.add_argument("--log", action="store_true", help="show the log of runs that failed")
    parser.add_argument("--prove", action="store_true",
                        help="break the program on purpose: it must be noticed")  # fmt: skip
    parser.add_argument("--sabotage", nargs="+", default=[], metavar="NAME",
                        help="these only; `sabotages` and `slips` are all of a table")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name every fault")
    return parser


def _planned(arguments: argparse.Namespace) -> list[Planned] | None:
    known, groups = faults.by_name(), faults.groups()
    if arguments.again:
        names = arguments.again.split(":", 2)[2].split(" + ")
        return [Planned(tuple(known[name] for name in names), arguments.again)]
    chosen: list[faults.Fault] = []
    extra: list[Planned] = []
    for word in arguments.only or groups:
        names = word.split(" + ")
        if len(names) == 2 and set(names) <= known.keys():
            pair = tuple(known[name] for name in names)
            extra.append(Planned(pair, f"{arguments.seed}:0:{word}"))
        elif word in groups or word in known:
            chosen += groups.get(word) or [known[word]]
        else:
            print(f"no fault {word!r}; --list names them", file=sys.stderr)
            return None
    found = plan(chosen, arguments.seed, arguments.runs_scale)
    if arguments.only:  # the random pairs would be of all faults
        found = [one for one in found if len(one.faults) == 1]
    return found + extra


def _campaign(arguments: argparse.Namespace, planned: list[Planned]) -> int:
    def tell(outcome: Outcome) -> None:
        print(report.line(outcome), file=sys.stderr, flush=True)
        if arguments.log and not outcome.clean:
            print(*outcome.log, sep="\n", file=sys.stderr, flush=True)

    skipped = {fault.name: why for one in planned for fault in one.faults if (why := fault.lacks)}
    possible = [one for one in planned if not any(fault.lacks for fault in one.faults)]
    print(f"{len(possible)} runs at the most, seed {arguments.seed}", file=sys.stderr)
    for name, why in skipped.items():
        print(f"skipped {name}: {why}", file=sys.stderr)
    until = 60 * arguments.minutes
    deadline = time.monotonic() + until - min(LAST_RUN, until / 4)
    with open_lab() as lab:
        campaign = Campaign(lab, deadline, tell)
        campaign.make(possible, arguments.at_once)
    left_out = [tuple(fault.name for fault in one.faults) for one in campaign.left_out]
    made = report.Made(campaign.outcomes, arguments.seed, left_out, skipped)
    if arguments.json:
        print(report.document(campaign.outcomes))
    text = report.markdown(made, faults.groups())
    if bad := report.failed(made.outcomes):
        print(text)
        print(f"{len(bad)} run(s) failed, so no report is written: correct the cause, then repeat "
              "each with --again and its seed", file=sys.stderr)  # fmt: skip
        return EX_FAILED
    told = _tell(arguments.report, text) if arguments.report or not arguments.json else True
    if not told:
        return EX_FAILED
    return EX_INCOMPLETE if made.unproven else 0


def _prove(arguments: argparse.Namespace) -> int:
    def tell(proof: prove.Proof) -> None:
        word = "FAILED" if proof.fault else "ok    "
        print(f"{word} {proof.name}: {proof.by}: {proof.fault or proof.saw} {proof.seed!r}",
              file=sys.stderr, flush=True)  # fmt: skip

    every = (*TABLE, *SLIPS)
    groups = {"sabotages": TABLE, "slips": SLIPS}
    words = arguments.sabotage or groups
    named = {one.name for word in words for one in groups.get(word, ())} | set(words) - set(groups)
    chosen = [one for one in every if one.name in named]
    if unknown := named - {one.name for one in chosen}:
        print(f"no sabotage {', '.join(sorted(unknown))!r}", file=sys.stderr)
        return EX_USAGE
    with open_lab() as lab:
        proofs = prove.prove(lab, chosen, arguments.seed, arguments.at_once, tell)
    told = _tell(arguments.report, prove.markdown(proofs), report.PROOF)
    return EX_FAILED if any(proof.fault for proof in proofs) or not told else 0


def _tell(page: Path | None, text: str, section: str = "") -> bool:
    """Writes the page, or that section of it. Prints the text where there is no page, or where the
    tree has changed meanwhile; the latter is False."""
    if page is None:
        print(text)
    elif why := tree.refusal(page):
        print(text)
        print(why, file=sys.stderr)
        return False
    else:
        report.write(page, text, section=section)
    return True


if __name__ == "__main__":
    sys.exit(main())
