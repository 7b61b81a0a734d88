"""The folder vendor/: the libraries of the mirror, and Python's compiled files.

pip downloads the libraries and checks them against the hashes of the lock files. It runs in this
Python, which is the host's, or Frigate's where the host has none. Some libraries are needed only if
the settings ask for what they do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from frigate_mirror.settings.settings import VARIABLES
from frigate_mirror.setup.docker import Docker

COMPILED = (("-q", "-l", "", "boot"), ("-q", "frigate_mirror", "vendor"))
"""Options of compileall and folders. `-l` leaves out the folders inside them."""


class LibrariesError(Exception):
    """The libraries cannot be downloaded or put in place."""


class Libraries:
    """`ours` is the mirror's own folder."""

    def __init__(self, ours: Path) -> None:
        self._ours = ours
        self._locks = [self._lock("child")]
        self.folder = ours / "vendor"
        self._stamp = self.folder / "requirements.lock"

    def choose(self, environ: Mapping[str, str]) -> None:
        """Wants the libraries that these settings ask for. A value that is no setting asks for
        nothing; others tell the owner of it."""
        asked = {"mqtt": "MIRROR_REPORT_MQTT", "metrics": "MIRROR_HTTP_PORT"}
        wanted = [lock for lock, name in asked.items() if _is_on(name, environ)]
        self._locks = [self._lock(name) for name in ("child", *wanted)]

    def _lock(self, name: str) -> Path:
        return self._ours / "requirements" / f"{name}.lock"

    @property
    def are_there(self) -> bool:
        """Whether a run of setup has put any libraries into vendor/."""
        return self._stamp.is_file()

    @property
    def are_current(self) -> bool:
        """Whether vendor/ was made from the present lock files, of which it has a copy. It may have
        more than is wanted now."""
        try:
            made_from = self._stamp.read_text()
            return all(lock.read_text() in made_from for lock in self._locks)
        except OSError:
            return False

    def download(self) -> None:
        """Replaces vendor/ as a whole. After a failure it is as it was. Raises LibrariesError."""
        new, old = self._ours / "vendor.new", self._ours / "vendor.old"
        try:
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)
            self._pip(new)
            shutil.rmtree(new / "bin", ignore_errors=True)
            stamp = "".join(lock.read_text() for lock in self._locks)
            (new / "requirements.lock").write_text(stamp)
            if self.folder.exists():
                self.folder.rename(old)
            new.rename(self.folder)
        except (OSError, subprocess.CalledProcessError) as error:
            if old.exists() and not self.folder.exists():
                old.rename(self.folder)
            raise LibrariesError(
                "the libraries could not be downloaded, so vendor/ stays as it was"
                + (f": {error}" if isinstance(error, OSError) else "")
            ) from error
        finally:
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)

    def _pip(self, target: Path) -> None:
        words = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps",
                 "--root-user-action=ignore", "--require-hashes", "--only-binary=:all:",
                 "--target", str(target)]  # fmt: skip
        words += [f"--requirement={lock}" for lock in self._locks]
        environ = os.environ | {"PIP_USER": "0"}
        subprocess.run([sys.executable, "-m", "pip", *words], env=environ, check=True)

    def compile(self, docker: Docker, image: str) -> None:
        """Compiles the Python files now, because the container's mount is read-only and Frigate's
        Python could not keep what it compiles. Only a Python of Frigate's version helps, so this
        runs in Frigate's image if the machine has it."""
        in_image = docker.answers and docker.docker("image", "inspect", image).code == 0
        for words in COMPILED:
            command = ["-m", "compileall"]
            command += [word if word.startswith("-") else str(self._ours / word) for word in words]
            if in_image:
                mount = f"type=bind,source={self._ours},target={self._ours}"
                user = f"{os.getuid()}:{os.getgid()}"
                docker.docker("run", "--rm", "--user", user, "--mount", mount,
                              "--entrypoint", "python3", image, *command)  # fmt: skip
            else:
                subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL)


def _is_on(name: str, environ: Mapping[str, str]) -> bool:
    try:
        return bool(VARIABLES[name].value(environ))
    except ValueError:
        return False
