"""Owners' Docker Compose projects, what the real Compose makes of them, and a stand-in for Docker.

`tests/fixtures/compose` has a folder for each project. Beside it, `NAME.theirs.json` and
`NAME.usual.json` are what Docker Compose 2.26 prints for the owner's files, and for the owner's
usual command after setup. `python -m tests.rig.compose` writes them anew with the Compose of this
machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rig import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "compose"
PROJECTS = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
FILES = ("entrypoint.sh", "setup_s3_mirror.sh", "requirements/child.lock",
         "requirements/metrics.lock", "requirements/mqtt.lock", "boot/sitecustomize.py",
         "frigate_recordings_api.py", "frigate_s3_patcher.py", "s3_snapshot_mirror.py",
         "s3.py")  # fmt: skip
TOOLS = ("bash", "dirname", "cat", "cmp", "id", "mktemp", "mkfifo", "rm", "sed", "env", "grep")
SECRET = "wJalrXUtnFEMI+K7MDENG$bPxRfiCY#EXAMPLE-KEY"
GIVEN = {"S3_BUCKET": "cams", "S3_ACCESS_KEY": "AKIAEXAMPLE", "S3_SECRET_KEY": SECRET}

# pip records its words, and makes one file. On request it takes until the owner has typed a line.
PIP = """\
import os, pathlib, select, sys
if os.environ.get("PIP_WAITS"):
    select.select([sys.stdin], [], [])
words = sys.argv[1:]
with open(os.environ["NOTES"] + "/pip", "a") as notes:
    print(*words, file=notes)
folder = pathlib.Path(words[words.index("--target") + 1])
(folder / "library").mkdir(parents=True)
(folder / "library" / "new").touch()
sys.exit(int(os.environ.get("PIP_STATUS", "0")))
"""
# Docker prints what the real one printed. `docker run` runs the Python of the tests, with only
# those variables that it is told to pass on.
DOCKER = r"""
note() { printf 'docker %s\n' "$*" >>"$NOTES/calls"; }
reads_ours() {
  local chosen=${COMPOSE_FILE:-$(grep -s ^COMPOSE_FILE= .env | sed -n '$p')}
  if [[ -n $chosen ]]; then
    [[ $chosen == *s3-mirror* ]]
  else
    grep -qs '^# Written by setup_s3_mirror.sh' docker-compose.override.yml
  fi
}
config() {
  if [[ $* != *"-f "* ]] && reads_ours; then
    sed -e "s#@PROJECT@#$PWD#g" -e "s#@OURS@#${OURS//\$/\$\$}#g" "$FIXTURE.usual.json"
  else
    sed -e "s#@PROJECT@#$PWD#g" "$FIXTURE.theirs.json"
  fi
}
run_in_image() {
  local passed=" NOTES PIP_WAITS PYTHONPATH REAL_PYTHON PATH " name
  while [[ $1 != --entrypoint ]]; do
    if [[ $1 == --env ]]; then passed+="${2%%=*} "; fi
    if [[ $1 == --env && $2 == *=* ]]; then export "${2?}"; fi
    shift
  done
  shift 3
  for name in $(compgen -e); do
    if [[ $passed != *" $name "* ]]; then unset "$name"; fi
  done
  PATH=/nowhere
  exec "$REAL_PYTHON" "$@"
}
case "$1 $2" in
  "compose version") exit "${NO_COMPOSE:-0}" ;;
  "info "*) exit "${NO_DAEMON:-0}" ;;
  "image inspect") exit "${NO_IMAGE:-1}" ;;
esac
note "$@"
case "$*" in
  "compose"*" --images") sed -n 's/^ *"image": "\(.*\)",*/\1/p' "$FIXTURE.theirs.json" ;;
  "compose"*" config "*)
    if [[ -n ${CONFIG_FAULT:-} ]]; then echo "$CONFIG_FAULT" >&2; exit 15; fi
    if [[ -e $FIXTURE.theirs.json ]]; then config "$@"; else exec "$REAL_DOCKER" "$@"; fi ;;
  "compose ps "* | "ps "*) if [[ -e $NOTES/container.json ]]; then echo 0123abcd; fi ;;
  inspect*) cat "$NOTES/container.json" ;;
  run*) run_in_image "$@" ;;
  "compose exec"* | "compose run"*) echo "ok     checked"; exit "${CHECK:-0}" ;;
esac
"""


class House:
    """An owner's machine: a folder with a compose file, the mirror's folder, and a PATH of its own.

    `project` is the name of a project in the fixtures.
    """

    def __init__(self, folder: Path, project: str = "plain") -> None:
        self.ours, self.project = folder / "ours $1", folder / "frigate"
        self.bin, self.notes, self.modules = folder / "bin", folder / "notes", folder / "modules"
        for name in FILES:
            (self.ours / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.ours / name)
        shutil.copytree(
            ROOT / "frigate_mirror", self.ours / "frigate_mirror", copy_function=os.link
        )
        shutil.copytree(FIXTURES / project, self.project)
        for path in (self.bin, self.notes, self.modules / "pip"):
            path.mkdir(parents=True)
        (self.modules / "pip" / "__init__.py").touch()
        (self.modules / "pip" / "__main__.py").write_text(PIP)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.stub("python3", f'[[ -z ${{NO_PYTHON:-}} ]] && exec "{sys.executable}" "$@"\n')
        self.stub("docker", DOCKER)
        self.fixture = FIXTURES / project

    @property
    def env(self) -> Path:
        return self.project / ".env"

    @property
    def override(self) -> Path:
        return self.project / "docker-compose.override.yml"

    @property
    def separate(self) -> Path:
        """The override beside another one of the owner."""
        return self.project / "docker-compose.s3-mirror.yml"

    @property
    def vendor(self) -> Path:
        return self.ours / "vendor"

    def stub(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/bash\n{body}")
        (self.bin / name).chmod(0o755)

    def use_real_compose(self) -> None:
        """Makes the stand-in pass `docker compose config` on to the real one."""
        self.fixture = self.notes / "none"

    def calls(self, program: str = "calls") -> str:
        notes = self.notes / program
        return notes.read_text() if notes.exists() else ""

    def environment(self, environ: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": str(self.bin), "NOTES": str(self.notes), "OURS": str(self.ours),
            "PYTHONPATH": str(self.modules), "REAL_PYTHON": sys.executable,
            "REAL_DOCKER": shutil.which("docker") or "", "FIXTURE": str(self.fixture),
            "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", "/nowhere"),
        } | environ  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        return ["bash", str(self.ours / "setup_s3_mirror.sh"), *arguments]

    def setup(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs setup without a terminal."""
        return subprocess.run(
            self.command(*arguments), cwd=self.project, env=self.environment(environ),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def written(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs setup without a terminal and without a try of the key. It must succeed."""
        done = self.setup("--yes", "--no-try", *arguments, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def runs_a_container(self, *, with_mirror: bool, **environ: str) -> None:
        """Makes the stand-in say that a container of Frigate runs."""
        entrypoint = (
            ["/bin/bash", "/opt/frigate-s3-mirror/entrypoint.sh"] if with_mirror else ["/init"]
        )
        mounts = [{"Source": str(self.ours), "Destination": "/opt/frigate-s3-mirror"}]
        container = {
            "Name": "/home-frigate-1",
            "State": {"Running": True},
            "Config": {"Entrypoint": entrypoint, "Env": [f"{k}={v}" for k, v in environ.items()]},
            "Mounts": mounts if with_mirror else [],
        }
        (self.notes / "container.json").write_text(json.dumps(container) + "\n")

    def files(self) -> dict[str, bytes]:
        """The files of the owner's folder."""
        return {
            str(path.relative_to(self.project)): path.read_bytes()
            for path in self.project.rglob("*")
            if path.is_file()
        }

    def rendered(self, *files: str) -> str:
        """What the real Compose makes of these files, or of the owner's usual ones."""
        named = [word for file in files for word in ("-f", file)]
        words = ["docker", "compose", *named, "--profile", "*", "config", "--format", "json"]
        done = subprocess.run(words, cwd=self.project, capture_output=True, text=True, check=True)
        ours = str(self.ours).replace("$", "$$")
        text = done.stdout.replace(ours, "@OURS@").replace(str(self.project), "@PROJECT@")
        return json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def has_compose() -> bool:
    """Whether this machine has Docker Compose 2."""
    try:
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True)
    except OSError:
        return False
    return done.returncode == 0 and bool(re.search(r"version v?[2-9]", done.stdout))


THEIRS = {
    "chosen": ("nvr.yml", "gpu.yml"),
    "flow": ("compose.yaml",),
    "override": ("docker-compose.yml", "docker-compose.override.yml"),
    "settings": ("compose.yml",),
}
"""The owner's files of a project, where they are not the one file docker-compose.yml."""


def render_both(folder: Path, project: str) -> tuple[str, str]:
    """Sets a project up with the real Compose. Returns what Compose makes of the owner's files, and
    what the owner's usual command is afterwards."""
    house = House(folder, project)
    house.use_real_compose()
    theirs = house.rendered(*THEIRS.get(project, ("docker-compose.yml",)))
    if project == "several":
        return theirs, ""
    house.written(**GIVEN, NO_DAEMON="1")
    return theirs, house.rendered()


if __name__ == "__main__":
    for name in PROJECTS:
        with tempfile.TemporaryDirectory() as scratch:
            theirs, usual = render_both(Path(scratch), name)
        (FIXTURES / f"{name}.theirs.json").write_text(theirs)
        if usual:
            (FIXTURES / f"{name}.usual.json").write_text(usual)
