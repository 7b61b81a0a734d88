"""The page about retention says what the program does."""

from __future__ import annotations

import json
import re

from frigate_mirror.policy import parse
from frigate_mirror.settings.settings import VARIABLES
from tests.rig import ROOT

PAGE = (ROOT / "docs" / "retention.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()


def test_every_policy_of_the_page_and_of_the_example_is_valid() -> None:
    told = re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)
    told += re.findall(r"^#?MIRROR_RETENTION=(.*)$", PAGE + EXAMPLE, re.MULTILINE)
    told += re.findall(r"^retention at bucket \S+ \S+: (.*)$", PAGE, re.MULTILINE)
    assert len(told) >= 8
    for policy in told:
        assert str(parse(policy)) == policy


def test_nothing_is_deleted_unless_the_owner_takes_a_sign_away() -> None:
    assert "\n#MIRROR_RETENTION=7d\n" in EXAMPLE
    assert not re.search(r"^(MIRROR_RETENTION|RETENTION_)", EXAMPLE, re.MULTILINE)


def test_the_policy_of_the_key_may_read_list_and_delete_and_nothing_else() -> None:
    [text] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    allowed = [statement["Action"] for statement in json.loads(text)["Statement"]]
    assert allowed == [["s3:GetObject", "s3:DeleteObject"], "s3:ListBucket"]


def test_every_variable_of_the_page_is_a_setting() -> None:
    known = {name for variable in VARIABLES.values() for name in variable.sources}
    named = set(re.findall(r"\b(?:RETENTION|RCLONE)_[A-Z_0-9]*[A-Z0-9]\b", PAGE))
    assert named and named <= known
