"""Pictures of three scenes for events. Bytes that no decoder draws make each copy unique."""

from __future__ import annotations

import struct
from pathlib import Path

SCENES = Path(__file__).resolve().parents[1] / "pictures"


def jpeg(camera: str, note: bytes) -> bytes:
    """Returns the scene of `camera` with `note` in a comment segment after the start marker."""
    picture = (SCENES / f"{camera}.jpg").read_bytes()
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + picture[2:]


def webp(camera: str, note: bytes) -> bytes:
    """Returns the scene of `camera` with `note` in a last chunk, which readers ignore."""
    picture = (SCENES / f"{camera}.webp").read_bytes()
    chunk = b"NOTE" + struct.pack("<I", len(note)) + note + b"\0" * (len(note) % 2)
    return b"RIFF" + struct.pack("<I", len(picture) - 8 + len(chunk)) + picture[8:] + chunk
