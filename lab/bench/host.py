"""A process that stands for Frigate's: python -I lab/bench/host.py SECONDS.

One thread beats every 5 ms, another only computes. The program prints how late the beats were and
how often the computing loop turned."""

import json
import sys
import threading
import time

BEAT = 0.005


def main() -> None:
    until = time.perf_counter() + float(sys.argv[1])
    turns = 0

    def compute() -> None:
        nonlocal turns
        while time.perf_counter() < until:
            for _ in range(10_000):
                pass
            turns += 1

    computing = threading.Thread(target=compute)
    computing.start()
    late, due = [], time.perf_counter()
    while due < until:
        due += BEAT
        time.sleep(max(0.0, due - time.perf_counter()))
        late.append(1000 * (time.perf_counter() - due))
        due = max(due, time.perf_counter() - BEAT)  # it does not catch up on beats that it missed
    computing.join()
    late.sort()
    print(json.dumps({"p50": late[len(late) // 2], "p99": late[int(len(late) * 0.99)],
                      "turns": turns}))  # fmt: skip


if __name__ == "__main__":
    main()
