"""Checks what the settings of the retention mean for this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from frigate_mirror.checks.finding import NOTE, OK, Finding
from frigate_mirror.keys import METADATA
from frigate_mirror.settings.settings import OF_RETENTION, Settings

ELSEWHERE = (
    "run `frigate-mirror retention` on another machine, with credentials of its own "
    "(docs/retention.md), and remove MIRROR_RETENTION here"
)


def retention(loaded: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Says that this machine deletes, and which events nobody can know enough about."""
    policy = loaded.retention.policy
    if policy and not loaded.companion.url:
        what = "MIRROR_RETENTION is set, but the mirror inside Frigate deletes nothing"
        yield Finding(NOTE, what, ELSEWHERE)
    elif policy:
        yield Finding(OK, f"retention: once a day, by the rules {policy}")
        yield Finding(
            NOTE,
            "MIRROR_RETENTION is set, so this machine deletes at the destination, and whoever "
            "takes it can delete everything there",
            ELSEWHERE,
        )
        if METADATA not in loaded.kinds.kinds:
            yield Finding(
                NOTE,
                "MIRROR_KINDS has no metadata, so the retention does not know labels, severity and "
                "what Frigate was told to keep",
                "add metadata to MIRROR_KINDS",
            )
    # Only the names are looked at: nothing but the command `retention` reads the values.
    sources = (name for variable in OF_RETENTION.values() for name in variable.sources)
    if there := [name for name in sources if environ.get(name)]:
        yield Finding(
            NOTE,
            f"{there[0]} is set on this machine, so whoever takes it can delete the archive",
            "keep the credentials of the retention on another machine",
        )
