"""The README describes what the code does, and its first two commands work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from frigate_mirror.settings.settings import VARIABLES
from s3_snapshot_mirror import COMMANDS
from tests.rig import ROOT

README = (ROOT / "README.md").read_text()
SEED_VARIABLES = {
    "S3_BUCKET": "",
    "S3_ACCESS_KEY": "",
    "S3_SECRET_KEY": "",
    "S3_REGION": "us-east-1",
    "S3_PATH_PREFIX": "",
    "S3_ENDPOINT_URL": "",
    "S3_UPLOAD_THREADS": "8",
    "S3_BATCH_SIZE": "50",
    "S3_STORAGE_CLASS": "STANDARD_IA",
    "S3_MAX_FAILED_RETRIES": "3",
}


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_settings_table_is_what_the_command_prints() -> None:
    table = README.split("<!-- settings: begin -->\n")[1].split("<!-- settings: end -->")[0]
    command = [sys.executable, ROOT / "s3_snapshot_mirror.py", "settings", "--table"]
    assert table == subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_settings_that_were_promised_first_have_their_names_and_defaults() -> None:
    defaults = {
        name: variable.default for variable in VARIABLES.values() for name in variable.names
    }
    assert {name: defaults.get(name) for name in SEED_VARIABLES} == SEED_VARIABLES


def test_the_first_screen_has_the_two_commands() -> None:
    first, second = [block.strip() for block in fenced("bash")[:2]]
    assert (first, second) == ("./setup_s3_mirror.sh demo", "make test")
    assert len(README.split("```bash")[0].splitlines()) < 25


def test_the_policy_grants_nothing_but_put_and_list() -> None:
    policy = json.loads(fenced("json")[0])
    actions = {statement["Action"] for statement in policy["Statement"]}
    assert actions == {"s3:PutObject", "s3:ListBucket"}


def test_every_command_and_file_that_the_readme_names_exists() -> None:
    for script in set(re.findall(r"(?:\./|/)((?:setup_)?s3_\w+\.(?:sh|py))", README)):
        assert (ROOT / script).is_file(), script
    for command in set(re.findall(r"s3_snapshot_mirror\.py (\w+)", README)):
        assert command in COMMANDS
    for test in set(re.findall(r"`(test_\w+\.py)`", README)):
        assert (ROOT / "tests" / test).is_file(), test


def test_the_demo_brings_every_picture_into_the_bucket_and_cleans_up(tmp_path: Path) -> None:
    environ = os.environ | {"S3_DEMO_VENV": sys.prefix, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["./setup_s3_mirror.sh", "demo"], cwd=ROOT, env=environ, capture_output=True, timeout=120
    )
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert output.count("same bytes as on disk") == 5
    assert max(map(len, output.splitlines())) <= 100
    assert "\033" not in output
    assert "Health: OK" in output
    assert list(tmp_path.iterdir()) == []
