"""An ffmpeg that misbehaves.

    python ffmpeg.py FFMPEG WORD...

It does what the campaign's control file says: {"ffmpeg": {"how": [names below], "times": at most so
many times}}. It chooses one of the names for each run. Otherwise it is the program FFMPEG with
these words. The last word is the file to write.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time

CONTROL = os.environ.get("CAMPAIGN_CONTROL", "")
REAL, *WORDS = sys.argv[1:]
OUTPUT = WORDS[-1] if WORDS else ""
LOST_WORDS = b"[mp4 @ 0x5] \x1b[31m\xff something that nobody understands\n"


def really() -> None:
    os.execv(REAL, [REAL, *WORDS])


def whole() -> None:
    """Does the work and goes on living."""
    if code := subprocess.run([REAL, *WORDS], check=False).returncode:
        sys.exit(code)


def killed() -> None:
    """Is killed in the middle."""
    with subprocess.Popen([REAL, *WORDS]) as process:
        time.sleep(random.uniform(0.0, 0.1))
        process.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def hung() -> None:
    """Hangs: at once, in the middle, or when its work is done."""
    if random.random() < 0.3:
        whole()
    elif random.random() < 0.5:
        with open(OUTPUT, "wb") as file:
            file.write(os.urandom(random.randrange(1, 100_000)))
    time.sleep(3600)


def rubbish() -> None:
    with open(OUTPUT, "wb") as file:
        file.write(os.urandom(random.randrange(1, 300_000)))


def nothing() -> None:
    """Ends with code 0 and has written nothing."""


def empty() -> None:
    open(OUTPUT, "wb").close()


def cut_short() -> None:
    whole()
    os.truncate(OUTPUT, random.randrange(os.path.getsize(OUTPUT)))


def leaves_out() -> None:
    """Leaves out a segment, or the only one."""
    with open("list") as file:
        head, *lines = file.read().split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("file ")]
    first = random.choice(starts)
    after = next((one for one in starts if one > first), len(lines))
    del lines[first:after]
    if len(starts) > 1:
        with open("list", "w") as file:
            file.write("\n".join([head, *lines]))
        really()


def fails() -> None:
    os.write(2, LOST_WORDS)
    sys.exit(random.choice((1, 2, 69, 187, 255)))


def floods() -> None:
    """Prints more than a pipe holds, and then works."""
    for _ in range(5_000):
        os.write(2, LOST_WORDS)
    really()


def waits() -> None:
    time.sleep(random.uniform(0.2, 1.0))
    really()


def kills_the_mirror() -> None:
    """The mirror is killed while it works: before, in the middle, or when it has just finished."""
    at = random.choice((0.0, random.uniform(0.0, 0.1), 10.0))
    with subprocess.Popen([REAL, *WORDS]) as process:
        try:
            process.wait(at)
        except subprocess.TimeoutExpired:
            pass
        os.kill(os.getppid(), signal.SIGKILL)


KINDS = {one.__name__: one for one in (
    really, killed, hung, rubbish, nothing, empty, cut_short, leaves_out, fails, floods, waits,
    kills_the_mirror,
)}  # fmt: skip


def main() -> None:
    try:
        with open(CONTROL, encoding="utf-8") as file:
            wanted = json.load(file).get("ffmpeg", {})
    except OSError:
        wanted = {}
    if not wanted or not OUTPUT.endswith(".mp4"):
        really()
    with open(f"{CONTROL}.ffmpeg", "a+") as file:  # tells that it has misbehaved, and how often
        if file.tell() >= wanted.get("times", math.inf):
            really()
        file.write("x")
    KINDS[random.choice(wanted["how"])]()


if __name__ == "__main__":
    main()
