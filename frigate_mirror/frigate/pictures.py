"""Tells whether a picture is complete, by its end mark or by the length that it states.

Frigate writes a picture under its final name. A picture that is read at the wrong moment, or whose
writer was killed, therefore lacks its last bytes.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from frigate_mirror.files import open_regular

HEAD = 12  # bytes
TAIL = 4096  # bytes; other programs write their notes behind the end mark
SCAN, END = b"\xff\xda", b"\xff\xd9"  # marks in a JPEG: its data begins, the picture ends


def ending(path: str) -> str:
    """Returns what the name of a picture of this form ends with, by its first bytes: `.webp`,
    `.png`, or `.jpg` for any other form. Raises OSError."""
    with open_regular(path) as file:
        return ending_of(file) or ".jpg"


def ending_of(file: BinaryIO) -> str:
    """Returns the same for an open file, or an empty text for any other form."""
    head = file.read(4)
    forms = {b"RIFF": ".webp", b"\x89PNG": ".png"}
    return ".jpg" if head.startswith(b"\xff\xd8") else forms.get(head, "")


def flaw(file: BinaryIO) -> str:
    """Returns why the picture in `file` is incomplete, in a few words. Returns an empty text if it
    is complete or of an unknown form. Leaves `file` at its beginning. Raises OSError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEAD)
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    file.seek(0)
    if not head.strip(b"\0"):
        return "the picture is empty"
    if head.startswith(b"\xff\xd8"):
        complete = _ends(file, size)
    elif head.startswith(b"\x89PNG"):
        complete = b"IEND\xaeB`\x82" in tail
    elif head.startswith(b"RIFF"):
        complete = len(head) == HEAD and size >= 8 + int.from_bytes(head[4:8], "little")
    else:  # another form, or only the first bytes of one of these
        complete = not any(start.startswith(head) for start in (b"\xff\xd8", b"\x89PNG", b"RIFF"))
    file.seek(0)
    return "" if complete else f"the picture breaks off after {size} bytes"


def _ends(jpeg: BinaryIO, size: int) -> bool:
    """Returns whether the end mark stands behind the headers, which may hold a small picture of
    their own. The mark cannot stand within a picture's data, where 00 follows each FF."""
    jpeg.seek(2)
    while len(header := jpeg.read(4)) == 4 and not header.startswith(SCAN):
        jpeg.seek(max(0, int.from_bytes(header[2:], "big") - 2), os.SEEK_CUR)
    data = jpeg.tell()
    for start in (max(data, size - TAIL), data):
        jpeg.seek(start)
        before = b""
        while piece := jpeg.read(65_536):
            if END in before + piece:
                return True
            before = piece[-1:]
    return False
