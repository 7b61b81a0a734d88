"""setup_s3_mirror.sh in projects of every form: whichever files an owner has, the owner's usual
`docker compose up -d` starts the mirror afterwards, and setup looks whether it does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.rig.compose import FIXTURES, GIVEN, PROJECTS, House, has_compose, render_both

SET_UP = [project for project in PROJECTS if project != "several"]
OURS = "/opt/frigate-s3-mirror"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def service_in(text: str, name: str) -> dict[str, Any]:
    service: dict[str, Any] = json.loads(text)["services"][name]
    return service


# -- what the real Docker Compose makes of it


@pytest.mark.skipif(not has_compose(), reason="this machine has no Docker Compose 2")
@pytest.mark.parametrize("project", PROJECTS)
def test_docker_compose_makes_of_each_project_what_the_fixtures_say(
    tmp_path: Path, project: str
) -> None:
    theirs, usual = render_both(tmp_path, project)
    assert theirs == (FIXTURES / f"{project}.theirs.json").read_text()
    if project != "several":
        assert usual == (FIXTURES / f"{project}.usual.json").read_text()


@pytest.mark.parametrize("project", SET_UP)
def test_the_owners_usual_command_starts_the_mirror_after_setup(
    tmp_path: Path, project: str
) -> None:
    house = House(tmp_path, project)
    before = house.files()
    done = house.written(**GIVEN)
    [name] = {"flow": ["nvr"], "include": ["cameras"]}.get(project, ["frigate"])
    assert f"ok     Compose starts {name} with the mirror" in done.stdout
    service = service_in((FIXTURES / f"{project}.usual.json").read_text(), name)
    assert service["entrypoint"][:2] == ["/bin/bash", f"{OURS}/entrypoint.sh"]
    after = house.files()
    assert {path: after[path] for path in before if path != ".env"} == {
        path: text for path, text in before.items() if path != ".env"
    }


@pytest.mark.parametrize("project", SET_UP)
def test_uninstall_leaves_every_project_as_it_was(tmp_path: Path, project: str) -> None:
    house = House(tmp_path, project)
    before = house.files()
    house.written(**GIVEN)
    assert house.setup("--uninstall", "--yes").returncode == 0
    assert house.files() == before


# -- which files Compose reads


def test_an_override_of_the_owner_stays_and_compose_is_told_to_read_ours_too(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, "override")
    theirs = house.override.read_text()
    done = house.written(**GIVEN)
    assert house.override.read_text() == theirs
    files = "docker-compose.yml:docker-compose.override.yml:docker-compose.s3-mirror.yml"
    assert f"COMPOSE_FILE='{files}'\n" in house.env.read_text()
    assert "+COMPOSE_FILE='docker-compose.yml:" in done.stdout
    assert "entrypoint.sh" in house.separate.read_text()


def test_a_compose_file_line_of_the_owner_stays_and_ours_adds_the_override(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, "chosen")
    house.written(**GIVEN)
    lines = [line for line in house.env.read_text().splitlines() if "COMPOSE_FILE" in line]
    ours = "COMPOSE_FILE='nvr.yml:gpu.yml:docker-compose.s3-mirror.yml'"
    assert lines == ["COMPOSE_FILE=nvr.yml:gpu.yml", ours]


def test_another_separator_of_the_owner_counts(tmp_path: Path) -> None:
    house = House(tmp_path, "chosen")
    house.env.write_text("COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=nvr.yml,gpu.yml\n")
    house.written(**GIVEN)
    assert "COMPOSE_FILE='nvr.yml,gpu.yml,docker-compose.s3-mirror.yml'" in house.env.read_text()


def test_a_second_run_names_no_file_twice(tmp_path: Path) -> None:
    for project in ("override", "chosen"):
        house = House(tmp_path / project, project)
        house.written(**GIVEN)
        before = house.files()
        house.written()
        assert house.files() == before


def test_an_override_that_the_owner_adds_later_moves_ours_away(house: House) -> None:
    house.written(**GIVEN)
    (house.project / "compose.override.yml").write_text("services: {}\n")
    house.setup("--yes")
    assert not house.override.exists() and house.separate.exists()
    files = "docker-compose.yml:compose.override.yml:docker-compose.s3-mirror.yml"
    assert f"COMPOSE_FILE='{files}'" in house.env.read_text()


def test_an_exported_compose_file_without_our_override_is_a_fault_with_advice(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, "chosen")
    done = house.setup("--yes", "--no-try", COMPOSE_FILE="nvr.yml", **GIVEN)
    assert done.returncode == 3
    assert "FAULT  Compose starts frigate without the mirror" in done.stdout
    wanted = "nvr.yml:docker-compose.s3-mirror.yml"
    assert "exports COMPOSE_FILE" in done.stdout and wanted in done.stdout
    house.written(COMPOSE_FILE=wanted)


# -- which service


def test_only_the_environment_of_frigates_own_service_counts(house: House) -> None:
    done = house.setup("--yes")
    assert (done.returncode, "S3_BUCKET is not set" in done.stderr) == (1, True)
    house.written(**GIVEN)
    assert "S3_BUCKET='cams'" in house.env.read_text()


def test_what_frigates_service_sets_is_left_to_the_compose_file(tmp_path: Path) -> None:
    house = House(tmp_path, "settings")
    done = house.written()
    assert "setup leaves them to it: S3_BUCKET, S3_UPLOAD_THREADS" in done.stdout
    override = house.override.read_text()
    assert "S3_BUCKET" not in override and "stop_grace_period" not in override
    assert "S3_BUCKET" not in house.env.read_text()


def test_a_value_given_to_setup_replaces_that_of_the_compose_file(tmp_path: Path) -> None:
    house = House(tmp_path, "settings")
    for environ in ({"S3_BUCKET": "mine"}, {}):
        done = house.written(**environ)
        assert "S3_BUCKET in .env replaces the value in your compose files" in done.stdout
        assert "      S3_BUCKET:\n" in house.override.read_text()
        assert "S3_BUCKET='mine'" in house.env.read_text()


def test_several_frigates_are_a_problem_until_one_is_named(tmp_path: Path) -> None:
    house = House(tmp_path, "several")
    done = house.setup("--yes", **GIVEN)
    assert done.returncode == 1
    assert "several services look like Frigate (garden, house)" in done.stderr
    assert "--service" in done.stderr and not house.env.exists()
    house.setup("--yes", "--no-try", "--service", "house", **GIVEN)
    assert "\n  house:\n" in house.override.read_text()


def test_a_service_that_is_not_there_is_a_problem_that_lists_the_others(house: House) -> None:
    done = house.setup("--yes", "--service", "other", **GIVEN)
    assert done.returncode == 1
    assert "no service other" in done.stderr and "frigate, mqtt, notify" in done.stderr


def test_a_project_that_compose_refuses_is_a_problem_in_its_words(house: House) -> None:
    done = house.setup("--yes", CONFIG_FAULT="yaml: line 2: did not find ':'", **GIVEN)
    assert done.returncode == 1
    assert "yaml: line 2: did not find ':'" in done.stderr and not house.env.exists()


def test_without_compose_setup_says_what_to_add_by_hand(house: House) -> None:
    before = house.files()
    done = house.setup("--yes", NO_COMPOSE="1", **GIVEN)
    assert done.returncode == 1 and "no Docker Compose 2" in done.stderr
    for line in (f'["/bin/bash", "{OURS}/entrypoint.sh"]', f"target: {OURS}", "S3_BUCKET:"):
        assert line in done.stderr
    assert house.files() == before


# -- the owner's entrypoint


@pytest.mark.parametrize("project, arguments", [("flow", ["/bin/sh", "-c"]), ("include", None)])
def test_an_entrypoint_of_the_owner_runs_with_its_arguments_after_ours(
    tmp_path: Path, project: str, arguments: list[str] | None
) -> None:
    """Runs what the container would run, with the real entrypoint.sh."""
    text = (FIXTURES / f"{project}.usual.json").read_text()
    [service] = [one for one in json.loads(text)["services"].values() if "S3_MIRROR_INIT" in
                 (one.get("environment") or {})]  # fmt: skip
    words = [word.replace("$$", "$") for word in service["entrypoint"]]
    init = service["environment"]["S3_MIRROR_INIT"]
    shown = tmp_path / "init"
    shown.write_text('#!/bin/bash\nprintf "[%s]" "$PYTHONPATH" "$@"\n')
    shown.chmod(0o755)
    house = House(tmp_path / "house")
    command = [words[0], str(house.ours / "entrypoint.sh"), *words[2:], "last word"]
    environ = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    for program in (str(shown), init if arguments else str(shown)):
        done = subprocess.run(
            [word.replace("/init", str(shown)) for word in command],
            env=environ | {"S3_MIRROR_INIT": program}, capture_output=True, text=True,
        )  # fmt: skip
    boot = f"[{house.ours}/boot]"
    if arguments:  # sh ran the owner's line, which ends in /init
        assert done.stdout == f"/nowhere\n{boot}[last word]"
    else:
        assert init == "/config/my-init.sh"
        assert done.stdout == f"{boot}[--fast][last word]"


def test_an_entrypoint_that_is_ours_by_hand_does_not_start_itself(tmp_path: Path) -> None:
    house = House(tmp_path, "handmade")
    house.written(**GIVEN)
    assert "S3_MIRROR_INIT" not in house.override.read_text()


def test_an_empty_entrypoint_keeps_running_the_owners_command(house: House) -> None:
    theirs = json.loads((FIXTURES / "plain.theirs.json").read_text())
    theirs["services"]["frigate"] |= {"entrypoint": [], "command": ["/init", "x"]}
    house.fixture = house.notes / "empty"
    (house.notes / "empty.theirs.json").write_text(json.dumps(theirs))
    house.setup("--yes", "--no-try", **GIVEN)
    assert '      S3_MIRROR_INIT: "/usr/bin/env"\n' in house.override.read_text()


# -- an address that means another machine in the container


@pytest.mark.parametrize("mode, host, is_noted", [
    ("", "localhost", True), ("bridge", "127.0.0.1", True), ("host", "127.0.0.1", False),
    ("service:s3", "localhost", False), ("", "192.168.1.10", False), ("", "minio", False),
])  # fmt: skip
def test_setup_warns_of_an_address_that_means_the_container_itself(
    house: House, mode: str, host: str, is_noted: bool
) -> None:
    for name in ("theirs", "usual"):
        project = json.loads((FIXTURES / f"plain.{name}.json").read_text())
        project["services"]["frigate"] |= {"network_mode": mode} if mode else {}
        (house.notes / f"networks.{name}.json").write_text(json.dumps(project, indent=1))
    house.fixture = house.notes / "networks"
    done = house.written(**GIVEN, S3_ENDPOINT_URL=f"http://{host}:9000")
    noted = f"note   inside the container, {host} is the container itself and not this machine."
    assert (noted in done.stdout) == is_noted


# -- what runs


def test_the_check_runs_in_a_new_container_if_none_runs(house: House) -> None:
    done = house.written(**GIVEN)
    assert "to do  frigate does not run: start it with `docker compose up -d`" in done.stdout
    assert (
        "docker compose run --rm --no-deps -T --entrypoint python3 frigate"
        f" {OURS}/s3_snapshot_mirror.py check\n"
    ) in house.calls()
    assert "  ok     checked" in done.stdout


def test_a_container_without_the_mirror_must_be_restarted(house: House) -> None:
    house.runs_a_container(with_mirror=False)
    done = house.written(**GIVEN)
    assert "to do  frigate runs without the mirror: restart it with" in done.stdout
    assert "docker compose run " in house.calls()


def test_a_container_with_earlier_settings_must_be_restarted(house: House) -> None:
    house.runs_a_container(with_mirror=True, **GIVEN | {"S3_BUCKET": "old"})
    done = house.written(**GIVEN)
    assert "to do  frigate runs with the earlier settings: restart it" in done.stdout
    assert "docker compose run " in house.calls()


def test_the_check_runs_in_the_container_that_has_the_mirror(house: House) -> None:
    house.runs_a_container(with_mirror=True, **GIVEN)
    done = house.written(**GIVEN)
    assert "ok     frigate runs with the mirror" in done.stdout
    check = f"docker compose exec -T frigate python3 {OURS}/s3_snapshot_mirror.py check\n"
    assert check in house.calls() and "docker compose run " not in house.calls()


def test_after_setup_no_command_names_a_compose_file(tmp_path: Path) -> None:
    house = House(tmp_path, "override")
    house.written(**GIVEN)
    calls = house.calls().splitlines()
    after = calls[max(n for n, call in enumerate(calls) if " -f " in call) + 1 :]
    assert [call.split()[2] for call in after if "compose" in call] == ["--profile", "ps", "run"]


def test_setup_exits_with_3_if_the_check_finds_faults(house: House) -> None:
    done = house.setup("--yes", "--no-try", CHECK="1", **GIVEN)
    assert (done.returncode, "Correct the faults above" in done.stderr) == (3, True)
    assert house.override.exists()


def test_without_a_docker_that_answers_setup_says_how_to_check_later(house: House) -> None:
    done = house.written(NO_DAEMON="1", **GIVEN)
    assert "Docker does not answer" in done.stdout
    assert f"docker compose exec frigate python3 {OURS}/s3_snapshot_mirror.py check" in done.stdout
