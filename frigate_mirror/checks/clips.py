"""Checks what clips need: an ffmpeg that makes them, and room for those that wait."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from frigate_mirror.checks.finding import NOTE, OK, Finding
from frigate_mirror.frigate import config
from frigate_mirror.frigate.ffmpeg import find_ffmpeg
from frigate_mirror.settings.settings import Settings

MB = 1_000_000  # bytes


def clips(loaded: Settings, ask: config.Ask) -> Iterator[Finding]:
    """Says which ffmpeg makes the clips, and whether the spool's disk has room for them."""
    yield _ffmpeg(ask)
    yield from _room(loaded)


def _ffmpeg(ask: config.Ask) -> Finding:
    if found := find_ffmpeg(config.ffmpeg_path(ask)):
        return Finding(OK, f"{found} makes the clips")
    return Finding(
        NOTE,
        "there is no ffmpeg, so Frigate's recordings of an event go up as they are, as the parts "
        "of its clip",
        "run this inside Frigate's container, whose ffmpeg the mirror uses",
    )


def _room(loaded: Settings) -> Iterator[Finding]:
    folder = loaded.state.cache_dir  # the spool is in it, and may be not there yet
    most = loaded.spool.clip_limit_mb
    try:
        free = shutil.disk_usage(folder).free // MB
    except OSError:
        return  # `places.paths` tells it
    what = f"the disk of {folder} has {free:,} MB free, and MIRROR_CLIP_SPOOL_MB is {most:,}"
    if free < most:
        advice = "make room, or lower MIRROR_CLIP_SPOOL_MB, so that waiting clips cannot fill it"
        yield Finding(NOTE, what, advice)
    else:
        yield Finding(OK, what)
