"""Draws what the demo prints as the picture of the README.

    python3 -m lab.picture docs/demo.svg

It runs the demo and draws two sections of its output: the answer of the monitor, and the files of
one event in the bucket. It needs nothing but Python.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("monitor", "the files of")  # a word of the title of each section that the picture shows
SIZE, ADVANCE, LEADING, MARGIN = 14, 8.4, 20, 20  # pixels: letters, columns, lines, around them
CODE = re.compile(r"\x1b\[([\d;]*)m")  # sets bold or a colour on a terminal
STYLES = {
    "1": 'font-weight="bold"',
    "2": 'fill="#8b949e"',
    "31": 'fill="#ff7b72"',
    "32": 'fill="#7ee787"',
    "33": 'fill="#e3b341"',
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 64
    demo = subprocess.run(
        ["./setup_s3_mirror.sh", "demo"],
        cwd=ROOT,
        env=os.environ | {"FORCE_COLOR": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    Path(arguments[0]).write_text(svg(chosen(demo.stdout)))
    return 0


def chosen(output: str) -> list[str]:
    """Returns the lines of the sections to show. A section begins with its title, which follows a
    blank line. Raises ValueError if the output lacks one."""
    sections = [section.splitlines() for section in output.strip().split("\n\n")]
    lines: list[str] = []
    for word in SECTIONS:
        found = [section for section in sections if word in plain(section[0]).lower()]
        if not found:
            raise ValueError(f"the demo's output has no section whose title contains {word!r}")
        lines += ["", *found[0]] if lines else found[0]
    return lines


def svg(lines: list[str]) -> str:
    """Returns the lines as they look on a terminal, as an SVG picture."""
    width = max(len(plain(line)) for line in lines) * ADVANCE + 2 * MARGIN
    height = len(lines) * LEADING + 2 * MARGIN
    texts = [text for number, line in enumerate(lines) for text in _texts(line, number)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f"font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
        f'font-size="{SIZE}" fill="#e6edf3">'
    )
    frame = '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>'
    return "\n".join([head, "<title>What the demo prints</title>", frame, *texts, "</svg>", ""])


def plain(line: str) -> str:
    return CODE.sub("", line)


def _texts(line: str, number: int) -> Iterator[str]:
    """Yields each piece of a line that has the same style. It has its column and its length, so
    that the picture has straight columns in any font."""
    codes: list[str] = []
    column = 0
    for position, piece in enumerate(CODE.split(line)):
        if position % 2:
            codes = [] if piece in ("", "0") else codes + piece.split(";")
            continue
        if text := piece.strip():
            x = MARGIN + (column + len(piece) - len(piece.lstrip())) * ADVANCE
            y = MARGIN + SIZE + number * LEADING
            attributes = [
                f'x="{x:.1f}" y="{y}" textLength="{len(text) * ADVANCE:.1f}"',
                'lengthAdjust="spacingAndGlyphs" xml:space="preserve"',
                *(STYLES[code] for code in codes if code in STYLES),
            ]
            yield f"<text {' '.join(attributes)}>{escape(text)}</text>"
        column += len(piece)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
