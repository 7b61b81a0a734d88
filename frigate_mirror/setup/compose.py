"""The owner's Docker Compose project: which files Compose reads, and what it makes of them.

Compose itself reads the files (`docker compose config`), so whatever Compose understands is
understood here: includes, several files, every style of YAML, variables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frigate_mirror.setup.docker import Docker

BASES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml", "compose.override.yaml",
    "docker-compose.override.yml", "docker-compose.override.yaml",
)  # fmt: skip
"""Compose reads the first file of each of the two lists that exists, unless COMPOSE_FILE is set."""
OVERRIDE, SEPARATE = "docker-compose.override.yml", "docker-compose.s3-mirror.yml"
"""The two names that our override can have. The second is for a project whose owner has an override
or a COMPOSE_FILE."""
SIGNATURE = "# Written by setup_s3_mirror.sh (frigate-s3-mirror)"
MOUNT = "/opt/frigate-s3-mirror"
ENTRYPOINT = ("/bin/bash", f"{MOUNT}/entrypoint.sh")


class ComposeError(Exception):
    """The owner's project cannot be read, or Frigate's service is not found in it. The message says
    what the owner can do."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a project, as COMPOSE_FILE names them.

    `theirs` are the owner's, `ours` is the name of our override. `chosen` is the COMPOSE_FILE that
    .env needs for Compose to read our override, or empty if Compose reads it already. `exported`
    is the COMPOSE_FILE that the owner's environment needs instead, because it takes precedence over
    .env.
    """

    theirs: tuple[str, ...]
    ours: str
    chosen: str = ""
    exported: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service as Compose has resolved it. In `entrypoint` each dollar sign is doubled, as in a
    compose file; it is None where the image's own counts. `mounts` are pairs of source and
    target. `network_mode` is empty where the container has a network of Compose's own."""

    name: str
    image: str
    entrypoint: tuple[str, ...] | None
    has_command: bool
    environment: Mapping[str, str]
    stop_grace_period: str
    mounts: tuple[tuple[str, str], ...]
    network_mode: str = ""

    @property
    def starts_the_mirror(self) -> bool:
        return bool(self.entrypoint) and ENTRYPOINT[1] in (self.entrypoint or ())

    def mounts_at(self, target: str) -> list[str]:
        """Returns what is mounted at `target`."""
        return [source for source, where in self.mounts if where == target]


def is_ours(path: Path) -> bool:
    """Whether a run of setup has written this file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(SIGNATURE)
    except OSError:
        return False


def find_files(folder: Path, exported: str, own: str, separator: str) -> Files:
    """Returns the files of the project in `folder`. `exported` is COMPOSE_FILE in the environment,
    `own` the owner's own line for it in .env. Raises ComposeError."""
    named = [name for name in (exported or own).split(separator) if name]
    if not named:
        return _usual_files(folder, separator)
    ours = [name for name in named if _may_be_ours(folder / name)]
    theirs = tuple(name for name in named if name not in ours)
    if not theirs:
        raise ComposeError("COMPOSE_FILE names no compose file of yours: correct it")
    if ours:
        return Files(theirs, ours[0])
    wanted = separator.join((*named, SEPARATE))
    if exported:
        return Files(theirs, SEPARATE, exported=wanted)
    return Files(theirs, SEPARATE, chosen=wanted)


def _may_be_ours(path: Path) -> bool:
    return path.name in (OVERRIDE, SEPARATE) and (is_ours(path) or not path.exists())


def _usual_files(folder: Path, separator: str) -> Files:
    bases = [name for name in BASES if (folder / name).exists()]
    if not bases:
        raise ComposeError(
            f"no compose file in {folder}: run this script in the folder of Frigate's compose file,"
            " or name that folder with --dir"
        )
    overrides = [name for name in OVERRIDES if (folder / name).exists()]
    foreign = [name for name in overrides if not is_ours(folder / name)]
    if not foreign:
        return Files((bases[0],), OVERRIDE)
    theirs = (bases[0], foreign[0])
    return Files(theirs, SEPARATE, chosen=separator.join((*theirs, SEPARATE)))


def config(docker: Docker, files: Sequence[str] = ()) -> Mapping[str, Any]:
    """Returns what Compose makes of these files, or without files what the owner's usual command
    would run. Services of every profile are included. Raises ComposeError."""
    named = [word for file in files for word in ("-f", file)]
    answer = docker.compose(*named, "--profile", "*", "config", "--format", "json")
    try:
        found = json.loads(answer.out) if answer.code == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ComposeError(
            f"Docker Compose cannot read your project: {answer.fault}\n"
            "    Try `docker compose config` in that folder. Setup needs Docker Compose 2."
        )
    return found


def find_service(found: Mapping[str, Any], name: str) -> Service:
    """Returns the service `name`, or without a name the one that is Frigate's. Raises
    ComposeError."""
    services: Mapping[str, Any] = found.get("services") or {}
    listed = ", ".join(sorted(services)) or "none"
    if name and name not in services:
        raise ComposeError(
            f"no service {name} in your compose files, which have these services: {listed}.\n"
            "    Name Frigate's service with --service"
        )
    frigates = [one for one in services if "frigate" in str(services[one].get("image", ""))]
    if not name and "frigate" in services:
        name = "frigate"
    elif not name and len(frigates) == 1:
        name = frigates[0]
    if not name:
        what = (
            f"several services look like Frigate ({', '.join(frigates)})"
            if frigates
            else ("no service is named frigate or has an image of that name")
        )
        raise ComposeError(
            f"{what}. Name Frigate's service with --service; your compose files have: {listed}"
        )
    return _service(name, services[name])


def _service(name: str, found: Mapping[str, Any]) -> Service:
    entrypoint = found.get("entrypoint")
    environment = found.get("environment") or {}
    return Service(
        name=name,
        image=str(found.get("image", "")),
        entrypoint=None if entrypoint is None else tuple(entrypoint),
        has_command=bool(found.get("command")),
        environment={key: plain(text) for key, text in environment.items() if text is not None},
        stop_grace_period=str(found.get("stop_grace_period", "")),
        mounts=tuple(
            (plain(one.get("source", "")), one.get("target", ""))
            for one in found.get("volumes") or ()
        ),
        network_mode=str(found.get("network_mode") or ""),
    )


def plain(text: str) -> str:
    """Returns the text of a compose file as the container gets it: Compose doubles every dollar
    sign that is no variable."""
    return str(text).replace("$$", "$")
