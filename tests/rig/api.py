"""A stand-in for Frigate's HTTP API, over the tables and files of a world.

It answers as Frigate 0.16, 0.17 and 0.18 do behind their nginx: with the fields that the real
answers in tests/fixtures/frigate_api have, real pictures, and clips that ffmpeg makes. It has their
traps too: a JSON answer is repeated for 5 seconds, two questions for the same clip disturb each
other, and a missing segment ends a clip without an error. `fail` adds faults.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.rig import ROOT, STANDIN, ffmpeg

ANSWERS = ROOT / "tests" / "fixtures" / "frigate_api"
CONFIGS = ROOT / "tests" / "fixtures" / "frigate_config"
VERSIONS = ("0.16.4", "0.17.2", "0.18.0-beta1")
CACHED = 5.0  # seconds
COOKIE = "frigate_token"
FLAGS = {"has_clip", "has_snapshot", "retain_indefinitely", "false_positive"}
DOCUMENTS = {"zones", "region", "box", "data"}
TYPES = {".jpg": "image/jpeg", ".webp": "image/webp", ".png": "image/png", ".mp4": "video/mp4"}
NO_RECORDING = "No recordings found for the specified time range"


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_json(self) -> bool:
        return self.headers.get("Content-Type") == "application/json"


@dataclass(frozen=True)
class Fault:
    """What happens instead of an answer. Without `answer` it is the true one: changed by `alter`,
    broken off after `cut` bytes, or silent from there on if it `hangs`. With `drops` the connection
    is closed without a word."""

    answer: Answer | None = None
    alter: Callable[[bytes], bytes] = lambda body: body
    cut: int | None = None
    hangs: bool = False
    drops: bool = False


def as_json(document: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def refusal(message: str, status: int = 404) -> Answer:
    return as_json({"success": False, "message": message}, status)


def page(status: int, title: str) -> Answer:
    """Returns a page of the nginx before Frigate, as it was seen there."""
    head = f"{status} {title}"
    body = (
        f"<html>\r\n<head><title>{head}</title></head>\r\n<body>\r\n<center><h1>{head}</h1></center>"
        "\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, body.encode(), {"Content-Type": "text/html"})


NOT_FOUND = as_json({"detail": "Not Found"}, 404)


@dataclass(frozen=True)
class Question:
    """One request: `path` is without its parameters."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


class FrigateStandin:
    """Serves the database and the folder `media` of a Frigate, on `port` or on one of its own.

    With `users` it wants a login, as on port 8971; `cameras` are those that the account may see,
    and `role` is what it is. With a certificate and its key it speaks TLS. `questions` are those
    that it has got, over so many `connections`, `config` its own settings, and `ahead` by how many
    seconds its clock is ahead; without one its answers have no date.
    """

    def __init__(
        self,
        database: Path,
        media: Path,
        version: str = "0.17.2",
        *,
        users: Mapping[str, str] | None = None,
        cameras: Sequence[str] | None = None,
        certificate: tuple[Path, Path] | None = None,
        port: int = 0,
    ) -> None:
        self.database, self.media, self.version = database, media, version
        self.users, self.cameras = users, cameras
        self.questions: list[Question] = []
        self.connections = 0
        self.logins = 0
        self.sessions: set[str] = set()
        self.reviewer = "anonymous"
        self.role = "admin" if users is None else "viewer"
        self.config: dict[str, Any] = json.loads((CONFIGS / f"{version}.json").read_text())
        self.ahead: float | None = 0.0
        self.cookie_secure = False  # Frigate's setting of the same name
        self.away = False  # then only its nginx answers
        self.gate = threading.Event()  # clips wait for it
        self.gate.set()
        self.in_ffmpeg = threading.Semaphore(0)  # counts the clips that ffmpeg has begun
        self.disturbed = 0  # clips that came out empty, because another question disturbed them
        self._faults: list[tuple[str, Fault, float]] = []
        self._cache: dict[str, tuple[float, Answer]] = {}
        self._playlists: set[Path] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if certificate else "http"
        self.port = self._server.server_port
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        serve = {"poll_interval": 0.02}
        threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, path: str, fault: Fault, times: float = 1) -> None:
        """Lets the next `times` questions fail whose path contains `path`."""
        self._faults.append((path, fault, times))

    def heal(self) -> None:
        """Takes all faults back."""
        self._faults.clear()

    def expire(self) -> None:
        """Ends all sessions, as a restart of Frigate does after its secret has changed."""
        self.sessions.clear()

    def paths(self, part: str = "") -> list[str]:
        """Returns the paths of the questions so far that contain `part`."""
        return [one.path for one in self.questions if part in one.path]

    @cached_property
    def fields(self) -> dict[str, list[str]]:
        """The fields of each list in this version, as the real answers have them."""
        folder = ANSWERS / self.version
        return {path.stem: list(json.loads(path.read_text())[0]) for path in folder.glob("*.json")}

    # -- answers

    def answer(self, question: Question) -> tuple[Answer, Fault]:
        self.questions.append(question)
        fault = self._fault(question.path)
        if fault.answer is not None:
            return fault.answer, fault
        if question.path == "/api/login":
            return page(502, "Bad Gateway") if self.away else self._log_in(question), fault
        if self.away:  # nginx cannot ask Frigate whether the request is allowed
            return page(500, "Internal Server Error"), fault
        if self.users is not None and not self._is_known(question):
            return page(401, "Authorization Required"), fault
        found = self._cached(question)
        return Answer(found.status, fault.alter(found.body), found.headers), fault

    def _fault(self, path: str) -> Fault:
        with self._lock:
            for number, (part, fault, times) in enumerate(self._faults):
                if part in path:
                    self._faults[number] = (part, fault, times - 1)
                    if times <= 1:
                        del self._faults[number]
                    return fault
        return Fault()

    def _log_in(self, question: Question) -> Answer:
        self.logins += 1
        if self.users is None:
            return refusal("Authentication is disabled")
        told = json.loads(question.body)
        if self.users.get(told["user"]) != told["password"]:
            return as_json({"message": "Login failed"}, 401)
        session = f"session-{self.logins}"
        self.sessions.add(session)
        secure = "; Secure" if self.cookie_secure else ""
        return Answer(headers={"Set-Cookie": f"{COOKIE}={session}; HttpOnly; Path=/{secure}"})

    def _is_known(self, question: Question) -> bool:
        cookie = SimpleCookie(question.headers.get("cookie", ""))
        return COOKIE in cookie and cookie[COOKIE].value in self.sessions

    def _cached(self, question: Question) -> Answer:
        """Repeats a JSON answer for some seconds, as Frigate's nginx does."""
        key = f"{question.path}?{sorted(question.parameters.items())}"
        at, found = self._cache.get(key, (-CACHED, Answer()))
        if time.monotonic() - at < CACHED:
            return found
        found = self._route(question)
        if found.is_json and found.status == 200:
            self._cache[key] = (time.monotonic(), found)
        return found

    def _route(self, question: Question) -> Answer:
        words = [unquote(word) for word in question.path.strip("/").split("/")]
        asked = question.parameters
        match words:
            case ["api", "version"]:
                return Answer(body=f"{self.version.partition('-')[0]}-5f6043aa".encode())
            case ["api", "config"]:
                return as_json(self.config)
            case ["api", "profile"]:
                return self._profile()
            case ["api", "events"]:
                return self._events(asked)
            case ["api", "event_ids"]:
                return self._event_ids(asked["ids"].split(","))
            case ["api", "review"]:
                return self._review(asked)
            case ["api", "timeline"]:
                return self._timeline(asked)
            case ["api", "events", event_id, name]:
                return self._picture(event_id, name)
            case ["api", camera, "recordings"]:
                return self._recordings(camera, asked)
            case ["api", camera, "start", since, "end", until, "clip.mp4"]:
                return self._clip(camera, float(since), float(until))
            case ["recordings", day, hour, camera, name]:
                return self._file(self.media / "recordings" / day / hour / camera / name)
        return NOT_FOUND

    def _profile(self) -> Answer:
        name = next(iter(self.users)) if self.users else "anonymous"
        told = {"username": name, "role": self.role}
        if not self.version.startswith("0.16"):
            every = list(self.config["cameras"])
            told["allowed_cameras"] = every if self.cameras is None else list(self.cameras)
        return as_json(told)

    # -- tables

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [_typed(dict(row)) for row in connection.execute(query, values)]

    def _chosen(self, answer: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns these rows with the fields of this version, for the cameras of the account."""
        return [
            {name: row.get(name) for name in self.fields[answer]}
            for row in rows
            if self._may_see(row["camera"])
        ]

    def _may_see(self, camera: str) -> bool:
        return self.cameras is None or camera in self.cameras

    def _events(self, asked: Mapping[str, str]) -> Answer:
        clauses, values = ["1"], []
        for name, clause in (("after", "start_time > ?"), ("before", "start_time < ?"),
                             ("has_snapshot", "has_snapshot = ?")):  # fmt: skip
            if name in asked:
                clauses.append(clause)
                values.append(float(asked[name]))
        query = (
            f"SELECT * FROM event WHERE {' AND '.join(clauses)} ORDER BY start_time DESC LIMIT ?"
        )
        rows = self._rows(query, [*values, int(asked.get("limit", 100))])
        return as_json(self._chosen("events", [row | {"thumbnail": None} for row in rows]))

    def _event_ids(self, ids: list[str]) -> Answer:
        marks = ",".join("?" * len(ids))
        rows = self._rows(f"SELECT * FROM event WHERE id IN ({marks})", ids)
        if not all(self._may_see(row["camera"]) for row in rows):
            return as_json({"detail": "Access denied to camera"}, 403)
        return as_json([{name: row.get(name) for name in self.fields["event_ids"]} for row in rows])

    def _review(self, asked: Mapping[str, str]) -> Answer:
        now = time.time()
        rows = self._rows(
            """SELECT review.*, coalesce(seen.has_been_reviewed, 0) AS has_been_reviewed
               FROM reviewsegment AS review LEFT JOIN userreviewstatus AS seen
               ON seen.review_segment_id = review.id AND seen.user_id = ?
               WHERE start_time < ? AND (end_time IS NULL OR end_time > ?)
               ORDER BY start_time DESC LIMIT ?""",
            (
                self.reviewer, float(asked.get("before", now)),
                float(asked.get("after", now - 86_400)), int(asked.get("limit", -1)),
            ),
        )  # fmt: skip
        rows = [row | {"has_been_reviewed": bool(row["has_been_reviewed"])} for row in rows]
        return as_json(self._chosen("review", rows))

    def _timeline(self, asked: Mapping[str, str]) -> Answer:
        ids = [asked["source_id"]]
        if not self.version.startswith("0.16"):
            ids = asked["source_id"].split(",")
        marks = ",".join("?" * len(ids))
        query = f"SELECT * FROM timeline WHERE source_id IN ({marks}) ORDER BY timestamp LIMIT ?"
        return as_json(
            self._chosen("timeline", self._rows(query, [*ids, int(asked.get("limit", 100))]))
        )

    def _recordings(self, camera: str, asked: Mapping[str, str]) -> Answer:
        if "after" not in asked or "before" not in asked:
            return as_json([])  # the hour before Frigate's start counts
        query = """SELECT * FROM recordings WHERE camera = ? AND end_time >= ? AND start_time <= ?
                   ORDER BY start_time"""
        rows = self._rows(query, (camera, float(asked["after"]), float(asked["before"])))
        return as_json(self._chosen("recordings", rows))

    def _event(self, event_id: str) -> dict[str, Any]:
        rows = self._rows("SELECT * FROM event WHERE id = ?", (event_id,))
        return rows[0] if rows else {}

    # -- files

    def _picture(self, event_id: str, name: str) -> Answer:
        event = self._event(event_id)
        if not event:
            return refusal("Event not found")
        clips = self.media / "clips"
        path = clips / f"{event['camera']}-{event_id}"
        if name.startswith("thumbnail."):
            stored = base64.b64decode(event["thumbnail"] or "")
            if stored:
                return Answer(body=stored, headers={"Content-Type": "image/jpeg"})
            return self._file(clips / "thumbs" / event["camera"] / f"{event_id}.webp")
        if not event["has_snapshot"]:
            return refusal("Snapshot not available")
        if name == "snapshot-clean.webp" and not self.version.startswith("0.16"):
            return self._file(Path(f"{path}-clean.webp"))
        if name == "snapshot.jpg":
            drawn = Path(f"{path}-clean.webp").exists() and self.version.startswith("0.18")
            return self._file(STANDIN / "pictures/garage.jpg" if drawn else Path(f"{path}.jpg"))
        return NOT_FOUND

    def _file(self, path: Path) -> Answer:
        try:
            return Answer(body=path.read_bytes(), headers={"Content-Type": TYPES[path.suffix]})
        except FileNotFoundError:
            return refusal("Unknown error occurred")

    def _clip(self, camera: str, since: float, until: float) -> Answer:
        rows = self._rows(
            """SELECT path, start_time, end_time FROM recordings
               WHERE camera = ? AND start_time <= ? AND end_time >= ? ORDER BY start_time""",
            (camera, until, since),
        )
        if not rows and not self.version.startswith("0.16"):
            return refusal(NO_RECORDING, 400)
        mp4 = {"Content-Type": "video/mp4", "Transfer-Encoding": "chunked"}
        playlist = self.media / f"{camera}_{since}-{until}.txt"
        with self._lock:
            shared = playlist in self._playlists
            self._playlists.add(playlist)
        self.in_ffmpeg.release()
        self.gate.wait()
        self.disturbed += shared
        if shared or not rows:  # the other one has deleted the list of files
            return Answer(body=b"", headers=mp4)
        try:
            return Answer(body=_joined(playlist, rows, since, until), headers=mp4)
        finally:
            playlist.unlink()
            with self._lock:
                self._playlists.discard(playlist)


def _joined(playlist: Path, rows: list[dict[str, Any]], since: float, until: float) -> bytes:
    """Joins segments without encoding. Frigate cuts times to whole seconds, and its ffmpeg ends
    with code 0 at a file that is missing."""
    lines = []
    for row in rows:
        lines.append(f"file '{row['path']}'")
        if row["start_time"] < since:
            lines.append(f"inpoint {int(since - row['start_time'])}")
        if row["end_time"] > until:
            lines.append(f"outpoint {int(until - row['start_time'])}")
    playlist.write_text("\n".join(lines))
    words = [ffmpeg.ffmpeg(), "-nostdin", "-loglevel", "quiet", "-f", "concat", "-safe", "0"]
    words += ["-i", str(playlist), "-c", "copy"]
    words += ["-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "pipe:1"]
    return subprocess.run(words, stdout=subprocess.PIPE).stdout


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """Returns a row as Frigate's own layer over SQLite gives it."""
    return {
        name: json.loads(value)
        if name in DOCUMENTS and isinstance(value, str)
        else bool(value)
        if name in FLAGS and value is not None
        else value
        for name, value in row.items()
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that refuses the certificate


def _handler(standin: FrigateStandin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            standin.connections += 1

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client hung up
                self.close_connection = True

        def respond(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            parameters = dict(parse_qsl(parts.query))
            question = Question(self.command, parts.path, parameters, headers, body)
            answer, fault = standin.answer(question)
            if fault.drops:
                self.close_connection = True
                return
            if fault.hangs and fault.cut is None:
                standin._stopped.wait()
                return
            self.send_response_only(answer.status)
            if standin.ahead is not None:
                self.send_header("Date", self.date_time_string(int(time.time() + standin.ahead)))
            chunked = answer.headers.get("Transfer-Encoding") == "chunked"
            told = {} if chunked else {"Content-Length": str(len(answer.body))}
            for name, value in {**told, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            sent = answer.body if fault.cut is None else answer.body[: fault.cut]
            if chunked and sent:
                sent = b"%x\r\n%s\r\n" % (len(sent), sent)
            if chunked and fault.cut is None:
                sent += b"0\r\n\r\n"
            self.wfile.write(sent)
            if fault.hangs:
                standin._stopped.wait()
            if fault.cut is not None:
                self.close_connection = True

        do_GET = do_POST = respond

        def log_message(self, *words: object) -> None:
            pass

    return Handler
