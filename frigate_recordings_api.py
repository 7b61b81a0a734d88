"""The API of the recording backfill in Frigate's own application, for admins only.

The hook loads this file into Frigate's process if RECORDINGS_BACKFILL_API is true. It wraps
Frigate's `create_fastapi_app` and adds its routes to the application that Frigate makes:

    POST    /recordings/{camera_name}/backfill            runs a backfill
    GET     /recordings/{camera_name}/backfill/status     tells how far it is, and how the last went
    POST    /recordings/{camera_name}/backfill/schedule   makes the camera's schedule
    DELETE  /recordings/{camera_name}/backfill/schedule   removes it

A route does nothing but pass the request on to the mirror's child process, over a Unix socket, and
pass its answer back. Whatever fails in here leaves Frigate's application as it was. This was read
from Frigate v0.16.4, v0.17.2 and v0.18.0-beta1.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

SOCKET_NAME = "backfill.sock"
LARGEST_BODY = 65_536  # bytes of the body of a request
LARGEST_ANSWER = 32_000_000  # bytes; an answer has at most 1,000 results
PATIENCE = 10.0  # seconds for a whole answer; the child answers within 2, or says that it works on
AT_A_TIME = (
    8  # requests; Frigate has 40 threads for all of its API, which a silent child must not take
)
ROUTES = (
    ("POST", "", "backfill"),
    ("GET", "/status", "status"),
    ("POST", "/schedule", "schedule"),
    ("DELETE", "/schedule", "unschedule"),
)
NO_ANSWER = (
    "The recording backfill does not answer ({}). It runs in the mirror's child process, whose "
    "messages are in Frigate's log: search it for `backfill` and for `S3`"
)

log = logging.getLogger("frigate_s3.backfill")
_places = threading.Semaphore(AT_A_TIME)
Answer = tuple[int, dict[str, Any]]


def wrap(fastapi_app: ModuleType) -> None:
    """Wraps `create_fastapi_app` of Frigate's module. Raises TypeError if it is no function."""
    host = fastapi_app.create_fastapi_app
    if not inspect.isfunction(host) or inspect.iscoroutinefunction(host):
        raise TypeError(f"create_fastapi_app is {host!r}, expected a function")

    @functools.wraps(host)
    def create_fastapi_app(*args: Any, **kwargs: Any) -> Any:
        app = host(*args, **kwargs)
        try:
            add_to(app)
        except Exception:
            log.exception("backfill: Frigate's API goes without it, because it cannot be added")
        return app

    fastapi_app.create_fastapi_app = create_fastapi_app  # type: ignore[attr-defined]


def add_to(app: Any) -> None:
    """Adds our routes in front of Frigate's own, one of which would take the request for a camera
    with the name `plus`. After any exception the application is as it was."""
    from fastapi import APIRouter, Depends

    # Frigate has imported this module, and its rule is the one that counts. The rule that Frigate
    # has for the whole application leaves out each camera whose name begins a path.
    require_role = sys.modules["frigate.api.auth"].require_role
    router = APIRouter(dependencies=[Depends(require_role(["admin"]))], tags=["Recording backfill"])
    for method, ending, do in ROUTES:
        path = f"/recordings/{{camera_name}}/backfill{ending}"
        router.add_api_route(path, _handler(do), methods=[method], response_model=None)
    routes = app.router.routes
    before = list(routes)
    try:
        app.include_router(router)
        routes[:] = [*routes[len(before) :], *before]
    except BaseException:
        routes[:] = before
        raise
    log.info("backfill: its API is part of Frigate's")


def _handler(do: str) -> Callable[..., Any]:
    """Returns the function behind a route. It has no `async`, so that it runs in a thread."""
    from fastapi import Depends, Request
    from fastapi.responses import JSONResponse

    def handler(request: Any, camera_name: Any, body: Any) -> Any:
        if body is None:
            status, answer = 413, _refusal(f"The body has more than {LARGEST_BODY} bytes")
        else:
            config = request.app.frigate_config
            text = body.decode("utf-8", "replace")
            asked = {"do": do, "camera": camera_name, "body": text, "frigate": running(config)}
            status, answer = ask(asked, sockets(os.environ, config))
        return JSONResponse(answer, status, headers={"Cache-Control": "no-store"})

    async def body_of(request: Any) -> bytes | None:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                return None
        return bytes(body)

    # FastAPI reads the parameters from here. It cannot read names of this function from a text.
    body_of.__annotations__ = {"request": Request}
    handler.__annotations__ = {"request": Request, "camera_name": str, "body": bytes}
    handler.__defaults__ = (Depends(body_of),)
    handler.__name__ = f"recordings_{do}"
    return handler


def running(config: Any) -> dict[str, Any]:
    """Returns those parts of Frigate's running configuration that a backfill needs, in the form of
    Frigate's own GET /api/config."""
    cameras = {
        name: {"enabled": camera.enabled, "record": _plain(camera.record)}
        for name, camera in dict(config.cameras).items()  # another thread can add one meanwhile
    }
    safe_mode = bool(getattr(config, "safe_mode", False))  # from 0.17 on
    return {"cameras": cameras, "record": _plain(config.record), "safe_mode": safe_mode}


def _plain(section: Any) -> Any:
    return section.model_dump(mode="json", warnings="none", exclude_none=True)


def sockets(environ: Mapping[str, str], config: Any = None) -> list[Path]:
    """Returns the places where the child's socket can be: the mirror's two state folders. The child
    takes the first one that it can use."""
    database = getattr(getattr(config, "database", None), "path", None)
    clips = getattr(sys.modules.get("frigate.const"), "CLIPS_DIR", None)

    def first(*names: str, otherwise: Any) -> Path:
        texts = (environ.get(name, "").strip() for name in names)
        return Path(next(filter(None, texts), otherwise))

    beside = first("FRIGATE_DB_PATH", otherwise=database or "/config/frigate.db").parent
    chosen = first("MIRROR_STATE_DIR", "S3_STATE_DIR", otherwise=beside / "s3_mirror")
    cache = first("FRIGATE_CLIPS_DIR", otherwise=clips or "/media/frigate/clips") / "cache"
    return [folder / SOCKET_NAME for folder in (chosen, cache / ".s3_mirror")]


def ask(request: Mapping[str, Any], places: list[Path], patience: float = PATIENCE) -> Answer:
    """Passes a request on to the child; returns the HTTP status and the body of its answer. Without
    an answer within `patience` seconds these are 503 and a sentence that says why. So they are at
    once if AT_A_TIME other requests wait for an answer."""
    if not _places.acquire(blocking=False):
        return 503, _refusal("Too many requests to the recording backfill at a time, try it again")
    try:
        return _ask(request, places, patience)
    finally:
        _places.release()


def _ask(request: Mapping[str, Any], places: list[Path], patience: float) -> Answer:
    why = "it has not started yet, or no folder can hold its socket"
    for place in places:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(patience)
                with _address(place) as short:
                    connection.connect(short)
                return _talk(connection, request, patience)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = error.strerror or str(error)
        except (ValueError, KeyError, TypeError) as error:
            why = f"its answer has another form: {error!r}"
    return 503, _refusal(NO_ANSWER.format(why))


def _talk(connection: socket.socket, request: Mapping[str, Any], patience: float) -> Answer:
    """Raises OSError, and ValueError, KeyError and TypeError for an answer of another form."""
    until = time.monotonic() + patience
    connection.sendall(json.dumps(request).encode() + b"\n")
    line = bytearray()
    while not line.endswith(b"\n"):
        connection.settimeout(max(until - time.monotonic(), 0.001))
        piece = connection.recv(65_536)
        line += piece
        if not piece or len(line) > LARGEST_ANSWER:
            raise ConnectionError("too large an answer" if piece else "it ended before its answer")
    answer = json.loads(line)
    return int(answer["status"]), dict(answer["body"])


@contextlib.contextmanager
def _address(place: Path) -> Iterator[str]:
    """Yields a short address of the socket, because one may have 107 bytes only."""
    folder = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{place.name}"
    finally:
        os.close(folder)


def _refusal(message: str) -> dict[str, Any]:
    return {"success": False, "message": message}
