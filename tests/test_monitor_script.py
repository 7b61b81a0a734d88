"""s3_monitor.sh asks the right mirror, shows its answer, and turns it into an exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.rig import ROOT
from tests.rig.terminal import on_a_terminal
from tests.rig.waiting import PATIENCE

TOOLS = ("bash", "dirname", "timeout", "date", "cat", "env")
ANSWER = "S3 mirror: OK\n  in bucket    12"
# The program that answers. It notes its arguments. Two files hold its output and its exit code.
MIRROR = """\
printf '%s\\n' "$*" >>"$NOTES/asked"
cat "$NOTES/answer" 2>/dev/null
exit "$(cat "$NOTES/status" 2>/dev/null || echo 0)"
"""
DOCKER = """\
printf '%s\\n' "$*" >>"$NOTES/docker"
case $1 in
  inspect) [[ ${*: -1} == "$RUNNING" ]] && echo true ;;
  ps) if [[ $* == *"service=$SERVICE "* ]]; then echo "$RUNNING"; fi ;;
  exec) shift 2; exec "$@" ;;
esac
"""


class Machine:
    """A PATH of stubs and a folder with the script. Only the fixture `docker` adds docker."""

    def __init__(self, folder: Path) -> None:
        self.notes, self.bin = folder / "notes", folder / "bin"
        self.script = folder / "ours" / "s3_monitor.sh"
        for each in (self.notes, self.bin, self.script.parent):
            each.mkdir()
        shutil.copy(ROOT / "s3_monitor.sh", self.script)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.stub("python3", MIRROR)
        self.answers(ANSWER)

    def stub(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{body}")
        (self.bin / name).chmod(0o755)

    def answers(self, text: str, status: int = 0) -> None:
        (self.notes / "answer").write_text(text)
        (self.notes / "status").write_text(str(status))

    def asked(self) -> list[str]:
        return (self.notes / "asked").read_text().splitlines()

    def monitor(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.script), *arguments],
            env=self.environment(environ), capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip

    def on_a_terminal(self, **environ: str) -> str:
        """Returns what a person sees, with the codes of the colours."""
        return on_a_terminal(["bash", str(self.script)], self.environment(environ)).text

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        return {"PATH": str(self.bin), "NOTES": str(self.notes)} | more


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def docker(machine: Machine) -> Machine:
    machine.stub("docker", DOCKER)
    return machine


def test_without_docker_the_monitor_asks_the_program_beside_it(machine: Machine) -> None:
    done = machine.monitor()
    assert machine.asked() == [f"{machine.script.parent}/s3_snapshot_mirror.py status"]
    assert done.stdout == f"{ANSWER}\n"


def test_with_docker_the_monitor_asks_in_the_container(docker: Machine) -> None:
    done = docker.monitor(RUNNING="frigate")
    assert docker.asked() == ["/opt/frigate-s3-mirror/s3_snapshot_mirror.py status"]
    assert "exec frigate " in (docker.notes / "docker").read_text()
    assert done.returncode == 0


def test_the_monitor_finds_a_container_with_a_name_that_compose_has_made(docker: Machine) -> None:
    docker.monitor(RUNNING="nvr-frigate-1", SERVICE="frigate")
    assert "exec nvr-frigate-1 " in (docker.notes / "docker").read_text()


def test_the_container_can_be_named_by_option_and_by_variable(docker: Machine) -> None:
    docker.monitor("--container", "cams", RUNNING="cams")
    docker.monitor(RUNNING="house", FRIGATE_CONTAINER="house")
    notes = (docker.notes / "docker").read_text()
    assert "exec cams " in notes and "exec house " in notes


def test_every_question_has_a_time_limit(docker: Machine) -> None:
    (docker.bin / "timeout").unlink()
    docker.stub("timeout", 'echo "$2" >>"$NOTES/limited"; [[ $1 == 30 ]]; shift; exec "$@"')
    docker.monitor(RUNNING="nvr-frigate-1", SERVICE="frigate")
    docker.monitor("--local")
    asked = (docker.notes / "docker").read_text().splitlines()
    limited = (docker.notes / "limited").read_text().split()
    assert limited == ["docker"] * len(asked) + ["python3"] and len(asked) >= 2


def test_the_option_local_does_not_use_docker(docker: Machine) -> None:
    assert docker.monitor("--local").returncode == 0
    assert not (docker.notes / "docker").exists()


@pytest.mark.parametrize(
    ("health", "status"), [("OK", 0), ("DEGRADED", 1), ("UNKNOWN", 1), ("DOWN", 2)]
)
def test_the_exit_code_is_that_of_the_answer(machine: Machine, health: str, status: int) -> None:
    machine.answers(f"S3 mirror: {health}\n  because      of it", status)
    done = machine.monitor()
    assert done.returncode == status
    assert done.stdout.startswith(f"S3 mirror: {health}\n")


def test_a_container_that_does_not_run_is_down(docker: Machine) -> None:
    done = docker.monitor(RUNNING="another", SERVICE="another")
    assert done.returncode == 2
    assert "no running container" in done.stderr


def test_a_docker_that_denies_permission_is_shown_with_what_to_do(docker: Machine) -> None:
    docker.stub("docker", "echo 'permission denied: /var/run/docker.sock' >&2; exit 1\n")
    done = docker.monitor()
    assert done.returncode == 2
    assert "permission denied: /var/run/docker.sock" in done.stderr
    assert "sudo" in done.stderr and "no running container" not in done.stderr


def test_an_error_with_the_exit_code_of_degraded_is_down(machine: Machine) -> None:
    machine.answers("Traceback (most recent call last):", 1)
    done = machine.monitor()
    assert done.returncode == 2
    assert "no answer" in done.stderr


def test_an_empty_answer_is_down(machine: Machine) -> None:
    machine.answers("", 0)
    assert machine.monitor().returncode == 2


@pytest.mark.parametrize("status", [70, 78, 124])
def test_any_other_exit_code_is_down(machine: Machine, status: int) -> None:
    machine.answers(ANSWER, status)
    assert machine.monitor().returncode == 2


def test_json_is_passed_on_as_it_is(machine: Machine) -> None:
    machine.answers('{\n "health": "DEGRADED"\n}', 1)
    done = machine.monitor("--json")
    assert json.loads(done.stdout) == {"health": "DEGRADED"}
    assert machine.asked()[0].endswith("status --json")
    assert done.returncode == 1


def test_json_from_a_mirror_that_does_not_answer_is_empty(machine: Machine) -> None:
    machine.answers("Error response from daemon", 1)
    done = machine.monitor("--json")
    assert (done.stdout, done.returncode) == ("", 2)


@pytest.mark.parametrize(("status", "colour"), [(0, "1;32"), (1, "1;33"), (2, "1;31")])
def test_the_first_line_has_the_colour_of_the_health(
    machine: Machine, status: int, colour: str
) -> None:
    machine.answers("S3 mirror: SUCH\n  as it is", status)
    done = machine.monitor(FORCE_COLOR="1")
    assert done.stdout == f"\033[{colour}mS3 mirror: SUCH\033[0m\n  as it is\n"


def test_a_mirror_whose_bucket_has_not_answered_yet_is_yellow(machine: Machine) -> None:
    machine.answers("S3 mirror: UNKNOWN\n  because      the bucket has not answered yet", 1)
    done = machine.monitor(FORCE_COLOR="1")
    assert done.stdout.startswith("\033[1;33mS3 mirror: UNKNOWN\033[0m\n")
    assert done.returncode == 1


def test_output_to_a_pipe_has_no_colours(machine: Machine) -> None:
    assert "\033" not in machine.monitor().stdout


def test_a_terminal_shows_colours_unless_no_color_is_set(machine: Machine) -> None:
    assert machine.on_a_terminal() == "\033[1;32mS3 mirror: OK\033[0m\n  in bucket    12\n"
    assert machine.on_a_terminal(NO_COLOR="1") == f"{ANSWER}\n"
    assert machine.on_a_terminal(NO_COLOR="") == machine.on_a_terminal(), "empty means not set"


def test_force_color_is_stronger_than_no_color(machine: Machine) -> None:
    assert "\033" in machine.monitor(NO_COLOR="1", FORCE_COLOR="1").stdout


def test_watch_asks_again_until_it_is_interrupted(machine: Machine) -> None:
    machine.stub("sleep", 'echo "$1" >>"$NOTES/slept"; [[ $(cat "$NOTES/slept" | wc -l) -lt 3 ]]')
    (machine.bin / "wc").symlink_to(shutil.which("wc") or "wc")
    machine.answers("S3 mirror: DEGRADED", 1)
    done = machine.monitor("watch", "5")
    assert (machine.notes / "slept").read_text().split() == ["5", "5", "5"]
    assert len(machine.asked()) == 3
    assert done.returncode == 1


def test_a_watch_that_gets_a_signal_exits_with_the_code_of_the_last_answer(
    machine: Machine,
) -> None:
    machine.stub("sleep", "kill -TERM $PPID")
    machine.answers("S3 mirror: DEGRADED", 1)
    assert machine.monitor("watch").returncode == 1


def test_watch_goes_on_while_the_mirror_is_down(machine: Machine) -> None:
    machine.stub("sleep", '[[ ! -e $NOTES/slept ]] && touch "$NOTES/slept"')
    (machine.bin / "touch").symlink_to(shutil.which("touch") or "touch")
    machine.answers("", 1)
    assert machine.monitor("watch").returncode == 2
    assert len(machine.asked()) == 2


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--what"], "unknown argument: --what"),
        (["--container"], "--container needs the name"),
        (["--container", ""], "--container needs the name"),
        (["now"], "unknown argument: now"),
        (["watch", "0"], "unknown argument: 0"),
    ],
)
def test_a_wrong_command_line_of_the_monitor_is_named_and_exits_with_64(
    machine: Machine, wrong: list[str], named: str
) -> None:
    done = machine.monitor(*wrong)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: ") and done.stdout == ""
    assert named in done.stderr


def test_the_help_of_the_monitor_is_no_error(machine: Machine) -> None:
    done = machine.monitor("--help")
    assert done.returncode == 0
    assert "exit codes: 0 OK, 1 degraded or unknown" in done.stderr
