"""The rclone that the sink runs: when it starts, that it ends, and who may talk to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon, Patience
from frigate_mirror.sinks.rclone.errors import RcloneError
from tests.rig import processes
from tests.rig.rclone import Config, encrypted
from tests.rig.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parent.parent
Start = Callable[..., Daemon]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


@pytest.fixture
def start(config: Config) -> Iterator[Start]:
    """Makes a Daemon with further variables of the environment. All of them end with the test."""
    made: list[Daemon] = []

    def start(patience: Patience | None = None, **more: str) -> Daemon:
        environ = config.environ("/tmp") | more
        daemon = Daemon(settings.load(environ).rclone, environ, patience or Patience())
        made.append(daemon)
        return daemon

    yield start
    for daemon in made:
        daemon.close()


@pytest.fixture
def silent(config: Config) -> Iterator[socket.socket]:
    """A server that accepts connections and says nothing; the remote `silent` is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        config.add("silent", "webdav", url=address, vendor="other")
        yield server


def rclones(parent: int) -> list[int]:
    """The rclones that a process runs."""
    children = [pid for pid, above in processes.parents().items() if above == parent]
    return [pid for pid in children if processes.runs(pid, "--rc-addr=")]


def works(daemon: Daemon) -> bool:
    return bool(daemon.call("core/version")["version"])


def job_number(daemon: Daemon) -> int:
    number: int = daemon.call("rc/noop", _async=True)["jobid"]
    return number


# -- its life


def test_one_rclone_starts_with_the_first_call_and_does_everything(start: Start) -> None:
    daemon = start()
    assert daemon.pid is None
    assert works(daemon)
    first = daemon.pid
    assert works(daemon)
    assert daemon.pid == first


def test_many_threads_at_once_start_one_rclone(start: Start) -> None:
    daemon, before = start(), set(rclones(os.getpid()))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: works(daemon), range(8)))
    assert set(rclones(os.getpid())) - before == {daemon.pid}


def test_an_rclone_that_has_died_is_started_again(start: Start) -> None:
    daemon = start()
    assert works(daemon)
    first = daemon.pid
    assert first
    processes.kill(first)
    until(lambda: daemon.pid is None)
    assert works(daemon)
    assert daemon.pid != first


def test_a_call_during_which_rclone_dies_fails_and_the_next_one_works(
    start: Start, silent: socket.socket
) -> None:
    daemon = start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(daemon.call, "operations/list", fs="silent:", remote="")
        with silent.accept()[0]:
            assert daemon.pid
            processes.kill(daemon.pid)
            assert isinstance(call.exception(PATIENCE), RcloneError)
    assert works(daemon)


def test_an_rclone_that_hangs_is_killed_and_started_again(start: Start) -> None:
    daemon = start(Patience(silence=0.2, stop=0.2))
    assert works(daemon)
    hung = daemon.pid
    assert hung
    os.kill(hung, signal.SIGSTOP)
    with pytest.raises(RcloneError) as caught:
        works(daemon)
    assert caught.value.code == "Hangs"
    assert not processes.state(hung)
    assert works(daemon)


def test_an_answer_that_takes_long_is_waited_for_while_rclone_is_alive(
    start: Start, silent: socket.socket
) -> None:
    daemon = start(Patience(silence=0.05))
    assert works(daemon)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(daemon.call, "operations/list", fs="silent:", remote="")
        with silent.accept()[0] as connection:
            # rclone numbers what it is asked, so the numbers show that we ask whether it lives.
            before = job_number(daemon)
            until(lambda: job_number(daemon) > before + 100)
            assert not call.done()
            connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        with pytest.raises(RcloneError, match="401"):
            call.result(PATIENCE)


def test_rclone_goes_on_when_the_thread_that_started_it_has_ended(start: Start) -> None:
    daemon = start()
    thread = threading.Thread(target=works, args=(daemon,))
    thread.start()
    thread.join(PATIENCE)
    first = daemon.pid
    assert first and works(daemon)
    assert daemon.pid == first


def test_close_ends_rclone_and_a_later_call_starts_it_again(start: Start) -> None:
    daemon = start()
    assert works(daemon)
    first = daemon.pid
    assert first
    daemon.close()
    assert not processes.state(first)
    assert works(daemon)


OWNER = """
import json, os, sys
from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.daemon import Daemon

daemon = Daemon(settings.load(os.environ).rclone, os.environ)
daemon.call("core/version")
print(daemon.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["kill -9", "the end of the program"])
def test_rclone_ends_with_our_process_whichever_way_that_ends(config: Config, way: str) -> None:
    words, pipe = [sys.executable, "-c", OWNER], subprocess.PIPE
    environ = os.environ | config.environ("/tmp")
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environ, cwd=ROOT) as owner:
        assert owner.stdin and owner.stdout
        pid = int(owner.stdout.readline())
        assert processes.state(pid)
        if way == "kill -9":
            owner.kill()
        else:
            owner.stdin.close()
        owner.wait(PATIENCE)
    until(lambda: not processes.state(pid), "rclone ends")


# -- secrets


def test_no_secret_is_in_the_command_line_and_rclone_gets_none_that_it_does_not_need(
    start: Start,
) -> None:
    daemon = start(S3_SECRET_KEY="of-the-bucket", S3_ACCESS_KEY="AKID", RCLONE_CONFIG_PASS="of-it")
    assert works(daemon)
    command = Path(f"/proc/{daemon.pid}/cmdline").read_text()
    environ = Path(f"/proc/{daemon.pid}/environ").read_text().split("\0")
    values = dict(line.split("=", 1) for line in environ if line)
    assert "of-it" not in command
    assert values["RCLONE_RC_PASS"] not in command and values["RCLONE_RC_USER"] not in command
    assert values["RCLONE_CONFIG_PASS"] == "of-it"
    assert not {"S3_SECRET_KEY", "S3_ACCESS_KEY"} & values.keys()


def test_nobody_else_finds_the_socket_and_it_leaves_nothing_behind(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    daemon = start()
    assert works(daemon) and works(daemon)
    command = Path(f"/proc/{daemon.pid}/cmdline").read_text()
    path = Path(command.split("--rc-addr=unix://")[1].split("\0")[0])
    assert path.parent.parent in (tmp_path / "t", Path("/tmp"))
    assert not path.parent.exists() and os.listdir(tmp_path / "t") == []


def test_the_password_of_the_configuration_is_read_again_when_rclone_starts(
    start: Start, config: Config, tmp_path: Path
) -> None:
    config.add("there", "alias", remote=str(tmp_path))
    encrypted(config.path, "the right one")
    password = tmp_path / "password"
    password.write_text("a wrong one\n")
    daemon = start(RCLONE_CONFIG_PASS_FILE=str(password))
    with pytest.raises(RcloneError, match="unable to decrypt"):
        daemon.call("config/listremotes")
    password.write_text("the right one\n")
    daemon.close()
    assert daemon.call("config/listremotes") == {"remotes": ["there"]}


# -- programs that are no rclone of ours


OLD = """#!{python}
import http.server, socketserver, sys

class Old(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"version": "v1.64.2"}}')

    def address_string(self):
        return ""

address = sys.argv[-1].removeprefix("--rc-addr=unix://")
socketserver.UnixStreamServer(address, Old).serve_forever()
"""


def test_an_rclone_that_is_too_old_is_refused_and_ended(start: Start, tmp_path: Path) -> None:
    daemon = start(RCLONE_PATH=_program(tmp_path, OLD.format(python=sys.executable)))
    with pytest.raises(RcloneError, match=r"v1\.64\.2") as caught:
        works(daemon)
    assert caught.value.code == "OldRclone"
    assert daemon.pid is None


def test_the_last_message_of_an_rclone_that_does_not_start_is_the_error(
    start: Start, tmp_path: Path
) -> None:
    text = "Failed to start remote control: start server failed: listen tcp: address x"
    daemon = start(RCLONE_PATH=_program(tmp_path, f"#!/bin/sh\necho '{text}' >&2\nexit 1\n"))
    with pytest.raises(RcloneError, match="listen tcp"):
        works(daemon)


def test_a_program_that_does_not_exist_is_an_error_that_names_it(start: Start) -> None:
    with pytest.raises(RcloneError, match="no program /nowhere/rclone") as caught:
        works(start(RCLONE_PATH="/nowhere/rclone"))
    assert caught.value.code == "NoRclone"


def test_a_configuration_that_cannot_be_read_is_an_error_that_names_it(start: Start) -> None:
    with pytest.raises(RcloneError, match=r"/nowhere/rclone\.conf") as caught:
        works(start(RCLONE_CONFIG="/nowhere/rclone.conf"))
    assert caught.value.code == "NoConfig"


def _program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


# -- bandwidth


def test_a_limit_of_the_bandwidth_outlives_a_restart_and_can_be_lifted(start: Start) -> None:
    daemon = start()
    daemon.limit(123_456)
    assert daemon.pid is None, "a limit alone starts nothing"
    assert daemon.call("core/bwlimit")["bytesPerSecond"] == 123_456
    daemon.close()
    assert daemon.call("core/bwlimit")["bytesPerSecond"] == 123_456
    daemon.limit(99)
    assert daemon.call("core/bwlimit")["bytesPerSecond"] == 99
    daemon.limit(float("inf"))
    assert daemon.call("core/bwlimit")["rate"] == "off"
