"""What the demo prints on."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

WIDEST = 100  # columns


class Paper:
    """Breaks lines that are too wide, and has bold titles on a terminal."""

    def __init__(self) -> None:
        shown = sys.stdout.isatty()
        self._width = min(WIDEST, shutil.get_terminal_size().columns) if shown else WIDEST
        coloured = os.environ.get("FORCE_COLOR") or (shown and not os.environ.get("NO_COLOR"))
        self._bold, self._plain = ("\033[1m", "\033[0m") if coloured else ("", "")

    def title(self, text: str) -> None:
        print(f"\n{self._bold}{text}{self._plain}", flush=True)

    def say(self, text: str, mark: str = " ") -> None:
        for line in text.splitlines():
            width = self._width - 5
            for part in textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False):
                print(f"  {mark} {part}", flush=True)
