"""A camera for the demo of the recorder: a small RTSP server (RFC 2326) with pictures of ffmpeg.

It serves one stream of H.264 over TCP, to whoever knows the password. ffmpeg sends RTP packets over
loopback, and the server hands them to its clients.
"""

from __future__ import annotations

import base64
import re
import socket
import struct
import subprocess
import threading
from contextlib import suppress

from frigate_mirror.demo.ports import free_ports
from frigate_mirror.demo.servers import DemoFailed
from frigate_mirror.frigate.ffmpeg import MORTAL, prefix

LARGEST = 65_536  # bytes of a packet, and of a request
RATE = 15  # pictures a second


class Camera:
    """A camera that runs until `stop`, on the same port after each `start`."""

    def __init__(self, name: str, ffmpeg: str, password: str) -> None:
        [self.port] = free_ports(1)
        self.url = f"rtsp://owner:{password}@127.0.0.1:{self.port}/{name}"
        self._ffmpeg = ffmpeg
        self._login = base64.b64encode(f"owner:{password}".encode()).decode()
        self._clients: set[socket.socket] = set()

    def start(self) -> None:
        """Raises DemoFailed if ffmpeg cannot encode H.264."""
        self._stopped = False
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", 0))
        target = f"rtp://127.0.0.1:{self._packets.getsockname()[1]}?pkt_size=1300"
        words = [
            *prefix(MORTAL), self._ffmpeg, "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi",
            "-i", f"testsrc2=size=640x360:rate={RATE}", "-c:v", "libx264", "-preset", "ultrafast",
            "-tune", "zerolatency", "-g", str(RATE), "-pix_fmt", "yuv420p", "-b:v", "500k",
            "-flags", "+global_header", "-f", "rtp", target,
        ]  # fmt: skip
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._sdp = self._description()
        self._server = socket.create_server(("127.0.0.1", self.port))
        for work in (self._serve, self._hand_on):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        """Ends the camera as a cut of its power does."""
        self._stopped = True
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._packets.close()
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _description(self) -> str:
        """Returns what ffmpeg says of its stream, as SDP."""
        lines: list[str] = []
        assert self._process.stdout
        for line in self._process.stdout:
            lines.append(line.strip())
            if line.startswith("a=fmtp"):
                break
        found = [line for line in lines if re.match("[a-z]=", line)]
        if not any(line.startswith("m=video") for line in found):
            raise DemoFailed("this ffmpeg cannot encode H.264 (libx264)")
        return "\r\n".join([*found, "a=control:track", ""])

    def _hand_on(self) -> None:
        """Gives each packet to every client, on the channel of its RTSP connection."""
        with suppress(OSError):
            while packet := self._packets.recv(LARGEST):
                framed = b"$\0" + struct.pack(">H", len(packet)) + packet
                for client in list(self._clients):
                    try:
                        client.sendall(framed)
                    except OSError:
                        self._clients.discard(client)

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._stopped:
                client, _ = self._server.accept()
                threading.Thread(target=self._converse, args=(client,), daemon=True).start()

    def _converse(self, client: socket.socket) -> None:
        """Answers the requests of a client until it goes."""
        with client, client.makefile("rb") as requests, suppress(OSError):
            while line := requests.readline(LARGEST):
                if line.startswith(b"$"):  # a receiver's report over the same connection
                    continue
                headers = {}
                while (header := requests.readline(LARGEST).decode(errors="replace")).strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                method = line.decode(errors="replace").split(" ")[0]
                client.sendall(self._answer(method, headers))
                if method == "PLAY":
                    self._clients.add(client)
                if method == "TEARDOWN":
                    break
        self._clients.discard(client)

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        status, more, body = "200 OK", "", ""
        if method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif headers.get("authorization") != f"Basic {self._login}":
            status, more = "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n'
        elif method == "DESCRIBE":
            more, body = "Content-Type: application/sdp\r\n", self._sdp
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method in ("PLAY", "TEARDOWN"):
            more = "Session: 1\r\n"
        sequence = headers.get("cseq", "0")
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{more}{length}\r\n{body}".encode()
