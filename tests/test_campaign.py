"""The fault campaign in its short form: a handful of faults with few events, and that it can fail.

`make campaign` is the long one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign import __main__ as command
from campaign import report
from campaign.events import Event
from campaign.faults import Fault, by_name, groups
from campaign.lab import Lab, open_lab
from campaign.oracle import Oracle, Verdict
from campaign.plan import pairs, plan
from campaign.run import Outcome, run
from campaign.sabotage import TABLE, broken_copy
from servers import SeaweedFS

SHORT = {"lasts": (0.2, 0.5), "bound": 20.0}


@pytest.fixture(scope="module")
def lab(seaweedfs: SeaweedFS) -> Iterator[Lab]:
    with open_lab(seaweedfs) as opened:
        yield opened


def short(name: str) -> Fault:
    """The fault with few blows."""
    fault = by_name()[name]
    return dataclasses.replace(
        fault, strikes=min(fault.strikes, 1 if "Frigate" in name else 3), **SHORT
    )


@pytest.mark.parametrize(
    "names",
    ["503 SlowDown", "success answer lost", "kill -9 at random moments",
     "connection reset + Frigate killed"],
)  # fmt: skip
def test_all_that_was_offered_arrives_once_whatever_happened(lab: Lab, names: str) -> None:
    outcome = run(lab, [short(name) for name in names.split(" + ")], f"1:1:{names}")
    assert outcome.clean, report.line(outcome) + "\n" + "\n".join(outcome.log)
    assert outcome.verdict.offered > 2


def test_a_program_that_sends_half_a_picture_does_not_pass(lab: Lab) -> None:
    [half] = [one for one in TABLE if one.name == "half of the picture is sent"]
    broken = dataclasses.replace(lab, root=broken_copy(half, lab.room() / "program"))
    outcome = run(broken, [dataclasses.replace(short("SIGTERM"), strikes=1)], "1:1:half")
    assert outcome.verdict.wrong
    assert not outcome.clean


@pytest.mark.parametrize("sabotage", TABLE, ids=lambda one: one.name)
def test_every_sabotage_still_fits_the_source(sabotage: object, tmp_path: Path) -> None:
    broken_copy(sabotage, tmp_path / "program")  # type: ignore[arg-type]


def test_every_sabotage_names_faults_that_there_are() -> None:
    named = {part for one in TABLE for name in one.noticed_by for part in name.split(" + ")}
    assert named <= by_name().keys()
    assert len(TABLE) >= 10


def test_no_two_faults_have_one_name() -> None:
    names = [fault.name for members in groups().values() for fault in members]
    assert len(names) == len(set(names))


def test_a_plan_is_the_same_for_the_same_seed_and_sees_every_fault_first() -> None:
    faults = list(by_name().values())
    planned = plan(faults, 7, 1.0)
    assert planned == plan(faults, 7, 1.0)
    names = [fault.name for fault in faults]
    assert {one.faults[0].name for one in planned[: len(names) + 16]} == set(names)
    assert pairs(faults, 7, 5) != pairs(faults, 8, 5)


def event(number: int, sha256: str = "") -> Event:
    event_id = f"{number}.5-abcdef"
    return Event(
        id=event_id, camera="garage", label="", kind="api", started=0.0, ended=1.0,
        file=f"garage-{event_id}.jpg", sha256=sha256,
    )  # fmt: skip


def test_the_oracle_tells_what_is_lost_doubled_wrong_or_alien(seaweedfs: SeaweedFS) -> None:
    bucket = seaweedfs.bucket()
    for key in ("p/garage/d/2.5-abcdef-x.jpg", "p/garage/e/2.5-abcdef-y.jpg",
                "garage/d/3.5-abcdef-x.jpg", "p/garage/d/notes.txt"):  # fmt: skip
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    known = {one.id: one for one in (event(1), event(2, empty), event(3, "other"))}
    verdict = Oracle(bucket, "p").judge(known, known)
    assert verdict == Verdict(
        offered=3,
        lost=["1.5-abcdef"],
        duplicated=["2.5-abcdef"],
        wrong=["3.5-abcdef"],
        alien=["garage/d/3.5-abcdef-x.jpg", "p/garage/d/notes.txt"],
    )


def test_the_report_has_a_row_for_each_fault_and_keeps_the_proof(tmp_path: Path) -> None:
    lost = Outcome(("SIGTERM",), "1:0:SIGTERM", Verdict(offered=5, lost=["x"]), seconds=1.5)
    text = report.markdown([lost], groups(), seed=1, left_out=0)
    assert "| SIGTERM | 1 | 5 | 1 | 0 | 0 | 0 | 1.5 | 1.5 |" in text
    assert "seed '1:0:SIGTERM'" in text
    path = tmp_path / "report.md"
    report.write(path, f"{report.PROOF}\nproven\n", section=report.PROOF)
    report.write(path, text)
    assert path.read_text().startswith("# How reliable it is")
    assert path.read_text().endswith("proven\n")


def test_an_unknown_fault_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "no such fault"]) == command.EX_USAGE
    assert "no such fault" in capsys.readouterr().err
