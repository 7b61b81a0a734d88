"""Whether a picture is whole, by its end mark or its own word on its length.

Frigate writes a picture under its final name, so one that is read at the wrong moment, or whose
writer was killed, has only a part of its bytes.
"""

from __future__ import annotations

import os
from typing import BinaryIO

HEAD = 12  # bytes
TAIL = 4096  # bytes; other programs write their notes behind the end mark
SCAN, END = b"\xff\xda", b"\xff\xd9"  # marks in a JPEG: its data begins, the picture ends


def fault_of(file: BinaryIO) -> str:
    """Why the picture in `file` is not whole, in a few words; empty if it is, or is of a form that
    is not known here. Leaves `file` at its beginning. Raises OSError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEAD)
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    file.seek(0)
    if not head.strip(b"\0"):
        return "the picture is empty"
    if head.startswith(b"\xff\xd8"):
        whole = _ends(file, size)
    elif head.startswith(b"\x89PNG"):
        whole = b"IEND\xaeB`\x82" in tail
    elif head.startswith(b"RIFF"):
        whole = len(head) == HEAD and size >= 8 + int.from_bytes(head[4:8], "little")
    else:  # the first bytes of one of these forms alone, or something else
        whole = not any(start.startswith(head) for start in (b"\xff\xd8", b"\x89PNG", b"RIFF"))
    file.seek(0)
    return "" if whole else f"the picture breaks off after {size} bytes"


def _ends(jpeg: BinaryIO, size: int) -> bool:
    """Whether the end mark stands behind the headers, which may hold a small picture of their own.
    Within a picture's data it cannot stand: there each FF is followed by 00."""
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
