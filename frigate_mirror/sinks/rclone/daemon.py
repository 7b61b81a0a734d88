"""`rclone rcd`: one long-lived rclone that does what it is told over a Unix socket.

It is started when it is first needed, and again when it has died or hangs. Starting one rclone for
each file would cost a hundred times as much.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from frigate_mirror.settings.settings import VARIABLES, RcloneSettings, secret_of
from frigate_mirror.sinks.rclone.errors import (
    DIED,
    HANGS,
    NO_CONFIG,
    NO_PROGRAM,
    OLDEST,
    TOO_OLD,
    RcloneError,
)

FLAGS = (
    "--ask-password=false",
    # Otherwise rclone looks at the destination before each upload, which costs a request, and skips
    # a file where that has one of the same size and time, and on many remotes of the same size.
    "--no-check-dest",
    # The owner's environment may say otherwise, and then nothing would be proven.
    "--ignore-size=false",
    "--ignore-checksum=false",
    "--use-server-modtime",  # the time of an S3 object's metadata costs a request for each object
    "--contimeout=10s",
    "--low-level-retries=3",  # the ledger repeats for minutes to weeks
    "--buffer-size=0",  # a local file needs none, and each upload would take 16 MB of memory
    "--log-level=ERROR",
    # Go closes a connection after these times, even if the answer is still to come.
    "--rc-server-read-timeout=0",
    "--rc-server-write-timeout=0",
)
# The kernel kills rclone when the thread that has started it ends, even if we are killed. Python's
# own preexec_fn is not safe in a process with threads, so a Python that becomes rclone asks for it.
_BECOME = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "if os.getppid() == int(sys.argv[1]):\n"
    "    os.execv(sys.argv[2], sys.argv[2:])\n"
)
_LAST_WORDS = 12  # lines


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we wait, in seconds: `start` until rclone answers for the first time, `silence`
    until it answers that it is alive, `idle` until it gives up a connection to the service that
    carries nothing, `stop` until it has ended."""

    start: float = 60
    silence: float = 20
    idle: float = 60
    stop: float = 5


class Daemon:
    """Runs commands of rclone's remote control. Several threads may use it at the same time.

    The secret of rclone's configuration is read again from `environ` at each start.
    """

    def __init__(
        self,
        settings: RcloneSettings,
        environ: Mapping[str, str],
        patience: Patience = Patience(),
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._patience = patience
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._limit = math.inf

    @property
    def pid(self) -> int | None:
        """The process id of the rclone that runs, if one does."""
        process = self._process
        return process.pid if process and process.alive else None

    def call(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Runs a command such as `operations/copyfile` and returns its answer. Raises
        RcloneError."""
        return self._running().call(command, parameters)

    def limit(self, bytes_per_second: float) -> None:
        """Limits the bandwidth of all uploads together. Infinity means no limit. Raises
        RcloneError."""
        with self._lock:
            self._limit = bytes_per_second
            process = self._process
        if process and process.alive:
            process.call("core/bwlimit", {"rate": _rate(bytes_per_second)})

    def close(self) -> None:
        """Ends rclone. A later call starts it again."""
        with self._lock:
            process, self._process = self._process, None
        if process:
            process.end()

    def _running(self) -> Process:
        with self._lock:
            if self._process is None or not self._process.alive:
                self._process = self._started()
            return self._process

    def _started(self) -> Process:
        login = secrets.token_hex(16), secrets.token_hex(16)
        words = [self._program(), "rcd", *FLAGS, f"--timeout={self._patience.idle:g}s"]
        if self._settings.config:
            words.append(f"--config={self._config()}")
        process = Process(words, self._environment(login), login, self._patience)
        try:
            _check_version(process.await_version())
            if self._limit != math.inf:
                process.call("core/bwlimit", {"rate": _rate(self._limit)})
        except RcloneError:
            process.end()
            raise
        return process

    def _program(self) -> str:
        name = self._settings.program
        found = shutil.which(name, path=self._environ.get("PATH"))
        if not found:
            raise RcloneError(f"there is no program {name}", NO_PROGRAM)
        return os.path.abspath(found)

    def _config(self) -> str:
        path = self._settings.config
        if not os.access(path, os.R_OK):  # rclone would go on without any remote
            raise RcloneError(f"cannot read {path}", NO_CONFIG)
        return path

    def _environment(self, login: tuple[str, str]) -> dict[str, str]:
        """Returns the environment of rclone: ours without our own settings and secrets, and with
        those that are meant for rclone."""
        ours = {name for variable in VARIABLES.values() for name in variable.sources}
        environ = {
            name: text
            for name, text in self._environ.items()
            if name not in ours and not name.startswith("RCLONE_RC")
        }
        try:
            password = secret_of("RCLONE_CONFIG_PASS", self._environ)
        except ValueError:  # its file is just being replaced
            password = self._settings.config_pass
        if password:
            environ["RCLONE_CONFIG_PASS"] = password.reveal()
        if self._settings.drive_use_trash is not None:
            environ["RCLONE_DRIVE_USE_TRASH"] = str(self._settings.drive_use_trash).lower()
        environ["RCLONE_RC_USER"], environ["RCLONE_RC_PASS"] = login
        return environ


class Process:
    """One rclone. The constructor starts it; `await_version` waits until it answers.

    Its socket lies in a folder that only this user can enter, because some versions of rclone, 1.68
    for example, ask a caller over a Unix socket for no credentials. As soon as rclone answers, the
    folder is removed. This process goes on using the socket by an open descriptor, so nobody else
    can find it, and nothing is left behind whichever way this process ends.
    """

    def __init__(
        self,
        words: list[str],
        environ: dict[str, str],
        login: tuple[str, str],
        patience: Patience,
    ) -> None:
        self._descriptor: int | None = None
        self._idle: deque[_Connection] = deque()
        self._ended = False
        self._folder = _private_folder()
        self._socket = f"{self._folder}/rc"
        become = [sys.executable, "-IS", "-c", _BECOME, str(os.getpid())]
        self._words = [*become, *words, f"--rc-addr=unix://{self._socket}"]
        self._environ = environ
        self._authorization = base64.b64encode(":".join(login).encode()).decode()
        self._patience = patience
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._told = threading.Event()
        self._popen: subprocess.Popen[str] | None = None
        self._why_not: RcloneError | None = None
        started = threading.Event()
        # rclone lives as long as this thread, which therefore has nothing else to do.
        thread = threading.Thread(target=self._keep, args=(started,), name="rclone", daemon=True)
        thread.start()
        started.wait()

    def __del__(self) -> None:
        self._close_idle()
        if self._descriptor is not None:
            os.close(self._descriptor)

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def await_version(self) -> str:
        """Waits until rclone answers, and returns its version. Raises RcloneError."""
        until = time.monotonic() + self._patience.start
        while True:
            try:
                version = str(self._exchange("core/version", {})["version"])
                self._hide_socket()
                return version
            except (OSError, http.client.HTTPException):
                if not self.alive:
                    raise self._death() from None
                if time.monotonic() > until:
                    raise RcloneError("it does not answer after its start", HANGS) from None
            time.sleep(0.01)

    def call(self, command: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._exchange(command, parameters)
        except TimeoutError:
            self.end()
            raise RcloneError("it does not answer, and is started anew", HANGS) from None
        except (OSError, http.client.HTTPException):
            self.end()
            raise self._death() from None

    def end(self) -> None:
        """Asks rclone to end, so that it can remove what it has stored in part, and kills it if it
        does not."""
        self._close_idle()
        if self._popen is not None:
            self._popen.terminate()
            try:
                self._popen.wait(self._patience.stop)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        shutil.rmtree(self._folder, ignore_errors=True)  # it may still be there

    def _hide_socket(self) -> None:
        self._descriptor = os.open(self._socket, os.O_PATH | os.O_CLOEXEC)
        self._socket = f"/proc/self/fd/{self._descriptor}"
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, started: threading.Event) -> None:
        try:
            self._popen = subprocess.Popen(
                self._words,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            code = NO_PROGRAM if isinstance(error, PermissionError) else ""
            self._why_not = RcloneError(f"cannot start a process: {error.strerror}", code)
            return
        finally:
            started.set()
        assert self._popen.stderr is not None
        with self._popen.stderr as messages:
            self._last_words.extend(messages)
        self._told.set()
        self._popen.wait()

    def _death(self) -> RcloneError:
        """Returns the error of a process that has ended: its last message, or that it has none."""
        if self._why_not:
            return self._why_not
        self._told.wait(self._patience.stop)
        last = next((line.strip() for line in reversed(self._last_words) if line.strip()), "")
        return RcloneError(last) if last else RcloneError("it has ended without a message", DIED)

    def _exchange(self, command: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Makes a request. An upload may take hours, so rclone is asked now and then whether it is
        still alive. Raises RcloneError, TimeoutError if it is not, OSError and HTTPException."""
        connection, stays = self._request(command, parameters), False
        try:
            while not select.select([connection.sock], [], [], self._patience.silence)[0]:
                self._check_alive()
            answer = connection.getresponse()
            found = json.loads(answer.read())
            stays = not answer.will_close
        except ValueError as error:
            raise http.client.HTTPException("no JSON") from error
        finally:
            self._put_back(connection, stays)
        if answer.status != 200:
            # The answer also has the request, which is left out: it may contain a secret.
            raise RcloneError(str(found.get("error", answer.reason)))
        result: dict[str, Any] = found
        return result

    def _check_alive(self) -> None:
        connection = self._request("rc/noop", {})
        try:
            connection.getresponse().read()
        finally:
            connection.close()

    def _request(self, command: str, parameters: Mapping[str, Any]) -> _Connection:
        connection = self._connection()
        headers = {
            "Authorization": f"Basic {self._authorization}",
            "Content-Type": "application/json",
        }
        try:
            connection.request("POST", f"/{command}", json.dumps(parameters), headers)
        except OSError:
            connection.close()
            raise
        return connection

    def _connection(self) -> _Connection:
        """Returns a connection that an earlier request has left open, or a new one."""
        with suppress(IndexError):
            while True:
                idle = self._idle.pop()
                if not select.select([idle.sock], [], [], 0)[0]:
                    return idle
                idle.close()  # rclone has closed it
        return _Connection(self._socket, self._patience.silence)

    def _close_idle(self) -> None:
        self._ended = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _put_back(self, connection: _Connection, stays: bool) -> None:
        if stays and not self._ended:
            self._idle.append(connection)
        else:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection over a Unix socket, of which every step may take `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _private_folder() -> str:
    """Makes a folder that only this user can enter, with a path that is short enough for a socket
    in it: at most 107 bytes. Raises RcloneError."""
    folder = tempfile.gettempdir()
    try:
        return tempfile.mkdtemp(prefix="rclone-", dir=folder if len(folder) < 80 else "/tmp")
    except OSError as error:
        raise RcloneError(f"cannot make a folder in {folder}: {error.strerror}") from error


def _rate(bytes_per_second: float) -> str:
    return "off" if bytes_per_second == math.inf else f"{max(1, int(bytes_per_second))}B"


def _check_version(version: str) -> None:
    """Raises RcloneError unless `version`, such as v1.75.2 or v1.60.1-DEV, is new enough."""
    numbers = version.lstrip("v").split("-")[0].split(".")
    if tuple(int(number) for number in numbers if number.isdigit()) < OLDEST:
        raise RcloneError(f"it is rclone {version}", TOO_OLD)
