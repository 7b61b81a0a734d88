"""The recording backfill in Frigate's own application, with the hook armed and a real child.

tests/rig/real_frigate.py says what these tests need. Importing Frigate's application needs the
packages `filelock` and `regex` as well, which Frigate's wheels bring along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.rig import ROOT, real_frigate
from tests.rig.event_table import SEGMENTS
from tests.rig.waiting import PATIENCE

pytestmark = real_frigate.needs_frigate

# Frigate's application imports names from these packages, and nothing calls them.
HOLLOW = (*real_frigate.EMPTY, "ollama", "openai", "transformers.utils",
          "transformers.utils.logging", "tflite_runtime.interpreter")  # fmt: skip
HOLLOW_MODULE = """
class Anything:
    def __init__(self, *words, **options): pass
    def __call__(self, *words, **options): return self
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return Anything()
def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    return Anything
"""
# This program makes Frigate's own application with the hook armed by the boot file, and runs
# Frigate's event thread, by which the hook starts the real child. Frigate's rule for admins is in
# force, as in Frigate. It asks what `requests` says and writes down the answers.
SERVE = """
import inspect, json, multiprocessing, os, shutil, sys, time
from datetime import datetime, timezone
from pathlib import Path

folder = Path(sys.argv[1])
try:
    import frigate.app
    import frigate.comms.zmq_proxy as proxy
    from frigate.api import fastapi_app
    from frigate.config import FrigateConfig
    from frigate.db.sqlitevecq import SqliteVecQueueDatabase
    from frigate.events.maintainer import EventProcessor
    from frigate.models import Event, Recordings, ReviewSegment, Timeline, User
    from frigate.version import VERSION
    from peewee_migrate import Router
    from playhouse.sqlite_ext import SqliteExtDatabase
    from starlette.testclient import TestClient
except ImportError as error:
    print(error)
    raise SystemExit(77)

proxy.SOCKET_PUB, proxy.SOCKET_SUB = f"ipc://{folder}/pub", f"ipc://{folder}/sub"
older = VERSION.startswith("0.16")
kept = {"retain": {"days": 30, "mode": "all"}} if older else {"continuous": {"days": 30}}
camera = {
    "ffmpeg": {"inputs": [{"path": "rtsp://127.0.0.1:1/x", "roles": ["detect"]}]},
    "detect": {"enabled": True, "width": 1280, "height": 720, "fps": 5},
}
config = FrigateConfig.parse_object({
    "mqtt": {"enabled": False},
    "database": {"path": str(folder / "frigate.db")},
    "detectors": {"none": {"type": "deepstack", "api_url": "http://127.0.0.1:1/"}},
    "model": {"labelmap_path": "labelmap.txt"},
    "record": {"enabled": True, **kept},
    "auth": {} if older else {"roles": {"guard": ["front"]}},
    "cameras": {name: camera for name in ("front", "plus", "recordings", "quiet_one")},
})
migrated = SqliteExtDatabase(config.database.path)
Router(migrated).run()
migrated.close()
database = SqliteVecQueueDatabase(config.database.path, timeout=60)
database.bind([Event, Recordings, ReviewSegment, Timeline, User])

# Two recordings of two hours ago, of which the second has no row.
began = int(time.time()) - 7200
for start in (began, began + 10):
    at = datetime.fromtimestamp(start, timezone.utc)
    path = folder / "recordings" / f"{at:%Y-%m-%d}/{at:%H}/front/{at:%M.%S}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(sys.argv[2], path)
    os.utime(path, (start, start))
    if start == began:
        Recordings.insert(
            id=f"{start}.0-front", camera="front", path=str(path), start_time=start,
            end_time=start + 4, duration=4, motion=5, objects=1, dBFS=0, regions=1,
            segment_size=0.04,
        ).execute()

def made(create):
    given = {"frigate_config": config, "database": database}
    names = [p.name for p in inspect.signature(create).parameters.values() if p.default is p.empty]
    return create(**{name: given.get(name) for name in names})

def table(app):
    return [[type(r).__name__, r.path, sorted(getattr(r, "methods", None) or []), r.name]
            for r in app.router.routes]

ours = made(frigate.app.create_fastapi_app)
theirs = made(fastapi_app.create_fastapi_app.__wrapped__)
result = {
    "lost": str(path),
    "bound": frigate.app.create_fastapi_app is fastapi_app.create_fastapi_app,
    "wraps": frigate.app.create_fastapi_app.__wrapped__.__module__,
    "ours": table(ours), "theirs": table(theirs),
    "described": [app.openapi()["paths"] for app in (ours, theirs)],
}
clients = {name: TestClient(app, raise_server_exceptions=False)
           for name, app in (("ours", ours), ("theirs", theirs))}

def ask(client, asked):
    body = asked.get("body")
    answer = client.request(asked["method"], asked["path"], headers=asked["headers"], content=body)
    if answer.status_code == 202:  # the machine is busy
        path, admin = asked["path"] + "/status", requests["small"][0][1]["headers"]
        while (told := client.get(path, headers=admin).json())["job"]: time.sleep(0.1)
        cached = answer.headers.get("cache-control", "")
        return [told["last"]["status_code"], json.dumps(told["last"]["result"]), cached]
    return [answer.status_code, answer.text, answer.headers.get("cache-control", "")]

requests = json.loads((folder / "requests.json").read_text())
result["before"] = ask(clients["ours"], requests["small"][0][1])
stop = multiprocessing.Event()
messages = proxy.ZmqProxy()
processor = EventProcessor(config, multiprocessing.Queue(), stop)
processor.start()
socket = folder / "s3_mirror" / "backfill.sock"
end = time.monotonic() + 60
while not socket.exists():
    if time.monotonic() > end: raise SystemExit("too late")
    time.sleep(0.02)
for group in ("small", "refused"):
    result[group] = [[name, *ask(clients["ours"], asked)] for name, asked in requests[group]]
result["others"] = [[asked["path"], *(ask(clients[name], asked) for name in ("ours", "theirs"))]
                    for asked in requests["others"]]
result["rows"] = [row.path for row in Recordings.select()]
stop.set()
processor.join(20)
messages.stop()
(folder / "result").write_text(json.dumps(result))
database.stop()
"""
ADMIN = {"remote-user": "anonymous", "remote-role": "admin"}
ROLES: dict[str, Mapping[str, str]] = {
    "viewer": {"remote-user": "bob", "remote-role": "viewer"},
    "guard": {"remote-user": "eve", "remote-role": "guard"},
    "nobody": {},
    "a user without a role": {"remote-user": "bob"},
    "an unknown role": {"remote-user": "bob", "remote-role": "Admin"},
    "an admin's name": {"remote-user": "admin", "remote-role": "viewer"},
}
BACKFILL = "/recordings/{}/backfill"
OTHERS = (
    "/", "/version", "/nowhere", "/config", "/front", "/front/recordings", "/recordings/storage",
    "/recordings/front", "/recordings/backfill", "/recordings/front/backfill/nothing",
    "/front/recordings/summary?timezone=utc", "/plus/recordings", "/recordings/recordings",
    "/events", "/recordings/a/b/backfill",
)  # fmt: skip


def asked(method: str, path: str, headers: Mapping[str, str] = ADMIN, **more: str) -> Any:
    return {"method": method, "path": path, "headers": headers} | more


def requests() -> dict[str, Any]:
    """What SERVE asks. The first groups have a name for each request."""
    post, schedule = BACKFILL.format("front"), BACKFILL.format("front") + "/schedule"
    routes = [
        (method, BACKFILL.format(camera) + ending)
        for camera in ("front", "plus", "recordings", "nobody_knows")
        for method, ending in (("POST", ""), ("GET", "/status"), ("POST", "/schedule"),
                               ("DELETE", "/schedule"))
    ]  # fmt: skip
    small = [
        ("dry", asked("POST", post, body='{"dry_run": true}')),
        ("added", asked("POST", post)),
        ("again", asked("POST", post, ADMIN | {"content-type": "application/json"}, body="")),
        ("plus", asked("POST", BACKFILL.format("plus"), body="{}")),
        ("recordings", asked("POST", BACKFILL.format("recordings"), body="{}")),
        ("unknown", asked("POST", BACKFILL.format("garage"), body="{}")),
        ("encoded", asked("POST", BACKFILL.format("%66ront"), body='{"dry_run": true}')),
        ("encoded slash", asked("POST", BACKFILL.format("..%2Ffront"), body="{}")),
        ("hostile", asked("POST", BACKFILL.format("%1B%5B31m%00"), body="{}")),
        ("no JSON", asked("POST", post, ADMIN | {"content-type": "application/json"}, body="{")),
        ("a form", asked("POST", post, body="dry_run=true")),
        ("unknown field", asked("POST", post, body='{"dryrun": true, "force": 1}')),
        ("too large", asked("POST", post, body=" " * 70_000)),
        ("outside", asked("POST", post, body='{"directory_path": "/etc"}')),
        ("status", asked("GET", post + "/status")),
        ("schedule", asked("POST", schedule, body='{"camera_name": "front", "enabled": true, '
                           '"interval_hours": 24, "retention_days": 7}')),
        ("scheduled", asked("GET", post + "/status")),
        ("unschedule", asked("DELETE", schedule)),
        ("unschedule again", asked("DELETE", schedule)),
        ("origin with token", asked("POST", post, ADMIN | {"origin": "http://evil", "x-csrf-token":
                                    "1"}, body='{"dry_run": true}')),
        ("get", asked("GET", post)),
    ]  # fmt: skip
    refused = [
        (f"{role}: {method} {path}", asked(method, path, headers))
        for role, headers in ROLES.items()
        for method, path in routes
    ]
    refused += [
        (f"origin without token: {method} {path}",
         asked(method, path, ADMIN | {"origin": "http://evil"}))
        for method, path in routes if method != "GET"
    ]  # fmt: skip
    several = (ADMIN, ROLES["viewer"], ROLES["guard"], {})
    others = [asked("GET", path, headers) for path in OTHERS for headers in several]
    others += [asked("POST", path) for path in ("/front/plus/1", "/plus/plus/2")]
    return {"small": small, "refused": refused, "others": others}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of SERVE, with the text on stderr."""
    folder = tmp_path_factory.mktemp("application")
    for name in HOLLOW:
        module = folder.joinpath("empty", *name.split("."), "__init__.py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(HOLLOW_MODULE)
    (folder / "clips").mkdir()
    (folder / "requests.json").write_text(json.dumps(requests()))
    done = real_frigate.run(
        SERVE, folder, str(SEGMENTS["front_door"]), first=ROOT / "boot", timeout=3 * PATIENCE,
        FRIGATE_JWT_SECRET="0" * 64,
        FRIGATE_RECORDINGS_DIR=str(folder / "recordings"),
        FRIGATE_CLIPS_DIR=str(folder / "clips"),
        RECORDINGS_BACKFILL_API="true",
    )  # fmt: skip
    result = json.loads((folder / "result").read_text())
    return result | {"stderr": done.stderr}


def small(served: Any, name: str) -> tuple[int, dict[str, Any]]:
    [(status, text, cached)] = [one[1:] for one in served["small"] if one[0] == name]
    assert cached == "no-store", "nginx would answer with what it has kept"
    return status, json.loads(text)


def test_frigates_own_module_for_its_main_process_has_the_wrapped_function(served: Any) -> None:
    assert served["bound"] and served["wraps"] == "frigate.api.fastapi_app"
    assert "not added" not in served["stderr"] and "not armed" not in served["stderr"]


def test_our_routes_stand_in_front_of_frigates_own_which_are_as_before(served: Any) -> None:
    count = len(served["ours"]) - len(served["theirs"])
    assert count == 4 and served["ours"][count:] == served["theirs"]
    prefix = "/recordings/{camera_name}/backfill"
    assert [(route[1], route[2]) for route in served["ours"][:count]] == [
        (prefix, ["POST"]),
        (f"{prefix}/status", ["GET"]),
        (f"{prefix}/schedule", ["POST"]),
        (f"{prefix}/schedule", ["DELETE"]),
    ]


def test_frigates_own_description_of_its_api_has_our_routes_besides(served: Any) -> None:
    ours, theirs = served["described"]
    added = {path: ours.pop(path) for path in ours.keys() - theirs.keys()}
    assert ours == theirs
    assert {path: set(methods) for path, methods in added.items()} == {
        "/recordings/{camera_name}/backfill": {"post"},
        "/recordings/{camera_name}/backfill/status": {"get"},
        "/recordings/{camera_name}/backfill/schedule": {"post", "delete"},
    }


def test_frigates_other_routes_answer_as_before(served: Any) -> None:
    assert len(served["others"]) > len(OTHERS)
    for path, ours, theirs in served["others"]:
        assert ours == theirs, path
    assert any(ours[0] == 200 for _, ours, _ in served["others"])


def test_before_the_child_runs_the_answer_is_503(served: Any) -> None:
    status, text, cached = served["before"]
    assert (status, cached) == (503, "no-store") and "does not answer" in text


def test_an_admin_gives_a_recording_its_row_again(served: Any) -> None:
    status, dry = small(served, "dry")
    assert (status, dry["files_added"], dry["dry_run"]) == (200, 1, True)
    status, added = small(served, "added")
    assert (status, added["success"], added["camera_name"]) == (200, True, "front")
    assert (added["total_files_scanned"], added["files_added"]) == (2, 1)
    assert added["results"][0]["file_path"] == served["lost"] in served["rows"]
    status, again = small(served, "again")
    assert (status, again["files_added"], again["files_skipped"]) == (200, 0, 2)


def test_the_status_and_the_schedule_are_frigates_answers(served: Any) -> None:
    status, told = small(served, "status")
    assert status == 200 and told["last"]["result"]["camera_name"] == "front"
    assert small(served, "schedule")[0] == 200
    assert small(served, "scheduled")[1]["schedule"]["retention_days"] == 7
    assert small(served, "unschedule")[0] == 200
    assert small(served, "unschedule again")[0] == 404


@pytest.mark.parametrize("camera", ["plus", "recordings"])
def test_no_route_of_frigate_takes_the_request_of_a_camera(served: Any, camera: str) -> None:
    status, body = small(served, camera)
    assert (status, body["camera_name"], body["total_files_scanned"]) == (200, camera, 0)


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("unknown", 404, "Camera 'garage' not found; Frigate knows: front, plus, quiet_one"),
        ("encoded", 200, "front"),
        ("hostile", 404, "Camera '?[31m?' not found"),
        ("no JSON", 400, "the body is no JSON"),
        ("a form", 400, "the body is no JSON"),
        ("unknown field", 400, "dryrun: there is no such field"),
        ("too large", 413, "The body has more than 65536 bytes"),
        ("outside", 400, "/etc"),
        ("origin with token", 200, "front"),
    ],
)
def test_a_request_is_judged_and_the_answer_says_why(
    served: Any, name: str, status: int, told: str
) -> None:
    answered, body = small(served, name)
    assert answered == status and told in body["message"]


@pytest.mark.parametrize("name", ["encoded slash", "get"])
def test_another_path_or_method_is_not_ours(served: Any, name: str) -> None:
    [(status, cached)] = [(one[1], one[3]) for one in served["small"] if one[0] == name]
    assert status in (404, 405) and cached != "no-store"


def test_only_admins_and_only_with_a_token_where_there_is_an_origin(served: Any) -> None:
    assert len(served["refused"]) == 16 * len(ROLES) + 12
    for name, status, text, _ in served["refused"]:
        assert status == (401 if name.startswith("origin") else 403), (name, text)
        assert "known_cameras" not in text and "schedule" not in text
