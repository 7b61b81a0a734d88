"""The hook in Frigate's own code: its event thread, models, migrations and messages.

tests/rig/real_frigate.py says what these tests need.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from frigate_mirror.sources.pipe import END
from tests.rig import ROOT, real_frigate

pytestmark = real_frigate.needs_frigate

CHILD = """
import sys
from pathlib import Path
for line in sys.stdin:
    with open(Path(__file__).with_name("ids"), "a") as log: log.write(line)
"""
# This program runs in Frigate's interpreter with the boot file on PYTHONPATH, and works in the
# folder that is its argument.
PLAY = """
import json, multiprocessing, sys, threading, time
from pathlib import Path

folder = Path(sys.argv[1])
try:
    import frigate.comms.zmq_proxy as proxy
    from frigate.events import maintainer
    from frigate.comms.events_updater import EventUpdatePublisher
    from frigate.config import FrigateConfig
    from frigate.db.sqlitevecq import SqliteVecQueueDatabase
    from frigate.events.types import EventStateEnum, EventTypeEnum
    from frigate.models import Event, Timeline
    from peewee_migrate import Router
    from playhouse.sqlite_ext import SqliteExtDatabase
except ImportError as error:
    print(error)
    raise SystemExit(77)

patcher = sys.modules["frigate_s3_patcher"]
patcher.HERE = folder  # the child is the script in this folder
proxy.SOCKET_PUB, proxy.SOCKET_SUB = f"ipc://{folder}/pub", f"ipc://{folder}/sub"
seam = [(name, getattr(maintainer.EventProcessor, name)) for name in patcher.SEAM]
result = {name: method.__wrapped__.__module__ for name, method in seam}

config = FrigateConfig.parse_object({
    "mqtt": {"enabled": False},
    "database": {"path": str(folder / "frigate.db")},
    "detectors": {"none": {"type": "deepstack", "api_url": "http://127.0.0.1:1/"}},
    "model": {"labelmap_path": "labelmap.txt"},
    "snapshots": {"enabled": True},
    "cameras": {"front": {
        "ffmpeg": {"inputs": [{"path": "rtsp://127.0.0.1:1/front", "roles": ["detect"]}]},
        "detect": {"enabled": True, "width": 1280, "height": 720, "fps": 5},
    }},
})
migrated = SqliteExtDatabase(config.database.path)
Router(migrated).run()
migrated.close()
database = SqliteVecQueueDatabase(config.database.path, timeout=60)
database.bind([Event, Timeline])

stop = multiprocessing.Event()
messages = proxy.ZmqProxy()
processor = maintainer.EventProcessor(config, multiprocessing.Queue(), stop)
publisher = EventUpdatePublisher()

def send(source, state, camera, data):
    publisher.publish((source, state, camera, "frame", data))

def until(met):
    end = time.monotonic() + 20
    while not met():
        if time.monotonic() > end: raise SystemExit("too late")
        threading.Event().wait(0.02)

box = [100, 100, 200, 300]
seen = {
    "id": "1700000000.5-object", "camera": "front", "label": "person", "sub_label": None,
    "start_time": 1700000000.5, "end_time": None, "frame_time": 1700000000.5, "top_score": 0.9,
    "score": 0.8, "false_positive": False, "has_clip": False, "has_snapshot": True, "area": 20000,
    "entered_zones": [], "current_zones": [], "attributes": {}, "current_attributes": [],
    "stationary": False, "position_changes": 2, "max_severity": None, "path_data": [],
    "average_estimated_speed": 0, "velocity_angle": 0, "recognized_license_plate": None, "box": box,
    "pending_loitering": False, "snapshot_clean": True,
    "snapshot": {"frame_time": 1700000000.5, "box": box, "region": [0, 0, 720, 720], "score": 0.8,
                 "area": 20000, "attributes": [], "current_estimated_speed": 0},
}
unsaved = {"id": "1700000001.5-false", "has_snapshot": False, "false_positive": True}
manual = {
    "id": "1700000002.5-manual", "label": "bell", "sub_label": "", "score": 1, "camera": "front",
    "start_time": 1700000002.5, "end_time": 1700000032.5, "has_clip": False, "has_snapshot": True,
    "type": "api", "thumbnail": None, "snapshot_clean": True,
}
processor.start()
# A subscriber that has just connected misses messages until the publisher knows it.
first = seen | {"id": "1700000000.1-first", "has_snapshot": False}
def received():
    send(EventTypeEnum.tracked_object, EventStateEnum.start, "front", first)
    return first["id"] in processor.events_in_process
until(received)
for event, changed in ((seen, {}), (seen | unsaved, {})):
    began = event | {"has_snapshot": False}
    send(EventTypeEnum.tracked_object, EventStateEnum.start, "front", began)
    send(EventTypeEnum.tracked_object, EventStateEnum.update, "front", event)
    ended = event | {"end_time": 1700000009.5}
    send(EventTypeEnum.tracked_object, EventStateEnum.end, "front", ended)
send(EventTypeEnum.api, EventStateEnum.start, "front", manual)
until(lambda: Event.select().where(Event.id == manual["id"]).count())
stop.set()
processor.join(20)
publisher.stop()
messages.stop()
result["rows"] = [[e.id, e.has_snapshot, e.end_time] for e in Event.select().order_by(Event.id)]
result["fault"] = patcher.shape_fault(maintainer)
patcher.unpatch()
now = [getattr(maintainer.EventProcessor, name) for name in patcher.SEAM]
pairs = zip(now, seam, strict=True)
result["unpatched"] = [method is was.__wrapped__ for method, (_, was) in pairs]
result["unpatched_fault"] = patcher.shape_fault(maintainer)
(folder / "result").write_text(json.dumps(result))
database.stop()
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of PLAY, with the ids that reached the child and the text on stderr."""
    folder = tmp_path_factory.mktemp("frigate")
    (folder / "s3_snapshot_mirror.py").write_text(CHILD)
    done = real_frigate.run(PLAY, folder, first=ROOT / "boot", S3_BUCKET="pictures")
    result = json.loads((folder / "result").read_text())
    return result | {"ids": (folder / "ids").read_text().split(), "stderr": done.stderr}


def test_frigates_own_event_thread_has_the_signatures_that_the_hook_expects(played: Any) -> None:
    assert played["fault"] == played["unpatched_fault"] == ""
    assert "not armed" not in played["stderr"]


def test_the_import_alone_wraps_all_three_methods(played: Any) -> None:
    for name in ("run", "handle_object_detection", "handle_external_detection"):
        assert played[name] == "frigate.events.maintainer"


def test_the_child_gets_the_id_of_each_row_with_a_picture_once_and_then_the_end(
    played: Any,
) -> None:
    rows = [
        ["1700000000.5-object", True, 1700000009.5],
        ["1700000002.5-manual", True, 1700000032.5],
    ]
    assert played["rows"] == rows
    assert played["ids"] == [*(row[0] for row in rows), END.decode()]


def test_unpatching_restores_frigates_own_methods(played: Any) -> None:
    assert played["unpatched"] == [True, True, True]
