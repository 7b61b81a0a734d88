"""Asks ffprobe for the duration of each file of a list, in a process each:
with_ffprobe.py FFPROBE LIST"""

import subprocess
import sys

ASKED = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]


def main() -> None:
    ffprobe, listed = sys.argv[1:]
    with open(listed) as files:
        for path in files.read().splitlines():
            print(float(subprocess.check_output([ffprobe, *ASKED, path])))


if __name__ == "__main__":
    main()
