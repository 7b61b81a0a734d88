"""Way: how a notice gets to the owner. Each way is a class of its own; `ways` lists them."""

from __future__ import annotations

from typing import Protocol

from frigate_mirror.notify.notice import Notice


class NotSent(Exception):
    """A notice or a ping was not sent. The message says why, as the end of a sentence, and has no
    secret."""


class Way(Protocol):
    """One way to the owner."""

    @property
    def name(self) -> str:
        """A short name. Unsent notices are kept under it, so the next process has to know the way
        by the same name."""
        ...

    def send(self, notice: Notice) -> None:
        """Sends a notice, or raises NotSent. A notice that is sent once more has the same id."""
        ...
