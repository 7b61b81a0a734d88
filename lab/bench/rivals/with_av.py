"""Reads the duration of the video of each file of a list by PyAV: with_av.py LIST"""

import sys

import av


def main() -> None:
    with open(sys.argv[1]) as files:
        for path in files.read().splitlines():
            with av.open(path) as movie:
                stream = movie.streams.video[0]
                print(float(stream.duration * stream.time_base))


if __name__ == "__main__":
    main()
