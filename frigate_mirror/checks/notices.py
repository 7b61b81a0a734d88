"""Checks who would tell the owner that something is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from frigate_mirror.checks.finding import NOTE, OK, Finding
from frigate_mirror.settings.settings import Settings


def notices(loaded: Settings, test: str = "notify --test") -> Iterator[Finding]:
    """Names the ways of notices that are set, or says that there is none. `test` is the command
    that tries them."""
    told = loaded.notify
    ways = {
        "a webhook": told.webhook_url,
        "ntfy": told.ntfy_url,
        "apprise": told.apprise_urls,
        "MQTT": loaded.report.over_mqtt,
    }
    named = [way for way, is_set in ways.items() if is_set]
    if named:
        yield Finding(OK, f"notices: by {', '.join(named)}; `{test}` tries it")
    else:
        yield Finding(
            NOTE,
            "no way of notices is set, so nobody is told when uploads fail",
            "set NOTIFY_NTFY_URL or another of docs/notifications.md",
        )
