"""The steps of the demo."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import frigate_mirror
from frigate_mirror.demo import reports, servers
from frigate_mirror.demo.compare import document_of, faults_of, files_in, files_of, lacking
from frigate_mirror.demo.paper import Paper
from frigate_mirror.demo.ports import free_ports
from frigate_mirror.demo.servers import (
    Broker,
    Bucket,
    DemoFailed,
    Processes,
    Rclone,
    wait_until,
)
from frigate_mirror.demo.standin import Event, Frigate
from frigate_mirror.policy import DAY
from frigate_mirror.retention.errors import RetentionError
from frigate_mirror.retention.run import Job, run
from frigate_mirror.settings import settings
from frigate_mirror.sinks.rclone.sink import RcloneSink
from frigate_mirror.sinks.sink import SinkError

PROGRAM = Path(frigate_mirror.__file__).parents[1] / "s3_snapshot_mirror.py"
HEARD = (("front_door", "person"), ("garage", "car"), ("front_door", "dog"))
UNHEARD = (("garage", "person"), ("front_door", "package"))
"""The events that end while the broker is there, and while it is down."""
SHOWN = ("RCLONE_REMOTE", "S3_BUCKET", "S3_ENDPOINT_URL")
BETWEEN = 1.0  # seconds between two events, so that their files have different names
LOG_LINE = re.compile(r"^\[[^]]*\] frigate_s3\S* +(\w+) *: (.*)$", re.M)
DULL = re.compile(r"S3 Upload Stats|\.json ")
"""Lines of the log that are not shown: the statistics, and the JSON, which goes up twice."""


@dataclass(frozen=True)
class Companion:
    """A companion in a process of its own. `environ` are its settings, `folder` returns a folder
    with what is at its destination, `log` has its messages, and its pages are at `port`."""

    name: str
    environ: Mapping[str, str]
    folder: Callable[[], Path]
    log: Path
    process: subprocess.Popen[bytes]
    port: int

    def says(self, words: str) -> bool:
        """Returns whether the log has these words. Raises DemoFailed if the process has ended."""
        text = self.log.read_text()
        if self.has_ended():
            raise DemoFailed(f"the companion for {self.name} has ended: {text[-1_000:]}")
        return words in text

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def files(self) -> dict[str, bytes]:
        return files_in(self.folder())

    def status(self, *form: str) -> str:
        words = [sys.executable, str(PROGRAM), "status", *form]
        return subprocess.run(words, env=self.environ, stdout=subprocess.PIPE, text=True).stdout


class Demo:
    """The demo. The constructor starts everything, and `stack` ends it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._paper = Paper()
        self._processes = Processes(folder)
        stack.callback(self._processes.end)
        self._paper.title("1. A broker, an S3 server, a WebDAV server and a stand-in for Frigate")
        self._broker = Broker()
        self._broker.start()
        stack.callback(self._broker.stop)
        self._rclone = Rclone(folder, self._processes)
        self._bucket = Bucket(folder, self._processes, self._rclone)
        stack.callback(self._bucket.clean_up)
        self._frigate = Frigate(self._broker.port)
        stack.callback(self._frigate.stop)
        self._rclone.wait()
        self._bucket.wait()
        self._paper.say(
            f"MQTT broker  127.0.0.1:{self._broker.port}\n"
            f"S3 server    {self._bucket.endpoint}, bucket {servers.BUCKET}\n"
            f"rclone       nas: is a folder, cloud: is on a WebDAV server, "
            f"127.0.0.1:{self._rclone.port}\n"
            f"Frigate      {self._frigate.url}, two cameras"
        )
        self._paper.title("2. Three companions, each a process with a destination of its own")
        self._companions = [
            self._remote("nas"), self._remote("cloud"),
            self._companion("bucket", self._bucket.environ, self._bucket.folder),
        ]  # fmt: skip
        for companion in self._companions:
            wait_until(partial(companion.says, "S3 MQTT: connected"), f"{companion.name} starts")

    def run(self) -> list[str]:
        """Shows the steps. Returns what is missing or wrong at the destinations. Raises
        DemoFailed."""
        title = self._paper.title
        title("3. Events end, and Frigate tells the broker")
        for camera, label in HEARD:
            self._let_end(camera, label)
        title("4. Events end while the broker is down")
        self._let_end_unheard()
        title("5. The companions mirror all of them")
        self._wait_for_all()
        title("6. The status of that companion, as in: frigate-mirror status")
        self._show_status()
        title("7. What it reports: to the broker, to Home Assistant, and on its pages")
        self._show_reports()
        title("8. The companions stop")
        self._stop_companions()
        title("9. What 7 days of retention would delete in a week, as in: retention --dry-run")
        self._show_retention()
        title("The files of the first event")
        self._show_files()
        title("Some of what its JSON says")
        self._show_document()
        title("All files at the destinations, compared with what Frigate has sent")
        return self._compare()

    # -- the companions

    def _remote(self, name: str) -> Companion:
        """Starts the companion for a remote of rclone."""
        environ = {
            "RCLONE_REMOTE": f"{name}:frigate",
            "RCLONE_CONFIG": str(self._rclone.config),
            "RCLONE_PATH": self._rclone.program,
        }
        folder = self._rclone.folders[name] / "frigate"
        return self._companion(name, environ, lambda: folder)

    def _companion(
        self, name: str, destination: Mapping[str, str], folder: Callable[[], Path]
    ) -> Companion:
        (port,) = free_ports(1)
        environ = servers.environment() | dict(destination) | {
            "FRIGATE_URL": self._frigate.url, "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(self._broker.port), "MIRROR_NAME": name,
            "MIRROR_HOME_ASSISTANT": "true", "MIRROR_HTTP_PORT": str(port),
            "MIRROR_STATE_DIR": str(self._folder / f"state-{name}"),
        }  # fmt: skip
        words = [sys.executable, str(PROGRAM), "companion"]
        process = self._processes.start(f"companion-{name}", words, environ)
        log = self._processes.log(f"companion-{name}")
        where = " ".join(f"{one}={destination[one]}" for one in SHOWN if one in destination)
        self._paper.say(f"{where} FRIGATE_URL=... MQTT_HOST=... frigate-mirror companion")
        return Companion(name, environ, folder, log, process, port)

    # -- the steps

    def _let_end(self, camera: str, label: str) -> None:
        """Lets an event end, and waits for its snapshot."""
        event = self._frigate.ends(camera, label)
        nas = self._rclone.folders["nas"]
        seconds = wait_until(
            lambda: any(nas.rglob(f"*{event.id}.jpg")), f"the snapshot of {event.id} is at nas"
        )
        self._paper.say(
            f"{label:<7} at {camera}, {event.id}: its snapshot is at nas after {seconds:.1f} s"
        )
        time.sleep(BETWEEN)

    def _let_end_unheard(self) -> None:
        self._broker.stop()
        wait_until(lambda: not self._frigate.is_connected, "Frigate sees that the broker is down")
        for camera, label in UNHEARD:
            event = self._frigate.ends(camera, label)
            self._paper.say(f"{label:<7} at {camera}, {event.id}: Frigate can tell nobody")
            time.sleep(BETWEEN)
        self._broker.start()
        wait_until(lambda: self._frigate.is_connected, "Frigate sees the broker again")
        self._paper.say("The broker is back, and knows nothing of them.")

    def _wait_for_all(self) -> None:
        """Waits until all files should be there, and shows a log. If files are missing, the
        comparison says which."""
        events = self._events
        with suppress(DemoFailed):
            seconds = wait_until(
                lambda: not any(lacking(events, one.files()) for one in self._companions),
                "every event is complete",
            )
            self._paper.say(
                f"All files are there after {seconds:.0f} s more. A clip waits until Frigate has "
                "recorded what follows the event."
            )
        self._paper.say("The companion for the bucket logs, among other things:")
        for level, words in LOG_LINE.findall(self._companions[-1].log.read_text()):
            if not DULL.search(words):
                self._paper.say(words if level == "INFO" else f"{level}: {words}", "|")

    def _show_status(self) -> None:
        companion = self._companions[-1]
        uploaded = f'"uploaded": {len(companion.files())},'
        with suppress(DemoFailed):
            wait_until(lambda: uploaded in companion.status("--json"), "the status is written")
        self._paper.say(companion.status())

    def _show_reports(self) -> None:
        companion, say = self._companions[-1], self._paper.say
        files = len(companion.files())
        listener = reports.Listener(self._broker.port)
        try:
            report = listener.report(
                companion.name, lambda one: bool(one["counts"]["uploaded"] >= files)
            )
            say(f"frigate-mirror/{companion.name}/status, retained, among other things:")
            for line in reports.fields_of(report):
                say(line, "|")
            (topic,) = (
                topic for topic, payload in listener.found.items()
                if topic.startswith("homeassistant/") and companion.name.encode() in payload
            )  # fmt: skip
            message = json.loads(listener.found[topic])
            say(f"{topic}, retained, makes Home Assistant show one device:")
            parts = ", ".join(part["name"] for part in message["components"].values())
            say(f"{message['device']['name']}: {parts}", "|")
        finally:
            listener.stop()
        try:
            for path in ("/healthz", "/readyz"):
                say(f"GET {path}: {reports.page(companion.port, path).strip()}")
            text = reports.page(companion.port, "/metrics")
        except OSError as error:
            raise DemoFailed(f"the pages of {companion.name}: {error}") from error
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        say(f"GET /metrics: {len(lines)} lines for Prometheus, among them:")
        for line in reports.metrics_of(text):
            say(line, "|")

    def _stop_companions(self) -> None:
        for companion in self._companions:
            companion.process.terminate()
        for companion in self._companions:
            gone = f"the companion for {companion.name} ends"
            wait_until(companion.has_ended, gone)
        self._paper.say("The next start goes on where they ended.")

    def _show_retention(self) -> None:
        """Shows a dry run at nas, with a clock that shows the moment at which the first two events
        have become too old."""
        environ = {**self._companions[0].environ, "MIRROR_RETENTION": "7d"}
        loaded = settings.load(environ)
        sink = RcloneSink(loaded.rclone, environ)
        moment = int(self._events[2].start) + 7 * DAY
        try:
            run(Job.of(loaded), sink.archive(), self._paper.say, dry=True, clock=lambda: moment)
        except (RetentionError, SinkError) as error:
            raise DemoFailed(f"the retention: {error}") from error
        finally:
            sink.close()

    def _show_files(self) -> None:
        """Shows two lines for each file of the first event. A size is in thousands of bytes and
        rounded up, as in the log."""
        found = {one.name: files_of(self._events[0].id, one.files()) for one in self._companions}
        for key in sorted(set().union(*found.values())):
            places = [name for name in found if key in found[name]]
            size = len(found[places[0]][key])
            self._paper.say(f"{key}\n    {-(-size // 1000)} KB, at {', '.join(places)}")

    def _show_document(self) -> None:
        """Shows some of the fields, each in a line."""
        document = document_of(self._events[0].id, self._companions[-1].files())
        if not document:
            return
        row = document["table"]["event"]
        fields = {
            "schema": document["schema"],
            "frigate": document["frigate"],
            "complete": document["complete"],
            "event": {name: row[name] for name in ("label", "camera", "zones")},
            "reviews": document["reviews"],
            "files": [
                {name: file[name] for name in ("kind", "size")} for file in document["files"]
            ],
        }
        for name, value in fields.items():
            self._paper.say(f'"{name}": {json.dumps(value)}')

    def _compare(self) -> list[str]:
        faults: list[str] = []
        for companion in self._companions:
            files = companion.files()
            found = faults_of(self._events, files, self._frigate.sent)
            verdict = f"{len(found)} faults:" if found else "none of them wrong and none missing"
            self._paper.say(
                f"{companion.name}: {len(files)} files of {len(self._events)} events, {verdict}"
            )
            for fault in found:
                self._paper.say(f"    {fault}")
            faults += found
        return faults

    @property
    def _events(self) -> list[Event]:
        return list(self._frigate.events.values())
