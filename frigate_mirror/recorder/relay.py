"""Relay: the way to a camera over TLS.

ffmpeg takes `rtsps://` addresses, but not the certificates to trust: 5.1 accepts every one, and 9
none that the system does not know. So the recorder opens the connection itself, and ffmpeg speaks
plain RTSP to it over loopback. The relay takes one connection. Whoever else reached it first would
need the camera's login, which only ffmpeg has.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from frigate_mirror.recorder.camera import DEFAULT_PORTS, Camera

PATIENCE = 10.0  # seconds
PIECE = 65_536


class Relay:
    """Carries one connection. Raises OSError if no port is free, or a file of certificates cannot
    be read. `fault` says why the camera could not be reached, or is empty."""

    def __init__(self, camera: Camera) -> None:
        parts = urlsplit(camera.url.reveal())
        self.fault = ""
        self._context = ssl.create_default_context(cafile=camera.ca_file or None)
        if not camera.tls_verify:
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        self._host, self._port = parts.hostname or "", parts.port or DEFAULT_PORTS["rtsps"]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        login = parts.netloc.rpartition("@")[0]
        port = self._listener.getsockname()[1]
        netloc = f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"
        self.address = urlunsplit(("rtsp", netloc, parts.path, parts.query, ""))
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"relay-{camera.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the connection, and waits for that."""
        self._closed = True
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            with self._listener:
                near, _ = self._listener.accept()
            with (
                near,
                socket.create_connection((self._host, self._port), PATIENCE) as plain,
                self._context.wrap_socket(plain, server_hostname=self._host) as far,
            ):
                self._carry(near, far)
        except ssl.SSLCertVerificationError as error:
            self.fault = f"the camera's certificate is refused: {error.verify_message}"
        except OSError as error:
            self.fault = f"the camera cannot be reached over TLS: {error}"

    def _carry(self, near: socket.socket, far: ssl.SSLSocket) -> None:
        near.settimeout(PATIENCE)
        far.settimeout(PATIENCE)
        with selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while not self._closed:
                for key, _ in selector.select(1.0):
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(PIECE)
                    while isinstance(source, ssl.SSLSocket) and source.pending():
                        data += source.recv(source.pending())
                    if not data:
                        with suppress(OSError):
                            target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)
