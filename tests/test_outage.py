"""The circuit breaker: when it opens and closes, what it logs, and one probe at a time."""

from __future__ import annotations

import logging

import pytest

from frigate_mirror.sinks.sink import Misconfigured, SinkError, Unavailable
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.outage import CircuitBreaker, Permit
from tests.rig.worlds import Clock

BUSY = Unavailable("put k: SlowDown")
REFUSED = Misconfigured("put k: AccessDenied", hint="allow s3:PutObject")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(Backoff(base=1.0, cap=60.0, chance=lambda: 1.0), clock)


def fail(breaker: CircuitBreaker, artifact_id: str, error: SinkError = BUSY) -> None:
    permit = breaker.permit()
    assert permit is not None
    breaker.failed(error, permit, artifact_id)


def go_down(breaker: CircuitBreaker) -> None:
    fail(breaker, "a")
    fail(breaker, "b")
    assert breaker.down


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_one_artifact_alone_does_not_open_the_breaker_however_often_it_fails(
    breaker: CircuitBreaker,
) -> None:
    for _ in range(10):
        fail(breaker, "poison")
    assert not breaker.down and breaker.pause() == 0.0
    assert breaker.permit() is not None and breaker.permit() is not None


def test_two_failed_artifacts_open_the_breaker_unless_a_success_came_between_them(
    breaker: CircuitBreaker,
) -> None:
    fail(breaker, "a")
    breaker.succeeded()
    fail(breaker, "b")
    assert not breaker.down
    fail(breaker, "c")
    assert breaker.down


def test_a_first_refusal_that_only_the_owner_can_correct_opens_the_breaker_at_once(
    breaker: CircuitBreaker,
) -> None:
    fail(breaker, "a", REFUSED)
    assert breaker.down


def test_after_a_successful_put_a_single_refusal_concerns_its_artifact_alone(
    breaker: CircuitBreaker,
) -> None:
    breaker.succeeded()
    fail(breaker, "a", REFUSED)
    assert not breaker.down


def test_while_down_one_probe_at_a_time_is_permitted_after_a_pause(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    go_down(breaker)
    assert breaker.permit() is None and breaker.pause() == 1.0
    clock.now += 1.0
    probe = breaker.permit()
    assert probe is not None and breaker.permit() is None and breaker.pause() == float("inf")
    breaker.failed(BUSY, probe, "a")
    assert breaker.permit() is None and breaker.pause() == 2.0


def test_the_pause_doubles_up_to_its_cap(breaker: CircuitBreaker, clock: Clock) -> None:
    go_down(breaker)
    pauses = []
    for _ in range(9):
        pauses.append(breaker.pause())
        clock.now += breaker.pause()
        fail(breaker, "a")
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_probe_that_found_nothing_to_upload_is_given_back(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    go_down(breaker)
    clock.now += 1.0
    probe = breaker.permit()
    assert probe is not None
    breaker.unused(probe)
    assert breaker.permit() is not None


def test_failures_of_earlier_uploads_neither_count_nor_permit_a_second_probe(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    under_way = [breaker.permit() for _ in range(6)]
    go_down(breaker)
    clock.now += 1.0
    probe = breaker.permit()
    for number, permit in enumerate(under_way):
        assert permit is not None
        breaker.failed(BUSY, permit, str(number))
        breaker.unused(permit)
    assert probe is not None and breaker.permit() is None
    breaker.failed(BUSY, probe, "a")
    assert breaker.pause() == 2.0


def test_the_failure_of_an_upload_that_began_before_the_last_success_does_not_count(
    breaker: CircuitBreaker,
) -> None:
    stale = [breaker.permit() for _ in range(3)]
    breaker.succeeded()
    for number, permit in enumerate(stale):
        assert permit is not None
        breaker.failed(BUSY, permit, str(number))
    assert not breaker.down and not breaker.doubted


def test_the_log_says_once_that_the_service_is_lost_and_once_that_it_is_back(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "frigate_s3.service")
    go_down(breaker)
    for _ in range(5):
        clock.now += 60.0
        fail(breaker, "a")
        breaker.check_failed(BUSY)
    clock.now += 12.0
    assert breaker.succeeded()
    assert not breaker.succeeded()
    lost, back = lines(caplog)
    assert lost == "S3 service lost, everything waits: put k: SlowDown"
    assert back == "S3 service back after 312 s"


def test_a_second_outage_is_logged_like_the_first(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        go_down(breaker)
        breaker.succeeded()
    assert lines(caplog) == ["S3 service lost, everything waits: put k: SlowDown"] * 2


def test_an_outage_is_logged_again_when_the_owner_has_to_do_something_else(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    go_down(breaker)
    for _ in range(3):
        clock.now += 60.0
        fail(breaker, "a", REFUSED)
    assert len(lines(caplog)) == 2 and "allow s3:PutObject" in lines(caplog)[1]
    assert breaker.last_fault is not None and breaker.last_fault.hint == "allow s3:PutObject"


def test_two_failed_checks_open_the_breaker_before_the_next_event(breaker: CircuitBreaker) -> None:
    breaker.check_succeeded(idle=True)
    breaker.check_failed(BUSY)
    assert not breaker.down
    breaker.check_failed(BUSY)
    assert breaker.down


def test_before_the_first_answer_one_failed_check_is_enough(breaker: CircuitBreaker) -> None:
    assert not breaker.answered
    breaker.check_failed(BUSY)
    assert breaker.down and not breaker.answered
    breaker.check_succeeded(idle=True)
    assert breaker.answered and not breaker.down


def test_a_successful_put_is_an_answer(breaker: CircuitBreaker) -> None:
    breaker.succeeded()
    assert breaker.answered


def test_a_check_that_is_refused_at_the_start_opens_the_breaker_at_once(
    breaker: CircuitBreaker,
) -> None:
    breaker.check_failed(REFUSED)
    assert breaker.down


def test_failed_checks_never_put_off_the_next_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    go_down(breaker)
    for _ in range(4):
        clock.now += 0.25
        breaker.check_failed(REFUSED)
    assert breaker.permit() is not None


def test_a_successful_check_ends_an_outage_that_no_two_puts_have_met(
    breaker: CircuitBreaker,
) -> None:
    breaker.check_succeeded(idle=True)
    breaker.check_failed(BUSY)
    fail(breaker, "a")
    assert breaker.down
    assert breaker.check_succeeded(idle=False)
    assert not breaker.down


def test_a_successful_check_leaves_the_decision_to_a_put_while_puts_fail(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    go_down(breaker)
    assert not breaker.check_succeeded(idle=False)
    assert breaker.down and breaker.pause() == 0.0
    probe = breaker.permit()
    assert isinstance(probe, Permit) and breaker.permit() is None


def test_a_successful_check_ends_the_outage_when_there_is_nothing_to_put(
    breaker: CircuitBreaker,
) -> None:
    go_down(breaker)
    assert breaker.check_succeeded(idle=True)


def test_successful_checks_hide_no_failure_of_puts_that_take_longer(
    breaker: CircuitBreaker,
) -> None:
    slow = [breaker.permit() for _ in range(2)]
    breaker.check_succeeded(idle=False)
    for number, permit in enumerate(slow):
        assert permit is not None
        breaker.failed(BUSY, permit, str(number))
    assert breaker.down


@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_is_set_by_years_makes_no_pause_longer(
    breaker: CircuitBreaker, clock: Clock, years: int
) -> None:
    go_down(breaker)
    clock.now += years * 365 * 86_400.0
    assert breaker.pause() <= 60.0
    clock.now += 60.0
    assert breaker.permit() is not None


def test_a_pause_is_random_between_a_tenth_and_the_whole() -> None:
    shortest = Backoff(2.0, 600.0, lambda: 0.0)
    longest = Backoff(2.0, 600.0, lambda: 1.0)
    assert [shortest.pause(n) for n in (1, 2, 3)] == pytest.approx([0.2, 0.4, 0.8])
    assert [longest.pause(n) for n in (0, 1, 2, 20, 10_000)] == [2.0, 2.0, 4.0, 600.0, 600.0]
