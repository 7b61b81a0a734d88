"""Pictures for events: three scenes, each copy made unique by bytes that no decoder draws."""

from __future__ import annotations

import struct
from pathlib import Path

SCENES = Path(__file__).resolve().parents[1] / "pictures"


def jpeg(camera: str, note: bytes) -> bytes:
    """The scene of `camera` with `note` as its comment segment, right after the start marker."""
    picture = (SCENES / f"{camera}.jpg").read_bytes()
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + picture[2:]


def webp(camera: str, note: bytes) -> bytes:
    """The scene of `camera` with `note` in a last chunk of its own, which readers pass over."""
    picture = (SCENES / f"{camera}.webp").read_bytes()
    chunk = b"NOTE" + struct.pack("<I", len(note)) + note + b"\0" * (len(note) % 2)
    return b"RIFF" + struct.pack("<I", len(picture) - 8 + len(chunk)) + picture[8:] + chunk
