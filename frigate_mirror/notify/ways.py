"""The ways that the owner's settings name."""

from __future__ import annotations

from contextlib import suppress

from frigate_mirror.notify.way import Way
from frigate_mirror.settings.settings import Settings


def ways_of(settings: Settings) -> list[Way]:
    """Returns the ways that the settings name. Only these are imported, because the mirror inside
    Frigate stays small."""
    told, ways = settings.notify, list[Way]()
    if told.webhook_url:
        from frigate_mirror.notify.web import Webhook

        ways.append(Webhook(told.webhook_url))
    if told.ntfy_url:
        from frigate_mirror.notify.web import Ntfy

        ways.append(Ntfy(told.ntfy_url, told.ntfy_token))
    if told.apprise_urls:
        from frigate_mirror.notify.service import Service

        urls = told.apprise_urls.reveal().split()
        ways += [Service(number, url) for number, url in enumerate(urls, 1)]
    if settings.report.over_mqtt:
        with suppress(ImportError):  # paho is missing, which is told where the report needs it
            from frigate_mirror.notify.mqtt import Mqtt

            ways.append(Mqtt(settings.mqtt, settings.report.name))
    return ways
