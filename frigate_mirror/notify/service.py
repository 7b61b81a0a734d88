"""The ways by apprise, which knows more than a hundred services: Telegram, Discord, e-mail, ...

Apprise needs 45 MB and some seconds to load all of them, so each notice has a process of its own,
which ends when the notice is sent (`apprise_process`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from frigate_mirror.notify import apprise_process
from frigate_mirror.notify.notice import Notice
from frigate_mirror.notify.way import NotSent
from frigate_mirror.untrusted import plain

TIMEOUT = 60.0  # seconds, loading included, which takes a small computer ten
PASSED_ON = ("HOME", "LANG", "PATH", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")
"""The variables that the process gets. Our own secrets are not among them, and no proxy."""


class Service:
    """The service of one URL of apprise, the `number`-th of the owner's list."""

    def __init__(self, number: int, url: str) -> None:
        self.name = f"apprise {number} ({plain(url.partition(':')[0], 20)})"
        self._url = url

    def send(self, notice: Notice) -> None:
        kind = "warning" if notice.is_bad else "info"
        asked = {"url": self._url, "title": notice.title, "text": notice.text, "kind": kind}
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(Path(apprise_process.__file__))],
                input=json.dumps(asked),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # apprise's log has addresses with tokens
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                cwd="/",
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise NotSent(f"the service does not answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise NotSent(f"the process of apprise cannot be started: {error.strerror}") from None
        if done.returncode:
            known = apprise_process.FAULTS.get(done.returncode)
            raise NotSent(known or f"the process of apprise ended with {done.returncode}")
