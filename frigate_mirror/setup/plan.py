"""What setup writes: the changes of .env and of the override, shown first and then made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frigate_mirror.setup import override, writing
from frigate_mirror.setup.compose import OVERRIDE, SEPARATE, Files, Service, is_ours
from frigate_mirror.setup.envfile import EnvFile
from frigate_mirror.setup.given import Given
from frigate_mirror.setup.screen import Screen


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of `folder` as they shall be. `stale` are overrides of earlier runs under a name
    that no longer fits."""

    folder: Path
    like: Path
    override: Path
    old_override: str
    new_override: str
    old_env: str
    new_env: str
    stale: tuple[Path, ...]

    @property
    def env(self) -> Path:
        return self.folder / ".env"

    @property
    def changes_something(self) -> bool:
        old = (self.old_override, self.old_env)
        return old != (self.new_override, self.new_env) or bool(self.stale)

    def show(self, screen: Screen) -> None:
        """Shows every change, without secrets."""
        if self.new_env != self.old_env:
            screen.show_difference(str(self.env), self.old_env, self.new_env)
        if self.new_override != self.old_override:
            screen.show_difference(str(self.override), self.old_override, self.new_override)
        for path in self.stale:
            screen.say(f"{path}: will be removed")

    def write(self, screen: Screen) -> None:
        """Writes the override before .env, which may name it: Compose refuses a project that names
        a file that is not there. Raises WriteError."""
        if self.new_override != self.old_override:
            mode = writing.mode_of(self.override) or writing.OVERRIDE_MODE
            writing.write(self.override, self.new_override, mode, self.like)
        if self.new_env != self.old_env:
            copy = writing.keep_copy(self.env, self.like)
            writing.write(self.env, self.new_env, writing.ENV_MODE, self.like)
            if copy:
                screen.say(f"{copy} is a copy of .env as it was.")
        for path in self.stale:
            writing.remove(path)


def make(
    folder: Path, ours: Path, files: Files, service: Service, env: EnvFile, given: Given
) -> Plan:
    """Returns the plan for these settings."""
    path = folder / files.ours
    if env.block:
        earlier_mode = env.earlier_mode
    else:
        mode = writing.mode_of(folder / ".env")
        earlier_mode = None if mode == writing.ENV_MODE else mode
    chosen = {"COMPOSE_FILE": files.chosen} if files.chosen else {}
    return Plan(
        folder=folder,
        like=folder / files.theirs[0],
        override=path,
        old_override=path.read_text(encoding="utf-8") if is_ours(path) else "",
        new_override=override.text(ours, service, given.listed),
        old_env=env.text(),
        new_env=env.written(chosen | given.block, given.changed, earlier_mode).text(),
        stale=tuple(
            folder / name
            for name in (OVERRIDE, SEPARATE)
            if name != files.ours and is_ours(folder / name)
        ),
    )
