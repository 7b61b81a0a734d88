"""setup_s3_mirror.sh writes some files, keeps all others, and never shows a secret."""

from __future__ import annotations

import os
import pty
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from frigate_mirror.settings.settings import VARIABLES
from tests.rig import ROOT

TOOLS = (
    "bash", "dirname", "awk", "sed", "grep", "head", "cat", "diff", "mktemp", "mv", "rm", "cp",
    "cmp", "chmod", "chown", "stat", "readlink", "id", "mkdir", "touch",
)  # fmt: skip
BORROWED = ("setup_s3_mirror.sh", "entrypoint.sh", "requirements/child.lock")
LIST_SETTINGS = f'exec "{sys.executable}" "{ROOT}/s3_snapshot_mirror.py" settings --names'
SECRET = "wJalrXUtnFEMI+K7MDENG$bPxRfiCY#EXAMPLE KEY"
GIVEN = {"S3_BUCKET": "cams", "S3_ACCESS_KEY": "AKIAEXAMPLE", "S3_SECRET_KEY": SECRET}
COMPOSE = """\
services:
  mqtt:
    image: eclipse-mosquitto
    entrypoint: /not/frigates
  frigate:
    image: "ghcr.io/blakeblackshear/frigate:0.17.2"
    # entrypoint: [commented]
    volumes:
      - ./config:/config
volumes:
  other:
    entrypoint: nonsense
"""
# This Python passes the tests of its version, lists the settings, downloads like pip, and otherwise
# is the check.
PYTHON = (
    f"""\
[[ $1 == -c ]] && exit "${{NO_PYTHON:-0}}"
[[ $2 != settings ]] || {LIST_SETTINGS}
"""
    + """\
printf 'python3 %s\\n' "$*" >>"$NOTES/calls"
[[ $2 != compileall ]] || exit 0
if [[ $1 == -m ]]; then
  while [[ $1 != --target ]]; do shift; done
  mkdir -p "$2/boto3" && touch "$2/boto3/new"
  exit "${PIP_STATUS:-0}"
fi
printf '%s|' "$S3_BUCKET" "$S3_SECRET_KEY" >"$NOTES/checked"
exit "${CHECK:-0}"
"""
)
DOCKER = (
    f"""\
[[ $* != *"/work/s3_snapshot_mirror.py settings --names" ]] || {LIST_SETTINGS}
"""
    + """\
case "$1 $2" in
  "compose version") exit "${NO_COMPOSE:-0}" ;;
  "info "*) exit 0 ;;
  "image inspect") exit "${NO_IMAGE:-0}" ;;
esac
printf 'docker %s\\n' "$*" >>"$NOTES/calls"
case $1 in
  run) mkdir -p "$OURS/vendor.new" ;;
  compose) [[ $* != *check* ]] || exit "${CHECK:-0}" ;;
esac
"""
)


class House:
    """A user's folder with a compose file, the project's folder beside it, and a PATH of stubs."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.project = folder / "ours $1", folder / "frigate"
        self.bin, self.notes = folder / "bin", folder / "notes"
        for name in ("ours $1/boot", "ours $1/requirements", "frigate", "bin", "notes"):
            (folder / name).mkdir(parents=True)
        for name in BORROWED:
            shutil.copy(ROOT / name, self.ours / name)
        for name in ("boot/sitecustomize.py", "frigate_s3_patcher.py", "s3_snapshot_mirror.py"):
            (self.ours / name).touch()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.stub("python3", PYTHON)
        self.compose.write_text(COMPOSE)

    @property
    def compose(self) -> Path:
        return self.project / "docker-compose.yml"

    @property
    def env(self) -> Path:
        return self.project / ".env"

    @property
    def override(self) -> Path:
        return self.project / "docker-compose.override.yml"

    def stub(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{body}")
        (self.bin / name).chmod(0o755)

    def calls(self) -> str:
        notes = self.notes / "calls"
        return notes.read_text() if notes.exists() else ""

    def environment(self, environ: dict[str, str]) -> dict[str, str]:
        return {"PATH": str(self.bin), "NOTES": str(self.notes), "OURS": str(self.ours)} | environ

    def setup(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.ours / "setup_s3_mirror.sh"), *arguments],
            cwd=self.project, env=self.environment(environ), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.project.iterdir()}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def docker(house: House) -> House:
    house.stub("docker", DOCKER)
    return house


# -- what it writes


def test_setup_writes_settings_and_override_and_keeps_the_users_compose_file(house: House) -> None:
    done = house.setup(**GIVEN)
    assert done.returncode == 0, done.stderr
    keys = f"S3_ACCESS_KEY='AKIAEXAMPLE'\nS3_SECRET_KEY='{SECRET}'\n"
    assert f"S3_BUCKET='cams'\n{keys}" in house.env.read_text()
    assert '["/bin/bash", "/opt/frigate-s3-mirror/entrypoint.sh"]' in house.override.read_text()
    assert house.compose.read_text() == COMPOSE
    assert set(house.files()) == {"docker-compose.yml", ".env", "docker-compose.override.yml"}


def test_only_the_owner_can_read_the_settings(house: House) -> None:
    house.env.write_text("THEIRS=1\n")
    house.env.chmod(0o644)
    house.setup(**GIVEN)
    assert stat.S_IMODE(house.env.stat().st_mode) == 0o600
    assert stat.S_IMODE(house.override.stat().st_mode) == 0o644


def test_a_second_run_changes_nothing_and_needs_no_settings(house: House) -> None:
    house.setup(**GIVEN)
    before, vendored = house.files(), house.calls().count(" pip ")
    done = house.setup()
    assert done.returncode == 0, done.stderr
    assert "Everything is written already." in done.stdout
    assert house.files() == before
    assert house.calls().count(" pip ") == vendored == 1


def test_a_new_value_of_a_setting_replaces_the_old_one(house: House) -> None:
    house.setup(**GIVEN)
    done = house.setup(S3_BUCKET="other", MIRROR_KEY_TIMEZONE="Europe/Berlin")
    assert "  -S3_BUCKET='cams'\n  +S3_BUCKET='other'\n" in done.stdout
    assert house.env.read_text().count("S3_BUCKET=") == 1
    assert "MIRROR_KEY_TIMEZONE='Europe/Berlin'\n" in house.env.read_text()


def test_a_setting_that_was_written_under_an_older_name_is_kept_under_the_newer(
    house: House,
) -> None:
    house.setup(**GIVEN)
    written = house.env.read_text()
    house.env.write_text(written.replace("# <<<", "S3_UPLOAD_THREADS='16'\n# <<<"))
    assert house.setup().returncode == 0
    threads = [line for line in house.env.read_text().splitlines() if "UPLOAD_THREADS" in line]
    assert threads == ["MIRROR_UPLOAD_THREADS='16'"]


def test_a_value_given_under_either_name_replaces_the_old_one(house: House) -> None:
    for given in ({"MIRROR_NICENESS": "1"}, {"S3_NICENESS": "2"}, {"MIRROR_NICENESS": "3"}):
        assert house.setup(**GIVEN, **given).returncode == 0
        lines = [line for line in house.env.read_text().splitlines() if "NICENESS" in line]
        assert lines == [f"MIRROR_NICENESS='{next(iter(given.values()))}'"]


def test_the_users_own_line_keeps_its_older_name_and_wins(house: House) -> None:
    house.setup(**GIVEN, MIRROR_NICENESS="1")
    house.env.write_text(f"S3_NICENESS=2\n{house.env.read_text()}")
    assert house.setup().returncode == 0
    lines = [line for line in house.env.read_text().splitlines() if "NICENESS" in line]
    assert lines == ["S3_NICENESS=2"]
    assert " S3_NICENESS:" in house.override.read_text()


def test_the_override_names_every_setting_and_mounts_our_folder_read_only(house: House) -> None:
    yaml = pytest.importorskip("yaml")
    house.setup(**GIVEN)
    service = yaml.safe_load(house.override.read_text())["services"]["frigate"]
    names = {name for variable in VARIABLES.values() for name in variable.sources}
    assert set(service["environment"]) == names
    assert set(service["environment"].values()) == {None}
    [mount] = service["volumes"]
    assert mount["source"] == str(house.ours).replace("$", "$$") and mount["read_only"] is True
    assert service["stop_grace_period"] == "30s"


def test_setup_leaves_out_what_the_users_compose_file_sets(house: House) -> None:
    theirs = "    stop_grace_period: 1m\n    environment:\n      S3_BUCKET: theirs\n"
    house.compose.write_text(COMPOSE.replace("    # entrypoint", f"{theirs}    # entrypoint"))
    done = house.setup()
    assert done.returncode == 0, done.stderr
    assert "docker-compose.yml already has these settings" in done.stdout
    assert "leaves them to it: S3_BUCKET\n" in done.stdout
    override = house.override.read_text()
    assert " S3_BUCKET:" not in override and " S3_REGION:" in override
    assert "stop_grace_period" not in override


def test_another_service_can_be_named(house: House) -> None:
    house.compose.write_text(COMPOSE.replace("  frigate:", "  nvr:"))
    assert house.setup("--service", "nvr", **GIVEN).returncode == 0
    assert "\n  nvr:\n" in house.override.read_text()


def test_the_folder_can_be_named(house: House, tmp_path: Path) -> None:
    house.project.rename(tmp_path / "moved")
    house.project.mkdir()
    assert house.setup("--dir", str(tmp_path / "moved"), **GIVEN).returncode == 0
    assert (tmp_path / "moved" / ".env").exists() and not house.env.exists()


# -- what it keeps


def test_the_users_own_lines_stay_as_they_are(house: House) -> None:
    theirs = "# mine\nFRIGATE_RTSP_PASSWORD=geheim\r\nS3_REGION=eu-central-1\n"
    house.env.write_bytes(theirs.encode())
    done = house.setup(S3_REGION="us-west-2", **GIVEN)
    assert house.env.read_bytes().startswith(theirs.encode())
    assert house.env.read_text().count("S3_REGION") == 1
    assert ".env has a line of your own for S3_REGION" in done.stdout


def test_the_users_own_lines_may_contain_all_settings(house: House) -> None:
    house.env.write_text("export S3_BUCKET=\"cams\"\nS3_ACCESS_KEY=a # key\nS3_SECRET_KEY='b'\n")
    done = house.setup()
    assert done.returncode == 0, done.stderr
    assert (house.notes / "checked").read_text() == "cams|b|"


def test_a_block_without_an_end_counts_as_the_users_lines(house: House) -> None:
    house.setup(**GIVEN)
    damaged = house.env.read_text().rsplit("# <<<", 1)[0] + "THEIRS=1\n"
    house.env.write_text(damaged)
    house.setup()
    assert house.env.read_text().startswith(damaged)


def test_lines_after_our_block_stay_even_if_all_lines_end_as_on_windows(
    house: House,
) -> None:
    house.setup(**GIVEN)
    house.env.write_bytes(house.env.read_bytes().replace(b"\n", b"\r\n") + b"MINE=1\r\n")
    house.setup("--uninstall")
    assert house.env.read_bytes() == b"MINE=1\r\n"


def test_an_override_of_the_user_is_not_changed(docker: House) -> None:
    theirs = "services:\n  frigate:\n    shm_size: 1gb\n"
    docker.override.write_text(theirs)
    done = docker.setup(**GIVEN)
    assert docker.override.read_text() == theirs
    assert "entrypoint.sh" in (docker.project / "docker-compose.s3-mirror.yml").read_text()
    files = "docker-compose.yml:docker-compose.override.yml:docker-compose.s3-mirror.yml"
    assert f"COMPOSE_FILE={files}" in done.stdout
    assert f"compose -f {files.replace(':', ' -f ')} run" in docker.calls()


def test_setup_finds_the_service_in_the_files_of_the_compose_file_variable(house: House) -> None:
    house.compose.rename(house.project / "nvr.yml")
    house.env.write_text("COMPOSE_FILE=nvr.yml:docker-compose.override.yml\n")
    done = house.setup(**GIVEN)
    assert done.returncode == 0, done.stderr
    assert "COMPOSE_FILE is set" not in done.stdout


def test_a_compose_file_variable_without_our_override_is_reported(house: House) -> None:
    house.env.write_text("COMPOSE_FILE=docker-compose.yml\n")
    assert "add :docker-compose.override.yml to it" in house.setup(**GIVEN).stdout


def test_an_entrypoint_of_the_user_is_reported(house: House) -> None:
    assert "entrypoint of its own" not in house.setup("--dry-run", **GIVEN).stdout
    house.compose.write_text(COMPOSE.replace("# entrypoint", "entrypoint"))
    assert "entrypoint of its own" in house.setup("--dry-run", **GIVEN).stdout


# -- problems


def test_all_problems_are_reported_at_once_and_nothing_is_written(house: House) -> None:
    house.compose.unlink()
    (house.ours / "boot" / "sitecustomize.py").unlink()
    done = house.setup(S3_ACCESS_KEY="half", S3_ENDPOINT_URL="minio:9000")
    assert done.returncode == 1
    for problem in ("no compose file", "boot/sitecustomize.py is missing", "S3_BUCKET is not set",
                 "S3_SECRET_KEY is not", "S3_ENDPOINT_URL must begin"):  # fmt: skip
        assert problem in done.stderr
    assert house.files() == {}
    assert not (house.ours / "vendor").exists()


def test_without_python_and_without_docker_nothing_can_be_set_up(house: House) -> None:
    done = house.setup(NO_PYTHON="1", **GIVEN)
    assert done.returncode == 1
    for purpose in ("cannot list the settings", "cannot download the libraries"):
        assert purpose in done.stderr
    assert house.files().keys() == {"docker-compose.yml"}


def test_a_copy_of_the_project_that_does_not_list_its_settings_is_a_problem(house: House) -> None:
    house.stub("python3", "[[ $1 == -c ]]")
    done = house.setup(**GIVEN)
    assert (done.returncode, "does not list the settings" in done.stderr) == (1, True)


def test_every_wrong_setting_is_a_problem_before_anything_is_written(house: House) -> None:
    for name in ("frigate_mirror", "s3_snapshot_mirror.py"):
        (house.ours / name).unlink(missing_ok=True)
        (house.ours / name).symlink_to(ROOT / name)
    wrong = {
        "S3_BUCKET": "s3://x/y",
        "MIRROR_UPLOAD_THREADS": "abc",
        "S3_CA_BUNDLE": "/in/container",
    }
    done = house.setup(PYTHON=sys.executable, **GIVEN | wrong)
    assert done.returncode == 1
    assert "S3_BUCKET: 's3://x/y'" in done.stderr and "MIRROR_UPLOAD_THREADS: 'abc'" in done.stderr
    assert "S3_CA_BUNDLE" not in done.stderr
    assert not (house.project / ".env").exists()


def test_a_missing_service_is_a_problem(house: House) -> None:
    done = house.setup("--service", "other", **GIVEN)
    assert (done.returncode, "no service other in docker-compose.yml" in done.stderr) == (1, True)


@pytest.mark.parametrize("secret", ["it's", "back\\slash", "two\nlines"])
def test_a_secret_that_env_cannot_hold_is_refused_with_advice(house: House, secret: str) -> None:
    done = house.setup(**GIVEN | {"S3_SECRET_KEY": secret})
    assert done.returncode == 1
    assert "S3_SECRET_KEY_FILE" in done.stderr and secret not in done.stderr


def test_a_secret_in_a_file_counts_as_given(house: House) -> None:
    done = house.setup(S3_BUCKET="cams", S3_ACCESS_KEY_FILE="/s/a", S3_SECRET_KEY_FILE="/s/b")
    assert done.returncode == 0, done.stderr
    assert "S3_SECRET_KEY_FILE='/s/b'" in house.env.read_text()


def test_setup_accepts_that_no_keys_are_given(house: House) -> None:
    assert house.setup(S3_BUCKET="cams").returncode == 0


@pytest.mark.parametrize("wrong", ["--what", "--service", "--service=a b", "--dir=/no/such"])
def test_a_wrong_command_line_of_setup_exits_with_64(house: House, wrong: str) -> None:
    done = house.setup(*wrong.split("="), **GIVEN)
    assert done.returncode == 64
    assert "usage: " in done.stderr and house.files().keys() == {"docker-compose.yml"}


# -- secrets


def test_a_secret_is_neither_printed_nor_on_a_command_line(docker: House) -> None:
    outputs = []
    for arguments in (["--dry-run"], [], ["--uninstall", "--dry-run"], ["--uninstall"]):
        done = docker.setup(*arguments, **GIVEN)
        outputs += [done.stdout, done.stderr]
    assert "S3_SECRET_KEY='********'" in "".join(outputs)
    for text in (*outputs, docker.calls()):
        assert SECRET not in text and "AKIAEXAMPLE" not in text


def test_a_change_of_secrets_alone_is_shown_as_such(house: House) -> None:
    house.setup(**GIVEN)
    done = house.setup(S3_SECRET_KEY="another")
    assert "(only secrets change)" in done.stdout
    assert "another" in house.env.read_text() and "another" not in done.stdout


def test_the_users_other_secrets_do_not_appear_in_the_difference(house: House) -> None:
    house.env.write_text("FRIGATE_RTSP_PASSWORD=geheim")
    assert "geheim" not in house.setup(**GIVEN).stdout


# -- dry run and uninstall


def test_a_dry_run_shows_everything_and_does_nothing(docker: House) -> None:
    done = docker.setup("--dry-run", **GIVEN)
    assert done.returncode == 0
    assert "+S3_BUCKET='cams'" in done.stdout and "entrypoint.sh" in done.stdout
    assert docker.files().keys() == {"docker-compose.yml"}
    assert docker.calls() == "" and not (docker.ours / "vendor").exists()


def test_uninstall_removes_what_setup_has_written_and_nothing_else(house: House) -> None:
    house.env.write_text("THEIRS=1\n")
    before = house.files()
    house.setup(**GIVEN)
    done = house.setup("--uninstall")
    assert done.returncode == 0, done.stderr
    assert house.files() == before
    assert not (house.ours / "vendor").exists()


def test_uninstall_removes_an_env_file_that_held_nothing_else(house: House) -> None:
    house.setup(**GIVEN)
    house.setup("--uninstall")
    assert house.files().keys() == {"docker-compose.yml"}


def test_uninstall_keeps_an_override_of_the_user(house: House) -> None:
    house.override.write_text("services: {}\n")
    done = house.setup("--uninstall")
    assert house.override.exists()
    assert "Nothing of the mirror is set up" in done.stdout


def test_uninstall_in_a_folder_that_was_never_set_up_keeps_the_libraries(house: House) -> None:
    house.setup("--vendor-only")
    done = house.setup("--uninstall")
    assert "Nothing of the mirror is set up" in done.stdout
    assert (house.ours / "vendor").exists()


def test_uninstall_has_a_dry_run(house: House) -> None:
    house.setup(**GIVEN)
    before = house.files()
    done = house.setup("--uninstall", "--dry-run")
    assert "-S3_BUCKET='cams'" in done.stdout
    assert house.files() == before and (house.ours / "vendor").exists()


# -- the libraries


def test_libraries_are_downloaded_by_hash_as_wheels_and_replaced_as_a_whole(house: House) -> None:
    (house.ours / "vendor" / "boto3").mkdir(parents=True)
    (house.ours / "vendor" / "boto3" / "old").touch()
    assert house.setup("--vendor-only").returncode == 0
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(house.calls().split())
    assert [path.name for path in (house.ours / "vendor" / "boto3").iterdir()] == ["new"]
    assert not list(house.ours.glob("vendor.*"))
    assert house.files().keys() == {"docker-compose.yml"}


def test_a_failed_download_of_the_libraries_changes_nothing(house: House) -> None:
    (house.ours / "vendor").mkdir()
    (house.ours / "vendor" / "old").touch()
    done = house.setup(PIP_STATUS="1", **GIVEN)
    assert done.returncode == 1 and "could not be downloaded" in done.stderr
    assert (house.ours / "vendor" / "old").exists() and not list(house.ours.glob("vendor.*"))
    assert house.files().keys() == {"docker-compose.yml"}


def test_libraries_that_cannot_be_put_in_place_make_setup_fail(house: House) -> None:
    (house.bin / "mv").unlink()
    house.stub("mv", f'[[ $* != *vendor.new* ]] && exec {shutil.which("mv")} "$@"\n')
    assert house.setup("--vendor-only").returncode == 1


def test_a_changed_lock_file_makes_setup_download_the_libraries_again(house: House) -> None:
    house.setup("--vendor-only")
    with (house.ours / "requirements" / "child.lock").open("a") as lock:
        lock.write("# newer\n")
    house.setup("--vendor-only")
    assert house.calls().count(" pip ") == 2


def test_without_python_the_users_frigate_image_downloads_the_libraries(docker: House) -> None:
    done = docker.setup(NO_PYTHON="1", **GIVEN)
    assert done.returncode == 0, done.stderr
    assert " MIRROR_UPLOAD_THREADS:" in docker.override.read_text(), (
        "the image lists the settings too"
    )
    lines = docker.calls().splitlines()
    run, *compiling = [line for line in lines if line.startswith("docker run")]
    assert "--entrypoint python3 ghcr.io/blakeblackshear/frigate:0.17.2 -m pip install" in run
    assert f"source={docker.ours},target=/work" in run and "--require-hashes" in run
    assert [line.partition(" python3 ")[2].partition(" -m ")[2] for line in compiling] == [
        "compileall -q -l /work /work/boot",
        "compileall -q /work/frigate_mirror /work/vendor",
    ]


def test_every_run_compiles_the_code_because_the_mount_is_read_only(house: House) -> None:
    for command in ((), ("--vendor-only",)):  # the second run finds every file written
        house.setup(*command, **GIVEN)
        (house.notes / "calls").unlink()
        house.setup(*command, **GIVEN)
        assert house.calls().count(f"compileall -q -l {house.ours} ") == 1


def test_frigates_own_python_compiles_the_code_if_its_image_is_present(docker: House) -> None:
    docker.setup("--vendor-only")
    assert "0.17.2 -m compileall" in docker.calls()
    assert "python3 -m compileall" not in docker.calls()
    docker.setup("--vendor-only", NO_IMAGE="1")
    assert "python3 -m compileall" in docker.calls()


def test_the_image_can_be_named(docker: House) -> None:
    docker.setup("--vendor-only", "--image", "mine:1", NO_PYTHON="1")
    assert "python3 mine:1 -m pip" in docker.calls()


# -- the check


def test_the_check_runs_in_the_container_if_docker_is_present(docker: House) -> None:
    assert docker.setup(**GIVEN).returncode == 0
    assert (
        "docker compose run --rm --no-deps -T --entrypoint python3 frigate"
        " /opt/frigate-s3-mirror/s3_snapshot_mirror.py check\n"
    ) in docker.calls()


def test_setup_exits_with_3_if_the_check_finds_faults(docker: House) -> None:
    done = docker.setup(CHECK="1", **GIVEN)
    assert done.returncode == 3
    assert docker.override.exists()


def test_without_docker_the_check_gets_the_settings_in_its_environment(house: House) -> None:
    house.setup(**GIVEN)
    (house.notes / "checked").unlink()
    assert house.setup().returncode == 0
    assert (house.notes / "checked").read_text() == f"cams|{SECRET}|"


def test_setup_exits_with_3_too_if_the_check_finds_faults_without_docker(house: House) -> None:
    done = house.setup(CHECK="1", **GIVEN)
    assert (done.returncode, "check found the faults above" in done.stderr) == (3, True)


def test_after_a_check_outside_the_container_setup_advises_to_repeat_it_inside(
    house: House,
) -> None:
    done = house.setup(**GIVEN)
    assert done.returncode == 0
    assert (
        "docker exec frigate python3 /opt/frigate-s3-mirror/s3_snapshot_mirror.py check"
        in done.stdout
    )


def test_a_check_that_cannot_run_is_reported_and_is_no_failure(docker: House) -> None:
    docker.setup("--vendor-only")
    done = docker.setup(NO_PYTHON="1", NO_COMPOSE="1", **GIVEN)
    assert done.returncode == 0
    assert "check did not run" in done.stdout


# -- on a terminal


def converse(house: House, answers: dict[bytes, bytes], *arguments: str) -> tuple[bytes, int]:
    """Runs the script on a terminal and answers its questions. Returns its output and exit code."""
    command = ["bash", str(house.ours / "setup_s3_mirror.sh"), *arguments]
    child, screen = pty.fork()
    if child == 0:
        os.chdir(house.project)
        os.execve(house.bin / "bash", command, house.environment({}))
    seen, left = b"", dict(answers)
    while True:
        try:
            seen += os.read(screen, 1024)
        except OSError:  # the terminal ends with the script
            break
        for question in [each for each in left if each in seen]:
            os.write(screen, left.pop(question) + b"\n")
    os.close(screen)
    return seen, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


ANSWERS = {
    b"Bucket: ": b"cams", b"AWS): ": b"", b"us-east-1): ": b"eu-west-1", b"Prefix": b"frigate",
    b"Access key id": b"AKIAEXAMPLE", b"Secret access key": SECRET.encode(), b"[y/N] ": b"y",
}  # fmt: skip


def test_on_a_terminal_setup_asks_for_what_is_missing_without_echoing_the_secret(
    house: House,
) -> None:
    seen, status = converse(house, ANSWERS)
    assert status == 0, seen
    assert SECRET.encode() not in seen
    for line in ("S3_BUCKET='cams'", "S3_REGION='eu-west-1'", f"S3_SECRET_KEY='{SECRET}'"):
        assert line in house.env.read_text()
    assert "S3_ENDPOINT_URL" not in house.env.read_text()


def test_on_a_terminal_setup_writes_only_after_a_yes(house: House) -> None:
    seen, status = converse(house, ANSWERS | {b"[y/N] ": b""})
    assert status == 1 and b"Nothing was written." in seen
    assert house.files().keys() == {"docker-compose.yml"}


def test_the_option_yes_asks_no_question(house: House) -> None:
    house.env.write_text("S3_BUCKET=cams\n")
    seen, status = converse(house, {}, "--yes")
    assert status == 0 and b"[y/N]" not in seen


# -- the demo


def test_demo_runs_its_own_script(house: House, run_demo: Callable[..., None]) -> None:
    run_demo()
    done = house.setup("demo", "--keep")
    assert (done.stdout, done.returncode) == ("demo --keep\n", 5)


@pytest.fixture
def run_demo(house: House) -> Callable[..., None]:
    def put() -> None:
        (house.ours / "demo").mkdir()
        (house.ours / "demo" / "demo.sh").write_text('echo demo "$@"; exit 5\n')

    return put
