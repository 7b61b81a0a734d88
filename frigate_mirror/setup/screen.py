"""What the owner sees, and what the owner is asked."""

from __future__ import annotations

import difflib
import getpass
import os
import re
import shutil
import sys
import termios
import textwrap
from collections.abc import Callable
from functools import partial

GREEN, YELLOW, RED, BOLD = "32", "33", "31", "1"
COLOURS = {"ok": GREEN, "to do": YELLOW, "note": YELLOW, "FAULT": RED}
_SECRET_LINE = re.compile(r"^((?:export )?\w*(?:KEY|SECRET|TOKEN|PASS)\w*=).*", re.M)
_LOGIN = re.compile(r"://[^/@\s]*@")
HIDDEN = "********"
WIDTH, WIDEST = 80, 100  # columns: of a difference, and of other lines on a terminal


class Stopped(Exception):
    """The owner has ended the input, or interrupted, instead of answering."""


class Screen:
    """The terminal, or whatever the output goes to. It shows colours only on a terminal, and not if
    NO_COLOR is set."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._coloured = (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def say(self, text: str) -> None:
        print(self._fitted(text), flush=True)

    def complain(self, text: str) -> None:
        print(self._fitted(text), file=sys.stderr, flush=True)

    def tell(self, grade: str, text: str) -> None:
        """Says a result, after a word that grades it."""
        rest = self._fitted(f"{grade:<6} {text}").removeprefix(grade)
        print(self.painted(COLOURS[grade], grade) + rest, flush=True)

    def painted(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._coloured else text

    def ask(
        self, question: str, default: str, fault: Callable[[str], str], *, shown: str = ""
    ) -> str:
        """Returns the answer. Enter keeps the default, which stands in brackets as itself or as
        `shown`, and a hyphen means an empty answer. Asks again while `fault` returns a sentence
        about the answer. Raises Stopped."""
        hint = f" [{shown or default}]" if default else ""
        while True:
            answer = self._line(f"{question}{hint}: ")
            answer = "" if answer == "-" else answer or default
            if not (what := fault(answer)):
                return answer
            self.say(f"  {what}")

    def ask_secret(self, question: str, old: str, fault: Callable[[str], str]) -> str:
        """Returns the answer, which is not shown. Enter keeps the old value. Raises Stopped."""
        while True:
            try:
                answer = getpass.getpass(f"{question}{' [kept]' if old else ''}: ").strip() or old
            except (EOFError, KeyboardInterrupt):
                raise Stopped from None
            if not (what := fault(answer)):
                return answer
            self.say(f"  {what}")

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Returns whether the owner agrees. Raises Stopped."""
        self.forget_what_was_typed()
        answer = self._line(f"{question} [{'Y/n' if default else 'y/N'}] ").lower()
        return answer.startswith("y") if answer else default

    def forget_what_was_typed(self) -> None:
        """Drops what the owner typed before a question could be seen, for example while the
        libraries were downloaded."""
        if self.interactive:
            termios.tcflush(sys.stdin, termios.TCIFLUSH)

    def show_difference(self, path: str, old: str, new: str) -> None:
        """Shows which lines change in a file, with secrets masked."""
        print(self.painted(BOLD, f"{path}:"))
        lines = difflib.unified_diff(
            masked(old).splitlines(), masked(new).splitlines(), n=0, lineterm=""
        )
        shown = [line for line in list(lines)[2:] if not line.startswith("@@")]
        for line in shown or ["(only secrets change)"]:
            colour = {"+": GREEN, "-": RED}.get(line[0], "")
            for part in _broken(f"  {line}", WIDTH).split("\n"):
                print(self.painted(colour, part) if colour else part, flush=True)

    def _fitted(self, text: str) -> str:
        """Returns the text with its lines broken between words where a terminal would break
        words."""
        if not self.interactive:
            return text
        width = min(shutil.get_terminal_size().columns, WIDEST)
        return "\n".join(map(partial(_broken, width=width), text.split("\n")))

    def _line(self, prompt: str) -> str:
        try:
            print(prompt, end="", flush=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:
            raise Stopped
        return line.strip()


def _broken(line: str, width: int) -> str:
    """Returns a line as lines of this width. All but the first are indented by two more blanks."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)


def masked(text: str) -> str:
    """Returns the text without secrets."""
    return _LOGIN.sub(f"://{HIDDEN}@", _SECRET_LINE.sub(rf"\1'{HIDDEN}'", text))
