"""Whether a SHA-256 will do: the first to ask finds out for all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from frigate_mirror import s3_trust
from frigate_mirror.s3_trust import Trust
from s3_case import environ_for, put, sink_for
from stub import Stub
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


def test_of_what_is_put_at_once_only_one_has_an_md5(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_trust, "PATIENCE", 1e6)
    stub.checks = True
    sink = sink_for(environ_for(stub.endpoint))
    threads = [threading.Thread(target=put, args=(sink, f"k{n}", b"x" * 9000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(stub.seen) == 8
    assert len([seen for seen in stub.seen if "content-md5" in seen.headers]) == 1


def test_once_it_is_known_nobody_asks() -> None:
    trust = Trust(False)
    with trust.asked(LARGE) as one, trust.asked(LARGE) as other:
        assert (one, other) == (False, False)
