"""Removes what setup has written. The mirror's state and the bucket stay."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.setup import envfile, writing
from frigate_mirror.setup.compose import MOUNT, OVERRIDE, SEPARATE, is_ours
from frigate_mirror.setup.doctor import UP
from frigate_mirror.setup.envfile import EnvFile
from frigate_mirror.setup.install import DONE, FAILED, Options, Tools


def uninstall(options: Options, tools: Tools) -> int:
    """Returns the exit code. Raises Stopped if the owner ends the input."""
    screen = tools.screen
    try:
        remains = _look(options.folder, tools)
    except OSError as error:
        screen.complain(f"cannot read {options.folder / '.env'}: {error.strerror}")
        return FAILED
    if not remains.overrides and not remains.env.block:
        screen.say(f"Nothing of the mirror is set up in {options.folder}.")
        return DONE
    remains.show(tools)
    if options.dry_run:
        screen.say("Nothing was removed (--dry-run).")
        return DONE
    if screen.interactive and not options.yes and not screen.confirm("Remove this?"):
        screen.complain("Nothing was removed.")
        return FAILED
    try:
        remains.remove(tools)
    except writing.WriteError as error:
        screen.complain(str(error))
        return FAILED
    screen.say("The mirror is removed. Its state and the bucket are unchanged.")
    chosen = os.environ.get("COMPOSE_FILE") or remains.env.own_values.get("COMPOSE_FILE", "")
    if any(path.name in chosen for path in remains.overrides):
        screen.say(f"COMPOSE_FILE is {chosen}: remove the name of the removed file from it.")
    screen.say(f"Restart Frigate with `{UP}`.")
    return DONE


@dataclass(frozen=True, slots=True)
class _Remains:
    """What is there to remove. `users` are the running containers that use our folder."""

    folder: Path
    env: EnvFile
    overrides: tuple[Path, ...]
    copies: tuple[Path, ...]
    users: tuple[str, ...]

    def show(self, tools: Tools) -> None:
        screen = tools.screen
        for path in (*self.overrides, *self.copies):
            screen.say(f"{path}: will be removed")
        if self.env.block:
            screen.show_difference(str(self.folder / ".env"), self.env.text(), self.env.own)
        if not tools.libraries.are_there:
            return
        if self.users:
            screen.say(
                f"{tools.libraries.folder}: stays, because the running container {self.users[0]}\n"
                f"  uses it. After `{UP}` you can remove that folder by hand."
            )
        else:
            screen.say(f"{tools.libraries.folder}: will be removed")

    def remove(self, tools: Tools) -> None:
        """Changes .env first, because it may name the override. Raises WriteError."""
        path = self.folder / ".env"
        if self.env.block and self.env.own:
            mode = self.env.earlier_mode or writing.ENV_MODE
            writing.write(path, self.env.own, mode, path)
        elif self.env.block:
            writing.remove(path)
        for path in (*self.overrides, *self.copies):
            writing.remove(path)
        if not self.users:
            shutil.rmtree(tools.libraries.folder, ignore_errors=True)


def _look(folder: Path, tools: Tools) -> _Remains:
    overrides = tuple(folder / name for name in (OVERRIDE, SEPARATE) if is_ours(folder / name))
    copy = writing.copy_of(folder / ".env")
    return _Remains(
        folder=folder,
        env=envfile.read(folder / ".env"),
        overrides=overrides,
        copies=(copy,) if copy.exists() else (),
        users=tuple(_users_of(tools)),
    )


def _users_of(tools: Tools) -> list[str]:
    """Returns the names of the running containers that mount our folder as the mirror."""
    ids = tools.docker.docker("ps", "--quiet").out.split()
    if not ids:
        return []
    answer = tools.docker.docker("inspect", "--format", "{{json .}}", *ids)
    containers = [json.loads(line) for line in answer.out.splitlines()]
    wanted = (str(tools.ours), MOUNT)
    return [
        str(one.get("Name", "")).lstrip("/")
        for one in containers
        if wanted
        in [(mount.get("Source"), mount["Destination"]) for mount in one.get("Mounts", ())]
    ]
