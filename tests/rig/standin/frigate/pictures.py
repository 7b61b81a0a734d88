"""Pictures and recordings of three scenes. Bytes that no decoder shows make each copy unique."""

from __future__ import annotations

import struct
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
SCENES, THUMBS = HERE / "pictures", HERE / "thumbs"


def jpeg(camera: str, note: bytes) -> bytes:
    """Returns the scene of `camera` with `note` in a comment segment after the start marker."""
    picture = (SCENES / f"{camera}.jpg").read_bytes()
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + picture[2:]


def webp(camera: str, note: bytes, folder: Path = SCENES) -> bytes:
    """Returns the scene of `camera` with `note` in a last chunk, which readers ignore."""
    picture = (folder / f"{camera}.webp").read_bytes()
    chunk = b"NOTE" + struct.pack("<I", len(note)) + note + b"\0" * (len(note) % 2)
    return b"RIFF" + struct.pack("<I", len(picture) - 8 + len(chunk)) + picture[8:] + chunk


def segment(movie: bytes, note: bytes) -> bytes:
    """Returns the mp4 file with `note` in a last box, which players ignore."""
    return movie + struct.pack(">I", 8 + len(note)) + b"free" + note
