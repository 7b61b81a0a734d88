"""Whether a picture is whole, by its end mark or its own word on its length.

Frigate writes a picture under its final name, so one that is read at the wrong moment, or whose
writer was killed, has only a part of its bytes.
"""

from __future__ import annotations

import os
from typing import BinaryIO

HEAD = 12  # bytes
TAIL = 4096  # bytes; other programs write their notes behind the end mark


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
        # Within the picture's data the mark cannot stand: there each FF is followed by 00.
        whole = b"\xff\xd9" in tail
    elif head.startswith(b"\x89PNG"):
        whole = b"IEND\xaeB`\x82" in tail
    elif head.startswith(b"RIFF"):
        whole = len(head) == HEAD and size >= 8 + int.from_bytes(head[4:8], "little")
    else:  # the first bytes of one of these forms alone, or something else
        whole = not any(start.startswith(head) for start in (b"\xff\xd8", b"\x89PNG", b"RIFF"))
    return "" if whole else f"the picture breaks off after {size} bytes"
