"""What each kind of file costs an owner with a typical camera.

snapshot   1280x720 pixels, as a JPEG of Frigate's usual quality (70)
thumbnail  175 pixels high, as a WebP of quality 60, which is how Frigate writes it; 1.7 to 2.8 KB
clip       an event of 20 s with 5 s before and after it, of a camera that sends 2 Mbit/s
metadata   an event of Frigate 0.16 to 0.18 with its timeline; 2.3 to 4.7 KB. It goes up twice, the
           second time as the event's last file, and replaces what went up first.
"""

from __future__ import annotations

from dataclasses import dataclass

from frigate_mirror.keys import CLIP, METADATA, SNAPSHOT, THUMBNAIL
from frigate_mirror.sinks.s3.storage import STANDARD

KB, MB = 1_024, 1_000_000  # bytes
EVENTS = 100 * 30  # a month, and as many lie in the bucket


@dataclass(frozen=True, slots=True)
class Typical:
    """A kind of file. `size` is the bytes of one file, `uploads` how often it goes up for each
    event."""

    kind: str
    about: str
    size: int
    uploads: int = 1

    @property
    def month(self) -> float:
        """The dollars that 100 events a day cost a month, if each file is kept for 30 days."""
        files = [self.size] * EVENTS
        return STANDARD.month(files) + STANDARD.upload(files * self.uploads)

    @property
    def bytes(self) -> str:
        """The size in words."""
        return f"{self.size / MB:.1f} MB" if self.size >= MB else f"{self.size // KB} KB"


KINDS = (
    Typical(SNAPSHOT, "the picture", 100 * KB),
    Typical(THUMBNAIL, "a small picture of the object", 3 * KB),
    Typical(CLIP, "the video, 30 s at 2 Mbit/s", 30 * 2 * MB // 8),
    Typical(METADATA, "what Frigate knows of it, as JSON", 4 * KB, uploads=2),
)


def table() -> str:
    """Returns the kinds as a table for a terminal of 80 columns."""
    lines = [f"  {'kind':<10} {'what it is':<33} {'size':>8} {'uploads':>8} {'a month':>8}"]
    lines += [
        f"  {one.kind:<10} {one.about:<33} {one.bytes:>8} {one.uploads:>8} {f'${one.month:.2f}':>8}"
        for one in KINDS
    ]
    return "\n".join(lines)
