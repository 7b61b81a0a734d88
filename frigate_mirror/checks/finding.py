"""The result of one check, and how results are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

OK, NOTE, FAULT = "ok", "note", "FAULT"
EX_OK, EX_FAULT = 0, 1


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `grade` is ok, note or FAULT; `advice` says what the owner can do;
    `code` is the exit code of `check` that only this finding leads to."""

    grade: str
    what: str
    advice: str = ""
    code: int = EX_OK

    def __str__(self) -> str:
        head = f"{self.grade:<6} {self.what}"
        return f"{head}\n       -> {self.advice}" if self.advice else head


def tell(findings: Iterator[Finding], say: Callable[[str], None]) -> int:
    """Says each finding as soon as it is made; returns the exit code."""
    faults, code = 0, EX_OK
    for finding in findings:
        say(str(finding))
        faults += finding.grade == FAULT
        code = code or finding.code
    say(f"{faults} fault(s)" if faults else "no fault found")
    return code or (EX_FAULT if faults else EX_OK)
