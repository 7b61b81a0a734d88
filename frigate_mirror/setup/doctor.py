"""Looks at what setup has achieved: does the owner's usual command start the mirror, does the
container that runs have it, and does the mirror's check pass in there?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frigate_mirror.setup.compose import (
    ENTRYPOINT,
    MOUNT,
    ComposeError,
    Files,
    Service,
    config,
    find_service,
)
from frigate_mirror.setup.docker import Docker
from frigate_mirror.setup.given import SOURCES
from frigate_mirror.setup.screen import Screen

CHECK = ("python3", f"{MOUNT}/s3_snapshot_mirror.py", "check")
UP = "docker compose up -d"


@dataclass(frozen=True, slots=True)
class Doctor:
    """`ours` is the mirror's own folder, `files` the files of the owner's project, and `service`
    the name of Frigate's service."""

    docker: Docker
    screen: Screen
    ours: Path
    files: Files
    service: str

    def usual_command_starts_the_mirror(self) -> Service | None:
        """Renders the project as the owner's next command would, without naming any file. Returns
        Frigate's service if it has the mirror, and says what is wrong otherwise."""
        try:
            service = find_service(config(self.docker), self.service)
        except ComposeError as error:
            self.screen.tell("FAULT", str(error))
            return None
        if service.starts_the_mirror and service.mounts_at(MOUNT) == [str(self.ours)]:
            self.screen.tell("ok", f"Compose starts {self.service} with the mirror")
            return service
        advice = (
            f"it does not read {self.files.ours}, or a later file sets another entrypoint or mount"
        )
        if self.files.exported:
            advice = (
                "this shell exports COMPOSE_FILE, which Compose prefers to the line in .env. Where"
                f" you set it, set it to\n         {self.files.exported}"
            )
        self.screen.tell("FAULT", f"Compose starts {self.service} without the mirror: {advice}")
        return None

    def check_passes(self, service: Service) -> bool:
        """Runs the mirror's check in the container that runs, or in a new one for this purpose if
        none runs or it has not the mirror yet. Returns whether the check found no fault."""
        container = self._running()
        if container is None:
            self.screen.tell("to do", f"{self.service} does not run: start it with `{UP}`")
        elif what := _behind(container, service, self.ours):
            self.screen.tell("to do", f"{self.service} runs {what}: restart it with `{UP}`")
        else:
            self.screen.tell("ok", f"{self.service} runs with the mirror")
            return self._check("exec", "-T", self.service, *CHECK)
        words = ("run", "--rm", "--no-deps", "-T", "--entrypoint", CHECK[0], self.service)
        return self._check(*words, *CHECK[1:])

    def _running(self) -> Mapping[str, Any] | None:
        """Returns what Docker knows of the service's running container."""
        ids = self.docker.compose("ps", "--quiet", self.service).out.split()
        if not ids:
            return None
        answer = self.docker.docker("inspect", "--format", "{{json .}}", ids[0])
        try:
            found: Mapping[str, Any] = json.loads(answer.out)
        except ValueError:
            return None
        return found if found.get("State", {}).get("Running") else None

    def _check(self, *words: str) -> bool:
        self.screen.say(f"Running the mirror's check in {self.service}'s container ...")
        answer = self.docker.compose(*words)
        for line in answer.out.splitlines():
            self.screen.say(f"  {line}")
        if answer.code:
            for line in answer.err.strip().splitlines()[-5:]:
                self.screen.complain(f"  {line}")
        return answer.code == 0


def _behind(container: Mapping[str, Any], service: Service, ours: Path) -> str:
    """Returns in which way the container is not yet what Compose would start now, or an empty
    text."""
    made = container.get("Config", {})
    mounts = [(one.get("Source"), one.get("Destination")) for one in container.get("Mounts", ())]
    if ENTRYPOINT[1] not in (made.get("Entrypoint") or ()) or (str(ours), MOUNT) not in mounts:
        return "without the mirror"
    has = dict(text.partition("=")[::2] for text in made.get("Env") or ())
    wanted = service.environment
    if any(has.get(name, "") != wanted.get(name, "") for name in SOURCES):
        return "with the earlier settings"
    return ""
