"""A tiny HTTP server. It gives the answers that a test sets and remembers the requests."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

LISTING = (
    b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><Prefix/><KeyCount>0</KeyCount>'
    b"<MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)
BEGUN = "<InitiateMultipartUploadResult><UploadId>{}</UploadId></InitiateMultipartUploadResult>"
COMPLETED = (
    b"<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>"
)
CHECKSUM = "x-amz-checksum-sha256"


@dataclass
class Seen:
    """One request. The names of `headers` are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, message: str = "as told", **more: str) -> Reply:
    """An S3 error. `more` are further elements of its XML."""
    fields = {"Code": code, "Message": message, **more}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
    return Reply(status, f'<?xml version="1.0"?><Error>{inner}</Error>'.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class Stub:
    """Gives `replies` in their order, then `default`. Without a default it answers as a healthy S3.

    `refusals` are answers to requests of which a header contains a text. It refuses metadata of
    more than `most_metadata` bytes, and counts the names of the headers as MinIO does. If it
    `checks`, its answer to a PUT repeats the SHA-256 that the request asked it to check, as AWS and
    SeaweedFS do."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.reset()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self._server.server_port}"
        serve = {"poll_interval": 0.02}
        threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True).start()

    def reset(self) -> None:
        self.seen: list[Seen] = []
        self.replies: deque[Reply] = deque()
        self.default: Reply | None = None
        self.refusals: dict[str, Reply] = {}
        self.most_metadata = 1_000_000
        self.checks = False
        self.connections = self.uploads = 0

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _next(self, seen: Seen) -> Reply:
        said = "\n".join(f"{name}: {value}" for name, value in seen.headers.items())
        for text, refusal in self.refusals.items():
            if text in said:
                return refusal
        found = [one for one in seen.headers.items() if one[0].startswith("x-amz-meta-")]
        if sum(len(name) + len(value) for name, value in found) > self.most_metadata:
            return error(400, "MetadataTooLarge", "Your metadata headers exceed the maximum size.")
        if self.replies:
            return self.replies.popleft()
        if self.default:
            return self.default
        if seen.method == "POST":
            return self._multipart(begins="?uploads" in seen.path)
        if seen.method == "DELETE":
            return Reply(204)
        if seen.method != "PUT":
            return Reply(body=LISTING)
        repeated = {name: text for name, text in seen.headers.items() if name == CHECKSUM}
        return Reply(headers={"ETag": '"e"'} | (repeated if self.checks else {}))

    def _multipart(self, begins: bool) -> Reply:
        self.uploads += begins
        return Reply(body=BEGUN.format(self.uploads).encode() if begins else COMPLETED)

    def _handler(stub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                stub.connections += 1
                super().setup()

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client hung up
                    self.close_connection = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                stub.seen.append(Seen(self.command, self.path, headers, body))
                reply = stub._next(stub.seen[-1])
                self.send_response_only(reply.status)
                length = str(len(reply.body))
                told = {"Date": self.date_time_string(), "Content-Length": length, **reply.headers}
                for name, value in told.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_PUT = do_GET = do_HEAD = do_POST = do_DELETE = answer

            def log_message(self, *words: object) -> None:
                pass

        return Handler
