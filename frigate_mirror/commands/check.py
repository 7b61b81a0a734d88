"""`check`: looks at everything that the mirror needs, and prints every fault with advice.

It changes nothing but one tiny object under the prefix, which proves the right to put, and the
mirror's own folders, which it makes where they are missing. On request it tries whether the key can
delete, with a second tiny object that it uploads for this purpose.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from frigate_mirror.checks import (
    bucket,
    clips,
    cost,
    frigate,
    notices,
    places,
    remote,
    retention,
    selection,
    variables,
)
from frigate_mirror.checks.bucket import EX_CAN_DELETE, EX_UNPROVEN
from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding, tell
from frigate_mirror.commands.loading import load, with_destination
from frigate_mirror.commands.terminal import fit
from frigate_mirror.frigate import config
from frigate_mirror.frigate.database import FrigateDatabase
from frigate_mirror.keys import CLIP
from frigate_mirror.report import status
from frigate_mirror.settings import settings
from frigate_mirror.settings.settings import Settings, SettingsError

if TYPE_CHECKING:
    from frigate_mirror.frigate.api import FrigateApi

FRIGATE_SOURCE = Path("/opt/frigate")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bucket-only", action="store_true", help="check the destination only")
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
    only_destination = arguments.bucket_only
    try:
        loaded = with_destination(settings.load(os.environ)) if only_destination else load()
    except SettingsError as error:
        for fault in error.faults:
            yield Finding(FAULT, f"setting {fault}")
        return
    yield Finding(OK, "settings: all of them are valid")
    beside = bool(loaded.companion.url)
    listens = loaded.mqtt.host and not loaded.report.over_mqtt
    if not beside and (listens or loaded.rclone.remote):
        name = "MQTT_HOST" if listens else "RCLONE_REMOTE"
        what = f"{name} is set without FRIGATE_URL, so this is the check of a mirror inside Frigate"
        yield Finding(NOTE, what, "set FRIGATE_URL if this is to be a companion")
    if arguments.explain:
        yield from (_explained_beside if beside else _explained_inside)(loaded, arguments.explain)
        return
    if not loaded.process.enabled:
        what = "companion" if beside else "hook"
        yield Finding(NOTE, "MIRROR_ENABLED is false", f"the {what} stays off")
    if not only_destination:
        yield from (_beside if beside else _inside)(loaded, time.time())
        yield from notices.notices(loaded)
        yield from retention.retention(loaded, os.environ)
    if loaded.rclone.remote:
        put, prove = not arguments.no_put, arguments.prove_no_delete
        yield from remote.remote(loaded.rclone, os.environ, put=put, prove=prove)
    else:
        yield from _bucket(loaded, arguments)


def _inside(loaded: Settings, now: float) -> Iterator[Finding]:
    """Checks Frigate from inside its container."""
    from frigate_s3_patcher import SEAM

    kinds = loaded.kinds.kinds
    database = FrigateDatabase(loaded.frigate.db_path)
    yield frigate.frigate(status.read(loaded.state.status_path), FRIGATE_SOURCE, SEAM)
    yield from frigate.cameras(config.read, kinds)
    yield from places.paths(loaded)
    yield from frigate.events(loaded.frigate, kinds, now)
    yield from selection.selection(loaded, config.read, database, now)
    if CLIP in kinds:
        yield from clips.clips(loaded, config.read)
    if loaded.report.over_mqtt:
        try:
            from frigate_mirror.checks import broker
        except ImportError as error:
            advice = "run setup_s3_mirror.sh again, it installs what is missing"
            yield Finding(FAULT, f"a library of the report is missing: {error}", advice)
        else:
            yield from broker.for_report(loaded.mqtt)


def _beside(loaded: Settings, now: float) -> Iterator[Finding]:
    """Checks what the companion needs."""
    publishing = None
    try:
        from frigate_mirror.checks import api
    except ImportError as error:
        yield _missing(error)
    else:
        client = yield from api.connect(loaded.companion)
        if client is not None:
            with closing(client):
                ask = functools.cache(lambda: api.settings_of(client))
                yield from _frigate(loaded, client, ask, now)
                publishing = api.publishing(ask)
    try:
        from frigate_mirror.checks import broker
    except ImportError as error:
        yield _missing(error)
    else:
        yield from broker.broker(loaded.mqtt, publishing, loaded.sweep.interval)
    yield from places.companion(loaded, status.read(loaded.state.status_path))


def _frigate(
    loaded: Settings, client: FrigateApi, ask: config.Ask, now: float
) -> Iterator[Finding]:
    from frigate_mirror.checks import api

    kinds = loaded.kinds.kinds
    catalog = api.catalog_of(client, kinds)
    whose = yield from api.account(client, loaded.companion, ask)
    yield from api.clock(client)
    yield from frigate.cameras(ask, kinds)
    yield from api.events(catalog, kinds, now)
    yield from selection.selection(loaded, ask, catalog, now, whose)


def _explained_inside(loaded: Settings, event_id: str) -> Iterator[Finding]:
    database = FrigateDatabase(loaded.frigate.db_path, reviews=True)
    yield from selection.explain(loaded, database, event_id)


def _explained_beside(loaded: Settings, event_id: str) -> Iterator[Finding]:
    try:
        from frigate_mirror.checks import api
    except ImportError as error:
        yield _missing(error)
        return
    client = yield from api.connect(loaded.companion)
    if client is not None:
        with closing(client):
            catalog = api.catalog_of(client, loaded.kinds.kinds)
            yield from selection.explain(loaded, catalog, event_id)


def _bucket(loaded: Settings, arguments: argparse.Namespace) -> Iterator[Finding]:
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


def _missing(error: ImportError) -> Finding:
    advice = "run pip install '.[companion]' in the folder of this project"
    return Finding(FAULT, f"a library of the companion is missing: {error}", advice)
