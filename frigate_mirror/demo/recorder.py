"""Shows the recorder on this machine: two cameras, a real S3 server, and what may go wrong.

The cameras are small RTSP servers whose pictures ffmpeg makes. The recorder is a process as its
owner starts it. All files are in one temporary folder, which the demo deletes at its end.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import frigate_mirror
from frigate_mirror.demo import servers
from frigate_mirror.demo.paper import Paper
from frigate_mirror.demo.rtsp import Camera
from frigate_mirror.demo.servers import Bucket, DemoFailed, Processes, Rclone, wait_until

PROGRAM = Path(frigate_mirror.__file__).parents[1] / "s3_snapshot_mirror.py"
NAMES = ("front-door", "back-yard")
PASSWORD = "secret-of-the-camera"
SECONDS = 10  # of a segment
EX_OK, EX_FAILED = 0, 1


def missing() -> str:
    """Returns what has to be installed, or an empty text."""
    if shutil.which("ffmpeg") is None:
        return "The demo needs ffmpeg 5 or later: apt-get install ffmpeg, or what your system has"
    lacking = [name for name, module in (("boto3", "boto3"), ("pyyaml", "yaml"))
               if find_spec(module) is None]  # fmt: skip
    lacking += [one for one in servers.missing() if one.endswith("-bin")]
    if lacking:
        return f"The demo lacks what this installs: {sys.executable} -m pip install " + " ".join(
            lacking
        )
    return ""


def main(*, keep: bool) -> int:
    """Runs the demo. Returns 0 if every segment is in the bucket and plays, and otherwise 1."""
    if lacking := missing():
        print(lacking, file=sys.stderr)
        return EX_FAILED
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="recorder-demo-"))
    try:
        with ExitStack() as stack:
            Demo(folder, stack).run()
    except DemoFailed as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return EX_FAILED
    finally:
        if keep:
            print(f"\nThe files are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return EX_OK


class Demo:
    """The demo. The constructor starts the servers, and `stack` ends everything."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._segments = folder / "segments"
        self._ffmpeg = shutil.which("ffmpeg") or "ffmpeg"
        self._paper = Paper()
        self._processes = Processes(folder)
        self._config = folder / "config.yaml"
        self._runs = 0
        stack.callback(self._processes.end)
        self._paper.title("1. Two cameras and an S3 server")
        self._cameras = {name: Camera(name, self._ffmpeg, PASSWORD) for name in NAMES}
        for camera in self._cameras.values():
            camera.start()
            stack.callback(camera.stop)
        rclone = Rclone(folder, self._processes)
        self._bucket = Bucket(folder, self._processes, rclone)
        stack.callback(self._bucket.clean_up)
        rclone.wait()
        self._bucket.wait()
        for name, camera in self._cameras.items():
            self._paper.say(f"{name:<11} {camera.url.replace(PASSWORD, '***')}")
        self._paper.say(f"{'S3 server':<11} {self._bucket.endpoint}")

    def run(self) -> None:
        """Shows the steps. Raises DemoFailed."""
        title, say = self._paper.title, self._paper.say
        self._configure()
        title(f"2. The recorder starts, with segments of {SECONDS} seconds")
        process = self._record()
        self._wait_for_pictures(*NAMES)
        self._say_who_sees_the_password(process)
        title("3. A camera loses its power, and has it again")
        camera = self._cameras["front-door"]
        camera.stop()
        wait_until(lambda: not self._growing("front-door"), "the loss is noticed")
        say("front-door is off: its segment is finished, and the other camera goes on")
        camera.start()
        self._wait_for_pictures("front-door")
        title("4. The recorder is killed, and started again")
        process.kill()
        process.wait()
        left = list(self._segments.glob("*/.*.growing"))
        say(f"it has left {len(left)} segments that were growing")
        process = self._record()
        wait_until(lambda: not any(path.exists() for path in left), "they are finished")
        self._wait_for_pictures(*NAMES)
        wait_until(lambda: "S3 mirror: OK" in self._tell("status"), "the mirror is well")
        title("5. What its owner sees")
        for line in self._tell("status"):
            say(line)
        title("6. The recorder is stopped, and the last segments go up")
        wait_until(lambda: len(self._objects()) >= 4, "some segments are uploaded")
        process.terminate()
        process.wait()
        uploader = self._record("--uploader")
        wait_until(lambda: not list(self._segments.glob("*/[0-9]*")), "the last ones are uploaded")
        uploader.terminate()
        uploader.wait()
        self._play_all()

    def _configure(self) -> None:
        s3 = self._bucket.environ
        document = {
            "storage": {"local_path": str(self._segments)},
            "s3": {
                "bucket": s3["S3_BUCKET"], "endpoint": s3["S3_ENDPOINT_URL"],
                "access_key_id": s3["S3_ACCESS_KEY"], "secret_access_key": s3["S3_SECRET_KEY"],
            },
            "cameras": [
                {"name": name, "rtsp_url": camera.url} for name, camera in self._cameras.items()
            ],
            "recording": {"segment_duration": SECONDS, "ffmpeg": self._ffmpeg},
            "upload": {"check_interval": 5},
        }  # fmt: skip
        self._config.touch(0o600)
        self._config.write_text(json.dumps(document, indent=1))  # which is YAML, too

    def _record(self, *words: str) -> subprocess.Popen[bytes]:
        self._runs += 1
        program = [sys.executable, str(PROGRAM), "recorder", "run", "--config", str(self._config)]
        return self._processes.start(
            f"recorder-{self._runs}", [*program, *words], servers.environment()
        )

    def _tell(self, what: str) -> list[str]:
        words = [sys.executable, str(PROGRAM), "recorder", what, "--config", str(self._config)]
        done = subprocess.run(words, env=servers.environment(), stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()

    def _growing(self, camera: str) -> bool:
        return any((self._segments / camera).glob(".*.growing"))

    def _wait_for_pictures(self, *cameras: str) -> None:
        for camera in cameras:
            took = wait_until(partial(self._growing, camera), f"{camera} is recorded")
            self._paper.say(f"{camera} is recorded after {took:.1f} s")

    def _say_who_sees_the_password(self, process: subprocess.Popen[bytes]) -> None:
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        ours = [line for line in lines if b"ffconcat" in line or b"concat\0" in line]
        seen = any(PASSWORD.encode() in line for line in lines)
        if seen or not ours or process.poll() is not None:
            raise DemoFailed("the password of a camera stands in the list of processes")
        self._paper.say(f"no process of {len(lines)} shows the password of a camera")

    def _objects(self) -> dict[str, Path]:
        """Returns a copy of each object by its key."""
        folder = self._bucket.folder()
        found = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path for path in sorted(found)}

    def _play_all(self) -> None:
        """Decodes every object. Raises DemoFailed if one does not play."""
        self._paper.title("7. Every object in the bucket plays from its start to its end")
        for key, path in self._objects().items():
            words = [self._ffmpeg, "-nostdin", "-v", "warning", "-stats", "-i", str(path),
                     "-f", "null", "-"]  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True)
            *said, last = done.stderr.replace("\r", "\n").strip().splitlines() or [""]
            faults = [line for line in said if not line.startswith("frame=")]
            if done.returncode or faults or not last.startswith("frame="):
                raise DemoFailed(f"{key} does not play: {' '.join(faults) or last}")
            pictures = last.removeprefix("frame=").split()[0]
            self._paper.say(f"{key}  {path.stat().st_size / 1e3:,.0f} KB, {pictures} pictures")
        self._paper.title("Every segment is in the bucket, and plays.")
