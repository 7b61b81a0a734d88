"""Ping: a sign of life to a service that tells the owner when it stays away.

A mirror that is dead, or whose machine is gone, cannot tell anybody. So it asks an address every
few minutes, as healthchecks.io and Uptime Kuma want it, and these services tell the owner when no
request has come for a while. There is a request only while the destination answers and no file has
been waiting for long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from frigate_mirror.ledger.ledger import LedgerError
from frigate_mirror.notify.notice import OURS
from frigate_mirror.notify.notices import PATIENCE
from frigate_mirror.notify.way import NotSent
from frigate_mirror.part import Part, Task
from frigate_mirror.report.status import BEHIND_TOO_FAR, Status
from frigate_mirror.settings.secret import Secret

log = logging.getLogger("frigate_s3.notify")
PING_EVERY = 120.0  # seconds
SHORTEST_MEMORY = 300.0  # seconds


class Ping(Part):
    """Asks the address `url` while all that `look` finds (`Reporter.current`) is well enough.

    `silent_for` returns for how many seconds the destination has not answered. It is asked every
    `check_interval` seconds, and may miss one answer. `steady` gives seconds that never go back.
    """

    def __init__(
        self,
        url: Secret,
        look: Callable[[], Status],
        silent_for: Callable[[], float],
        *,
        check_interval: float,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._look = look
        self._silent_for = silent_for
        self._memory = max(SHORTEST_MEMORY, 2.5 * check_interval)
        self._steady = steady
        self._fails_since: float | None = None
        self._why = ""

    def tasks(self) -> list[Task]:
        return [Task("ping", PING_EVERY, self.send_ping)]

    def send_ping(self) -> None:
        """Sends one ping, if it is deserved."""
        try:
            deserved = self._deserved(self._look())
        except LedgerError:
            deserved = False
        if not deserved:
            return
        try:
            send(self._url)
        except NotSent as error:
            self._why = str(error)
            if self._fails_since is None:
                self._fails_since = self._steady()
                log.warning("S3 ping not sent: %s", error)
        else:
            self._fails_since = None

    def _deserved(self, status: Status) -> bool:
        young = status.behind <= BEHIND_TOO_FAR
        return young and not status.service_down and self._silent_for() <= self._memory

    def troubles(self) -> list[str]:
        since = self._fails_since
        if since is None or self._steady() - since < PATIENCE:
            return []
        return [f"{OURS}no ping can be sent: {self._why}"]


def send(url: Secret) -> None:
    """Sends a ping. Raises NotSent."""
    from frigate_mirror.notify.web import request  # a mirror without a ping needs no HTTP

    request(url, None, {})
