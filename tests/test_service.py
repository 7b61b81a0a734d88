"""The service: down or up, said once each, with one probe at a time while it is down."""

from __future__ import annotations

import logging

import pytest

from frigate_mirror.sinks.sink import Misconfigured, SinkError, Unavailable
from frigate_mirror.upload.backoff import Backoff
from frigate_mirror.upload.outage import Leave, Service
from tests.rig.worlds import Clock

BUSY = Unavailable("put k: SlowDown")
REFUSED = Misconfigured("put k: AccessDenied", hint="allow s3:PutObject")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(clock: Clock) -> Service:
    return Service(Backoff(base=1.0, cap=60.0, chance=lambda: 1.0), clock)


def fail(service: Service, artifact_id: str, error: SinkError = BUSY) -> None:
    leave = service.admit()
    assert leave is not None
    service.failed(error, leave, artifact_id)


def go_down(service: Service) -> None:
    fail(service, "a")
    fail(service, "b")
    assert service.down


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_one_artifact_alone_does_not_make_it_down_however_often_it_fails(service: Service) -> None:
    for _ in range(10):
        fail(service, "poison")
    assert not service.down and service.pause() == 0.0
    assert service.admit() is not None and service.admit() is not None


def test_two_artifacts_make_it_down_and_a_success_between_them_does_not(service: Service) -> None:
    fail(service, "a")
    service.worked()
    fail(service, "b")
    assert not service.down
    fail(service, "c")
    assert service.down


def test_a_first_answer_that_only_the_owner_can_mend_makes_it_down_at_once(
    service: Service,
) -> None:
    fail(service, "a", REFUSED)
    assert service.down


def test_once_a_put_has_worked_a_single_refusal_is_the_artifacts_alone(service: Service) -> None:
    service.worked()
    fail(service, "a", REFUSED)
    assert not service.down


def test_while_down_one_probe_at_a_time_is_admitted_after_a_pause(
    service: Service, clock: Clock
) -> None:
    go_down(service)
    assert service.admit() is None and service.pause() == 1.0
    clock.now += 1.0
    probe = service.admit()
    assert probe is not None and service.admit() is None and service.pause() == float("inf")
    service.failed(BUSY, probe, "a")
    assert service.admit() is None and service.pause() == 2.0


def test_the_pause_doubles_up_to_its_cap(service: Service, clock: Clock) -> None:
    go_down(service)
    pauses = []
    for _ in range(9):
        pauses.append(service.pause())
        clock.now += service.pause()
        fail(service, "a")
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_probe_that_found_nothing_to_upload_is_given_back(service: Service, clock: Clock) -> None:
    go_down(service)
    clock.now += 1.0
    probe = service.admit()
    assert probe is not None
    service.idle(probe)
    assert service.admit() is not None


def test_failures_that_were_under_way_neither_count_nor_let_a_second_probe_in(
    service: Service, clock: Clock
) -> None:
    under_way = [service.admit() for _ in range(6)]
    go_down(service)
    clock.now += 1.0
    probe = service.admit()
    for number, leave in enumerate(under_way):
        assert leave is not None
        service.failed(BUSY, leave, str(number))
        service.idle(leave)
    assert probe is not None and service.admit() is None
    service.failed(BUSY, probe, "a")
    assert service.pause() == 2.0


def test_a_failure_that_began_before_the_last_success_raises_no_doubt(service: Service) -> None:
    stale = [service.admit() for _ in range(3)]
    service.worked()
    for number, leave in enumerate(stale):
        assert leave is not None
        service.failed(BUSY, leave, str(number))
    assert not service.down and not service.doubted


def test_it_is_said_once_when_lost_and_once_when_back_with_the_time(
    service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "frigate_s3.service")
    go_down(service)
    for _ in range(5):
        clock.now += 60.0
        fail(service, "a")
        service.check_failed(BUSY)
    clock.now += 12.0
    assert service.worked()
    assert not service.worked()
    lost, back = lines(caplog)
    assert lost == "S3 service lost, everything waits: put k: SlowDown"
    assert back == "S3 service back after 312 s"


def test_a_second_outage_is_said_as_the_first_one_was(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        go_down(service)
        service.worked()
    assert lines(caplog) == ["S3 service lost, everything waits: put k: SlowDown"] * 2


def test_it_is_said_again_when_the_owner_would_have_to_do_something_else(
    service: Service, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    go_down(service)
    for _ in range(3):
        clock.now += 60.0
        fail(service, "a", REFUSED)
    assert len(lines(caplog)) == 2 and "allow s3:PutObject" in lines(caplog)[1]
    assert service.last_fault is not None and service.last_fault.hint == "allow s3:PutObject"


def test_two_checks_in_vain_make_it_down_before_the_next_event(service: Service) -> None:
    service.check_worked(idle=True)
    service.check_failed(BUSY)
    assert not service.down
    service.check_failed(BUSY)
    assert service.down


def test_before_any_answer_one_check_in_vain_is_enough(service: Service) -> None:
    assert not service.answered
    service.check_failed(BUSY)
    assert service.down and not service.answered
    service.check_worked(idle=True)
    assert service.answered and not service.down


def test_an_object_taken_is_an_answer(service: Service) -> None:
    service.worked()
    assert service.answered


def test_a_check_refused_at_the_start_makes_it_down_at_once(service: Service) -> None:
    service.check_failed(REFUSED)
    assert service.down


def test_checks_in_vain_never_put_off_the_next_probe(service: Service, clock: Clock) -> None:
    go_down(service)
    for _ in range(4):
        clock.now += 0.25
        service.check_failed(REFUSED)
    assert service.admit() is not None


def test_a_check_that_works_ends_an_outage_that_checks_alone_had_seen(service: Service) -> None:
    service.check_worked(idle=True)
    service.check_failed(BUSY)
    fail(service, "a")
    assert service.down
    assert service.check_worked(idle=False)
    assert not service.down


def test_a_check_that_works_leaves_the_word_to_a_put_while_puts_fail(
    service: Service, clock: Clock
) -> None:
    go_down(service)
    assert not service.check_worked(idle=False)
    assert service.down and service.pause() == 0.0
    probe = service.admit()
    assert isinstance(probe, Leave) and service.admit() is None


def test_a_check_that_works_ends_the_outage_when_there_is_nothing_to_put(service: Service) -> None:
    go_down(service)
    assert service.check_worked(idle=True)


def test_checks_that_work_hide_no_failure_of_puts_that_take_longer(service: Service) -> None:
    slow = [service.admit() for _ in range(2)]
    service.check_worked(idle=False)
    for number, leave in enumerate(slow):
        assert leave is not None
        service.failed(BUSY, leave, str(number))
    assert service.down


@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_set_by_years_makes_no_pause_longer(
    service: Service, clock: Clock, years: int
) -> None:
    go_down(service)
    clock.now += years * 365 * 86_400.0
    assert service.pause() <= 60.0
    clock.now += 60.0
    assert service.admit() is not None


def test_a_pause_is_random_between_a_tenth_and_the_whole() -> None:
    shortest = Backoff(2.0, 600.0, lambda: 0.0)
    longest = Backoff(2.0, 600.0, lambda: 1.0)
    assert [shortest.pause(n) for n in (1, 2, 3)] == pytest.approx([0.2, 0.4, 0.8])
    assert [longest.pause(n) for n in (0, 1, 2, 20, 10_000)] == [2.0, 2.0, 4.0, 600.0, 600.0]
