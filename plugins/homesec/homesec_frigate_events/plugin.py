"""What HomeSec imports by the entry point: registers our parts with HomeSec.

HomeSec does not survive an exception while it imports a plugin, and tells no plugin its own
version. So every fault is caught here, and HomeSec's interfaces are looked at before a part relies
on them. A part that does not fit is left out and said so. The source is left out last of all,
because without it HomeSec refuses a configuration that names it: in its place comes one that gives
no clips and is never healthy, so that HomeSec's other cameras go on.
"""

from __future__ import annotations

import logging

log = logging.getLogger("homesec_frigate_events")

try:
    from homesec_frigate_events import register

    register.all_parts()
except Exception:
    log.exception(
        "homesec-frigate-events is off, because it does not fit to this HomeSec: install a version "
        "of it that does, or remove it"
    )
