"""Whether a service checks the SHA-256 that a put names, so that no MD5 has to be made beside it.

The first put asks, with both digests. What else is to be put at that moment waits for the answer, a
small file hardly and a large one longer: on a fast line eight large ones at a start would cost
twice the CPU else. On a slow one they may wait for nothing, once, and make their MD5.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MD5_SPEED = 600e6  # bytes a second, on the machines of small recorders
PATIENCE = 10  # times what the MD5 would take


class Trust:
    """`known` is None until the service has answered."""

    def __init__(self, known: bool | None) -> None:
        self.known = known
        self._asking = False
        self._answered = threading.Condition()

    @contextmanager
    def asked(self, size: int) -> Iterator[bool | None]:
        """For a put of so many bytes: what is known, None for whoever has to ask."""
        if self.known is None:
            self._take_turn(PATIENCE * size / MD5_SPEED)
        try:
            yield self.known
        finally:
            if self._asking:  # it may be another's question: then two of us ask
                self._over()

    def _take_turn(self, patience: float) -> None:
        with self._answered:
            if self._asking:
                self._answered.wait_for(lambda: not self._asking, patience)
            self._asking = self.known is None

    def _over(self) -> None:
        with self._answered:
            self._asking = False
            self._answered.notify_all()
