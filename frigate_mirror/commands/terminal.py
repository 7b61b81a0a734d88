"""Long lines on a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap


def fit(text: str, indent: int) -> str:
    """Returns `text` with lines that fit the terminal, broken between words only. What follows a
    break is indented by `indent` spaces. If the output is no terminal, returns `text` unchanged."""
    if not sys.stdout.isatty():
        return text
    wrapper = textwrap.TextWrapper(
        shutil.get_terminal_size().columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(map(wrapper.fill, text.splitlines()))
