"""A small stand-in for Google Drive's API, behind a proxy: rclone's real drive backend talks to it.

The backend has no setting for another address. It obeys HTTPS_PROXY, so this server is a proxy that
ends TLS itself, with a certificate that a test lets rclone trust. It knows only what rclone asks
for. As on Google Drive, names are not unique, and a file in the trash still exists.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from tests.rig.certificates import Authority

FOLDER = "application/vnd.google-apps.folder"
ROOT = "the-root"
TOKEN = (
    '{"access_token":"drive-access-token","token_type":"Bearer",'
    '"refresh_token":"drive-refresh-token","expiry":"%s-01-01T00:00:00Z"}'
)
FRESH, EXPIRED = TOKEN % 2999, TOKEN % 2001


@dataclass
class Item:
    """A file or folder. `parent` is the id of its folder."""

    id: str
    name: str
    kind: str
    parent: str
    data: bytes = b""
    modified: str = "2026-11-26T12:00:00.000Z"
    trashed: bool = False

    def shown(self) -> dict[str, Any]:
        found = {
            "id": self.id, "name": self.name, "mimeType": self.kind, "parents": [self.parent],
            "modifiedTime": self.modified, "createdTime": self.modified, "trashed": self.trashed,
        }  # fmt: skip
        if self.kind == FOLDER:
            return found
        digests = {
            f"{name}Checksum": hashlib.new(name, self.data, usedforsecurity=False).hexdigest()
            for name in ("md5", "sha1", "sha256")
        }
        return found | digests | {"size": str(len(self.data))}


@dataclass
class Refusal:
    """An error answer, as Google gives it, to the next requests of `method` on a path that contains
    `path`."""

    status: int
    reason: str
    message: str = "as told"
    method: str = ""
    path: str = ""
    times: int = 1

    def body(self) -> bytes:
        errors = [{"domain": "global", "reason": self.reason, "message": self.message}]
        error = {"code": self.status, "message": self.message, "errors": errors}
        return json.dumps({"error": error}).encode()


class Drive:
    """The server. `environ` makes rclone use it. `items` is what it holds, by id. `before` is
    called with the method, path and query of each request before it is served."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder, "google")
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.lock = threading.RLock()
        self.reset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _proxy(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.environ = {
            "HTTPS_PROXY": address,
            "RCLONE_CA_CERT": str(self._authority.bundle),
            "RCLONE_DRIVE_PACER_MIN_SLEEP": "1ms",  # Google wants 100
        }

    def reset(self) -> None:
        with self.lock:
            self.items = {ROOT: Item(ROOT, "My Drive", FOLDER, "")}
            self.uploads: dict[str, tuple[Item, bytearray]] = {}
            self.refusals: list[Refusal] = []
            self.requests: list[str] = []
            self.quota = {"limit": "15000000000", "usage": "1", "usageInDriveTrash": "0"}
            self.before: Callable[[str], None] = lambda request: None
            self._numbers = itertools.count(1)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def context(self, host: str) -> ssl.SSLContext:
        with self.lock:
            if host not in self._contexts:
                self._contexts[host] = self._authority.context(host)
            return self._contexts[host]

    def named(self, name: str) -> list[Item]:
        """Everything of this name that is not in the trash."""
        with self.lock:
            return [one for one in self.items.values() if one.name == name and not one.trashed]

    def make(self, name: str, parent: str = ROOT, kind: str = FOLDER, data: bytes = b"") -> Item:
        with self.lock:
            item = Item(f"id-{next(self._numbers)}", name, kind, parent, data)
            self.items[item.id] = item
            return item

    def refusal(self, method: str, path: str) -> Refusal | None:
        with self.lock:
            for one in self.refusals:
                if one.times and one.method in ("", method) and one.path in path:
                    one.times -= 1
                    return one
        return None


def _proxy(drive: Drive) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            host = self.path.partition(":")[0]
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            try:
                secure = drive.context(host).wrap_socket(self.connection, server_side=True)
            except OSError:  # a client that does not trust us
                return
            with secure:
                _Api(secure, self.client_address, self.server, drive)

        def log_message(self, *_: object) -> None:
            pass

    return Proxy


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # an answer in two packets waits for a delayed acknowledgement

    def __init__(self, connection: Any, address: Any, server: Any, drive: Drive) -> None:
        self.drive = drive
        super().__init__(connection, address, server)

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = f"{self.command} {parts.path}"
        with self.drive.lock:
            self.drive.requests.append(request)
        self.drive.before(f"{self.command} {unquote_plus(self.path)}")
        refusal = self.drive.refusal(self.command, self.path)
        if refusal:
            self._send(refusal.status, refusal.body())
            return
        if parts.path == "/token":
            self._send(400, b'{"error":"invalid_grant","error_description":"Bad Request"}')
            return
        with self.drive.lock:
            self._serve(parts.path, asked, body)

    def _serve(self, path: str, asked: dict[str, str], body: bytes) -> None:
        last = path.rpartition("/")[2]
        if "upload_id" in asked:
            self._take_piece(asked["upload_id"], body)
        elif path.startswith("/upload/"):
            self._upload(last, asked, body)
        elif last == "files" and self.command == "GET":
            self._send_json({"files": [one.shown() for one in self._found(asked["q"])]})
        elif last == "files":
            told = json.loads(body)
            self._send_json(self._item("files", told).shown())
        elif last == "about":
            self._send_json({"storageQuota": self.drive.quota})
        else:
            self._one(ROOT if last == "root" else last, asked, body)

    def _one(self, number: str, asked: dict[str, str], body: bytes) -> None:
        item = self.drive.items.get(number)
        if item is None:
            missing = Refusal(404, "notFound", f"File not found: {number}.")
            self._send(404, missing.body())
        elif self.command == "DELETE":
            del self.drive.items[number]
            self._send(204, b"")
        elif asked.get("alt") == "media":
            self._send(200, item.data)
        else:
            if self.command == "PATCH":
                _change(item, json.loads(body))
            self._send_json(item.shown())

    def _found(self, query: str) -> list[Item]:
        parents = re.findall(r"'([^']*)' in parents", query)
        names = re.findall(r"name='((?:[^'\\]|\\.)*)'", query)
        kinds = re.findall(r"mimeType\s*=\s*'([^']*)'", query)
        others = re.findall(r"mimeType\s*!=\s*'([^']*)'", query)
        trashed = "trashed=true" in query
        wanted = [re.sub(r"\\(.)", r"\1", name) for name in names]
        return [
            one
            for one in self.drive.items.values()
            if one.id != ROOT
            and one.trashed == trashed
            and (not parents or (ROOT if one.parent == "root" else one.parent) in parents)
            and (not wanted or one.name in wanted)
            and (not kinds or one.kind in kinds)
            and one.kind not in others
        ]

    def _item(self, last: str, told: dict[str, Any]) -> Item:
        """The item to change, or a new one if `last` names none. A parent must exist."""
        if last in self.drive.items:
            item = self.drive.items[last]
        else:
            parent = told.get("parents", [ROOT])[0]
            item = self.drive.make(told["name"], parent, told.get("mimeType", "text/plain"))
        _change(item, told)
        return item

    def _upload(self, last: str, asked: dict[str, str], body: bytes) -> None:
        if asked["uploadType"] == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
            assert boundary
            told, data = (
                part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
                for part in body.split(b"--" + boundary[1].encode())[1:3]
            )
        else:
            told, data = body, b""
        described = json.loads(told)
        parent = described.get("parents", [ROOT])[0]
        if last == "files" and parent not in self.drive.items:
            missing = Refusal(404, "notFound", f"File not found: {parent}.")
            self._send(404, missing.body())
            return
        if asked["uploadType"] == "multipart":
            item = self._item(last, described)
            item.data = data
            self._send_json(item.shown())
            return
        number = str(len(self.drive.uploads))
        # As on Drive, the file appears when all its bytes are there.
        self._pending(number, last, described)
        self._send(200, b"", Location=f"https://www.googleapis.com/upload/x?upload_id={number}")

    def _pending(self, number: str, last: str, described: dict[str, Any]) -> None:
        item = self.drive.items.get(last) or Item(
            f"id-up-{number}", described["name"], described.get("mimeType", "text/plain"),
            described.get("parents", [ROOT])[0],
        )  # fmt: skip
        _change(item, described)
        self.drive.uploads[number] = item, bytearray()

    def _take_piece(self, number: str, body: bytes) -> None:
        item, data = self.drive.uploads[number]
        data += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total == str(len(data)):
            item.data = bytes(data)
            self.drive.items[item.id] = item
            self._send_json(item.shown())
        else:
            self._send(308, b"", Range=f"bytes=0-{len(data) - 1}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send_json(self, found: dict[str, Any]) -> None:
        self._send(200, json.dumps(found).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _change(item: Item, told: dict[str, Any]) -> None:
    item.name = told.get("name", item.name)
    item.modified = told.get("modifiedTime", item.modified)
    item.trashed = told.get("trashed", item.trashed)
