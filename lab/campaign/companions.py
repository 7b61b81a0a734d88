"""The world of a run with companions: a Frigate without the mirror inside, its HTTP API, a broker,
and one or more companions, each with a destination of its own.

The API is the stand-in of the tests, over the database and the files of the campaign's Frigate.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path

from lab.campaign.announcer import Announcer
from lab.campaign.destinations import LOCAL, S3, Local, Looks, WebDav
from lab.campaign.events import Event
from lab.campaign.lab import Lab
from lab.campaign.oracle import Oracle, Place, Verdict
from lab.campaign.sets import BESIDE, SetOracle
from lab.campaign.world import ALL_KINDS, DRAIN, LATEST, SHIM, SHORT, World
from tests.rig import STANDIN, processes
from tests.rig.api import FrigateStandin
from tests.rig.broker import Broker

USER, PASSWORD = "viewer", "viewer's password"
API_VERSIONS = {"0.16": "0.16.4", "0.17": "0.17.2", "0.18": "0.18.0-beta1"}
EVERY = {"MIRROR_SWEEP_INTERVAL": "3", "MIRROR_CLIP_PADDING": "2"}
HASTE = {
    "frigate_mirror.broker": {"PAUSES": (1, 2), "CONNECT": 2.0},
    "frigate_mirror.frigate.api": {
        "FIRST_PAUSE": 1.0, "LONGEST_PAUSE": 4.0, "FrigateApi": {"idle": 2.0}},
    "frigate_mirror.frigate.readiness": {"LATEST": LATEST, "STILL_TAIL": 6.0, "LOOK_AGAIN": 0.5},
    "frigate_mirror.frigate.remote_clips": {"AFTER_FAILURE": 1.0},
    "frigate_mirror.intake.intake": {"AFTER_FAILURE": 1.0},
    "frigate_mirror.intake.sweep": {"COMPARE_EVERY": 2.0},
    "frigate_mirror.sources.mqtt": {"RETRY": 1.0, "PATIENCE": 2.0},
}  # fmt: skip
"""Waits of the companion, in seconds, that would otherwise make a run take minutes."""


class Companion:
    """One process `s3_snapshot_mirror.py companion`. Its output is appended to `log`."""

    def __init__(self, root: Path, environ: Mapping[str, str], log: Path) -> None:
        self.program = root / "s3_snapshot_mirror.py"
        self.environ = dict(environ)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id, 0 while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    @property
    def rclones(self) -> list[int]:
        """The process ids of the rclone that it has started: one, or none."""
        own = self.pid
        found = processes.parents().items()
        return [
            pid for pid, parent in found if own and parent == own and processes.runs(pid, "rcd")
        ]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(self.program), "companion"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd="/",
                start_new_session=True,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, within: float = DRAIN + 8.0) -> int | None:
        """Stops it as docker does. Returns its exit code, or None if it was killed after
        `within` seconds."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class SeveralOracles(Oracle):
    """Asks one oracle for each destination. An event has arrived when it is at all of them, and
    each destination counts what it was offered."""

    def __init__(self, oracles: Mapping[str, SetOracle]) -> None:
        self._oracles = oracles

    def arrived(self) -> Set[str]:
        first, *others = (one.arrived() for one in self._oracles.values())
        return frozenset(first).intersection(*others)

    def judge(self, owed: Mapping[str, Event], known: Mapping[str, Event]) -> Verdict:
        whole = Verdict()
        for name, oracle in self._oracles.items():
            one = oracle.judge(owed, known)
            whole.offered += one.offered
            for what in ("lost", "duplicated", "wrong", "alien"):
                getattr(whole, what).extend(f"{name}: {text}" for text in getattr(one, what))
        return whole


class CompanionWorld(World):
    """A companion mirrors to each of the `destinations` (S3, LOCAL, WEBDAV). `environ` are further
    settings of all companions."""

    def __init__(
        self,
        lab: Lab,
        seed: str,
        version: str,
        *,
        destinations: Sequence[str],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._names = destinations
        self._settings = ALL_KINDS | EVERY | dict(environ or {})
        super().__init__(lab, seed, version, environ=self._settings)
        self.change(constants=HASTE, steps=None)
        self.broker = Broker()
        self.at_close(self.broker.stop)
        self.start_api()
        self.at_close(lambda: self.api.stop())
        self.companions = [
            Companion(lab.root, self._environ_of(number, name), self.log)
            for number, name in enumerate(destinations)
        ]

    # -- what it consists of

    def _make_bucket(self, tls: bool) -> None:
        super()._make_bucket(tls)
        self.places = {name: self._place(name) for name in self._names}
        oracles = {name: self._oracle(name, place) for name, place in self.places.items()}
        self.oracle = SeveralOracles(oracles)
        self._looks = {name: Looks(place) for name, place in self.places.items()}

    def _place(self, name: str) -> Place:
        room = self.folder / name
        room.mkdir()
        if name == S3:
            return self.bucket
        if name == LOCAL:
            return Local(room)
        served = WebDav(room)
        self.at_close(served.server.stop)
        return served

    def _oracle(self, name: str, place: Place) -> SetOracle:
        kinds = frozenset(self._settings["MIRROR_KINDS"].split(","))
        prefix = self.prefix if name == S3 else ""
        return SetOracle(place, prefix, self.database, self.recordings, LATEST,
                         kinds=kinds, keys=BESIDE)  # fmt: skip

    def _make_retention(self) -> None:
        super()._make_retention()
        self.retention.share = 0.0  # what an outage of the API outlasts is not the mirror's loss

    def _environ(self, tls: bool) -> dict[str, str]:
        """The environment of Frigate's container, which has no mirror."""
        found = super()._environ(tls)
        del found["CAMPAIGN_PAUSES"]
        return found | {"PYTHONPATH": str(STANDIN)}

    def _environ_of(self, number: int, name: str) -> dict[str, str]:
        """The environment of one companion."""
        home = self.folder / f"companion{number}"
        home.mkdir()
        place = self.places[name]
        taken = ("PATH", "TMPDIR", "AWS_EC2_METADATA_DISABLED", "CAMPAIGN_CONTROL",
                 "CAMPAIGN_WORLD", "MIRROR_UPLOAD_THREADS", "MIRROR_KEY_TIMEZONE",
                 *(name for name in self.environ if name.startswith("S3_")))  # fmt: skip
        found = {one: self.environ[one] for one in taken}
        if isinstance(place, (Local, WebDav)):
            found = {one: text for one, text in found.items() if not one.startswith("S3_")}
            found |= place.environ
        return found | SHORT | self.broker.environ | self._settings | {
            "HOME": str(home), "PYTHONPATH": str(SHIM), "MIRROR_STATE_DIR": str(home / "state"),
            "FRIGATE_URL": self.api.url, "FRIGATE_USER": USER, "FRIGATE_PASSWORD": PASSWORD,
            "MIRROR_HTTP_PORT": "0",
        }  # fmt: skip

    # -- Frigate

    def start(self) -> None:
        """Starts what does not run yet: the broker, Frigate, the companions."""
        if self.broker.process is None:
            self.broker.start()
            qos = self.rng.choice((0, 1))  # the owner chooses it in Frigate's configuration
            self.announcer = Announcer(self.broker.host, self.broker.port, qos)
            self.at_close(self.announcer.close)
            for looks in self._looks.values():
                looks.start()
        if self.host is None or not self.host.alive:
            super().start()
        for companion in self.companions:
            if not companion.pid:
                companion.start()

    def start_api(self) -> None:
        """Starts Frigate's API, at the port that it had before."""
        port = self.api.port if hasattr(self, "api") else 0
        disturbed = self.api.disturbed if port else 0
        self.api = FrigateStandin(self.database, self.clips.parent, API_VERSIONS[self.version],
                                  users={USER: PASSWORD}, port=port)  # fmt: skip
        self.api.disturbed = disturbed

    @property
    def mirror(self) -> int:
        """The process id of the first companion, 0 while it does not run."""
        return self.companions[0].pid

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.ask(self.companions[0], *words)

    def ask(self, companion: Companion, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command with the settings of this companion, as a person does."""
        return subprocess.run(
            [sys.executable, str(companion.program), *words],
            env=companion.environ | {"PYTHONPATH": ""},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _hear(self) -> None:
        """Also publishes that an event has ended, as soon as its row is committed."""
        before = {one.id for one in self.events.values() if not one.committed}
        super()._hear()
        for event_id in before:
            if self.events[event_id].committed:
                self.announcer.ended(self.events[event_id])

    # -- its end

    def stop(self) -> None:
        """Stops the companions and then Frigate, as docker does. Nothing of them is left."""
        for companion in self.companions:
            if companion.pid and companion.stop() != 0:
                self.complaints.append("a companion did not end in good order")
        rclones: Collection[int] = ()

        def gone() -> bool:
            nonlocal rclones
            rclones = [pid for pid in self.processes() if processes.runs(pid, "rcd")]
            return not rclones

        self.wait_until(gone, 10, "the end of each rclone after its companion's")
        super().stop()
        self._judge_looks()

    def _judge_looks(self) -> None:
        """Complains of files that were shorter once."""
        for name, looks in self._looks.items():
            if not looks.is_alive():
                self.complaints.append(f"{name}: nobody looks any more")
            if short := looks.short():
                self.complaints.append(f"{name}: shorter at a look: {' '.join(sorted(short)[:3])}")

    def close(self) -> None:
        for looks in self._looks.values():
            if looks.is_alive():
                looks.stop()
        super().close()
