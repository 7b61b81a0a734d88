"""Sends one notice by apprise, as a process of its own: `python apprise_process.py`.

It reads a JSON object from stdin, with the fields url, title, text and kind, and tells the result
by its exit code. It imports nothing of the mirror, which may not be on its path.
"""

from __future__ import annotations

import json
import sys

EX_OK, EX_NO_LIBRARY, EX_NO_SERVICE, EX_NOT_SENT = 0, 3, 4, 5
FAULTS = {
    EX_NO_LIBRARY: "apprise is not installed: pip install '.[notify]' in the folder of this "
    "project installs it",
    EX_NO_SERVICE: "apprise does not know this URL: is it written as on apprise's page about the "
    "service?",
    EX_NOT_SENT: "the service does not take it, or cannot be reached: is each part of the URL "
    "right?",
}


def main() -> int:
    asked = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        return EX_NO_LIBRARY
    sender = apprise.Apprise()
    if not sender.add(asked["url"]):
        return EX_NO_SERVICE
    sent = sender.notify(body=asked["text"], title=asked["title"], notify_type=asked["kind"])
    return EX_OK if sent else EX_NOT_SENT


if __name__ == "__main__":
    sys.exit(main())
