"""A server that shows a bucket with any number of objects, without holding one of them.

python -I lab/bench/crowd.py EVENTS DAYS ENDING,ENDING DELAY prints its port and serves until the
end of stdin. The events are spread evenly over the last DAYS days, on four cameras, and each has a
file for each ending. Each answer comes DELAY seconds later. A listing and an object are computed
when somebody asks for them. A deletion is confirmed and counted, and changes nothing.
`/-/deleted` tells how many there were.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

CAMERAS = ("back", "door", "front", "garden")
PAGE = 1_000
XML = '<?xml version="1.0" encoding="UTF-8"?>\n<{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'
ITEM = (
    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{:032x}&quot;</ETag>"
    "<Size>100000</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Crowd:
    """The objects, in the order of their keys."""

    def __init__(self, events: int, days: float, endings: list[str]) -> None:
        self._of_camera = events // len(CAMERAS)
        self._apart = days * 86_400 / self._of_camera
        self._first = int(time.time() - days * 86_400)
        self._endings = sorted(endings)
        self.count = self._of_camera * len(CAMERAS) * len(endings)
        self.deleted = 0
        self.lock = threading.Lock()

    def item(self, number: int) -> str:
        event, ending = divmod(number, len(self._endings))
        camera, at = divmod(event, self._of_camera)
        started = self._first + int(at * self._apart)
        then = time.gmtime(started)
        event_id = f"{started}.{at % 1_000_000:06d}-a{at % 100_000:05d}"
        day, stamp = time.strftime("%Y-%m-%d", then), time.strftime("%Y%m%d_%H%M%S", then)
        key = f"{CAMERAS[camera]}/{day}/{event_id}-{stamp}{self._endings[ending]}"
        return ITEM.format(key, time.strftime("%Y-%m-%dT%H:%M:%S.000Z", then), number)

    def page(self, start: int) -> str:
        end = min(start + PAGE, self.count)
        more = end < self.count
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        head = f"<Name>b</Name><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        items = "".join(map(self.item, range(start, end)))
        return XML.format("ListBucketResult", f"{head}<KeyCount>{end - start}</KeyCount>{items}")

    def note(self, deleted: int) -> None:
        with self.lock:
            self.deleted += deleted


def document(key: str) -> bytes:
    """Returns the JSON of the event of this key."""
    camera, _, name = key.split("/")[-3:]
    event_id = name.rpartition("-")[0]
    row = {"id": event_id, "camera": camera, "label": "car", "data": {"max_severity": "detection"}}
    found = {"schema": "event/1", "complete": True, "table": {"event": row}, "reviews": []}
    return json.dumps(found | {"timeline": ["x" * 100] * 30}).encode()


def handler(crowd: Crowd, delay: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 20

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            query = parse_qs(place.query, keep_blank_values=True)
            if place.path == "/-/deleted":
                self._send(str(crowd.deleted).encode())
            elif "list-type" in query:
                token = int(query.get("continuation-token", ["0"])[0])
                self._send(crowd.page(token).encode())
            else:
                self._send(document(unquote(place.path)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            keys = re.findall(rb"<Key>(.*?)</Key>", body)
            crowd.note(len(keys))
            deleted = b"".join(b"<Deleted><Key>%s</Key></Deleted>" % key for key in keys)
            self._send(XML.format("DeleteResult", deleted.decode()).encode())

        def do_DELETE(self) -> None:
            crowd.note(1)
            time.sleep(delay)
            self.send_response(204)
            self.end_headers()

        def do_HEAD(self) -> None:
            self._send(b"")

        def _send(self, body: bytes) -> None:
            time.sleep(delay)
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    shown = Crowd(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(","))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(shown, float(sys.argv[4])))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
