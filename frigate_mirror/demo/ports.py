"""Free ports on loopback, for servers that must be told their ports. Needs nothing but Python.

`python -m frigate_mirror.demo.ports COUNT` prints so many of them.
"""

from __future__ import annotations

import random
import socket
import sys

GRPC = 10_000  # SeaweedFS opens a second port for gRPC this much above each of its ports


def free_ports(count: int) -> list[int]:
    """Ports that are free together with their gRPC ports. All of them lie below 32768, where the
    kernel takes the ports of outgoing connections from."""
    free: list[int] = []
    while len(free) < count:
        port = random.randrange(12_000, 22_000)
        if port not in free and _is_free(port) and _is_free(port + GRPC):
            free.append(port)
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether somebody listens on this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    print(*free_ports(int(sys.argv[1])))
