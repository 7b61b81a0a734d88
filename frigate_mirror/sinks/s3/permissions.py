"""Rights: what S3 calls the permission for each thing that the mirror does, and how a service says
that a key has none for it. Knows words only, no boto."""

from __future__ import annotations

from collections.abc import Callable

from frigate_mirror.settings.settings import S3Settings
from frigate_mirror.sinks.s3.codes import CODES
from frigate_mirror.sinks.sink import SinkError

# Codes that say "this key may not do this", and nothing else.
DENIALS = frozenset(code for code, (_, hint) in CODES.items() if "{action}" in hint)


def action(verb: str, settings: S3Settings) -> str:
    """The rights that `verb` (put, list, delete) needs, as one writes them in a policy."""
    if verb == "list":
        return f"s3:ListBucket on {settings.bucket}"
    if verb == "delete":
        return f"s3:DeleteObject on {settings.bucket}"
    tagging = " and s3:PutObjectTagging" if settings.object_tags else ""
    kms = " and kms:GenerateDataKey" if settings.sse == "aws:kms" else ""
    return f"s3:PutObject{tagging}{kms} on {settings.bucket} for this key"


def denied(attempt: Callable[[], object]) -> bool:
    """Whether the service answers `attempt` by saying that this key has no right to it. Any other
    SinkError passes: it says nothing of rights."""
    try:
        attempt()
    except SinkError as error:
        if error.code in DENIALS:
            return True
        raise
    return False
