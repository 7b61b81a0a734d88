"""The companion over WebDAV: as the row `companion`, to a server of `rclone serve webdav`.

rclone waits 10 ms between two requests to a WebDAV server, in all of these measures.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.bench.companion import WEBDAV
from lab.bench.figures import Figure
from lab.bench.lab import Lab
from lab.bench.rows import companion


def run(lab: Lab) -> Iterator[Figure]:
    yield from companion.measures(lab, (WEBDAV, companion.of_remote))
