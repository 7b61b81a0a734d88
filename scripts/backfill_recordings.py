#!/usr/bin/env python3
"""Gives recordings on the disk their rows in Frigate's database again: a short name for
`s3_snapshot_mirror.py recordings backfill`, with the same options."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import s3_snapshot_mirror

if __name__ == "__main__":
    sys.argv[1:1] = ["recordings", "backfill"]
    s3_snapshot_mirror.command_line()
