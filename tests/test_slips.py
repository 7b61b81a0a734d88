"""The table of slips: each still fits the source, and the test that notices it is there.

Whether that test does notice takes minutes for all of them: `python -m lab.campaign --prove` tries.
"""

from __future__ import annotations

import ast
from functools import cache

import pytest

from lab.campaign.sabotage import TABLE, Sabotage, broken_files
from lab.campaign.slips import SLIPS
from tests.rig import ROOT


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the test functions in a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef))


@pytest.mark.parametrize("slip", SLIPS, ids=lambda one: one.name)
def test_every_slip_still_fits_the_source_and_names_a_test_that_there_is(slip: Sabotage) -> None:
    for file, text in broken_files(slip).items():
        assert text != (ROOT / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            compile(text, file, "exec")
    for test in slip.noticed_by:
        file, _, name = test.partition("::")
        assert name in names_in(file), test
    assert slip.noticed_by


def test_no_slip_is_in_the_table_twice() -> None:
    assert len({one.name for one in (*TABLE, *SLIPS)}) == len(TABLE) + len(SLIPS)
    assert len(SLIPS) >= 30
    assert len({slip.patches for slip in SLIPS}) == len(SLIPS)
