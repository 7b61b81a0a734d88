"""Runs one command and writes what it cost: python -I -S launch.py RESULT NICE COMMAND ...

It is a small process of its own, because the kernel counts the memory before an exec as part of the
new program's peak. NICE is added to the command's niceness. The command stays in the session of the
bench: outside of a container Linux groups processes by session (sched_autogroup), and niceness only
counts within a group, as it does within Frigate's container.
"""

import json
import os
import sys
import time


def main() -> int:
    result, nice, *command = sys.argv[1:]
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.nice(int(nice))
        os.execvpe(command[0], command, os.environ)
    with open(f"{result}.pid", "w") as file:
        file.write(str(child))
    _, status, used = os.wait4(child, 0)
    found = {
        "began": began,
        "ended": time.monotonic(),
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "code": os.waitstatus_to_exitcode(status),
    }
    with open(f"{result}.part", "w") as file:
        json.dump(found, file)
    os.rename(f"{result}.part", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
