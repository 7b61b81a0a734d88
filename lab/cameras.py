"""python -m lab.cameras: records eight cameras, kills the recorder a hundred times, and uploads a
segment that is larger than S3 takes in one request.

The cameras are those of a real RTSP server (`tests.rig.rtsp`). It counts the pictures in the
bucket, decodes every object, and reads what the processes cost.

Exit codes: 0 all is well, 1 something was lost or does not play, 2 there is no RTSP server.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.rig import processes, rtsp
from tests.rig.ffmpeg import pictures
from tests.rig.recording import Recording
from tests.rig.router import Router
from tests.rig.rtsp import RtspServer
from tests.rig.servers import Bucket, SeaweedFS
from tests.rig.waiting import until

CAMERAS = tuple(f"camera{number}" for number in range(8))
WARM = 20.0  # seconds, after which the costs are counted
ENOUGH = 0.999  # of the pictures
KILLS_OF_A_SERVER = 20
PART = 16 << 20  # bytes; a kill costs the part that was under way
HEADERS = 0.01  # of a large segment, that may be sent besides it
AT_THE_ENDS = 5  # pictures of each camera that its server makes before or after anybody listens


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.cameras", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of each of the two long runs")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--gigabytes", type=float, default=5.4, help="of the large segment")
    parser.add_argument("--codecs", default="h264+aac", help="see tests/rig/cameras")
    arguments = parser.parse_args()
    if why := rtsp.missing():
        print(why, file=sys.stderr)
        return 2
    weed = SeaweedFS()
    faults = 0
    try:
        for services in (False, True):
            faults += _long(weed.bucket(), arguments.minutes, arguments.codecs, services=services)
        if arguments.kills:
            faults += _kills(arguments.kills)
        if arguments.gigabytes:
            faults += _large(weed.bucket(), int(arguments.gigabytes * 1e9))
    finally:
        weed.stop()
    print(f"{faults} fault(s)")
    return 1 if faults else 0


def _long(bucket: Bucket, minutes: float, codecs: str, *, services: bool) -> int:
    """Records all cameras, in one process or in a service each, and returns how many faults there
    were."""
    form = "a service for each camera" if services else "all in one process"
    print(f"eight cameras ({codecs}) for {minutes:g} minutes, {form}")
    with tempfile.TemporaryDirectory() as name:
        server = RtspServer(dict.fromkeys(CAMERAS, codecs))
        recording = Recording(
            Path(name), {camera: server.url(camera) for camera in CAMERAS}, _s3(bucket),
            recording={"segment_duration": 60}, mirror={"MIRROR_LOG_LEVEL": "INFO"},
        )  # fmt: skip
        try:
            if services:
                recorders = [recording.run("--camera", camera) for camera in CAMERAS]
                recorders.append(recording.run("--uploader"))
            else:
                recorders = [recording.run()]
            _costs([process.pid for process in recorders], minutes, services=services)
            for process in recorders:
                recording.stop(process)
            made = sum(server.stop().values())
            uploader = recording.run("--uploader")
            until(lambda: not any(map(recording.files, CAMERAS)), "all is uploaded")
            recording.stop(uploader)
        finally:
            recording.end()
            server.stop()
        kept = sum(len(pictures(path)) for path in _objects(bucket, Path(name)))
        gaps = sum(len(recording.gaps(camera)) for camera in CAMERAS)
    print(f"  pictures     {kept} of {made} in the bucket, {kept / made:.2%}; {gaps} gap(s)")
    return int(kept < ENOUGH * made - AT_THE_ENDS * len(CAMERAS)) + gaps


def _costs(pids: list[int], minutes: float, *, services: bool) -> None:
    time.sleep(WARM)
    ffmpegs = [pid for pid, parent in processes.parents().items() if parent in pids]
    before = {pid: processes.cpu(pid) for pid in (*pids, *ffmpegs)}
    began, peaks = time.monotonic(), dict.fromkeys(pids, 0.0)
    while time.monotonic() - began < minutes * 60:
        time.sleep(5)
        peaks = {pid: max(peak, _pss(pid)) for pid, peak in peaks.items()}
    took = time.monotonic() - began
    cpu = {pid: 100 * (processes.cpu(pid) - used) / took for pid, used in before.items()}
    recorders = pids[:-1] if services else pids
    print(f"  CPU          {sum(cpu[pid] for pid in recorders):.2f} % of a core for the recorders, "
          f"{sum(cpu[pid] for pid in ffmpegs):.2f} % for all ffmpeg")  # fmt: skip
    print(
        f"  memory       {max(peaks[pid] for pid in recorders):.1f} MB the largest recorder (PSS)"
    )
    if services:
        print(f"  uploader     {cpu[pids[-1]]:.2f} % of a core, {peaks[pids[-1]]:.1f} MB (PSS)")


def _pss(pid: int) -> float:
    found = re.search(r"(?m)^Pss:\s*(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _kills(count: int) -> int:
    """Kills the recorder of one camera at random moments. Returns how many kills cost more than ten
    seconds."""
    print(f"a recorder that is killed {count} times")
    chance, gaps, segments = random.Random(1), [], 0
    while count > len(gaps):
        # GStreamer's server was seen to hang after many connections that break off.
        some = min(KILLS_OF_A_SERVER, count - len(gaps))
        found, files = _some_kills(some, chance)
        gaps += [*found, *[0.0] * (some - len(found))]
        segments += files
    print(f"  {segments} segments, all play; lost {sum(gaps) / count:.1f} s for each kill, "
          f"{max(gaps):.1f} s at most, of which the start takes most")  # fmt: skip
    return sum(gap > 10 for gap in gaps)


def _some_kills(count: int, chance: random.Random) -> tuple[list[float], int]:
    """Returns the seconds of each gap, and how many segments there are. All of them must play."""
    with tempfile.TemporaryDirectory() as name:
        server = RtspServer({"front": "h264+aac"})
        recording = Recording(Path(name), {"front": server.url("front")})
        try:
            for _ in range(count):
                process = recording.run("--camera", "front")
                recording.records("front")
                time.sleep(chance.uniform(0, 6))
                process.kill()
                process.wait()
            process = recording.run("--camera", "front")
            recording.records("front")
            recording.stop(process)
        finally:
            recording.end()
            server.stop()
        files = recording.files("front")
        assert all(map(pictures, files))
        return [gap["until"] - gap["from"] for gap in recording.gaps("front")], len(files)


def _large(bucket: Bucket, size: int) -> int:
    """Uploads a segment of so many bytes, and kills the uploader when a third and two thirds are
    sent. Returns 1 if the object is another one, or if much was sent twice."""
    print(f"a segment of {size / 1e9:.1f} GB, whose uploader is killed twice")
    with tempfile.TemporaryDirectory() as name:
        if shutil.disk_usage(name).free < 3 * size:
            print("  left out: the disk has no room for it")
            return 0
        router = Router(bucket.endpoint)
        s3 = _s3(bucket) | {"endpoint": router.endpoint}
        recording = Recording(Path(name), {"front": "rtsp://127.0.0.1:1/x"}, s3)
        path = recording.segments / "front" / "20240118_120000.mp4"
        path.parent.mkdir(parents=True)
        digest = _noise(path, size)
        began = time.monotonic()
        try:
            for third in (1, 2, 3):
                process = recording.run("--uploader")
                aim = third * size // 3
                until(lambda aim=aim: router.passed >= aim, recording.log.read_text, within=600)
                if third < 3:
                    process.kill()
                    process.wait()
            until(lambda: not path.exists(), "it is confirmed and deleted here", within=600)
            took = time.monotonic() - began
            recording.stop(process)
        finally:
            recording.end()
            router.close()
        [key] = bucket.sizes()
        same = bucket.digest(key) == digest
        twice = router.passed / size - 1
        print(f"  {'the same' if same else 'ANOTHER ONE'} in the bucket; {twice:.2%} sent twice, "
              f"with all headers; {took:.0f} s")  # fmt: skip
    return int(not same or twice * size > 2 * PART + HEADERS * size)


def _noise(path: Path, size: int) -> str:
    """Writes a file that cannot be compressed, and returns its SHA-256."""
    digest, block = hashlib.sha256(), random.Random(1).randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(0, size, len(block)):
            piece = number.to_bytes(8, "big") + block[8 : min(len(block), size - number)]
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _s3(bucket: Bucket) -> dict[str, str]:
    return {
        "bucket": bucket.name, "endpoint": bucket.endpoint, "ca_file": bucket.ca_bundle,
        "access_key_id": bucket.environ["S3_ACCESS_KEY"],
        "secret_access_key": bucket.environ["S3_SECRET_KEY"],
    }  # fmt: skip


def _objects(bucket: Bucket, folder: Path) -> Iterator[Path]:
    """Yields a copy of each object, one at a time."""
    for key in bucket.sizes():
        path = folder / f"object.{key.rpartition('.')[2]}"
        path.write_bytes(bucket.get(key))
        yield path


if __name__ == "__main__":
    sys.exit(main())
