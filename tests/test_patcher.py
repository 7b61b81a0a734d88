"""The patcher inside a host. It wraps all three methods or none. The host's own code runs first, no
failure of our line reaches the host, and one child reads the ids from a pipe."""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import inspect
import logging
import os
import re
import select
import signal
import sys
import threading
import time
import tracemalloc
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig import ROOT
from tests.rig.waiting import PATIENCE, until

ON = {"S3_BUCKET": "pictures"}
BACKFILL = {"RECORDINGS_BACKFILL_API": "true"}
PLAIN = """
class EventProcessor:
    def __init__(self, work=None): self.work = work
    def run(self): return self.work(self)
    def handle_object_detection(self, event_type, camera, event_data):
        return "object", event_type, camera, event_data
    def handle_external_detection(self, event_type, event_data):
        return "external", event_type, event_data
"""
# Each entry changes the class once: the old text, the new text, and what the log line names.
OBJECT = "def handle_object_detection(self, event_type, camera, event_data)"
EXTERNAL = "def handle_external_detection(self, event_type, event_data)"
BROKEN = [
    (OBJECT, "def handle_tracked_object(self, a, b, c)", "no handle_object_detection"),
    (OBJECT, OBJECT[:-1] + ", frame)", "handle_object_detection(self, event_type, camera, ev"),
    (OBJECT, OBJECT[:-1] + ", frame=None)", "handle_object_detection(self, event_type, camera,"),
    (OBJECT, OBJECT[:-1] + "=None)", "handle_object_detection(self, event_type, camera, event_dat"),
    (OBJECT, OBJECT.replace("camera", "device"), "handle_object_detection(self, event_type, devi"),
    (OBJECT, OBJECT.replace("camera", "*, camera"), "handle_object_detection(self, event_type, ca"),
    (OBJECT, OBJECT.replace("event_data", "*event_data"), "handle_object_detection(self, event_ty"),
    (OBJECT, OBJECT.replace("self, ", ""), "handle_object_detection(event_type, camera, eve"),
    (OBJECT, "async " + OBJECT, "handle_object_detection asynchronous"),
    (OBJECT, "@staticmethod\n    " + OBJECT, "staticmethod handle_object_detection"),
    (OBJECT, "@classmethod\n    " + OBJECT, "classmethod handle_object_detection"),
    (OBJECT, "@property\n    " + OBJECT, "property handle_object_detection"),
    ('return "object"', 'yield "object"', "handle_object_detection asynchronous"),
    (EXTERNAL, EXTERNAL.replace("event_data", "data"), "handle_external_detection(self, event_"),
    (EXTERNAL, "handle_external_detection = None\n    def other(self, event_type, event_data)",
     "no handle_external_detection"),
    ("def run(self)", "def run(self, stop)", "run(self, stop)"),
    ("def run(self)", "def main(self)", "no run"),
    ("class EventProcessor:", "class Processor:", "EventProcessor None"),
    ("class EventProcessor:", "def EventProcessor(): pass\nclass Processor:", "EventProcessor <fu"),
]  # fmt: skip
CHILD = """
import os, sys
if sys.argv[1:] != ["run"]: sys.exit("wrong arguments")
for line in sys.stdin:
    if line == "\\x04\\n": break
    with open("{log}", "a") as log: log.write(line)
"""


@pytest.fixture
def patcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fresh patcher in a process that has the package `frigate.events` and settings."""
    for name in ("frigate", "frigate.events"):
        package = types.ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setenv("S3_BUCKET", "pictures")
    spec = importlib.util.spec_from_file_location("patcher", ROOT / "frigate_s3_patcher.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.02, 0.03))
    yield module
    module.unpatch()
    wait_until(lambda: not keepers())


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "s3_keeper"]


def wait_until(met: Callable[[], Any]) -> None:
    until(met, lambda: inspect.getsource(met))


def host(code: str = PLAIN) -> Any:
    """Returns a module like frigate.events.maintainer."""
    module = types.ModuleType("frigate.events.maintainer")
    exec(code, module.__dict__)
    return module


def read(pipe: int) -> list[str]:
    """Returns the lines that wait in the pipe."""
    ready = select.select([pipe], [], [], 0)[0]
    return os.read(pipe, 1_000_000).decode().splitlines() if ready else []


@pytest.fixture
def during_run(patcher: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a function (processor, pipe) within the `run` of the host. The test alone reads the
    pipe."""
    pipes: list[int] = []

    def leave_the_pipe_to_the_test(environment: object, reading: int) -> int:
        pipes.append(reading)
        over.wait()
        return 0

    over = threading.Event()
    monkeypatch.setattr(patcher, "_run_child", leave_the_pipe_to_the_test)
    module = host()
    assert patcher.arm(module, ON)

    def work_of(test: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
        def work(processor: Any) -> Any:
            wait_until(lambda: pipes)
            try:
                return test(processor, pipes[0])
            finally:
                over.set()

        return work

    return lambda test: module.EventProcessor(work_of(test)).run()


@pytest.fixture
def child_log(patcher: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The log of a child that is a script. The script writes down what it reads."""
    log = tmp_path / "log"
    (tmp_path / "s3_snapshot_mirror.py").write_text(CHILD.format(log=log))
    monkeypatch.setattr(patcher, "HERE", tmp_path)
    return log


def end(event_id: Any, **more: Any) -> tuple[Any, ...]:
    return "end", "garage", {"id": event_id, "has_snapshot": True} | more


def open_pipes() -> set[str]:
    """Returns every pipe that this process has open, by its inode."""
    links = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.add(os.readlink(entry))
        except OSError:
            continue
    return {name for name in links if name.startswith("pipe:")}


# Arming


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "S3_BUCKET is not set"),
        ({"S3_BUCKET": "  "}, "S3_BUCKET is not set"),
        (ON | {"MIRROR_ENABLED": "false"}, "MIRROR_ENABLED is false"),
        (ON | {"MIRROR_ENABLED": " No "}, "MIRROR_ENABLED is false"),
        (ON | {"S3_MIRROR_ENABLED": "off"}, "S3_MIRROR_ENABLED is false"),
    ],
)
def test_without_a_bucket_or_switched_off_the_patcher_logs_one_line_and_changes_nothing(
    patcher: Any, capfd: pytest.CaptureFixture[str], environ: dict[str, str], why: str
) -> None:
    module = host()
    before = dict(vars(module.EventProcessor))
    assert not patcher.arm(module, environ)
    assert dict(vars(module.EventProcessor)) == before
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] frigate_s3 {20} INFO {4}: "
    out, err = capfd.readouterr()
    assert re.fullmatch(rf"{stamp}S3 snapshot mirror not armed: {why}\n", err)
    assert out == ""


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (BACKFILL, "Frigate of unknown version, only recording backfill"),
        (ON | BACKFILL | {"MIRROR_ENABLED": "false"},
         "Frigate of unknown version, only recording backfill"),
        (ON | BACKFILL, "Frigate of unknown version, bucket pictures"),
    ],
)  # fmt: skip
def test_the_recording_backfill_arms_the_hook_with_a_mirror_and_without(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    environ: dict[str, str], told: str,
) -> None:  # fmt: skip
    started: list[dict[str, str]] = []
    monkeypatch.setattr(patcher, "_run_child", lambda environment, _: started.append(environment))
    monkeypatch.delenv("S3_BUCKET")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.INFO, "frigate_s3")
    module = host()
    assert patcher.arm(module, environ)
    module.EventProcessor(lambda _: wait_until(lambda: started)).run()
    assert f"S3 snapshot mirror armed: {told}" in caplog.text
    assert started[0]["RECORDINGS_BACKFILL_API"] == "true"


@pytest.mark.parametrize("value", ["", " ", "false", "No", "0", "off"])
def test_without_the_recording_backfill_frigates_application_is_not_touched(
    patcher: Any, value: str
) -> None:
    fastapi_app = types.ModuleType(patcher.API_MODULE)
    exec("def create_fastapi_app(): pass", fastapi_app.__dict__)
    before = dict(vars(fastapi_app))
    patcher.add_api(fastapi_app, ON | {"RECORDINGS_BACKFILL_API": value})
    assert dict(vars(fastapi_app)) == before
    assert not patcher.arm(host(), {"RECORDINGS_BACKFILL_API": value})


def test_frigates_application_is_made_and_returned_as_before_whatever_fails_in_ours(
    patcher: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fastapi_app = types.ModuleType(patcher.API_MODULE)
    code = "def create_fastapi_app(config, *, more=1):\n    return [config, more]"
    exec(code, fastapi_app.__dict__)
    theirs = fastapi_app.create_fastapi_app
    patcher.add_api(fastapi_app, BACKFILL)
    ours = fastapi_app.create_fastapi_app
    assert ours is not theirs and inspect.signature(ours) == inspect.signature(theirs)
    assert ours("config", more=2) == ["config", 2]  # a list has no routes
    assert "backfill: Frigate's API goes without it" in caplog.text
    with pytest.raises(TypeError):
        ours()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("", "has no attribute 'create_fastapi_app'"),
        ("create_fastapi_app = 3", "create_fastapi_app is 3, expected a function"),
        ("async def create_fastapi_app(): pass", "expected a function"),
    ],
)
def test_a_frigate_whose_application_is_made_otherwise_is_told_and_left_alone(
    patcher: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    code: str, told: str,
) -> None:  # fmt: skip
    class Loader:
        def exec_module(self, module: types.ModuleType) -> None:
            exec(code, module.__dict__)

    monkeypatch.setenv("RECORDINGS_BACKFILL_API", "true")
    spec = importlib.machinery.ModuleSpec(patcher.API_MODULE, Loader())  # type: ignore[arg-type]
    module = types.ModuleType(patcher.API_MODULE)
    patcher.armed_after_import(spec).loader.exec_module(module)
    line = capfd.readouterr().err
    assert "S3 snapshot mirror: recording backfill not added to Frigate's API: " in line
    assert told in line and line.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "shown"), BROKEN, ids=[f"{new[:60]}" for _, new, _ in BROKEN]
)
def test_a_class_with_one_changed_method_is_not_wrapped_at_all(
    patcher: Any, capfd: pytest.CaptureFixture[str], old: str, new: str, shown: str
) -> None:
    assert old in PLAIN
    module = host(PLAIN.replace(old, new))
    before = dict(vars(module)), dict(vars(getattr(module, "EventProcessor", object)))
    assert not patcher.arm(module, ON)
    assert (dict(vars(module)), dict(vars(getattr(module, "EventProcessor", object)))) == before
    line = capfd.readouterr().err
    assert f"S3 snapshot mirror not armed: {shown}" in line
    assert re.search(r"not armed: .+, expected \S.+\n", line)
    assert line.count("\n") == 1


def test_the_log_line_names_every_difference(patcher: Any) -> None:
    fault = patcher.shape_fault(host("class EventProcessor: pass"))
    assert [part.split(",")[0] for part in fault.split("; ")] == [
        f"no {name}" for name in patcher.SEAM
    ]


def test_an_asynchronous_generator_is_not_wrapped(patcher: Any) -> None:
    code = PLAIN.replace(OBJECT, "async " + OBJECT).replace('return "object"', 'yield "object"')
    assert "asynchronous" in patcher.shape_fault(host(code))


def test_a_run_that_is_only_inherited_is_not_wrapped(patcher: Any) -> None:
    code = PLAIN.replace("def run(self)", "def work(self)") + "import threading\n"
    module = host(
        code.replace("EventProcessor:", "EventProcessor(__import__('threading').Thread):")
    )
    assert patcher.shape_fault(module) == "no run, expected run(self)"


def test_a_frigate_that_still_has_its_external_module_is_too_old(
    patcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    external = types.ModuleType("frigate.events.external")
    external.__spec__ = importlib.machinery.ModuleSpec("frigate.events.external", None)
    monkeypatch.setitem(sys.modules, "frigate.events.external", external)
    assert "expected Frigate 0.16 or later" in patcher.shape_fault(host())


def test_a_python_that_is_too_old_is_named(patcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.SimpleNamespace(
        version_info=(3, 9, 2), version="3.9.2 (default)", modules=sys.modules
    )
    monkeypatch.setattr(patcher, "sys", old)
    assert patcher.shape_fault(host()).startswith("Python 3.9.2, expected 3.11 or later")


def test_arming_twice_wraps_once(patcher: Any) -> None:
    module = host()
    originals = {name: vars(module.EventProcessor)[name] for name in patcher.SEAM}
    assert patcher.arm(module, ON) and patcher.arm(module, ON)
    for name, original in originals.items():
        assert vars(module.EventProcessor)[name].__wrapped__ is original


def test_unpatching_restores_the_same_functions(patcher: Any) -> None:
    module = host()
    before = dict(vars(module.EventProcessor))
    patcher.unpatch()
    for _ in range(2):
        assert patcher.arm(module, ON)
        assert dict(vars(module.EventProcessor)) != before
        patcher.unpatch()
        patcher.unpatch()
        after = dict(vars(module.EventProcessor))
        assert after.keys() == before.keys()
        assert all(after[name] is before[name] for name in before)


def test_the_new_class_of_a_reloaded_module_is_wrapped_too(patcher: Any) -> None:
    first, second = host(), host()
    assert patcher.arm(first, ON) and patcher.arm(second, ON)
    assert hasattr(second.EventProcessor.run, "__wrapped__")


def test_the_wrapped_methods_have_the_names_and_signatures_of_the_host(patcher: Any) -> None:
    module, plain = host(), host()
    patcher.arm(module, ON)
    for name in patcher.SEAM:
        ours, theirs = (getattr(each.EventProcessor, name) for each in (module, plain))
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert (ours.__name__, ours.__qualname__) == (theirs.__name__, theirs.__qualname__)


# The host's own code runs first


def test_positional_and_keyword_calls_return_what_the_host_returns(
    during_run: Callable[..., Any],
) -> None:
    data = {"id": "1.5-abc", "has_snapshot": True}

    def work(processor: Any, pipe: int) -> str:
        called = processor.handle_object_detection("end", "garage", data)
        assert called == ("object", "end", "garage", data) and called[3] is data
        called = processor.handle_object_detection(event_type="end", camera=None, event_data=data)
        assert called == ("object", "end", None, data)
        assert processor.handle_external_detection("start", data)[2] is data
        assert processor.handle_external_detection(event_data=data, event_type="end")[1] == "end"
        assert read(pipe) == ["1.5-abc"] * 4
        return "what run returned"

    assert during_run(work) == "what run returned"


@pytest.mark.parametrize("kind", [KeyError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["run", "handle_object_detection", "handle_external_detection"])
def test_an_exception_of_the_host_reaches_its_caller_unchanged(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], name: str
) -> None:
    monkeypatch.setattr(patcher, "_run_child", lambda *_: 0)
    module = host()
    raised = kind("theirs")

    def fail(*words: object) -> None:
        raise raised

    code = "def {}({}): fail()".format(name, ", ".join(patcher.SEAM[name]))
    scope: dict[str, Any] = {"fail": fail}
    exec(code, scope)
    setattr(module.EventProcessor, name, scope[name])
    assert patcher.arm(module, ON)
    with pytest.raises(kind) as caught:
        getattr(module.EventProcessor(), name)(*[None] * (len(patcher.SEAM[name]) - 1))
    assert caught.value is raised
    assert [frame.name for frame in caught.traceback][-2:] == [name, "fail"]
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_a_wrong_call_fails_with_the_message_of_the_host(patcher: Any) -> None:
    module, plain = host(), host()
    patcher.arm(module, ON)
    for words in ((), (1, 2, 3, 4)):
        with pytest.raises(TypeError) as ours:
            module.EventProcessor().handle_object_detection(*words)
        with pytest.raises(TypeError) as theirs:
            plain.EventProcessor().handle_object_detection(*words)
        assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("method", "words", "sent"),
    [
        ("object", end("1.5-a"), ["1.5-a"]),
        ("object", end("1.5-a", has_snapshot=False), []),
        ("object", ("start", *end("1.5-a")[1:]), []),
        ("object", ("update", *end("1.5-a")[1:]), []),
        ("external", ("start", {"id": "1.5-a", "has_snapshot": True}), ["1.5-a"]),
        ("external", ("start", {"id": "1.5-a", "has_snapshot": False}), []),
        ("external", ("start", {"id": "1.5-a"}), []),
        ("external", ("end", {"id": "1.5-a", "end_time": 2}), ["1.5-a"]),
        ("external", ("end", {"id": "1.5-a", "has_snapshot": False}), []),
    ],
)
def test_an_id_is_sent_when_its_picture_exists(
    during_run: Callable[..., Any], method: str, words: tuple[Any, ...], sent: list[str]
) -> None:
    def work(processor: Any, pipe: int) -> None:
        getattr(processor, f"handle_{method}_detection")(*words)
        assert read(pipe) == sent

    during_run(work)


# Failures of our line


class Awkward:
    def __bool__(self) -> bool:
        raise ArithmeticError("weird")

    def __repr__(self) -> str:
        return "awkward"

    __eq__ = __getitem__ = __bool__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "words",
    [
        ("end", "garage", None),
        ("end", "garage", {}),
        ("end", "garage", []),
        ("end", "garage", {"has_snapshot": True}),
        ("end", "garage", Awkward()),
        ("end", "garage", {"id": "1.5-a", "has_snapshot": Awkward()}),
        (Awkward(), "garage", {"id": "1.5-a", "has_snapshot": True}),
        end("1.5-a\n2.5-forged"),
        end("1.5-a\r"),
        end("1.5-a\0"),
        end("1.5-\ud800"),
        end("1.5-ä"),
        end("1" * 5000),
        end(None),
        end(1.5),
        end(b"1.5-a"),
    ],
    ids=repr,
)
def test_a_failure_of_our_line_is_logged_once_and_never_reaches_the_host(
    during_run: Callable[..., Any], caplog: pytest.LogCaptureFixture, words: tuple[Any, ...]
) -> None:
    def work(processor: Any, pipe: int) -> None:
        for _ in range(3):
            assert processor.handle_object_detection(*words)[0] == "object"
        assert read(pipe) == []
        processor.handle_object_detection(*end("3.5-next"))
        assert read(pipe) == ["3.5-next"]

    during_run(work)
    complaints = [
        message
        for message in caplog.messages
        if "hook failed, the sweep finds the events that it misses" in message
    ]
    assert len(complaints) == 1
    assert "\n" not in complaints[0] and len(complaints[0]) < 250


def test_a_failure_that_cannot_be_logged_never_reaches_the_host(
    during_run: Callable[..., Any],
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise OSError("no log")

    def work(processor: Any, pipe: int) -> None:
        logger = logging.getLogger("frigate_s3")
        logger.addFilter(refuse)
        try:
            assert processor.handle_object_detection("end", "garage", None)[0] == "object"
            assert processor.handle_external_detection("end", None)[0] == "external"
        finally:
            logger.removeFilter(refuse)

    during_run(work)


def fill(processor: Any) -> None:
    """Lets more events end than the pipe has room for."""

    def send() -> None:
        for number in range(10_000):
            processor.handle_object_detection(*end(f"{number}.5-abcdef"))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(PATIENCE)
    assert not sender.is_alive(), "the full pipe blocks the host"


def test_a_full_pipe_drops_ids_and_logs_nothing(
    during_run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def work(processor: Any, pipe: int) -> None:
        fill(processor)
        ids = read(pipe)
        assert 1_000 < len(ids) < 10_000
        assert ids == [f"{number}.5-abcdef" for number in range(len(ids))]
        processor.handle_object_detection(*end("1.5-after"))
        assert read(pipe)[-1] == "1.5-after"

    during_run(work)
    assert "hook failed" not in caplog.text


def test_200_000_events_leave_memory_flat(during_run: Callable[..., Any]) -> None:
    def work(processor: Any, pipe: int) -> None:
        words, broken = end("1.5-abcdef"), end("two\nlines")
        fill(processor)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(100_000):
                processor.handle_object_detection(*words)
                processor.handle_object_detection(*broken)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 50_000
        finally:
            tracemalloc.stop()

    during_run(work)


def test_outside_of_a_run_no_id_is_sent_and_nothing_fails(
    patcher: Any, child_log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = host()
    patcher.arm(module, ON)
    processor = module.EventProcessor(lambda self: None)
    processor.handle_object_detection(*end("1.5-a"))
    processor.run()
    processor.handle_object_detection(*end("1.5-a"))
    wait_until(lambda: not keepers())
    assert not child_log.exists()
    assert "hook failed" not in caplog.text


@pytest.mark.parametrize("broken", ["pipe", "start"])
def test_a_host_that_cannot_make_a_thread_or_a_pipe_runs_without_the_mirror(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*words: object) -> None:
        raise OSError("too many open files") if broken == "pipe" else RuntimeError("no thread")

    module = host()
    patcher.arm(module, ON)
    before = open_pipes()
    with monkeypatch.context() as context:
        owner = os if broken == "pipe" else threading.Thread
        context.setattr(owner, broken, fail)
        processor = module.EventProcessor(lambda self: self.handle_object_detection(*end("1.5-a")))
        assert processor.run()[0] == "object"
    assert open_pipes() <= before
    assert "S3 snapshot mirror not started" in caplog.text
    assert "hook failed" not in caplog.text


# The child


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def processes_of(patcher: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Returns a list that gets every child that the patcher starts from now on."""
    started: list[Any] = []
    spawn, wait = os.posix_spawnp, os.waitpid

    def remember(*words: Any, **options: Any) -> int:
        started.append(Child(spawn(*words, **options)))
        return started[-1].pid

    def reap(pid: int, options: int) -> tuple[int, int]:
        ended = wait(pid, options)
        for child in started:
            if child.pid == pid:
                child.returncode = os.waitstatus_to_exitcode(ended[1])
        return ended

    monkeypatch.setattr(patcher.os, "posix_spawnp", remember)
    monkeypatch.setattr(patcher.os, "waitpid", reap)
    return started


@dataclass
class Child:
    pid: int
    returncode: int | None = None


def test_the_child_gets_the_ids_and_ends_with_the_run_and_leaves_nothing_behind(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, child_log: Path
) -> None:
    started = processes_of(patcher, monkeypatch)
    before = open_pipes()
    module = host()
    patcher.arm(module, ON)

    def work(processor: Any) -> None:
        for number in range(100):
            processor.handle_object_detection(*end(f"{number}.5-a"))

    module.EventProcessor(work).run()
    wait_until(lambda: not keepers())
    assert lines(child_log) == [f"{number}.5-a" for number in range(100)]
    assert [child.returncode for child in started] == [0]
    assert not Path(f"/proc/{started[0].pid}").exists()  # a zombie would still be there
    assert open_pipes() <= before


def test_a_run_that_raises_ends_the_child_too(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, child_log: Path
) -> None:
    started = processes_of(patcher, monkeypatch)
    module = host()
    patcher.arm(module, ON)

    def work(processor: Any) -> None:
        processor.handle_object_detection(*end("1.5-a"))
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        module.EventProcessor(work).run()
    wait_until(lambda: not keepers())
    assert lines(child_log) == ["1.5-a"]
    assert not Path(f"/proc/{started[0].pid}").exists()


def test_a_worker_that_the_host_forked_does_not_keep_the_child_alive(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, child_log: Path
) -> None:
    started = processes_of(patcher, monkeypatch)
    module = host()
    patcher.arm(module, ON)
    workers: list[int] = []

    def work(processor: Any) -> None:
        wait_until(lambda: started)
        workers.append(os.fork())
        if workers == [0]:
            time.sleep(PATIENCE)
            os._exit(0)
        processor.handle_object_detection(*end("1.5-a"))

    module.EventProcessor(work).run()
    try:
        wait_until(lambda: not keepers())
        assert lines(child_log) == ["1.5-a"]
    finally:
        os.kill(workers[0], signal.SIGKILL)
        os.waitpid(workers[0], 0)


def test_the_end_of_a_run_does_not_wait_for_a_child_that_drains(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, child_log: Path
) -> None:
    script = child_log.with_name("s3_snapshot_mirror.py")
    script.write_text(f"import sys, time\nsys.stdin.read()\ntime.sleep({PATIENCE})")
    started = processes_of(patcher, monkeypatch)
    module = host()
    patcher.arm(module, ON)
    module.EventProcessor(lambda self: wait_until(lambda: started)).run()
    assert started[0].returncode is None, "the run has waited for the child"
    os.kill(started[0].pid, signal.SIGKILL)


def test_ids_written_while_no_child_lives_reach_the_next_child(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, child_log: Path
) -> None:
    started = processes_of(patcher, monkeypatch)
    script = child_log.with_name("s3_snapshot_mirror.py")
    reader = script.read_text()
    script.write_text("raise SystemExit(1)")
    module = host()
    patcher.arm(module, ON)

    def work(processor: Any) -> None:
        wait_until(lambda: started and started[0].returncode == 1)
        processor.handle_object_detection(*end("1.5-a"))
        processor.handle_object_detection(*end("2.5-b"))
        script.write_text(reader)
        wait_until(lambda: lines(child_log) == ["1.5-a", "2.5-b"])

    module.EventProcessor(work).run()


def lives(patcher: Any, monkeypatch: pytest.MonkeyPatch, *statuses: int | str) -> None:
    """Makes the child end with each of `statuses` in turn, and then ends the run."""
    module = host()
    patcher.arm(module, ON)
    left = list(statuses)
    over = threading.Event()

    def run_child(environment: object, reading: int) -> int | str:
        if len(left) == 1:
            over.set()
        return left.pop(0)

    monkeypatch.setattr(patcher, "_run_child", run_child)
    module.EventProcessor(lambda self: over.wait(PATIENCE)).run()
    wait_until(lambda: not keepers())


def test_a_child_that_dies_again_and_again_is_started_with_growing_pauses(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lives(patcher, monkeypatch, 1, -9, "not started: no memory", 0, 1, 1)
    restarts = re.findall(r"mirror ended \((.*)\), starting again in (\S+) s", caplog.text)
    assert restarts[:5] == [
        ("1", "0.01"), ("-9", "0.02"), ("not started: no memory", "0.03"), ("0", "0.03"),
        ("1", "0.03"),
    ]  # fmt: skip


def test_the_pauses_begin_anew_after_a_child_that_has_run_long(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patcher, "STABLE_AFTER", -1)
    lives(patcher, monkeypatch, 1, 1, 1, 1)
    assert re.findall(r"starting again in (\S+) s", caplog.text)[:3] == ["0.01"] * 3


def test_a_program_that_cannot_be_started_is_logged_and_tried_again(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, child_log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = host()
    patcher.arm(module, ON)

    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")

    def work(processor: Any) -> None:
        wait_until(lambda: caplog.text.count("ended (not started: [Errno 2]") >= 2)
        monkeypatch.setattr(sys, "executable", python)
        processor.handle_object_detection(*end("1.5-a"))
        wait_until(lambda: lines(child_log) == ["1.5-a"])

    module.EventProcessor(work).run()


@pytest.mark.parametrize("faster", ["the event thread", "the keeper"])
def test_a_child_that_refuses_its_settings_is_logged_once_and_not_started_again(
    patcher: Any,
    monkeypatch: pytest.MonkeyPatch,
    child_log: Path,
    caplog: pytest.LogCaptureFixture,
    faster: str,
) -> None:
    caplog.set_level("INFO")
    start = threading.Thread.start

    def start_and_wait_for_its_end(thread: threading.Thread) -> None:
        start(thread)
        thread.join(PATIENCE)

    if faster == "the keeper":
        monkeypatch.setattr(threading.Thread, "start", start_and_wait_for_its_end)
    child_log.with_name("s3_snapshot_mirror.py").write_text("raise SystemExit(78)")
    started = processes_of(patcher, monkeypatch)
    module = host()
    patcher.arm(module, ON)

    def work(processor: Any) -> None:
        wait_until(lambda: started and not keepers())
        for _ in range(10):
            assert processor.handle_object_detection(*end("1.5-a"))[0] == "object"

    module.EventProcessor(work).run()
    assert len(started) == 1
    # Other threads of this process log too, such as the server of an earlier test.
    levels = [record.levelname for record in caplog.records if record.pathname == patcher.__file__]
    assert levels == ["INFO", "WARNING"]
    assert "stays off until the fault above is corrected" in caplog.text


# The child's environment


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("{boot}", None),
        ("{boot}:/x", "/x"),
        ("/x:{boot}/:/y", "/x:/y"),
        ("{link}:/x", "/x"),
        ("/x::/loop", "/x:/loop"),
        ("", None),
    ],
)
def test_the_child_cannot_arm_the_hook_again_and_keeps_the_owners_pythonpath(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, kept: str | None
) -> None:
    (tmp_path / "link").symlink_to(ROOT / "boot")
    boot, link = ROOT / "boot", tmp_path / "link"
    monkeypatch.setenv("PYTHONPATH", given.format(boot=boot, link=link))
    assert patcher.child_environment(None).get("PYTHONPATH") == kept
    assert os.environ["PYTHONPATH"] == given.format(boot=boot, link=link)


def processor_with(path: str) -> Any:
    database = types.SimpleNamespace(path=path)
    return types.SimpleNamespace(config=types.SimpleNamespace(database=database))


def import_frigate(monkeypatch: pytest.MonkeyPatch) -> None:
    const, version = types.ModuleType("frigate.const"), types.ModuleType("frigate.version")
    const.CLIPS_DIR, version.VERSION = "/m/clips", "0.17.2-abc"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "frigate.const", const)
    monkeypatch.setitem(sys.modules, "frigate.version", version)


KNOWN = ("FRIGATE_DB_PATH", "FRIGATE_CLIPS_DIR", "S3_MIRROR_FRIGATE")


def test_the_child_gets_the_paths_and_the_version_of_frigate(
    patcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    import_frigate(monkeypatch)
    environment = patcher.child_environment(processor_with("/c/frigate.db"))
    assert [environment[name] for name in KNOWN] == ["/c/frigate.db", "/m/clips", "0.17.2-abc"]
    assert environment.pop("S3_MIRROR_PARENT") == str(os.getpid())
    assert {name: value for name, value in environment.items() if name not in KNOWN} == {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }


def test_the_owners_settings_win_over_the_paths_of_frigate(
    patcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_frigate(monkeypatch)
    for name in KNOWN:
        monkeypatch.setenv(name, "/owner")
    monkeypatch.setenv("FRIGATE_CLIPS_DIR", " ")
    environment = patcher.child_environment(processor_with("/c/frigate.db"))
    assert [environment[name] for name in KNOWN] == ["/owner", "/m/clips", "/owner"]


@pytest.mark.parametrize("processor", [None, object(), processor_with("")])
def test_a_frigate_without_paths_and_version_leaves_the_defaults(
    patcher: Any, monkeypatch: pytest.MonkeyPatch, processor: Any
) -> None:
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    assert not patcher.child_environment(processor).keys() & set(KNOWN)
