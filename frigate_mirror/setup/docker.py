"""Runs Docker and Docker Compose as the owner would, in the folder of the owner's compose file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

OURS = ("S3_", "MIRROR_", "NOTIFY_", "MQTT_")  # how the names of our settings begin


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program printed, and its exit code. 127 means that there is no such program."""

    code: int
    out: str
    err: str

    @property
    def fault(self) -> str:
        """The last line that the program printed about its failure."""
        return (self.err.strip() or self.out.strip() or f"exit code {self.code}").splitlines()[-1]


Run = Callable[..., Answer]
"""Runs the program with these words, and waits until it has ended."""


def on_this_machine(folder: Path) -> Run:
    """Runs programs in `folder`. Settings of ours in the environment of this run are left out,
    because Compose would prefer them to .env, and the owner's next command does not have them."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}

    def run(*words: str) -> Answer:
        try:
            done = subprocess.run(
                words, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True
            )
        except OSError as error:
            return Answer(127, "", f"{words[0]}: {error.strerror}")
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Answer(done.returncode, out, err)

    return run


def on_the_host(bridge: Path) -> Run:
    """Runs programs on the host of the container that this Python runs in. The script outside reads
    the words from the pipe `ask` in the folder `bridge`, and answers through the pipe `answer` and
    the file `errors`."""

    def run(*words: str) -> Answer:
        (bridge / "ask").write_text("".join(f"{word}\0" for word in words))
        code, _, out = (bridge / "answer").read_text(errors="replace").partition("\n")
        return Answer(int(code), out, (bridge / "errors").read_text(errors="replace"))

    return run


class Docker:
    """Docker and Docker Compose."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def docker(self, *words: str) -> Answer:
        return self._run("docker", *words)

    def compose(self, *words: str) -> Answer:
        """Runs Docker Compose, which must be there."""
        return self._run(*self._compose, *words)

    @cached_property
    def has_compose(self) -> bool:
        return bool(self._compose)

    @cached_property
    def answers(self) -> bool:
        """Whether a Docker daemon runs and this user may use it."""
        return self.docker("info").code == 0

    @cached_property
    def _compose(self) -> tuple[str, ...]:
        for words in (("docker", "compose"), ("docker-compose",)):
            if self._run(*words, "version").code == 0:
                return words
        return ()
