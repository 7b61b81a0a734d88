"""What `recorder install` and `recorder generate` do to a machine, below a root folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from frigate_mirror.recorder import units
from frigate_mirror.recorder.config import CONFIG, HOME, Config

TEMPLATE = Path(__file__).with_name("config.example.yaml")
Say = Callable[[str], None]


class InstallError(Exception):
    """Something cannot be set up. The text says what and why."""


def below(root: Path, path: Path) -> Path:
    """Returns where an absolute path lies below `root`."""
    return root / path.relative_to("/")


def install(root: Path, say: Say, *, dry: bool) -> None:
    """Makes the user, the folders, and the template of the configuration, which is never
    overwritten. Raises InstallError."""
    real = root == Path("/")
    if real and not dry and os.geteuid() != 0:
        raise InstallError("only root can make the user and the folders: use sudo")
    try:
        _make_user(real, say, dry=dry)
        for folder, mode, owned in (
            (HOME, 0o750, True),
            (HOME / "segments", 0o750, True),
            (HOME / "mirror", 0o700, True),
            (CONFIG.parent, 0o750, False),
        ):
            _make_folder(below(root, folder), mode, say, owned=owned and real, dry=dry)
            if real and not dry and not owned:
                shutil.chown(folder, group=units.USER)
        target = below(root, CONFIG)
        if target.exists():
            say(f"keep   {target}, which exists")
            return
        say(f"write  {target}")
        if not dry:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            with os.fdopen(descriptor, "wb") as file:
                file.write(TEMPLATE.read_bytes())
            if real:
                shutil.chown(target, group=units.USER)
    except (OSError, LookupError) as error:
        raise InstallError(f"the machine cannot be set up: {error}") from error


def _make_user(real: bool, say: Say, *, dry: bool) -> None:
    words = ["useradd", "--system", "--user-group", "--home-dir", str(HOME), "--no-create-home",
             "--shell", "/usr/sbin/nologin", units.USER]  # fmt: skip
    if not real:
        say(f"skip   the user {units.USER}, because this is not the machine's own root")
        return
    if _user_exists():
        say(f"keep   the user {units.USER}, which exists")
        return
    say(f"make   the user {units.USER}")
    if not dry:
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise InstallError(f"useradd failed: {done.stderr.strip()}")


def _user_exists() -> bool:
    import pwd

    try:
        pwd.getpwnam(units.USER)
    except KeyError:
        return False
    return True


def _make_folder(path: Path, mode: int, say: Say, *, owned: bool, dry: bool) -> None:
    if path.is_dir():
        say(f"keep   {path}, which exists")
        return
    say(f"make   {path}")
    if not dry:
        path.mkdir(parents=True)
        path.chmod(mode)
        if owned:
            shutil.chown(path, units.USER, units.USER)


def generate(config: Config, root: Path, say: Say, *, dry: bool) -> None:
    """Writes the units of the enabled cameras, of the uploader and of the target, and removes those
    of cameras that are gone. Makes the folders that the configuration names, because systemd starts
    no service without them. Raises InstallError."""
    folder, state = below(root, units.FOLDER), config.mirror.state.folder
    wanted = units.texts(config, program(), state=state)
    try:
        for needed, mode in ((config.folder, 0o750), (state, 0o700)):
            if not (path := below(root, needed)).is_dir():
                _make_folder(path, mode, say, owned=root == Path("/"), dry=dry)
        changes = units.changes(wanted, folder)
        for change in changes:
            say(f"{change.what:<6} {change.path}")
            if dry:
                continue
            if change.text is None:
                change.path.unlink()
                continue
            change.path.parent.mkdir(parents=True, exist_ok=True)
            change.path.write_text(change.text, encoding="utf-8")
            change.path.chmod(0o644)
    except (OSError, LookupError, UnicodeDecodeError) as error:
        raise InstallError(f"the units and their folders cannot be made: {error}") from error
    if not changes:
        say("nothing has changed")
    if not dry and root == Path("/"):
        for command in commands(changes):
            say(f"then run: {command}")


def commands(changes: list[units.Change]) -> list[str]:
    """Returns the commands that make systemd do what the changed units say."""
    # systemd lets the service of a removed unit run, and refuses to disable it.
    found = [f"systemctl stop {change.path.name}" for change in changes if change.text is None]
    found.append(f"systemctl daemon-reload && systemctl enable --now {units.TARGET}")
    if any(change.what == "replace" for change in changes) or not changes:
        found.append(f"systemctl restart {units.TARGET}  # what runs still has the old settings")
    return found


def program() -> str:
    """Returns the absolute path of the command that runs at the moment."""
    beside = Path(sys.executable).with_name("frigate-mirror")
    if beside.exists():
        return str(beside)
    return shutil.which("frigate-mirror") or str(beside)
