"""Runs a program on a terminal, as a person does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shown:
    """What a program wrote to the terminal (stdout and stderr), and its exit code."""

    text: str
    code: int

    @property
    def lines(self) -> list[str]:
        """The lines as they stand on the screen at the end: a line that was overwritten shows what
        was written last. They have no codes of colours."""
        plain = re.sub(r"\033\[[0-9;]*m", "", self.text)
        return [line.rstrip("\r").rpartition("\r")[2] for line in plain.split("\n")]


def on_a_terminal(
    command: list[str], environ: dict[str, str], *, columns: int = 80, folder: Path | None = None
) -> Shown:
    """Runs the command on a terminal of its own that is `columns` wide, until it has ended."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        command, env=environ, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with suppress(OSError):  # Linux reports the end of a terminal as an error
        while piece := os.read(ours, 65_536):
            written += piece
    os.close(ours)
    return Shown(written.decode().replace("\r\n", "\n"), process.wait())
