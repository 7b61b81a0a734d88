"""The ways that the owner's settings name."""

from __future__ import annotations

from frigate_mirror.notify.way import Way
from frigate_mirror.settings.settings import NotifySettings


def ways_of(settings: NotifySettings) -> list[Way]:
    """Returns the ways that the settings name. Only these are imported, because the mirror inside
    Frigate stays small."""
    ways: list[Way] = []
    if settings.webhook_url:
        from frigate_mirror.notify.web import Webhook

        ways.append(Webhook(settings.webhook_url))
    if settings.ntfy_url:
        from frigate_mirror.notify.web import Ntfy

        ways.append(Ntfy(settings.ntfy_url, settings.ntfy_token))
    if settings.apprise_urls:
        from frigate_mirror.notify.service import Service

        urls = settings.apprise_urls.reveal().split()
        ways += [Service(number, url) for number, url in enumerate(urls, 1)]
    return ways
