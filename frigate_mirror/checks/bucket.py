"""Checks the key and the bucket. It needs no library but the sink's own."""

from __future__ import annotations

import io
from collections.abc import Iterator

from frigate_mirror.checks.finding import FAULT, NOTE, OK, Finding
from frigate_mirror.settings.settings import S3Settings
from frigate_mirror.sinks.sink import Prober, Sink, SinkError

PROBE_NAME, BAIT_NAME = ".s3-mirror-check", ".s3-mirror-check-delete"
SKEW_REMARK, SKEW_FAULT = 60.0, 900.0  # seconds; S3 refuses a request from 15 minutes on
NO_BUCKET = "NoSuchBucket"
EX_CAN_DELETE, EX_UNPROVEN = 2, 3


def credentials(s3: S3Settings) -> Finding:
    """Says where the key comes from, and never the key."""
    if s3.access_key:
        kind = "temporary key" if s3.session_token else "key"
        return Finding(OK, f"credentials: {kind} from S3_ACCESS_KEY and S3_SECRET_KEY")
    return Finding(OK, "credentials: none set, so the standard AWS chain gives them")


def bucket(sink: Sink, s3: S3Settings, *, put: bool) -> Iterator[Finding]:
    """Tries the connection, the right to list, the clock and, if `put`, the right to put. It puts
    nothing if the bucket does not exist, because some services would make it then."""
    where = f"bucket {s3.bucket} at {s3.endpoint_url or 'AWS ' + s3.region}"
    try:
        probe = sink.check()
        yield Finding(OK, f"{where} answers in {probe.took * 1000:.0f} ms and allows listing")
        yield from _clock(probe.clock_skew)
    except SinkError as error:
        yield Finding(FAULT, f"{where}: {error.args[0]}", error.hint)
        if error.code == NO_BUCKET:
            return
    if not put:
        yield Finding(
            NOTE, "right to put: unproven, because it was not tried", "run check without --no-put"
        )
        return
    try:
        key = put_probe(sink, s3.prefix, PROBE_NAME)
        yield Finding(OK, f"right to put: proven with the object {key}, which stays in the bucket")
    except SinkError as error:
        yield Finding(FAULT, f"right to put: {error.args[0]}", error.hint)


def deletion(sink: Prober, s3: S3Settings) -> Finding:
    """Tries whether the key may delete, with an object uploaded for this purpose."""
    unproven = "right to delete: unproven"
    try:
        if _does_not_exist(sink):
            return Finding(NOTE, f"{unproven}: the bucket does not exist", code=EX_UNPROVEN)
        key = put_probe(sink, s3.prefix, BAIT_NAME)
        allowed = sink.may_delete(key)
    except SinkError as error:
        return Finding(NOTE, f"{unproven}: {error.args[0]}", error.hint, EX_UNPROVEN)
    if allowed is None:
        what = f"{unproven}: the bucket agreed to delete the object {key}, and still lists it"
        return Finding(NOTE, what, code=EX_UNPROVEN)
    if allowed:
        advice = f"remove s3:DeleteObject from its rights (it deleted {key}, and nothing else)"
        what = "the key can delete: a thief with it can empty the bucket"
        return Finding(NOTE, what, advice, EX_CAN_DELETE)
    return Finding(
        OK, f"the key cannot delete: the service refused it for the object {key}, which stays"
    )


def _does_not_exist(sink: Sink) -> bool:
    try:
        sink.check()
    except SinkError as error:
        return error.code == NO_BUCKET
    return False


def put_probe(sink: Sink, prefix: str, name: str) -> str:
    """Puts a tiny object under the prefix; returns its key. Raises a SinkError."""
    key = "/".join(filter(None, (prefix, name)))
    body = io.BytesIO(b"The mirror's check command may put objects here.\n")
    sink.put(key, body, content_type="text/plain", metadata={})
    return key


def _clock(skew: float | None) -> Iterator[Finding]:
    if skew is None:
        yield Finding(NOTE, "clock: the bucket's answer had no date to compare with")
    elif abs(skew) > SKEW_REMARK:
        grade = FAULT if abs(skew) > SKEW_FAULT else NOTE
        yield Finding(
            grade, f"clock: {abs(skew):.0f} s off the bucket's", "set this machine's clock (NTP)"
        )
    else:
        yield Finding(OK, "clock: agrees with the bucket's")
