"""`check`: looks at everything that the mirror needs, and prints every fault with advice.

It changes nothing but one tiny object under the prefix, which proves the right to put, and the
mirror's own folders, which it makes where they are missing. On request it tries whether the key can
delete, with a second tiny object that it uploads for this purpose.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from frigate_mirror.checks import bucket, clips, cost, frigate, places, selection, variables
from frigate_mirror.checks.bucket import EX_CAN_DELETE, EX_UNPROVEN
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding, tell
from frigate_mirror.commands.loading import load, with_bucket
from frigate_mirror.commands.terminal import fit
from frigate_mirror.frigate import config
from frigate_mirror.keys import CLIP
from frigate_mirror.report import status
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import SettingsError

FRIGATE_SOURCE = Path("/opt/frigate")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bucket-only", action="store_true", help="check nothing of Frigate")
    parser.add_argument(
        "--explain",
        metavar="EVENT_ID",
        help="say only which files of this event your filters select, and which filter decides",
    )
    tries = parser.add_mutually_exclusive_group()
    tries.add_argument("--no-put", action="store_true", help="do not upload a test object")
    tries.add_argument(
        "--prove-no-delete",
        action="store_true",
        help="upload a test object and try to delete it; then the exit code is "
        f"{EX_CAN_DELETE} if the key can delete, and {EX_UNPROVEN} if nobody can tell",
    )


def main(arguments: argparse.Namespace) -> int:
    return tell(_findings(arguments), lambda finding: print(fit(finding, 10)))


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield from variables.misspelt(os.environ)
    try:
        loaded = with_bucket(settings.load(os.environ)) if arguments.bucket_only else load()
    except SettingsError as error:
        for fault in error.faults:
            yield Finding(FAULT, f"setting {fault}")
        return
    yield Finding(OK, "settings: all of them are valid")
    if arguments.explain:
        yield from selection.explain(loaded, arguments.explain)
        return
    if not loaded.process.enabled:
        yield Finding(NOTE, "MIRROR_ENABLED is false", "the hook stays off")
    if not arguments.bucket_only:
        from frigate_s3_patcher import SEAM

        kinds = loaded.kinds.kinds
        yield frigate.frigate(status.read(loaded.state.status_path), FRIGATE_SOURCE, SEAM)
        yield from frigate.cameras(config.API, kinds)
        yield from places.paths(loaded)
        yield from frigate.events(loaded.frigate, kinds, time.time())
        yield from selection.selection(loaded, config.API, time.time())
        if CLIP in kinds:
            yield from clips.clips(loaded, config.API)
    yield bucket.credentials(loaded.s3)
    try:
        from s3 import S3Sink
    except ImportError as error:
        advice = "run setup_s3_mirror.sh again, it installs what is missing"
        yield Finding(FAULT, f"Failed to import S3 modules: {error}", advice)
        return
    sink = S3Sink(loaded.s3, os.environ)
    yield from bucket.bucket(sink, loaded.s3, put=not arguments.no_put)
    if arguments.prove_no_delete:
        yield bucket.deletion(sink, loaded.s3)
    if not arguments.bucket_only:
        yield from cost.cost(loaded)
