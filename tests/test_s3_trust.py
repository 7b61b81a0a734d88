"""Whether a SHA-256 will do: the first to ask finds out for all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from frigate_mirror.s3_trust import Trust
from worlds import until

LARGE, SMALL = 10**12, 1


def in_a_thread(trust: Trust, size: int) -> Callable[[], list[bool | None]]:
    """Ask in a thread of its own; what it was told, once it has ended."""
    told: list[bool | None] = []

    def ask() -> None:
        with trust.asked(size) as known:
            told.append(known)

    thread = threading.Thread(target=ask)
    thread.start()

    def found() -> list[bool | None]:
        thread.join(10)
        return told

    return found


def waits(trust: Trust) -> bool:
    return len(trust._answered._waiters) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("answer", [True, False])
def test_who_asks_meanwhile_waits_for_the_answer(answer: bool) -> None:
    trust = Trust(None)
    with trust.asked(SMALL) as known:
        other = in_a_thread(trust, LARGE)
        until(lambda: waits(trust))
        trust.known = answer
    assert (known, other()) == (None, [answer])


def test_nobody_waits_for_longer_than_it_is_worth() -> None:
    trust = Trust(None)
    with trust.asked(LARGE):
        assert in_a_thread(trust, SMALL)() == [None]


def test_a_question_without_an_answer_is_the_next_ones() -> None:
    trust = Trust(None)
    with pytest.raises(OSError), trust.asked(SMALL):
        other = in_a_thread(trust, LARGE)
        until(lambda: waits(trust))
        raise OSError
    assert other() == [None]
    trust.known = True
    assert in_a_thread(trust, LARGE)() == [True]


def test_once_it_is_known_nobody_asks() -> None:
    trust = Trust(False)
    with trust.asked(LARGE) as one, trust.asked(LARGE) as other:
        assert (one, other) == (False, False)
