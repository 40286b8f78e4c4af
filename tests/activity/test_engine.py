"""What the engine promises: locks in order, one activity for one key, undo in reverse, nothing lost when it stops."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from naos.activity import Caller, Engine, Lock, Plan, Run, Undo, undo, workflow
from naos.activity.errors import IdempotencyConflict, IdempotencyKeyInvalid, NothingToUndo, WorkflowUnknown
from naos.activity.models import Activity, ActivityLock, ActivityUndo, State, UndoState
from naos.database import Database
from naos.errors import Changed, NameTaken

CALLER = Caller("tenant-1", "user-1")
log: list[str] = []
gates: dict[str, threading.Event] = {}
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _clean() -> None:
    log.clear()
    gates.clear()
    broken.clear()


def _pass(name: str) -> str:
    log.append(name)
    if name in gates:
        assert gates[name].wait(20)
    if name in broken:
        raise Changed("the thing", f"{name} broke")
    return name


@workflow("test.steps")
def _steps(run: Run, arguments: dict[str, Any]) -> str:
    for name in arguments["names"]:
        run.step(name, _pass, name, undo=Undo("test.undo", {"name": name}, f"took {name} back"))
    return str(arguments["names"][-1])


@workflow("test.bug")
def _bug(run: Run, arguments: dict[str, Any]) -> str:
    del arguments
    return str(run.step("divide", lambda: 1 // 0))


@workflow("test.background")
def _background(run: Run, arguments: dict[str, Any]) -> str:
    while not run.step("look", gates[arguments["done"]].is_set):
        run.give_way()
        time.sleep(0.02)
    return "done"


@undo("test.undo")
def _take_back(world: Any, arguments: dict[str, Any]) -> None:
    del world
    log.append(f"undo {arguments['name']}")
    if f"undo {arguments['name']}" in broken:
        raise Changed("the undo", "it broke")


def plan(*names: str, locks: tuple[Lock, ...] = (), **fields: Any) -> Plan:
    return Plan(kind="test.steps", description="Test", arguments={"names": list(names)}, locks=locks, **fields)


def submit(engine: Engine, wanted: Plan, caller: Caller = CALLER) -> Activity:
    return engine.submit_now(lambda _session: wanted, caller)


def test_an_activity_completes_with_its_result(start: Callable[..., Engine], database: Database) -> None:
    engine = start()
    ended = engine.wait(submit(engine, plan("a", "b", locks=(Lock("x"),))).id)
    assert (ended.state, ended.result, ended.progression) == (State.COMPLETED, "b", 1.0)
    assert ended.started_at is not None
    assert ended.stopped_at is not None
    assert log == ["a", "b"]
    with database.read() as session:
        assert not session.scalars(sa.select(ActivityLock)).all()


def test_a_failure_undoes_in_reverse_and_says_so(start: Callable[..., Engine]) -> None:
    engine = start()
    broken.add("c")
    reserved = Undo("test.undo", {"name": "row"}, "gave the row back")
    ended = engine.wait(submit(engine, plan("a", "b", "c", undo=(reserved,))).id)
    assert ended.state == State.FAILED
    assert log == ["a", "b", "c", "undo c", "undo b", "undo a", "undo row"]
    assert ended.reason is not None
    assert "c broke" in ended.reason
    assert "Undone: took c back; took b back; took a back; gave the row back." in ended.reason
    assert ended.retryable


def test_a_fault_is_told_without_its_inside_being_lost(start: Callable[..., Engine]) -> None:
    engine = start()
    ended = engine.wait(submit(engine, Plan(kind="test.bug", description="Bug", arguments={})).id)
    assert ended.state == State.FAILED
    assert "ZeroDivisionError" in (ended.reason or "")
    assert "log id" in (ended.reason or "")


def test_a_refused_check_leaves_nothing(start: Callable[..., Engine], database: Database) -> None:
    engine = start()

    def refuse(_session: Any) -> Plan:
        raise NameTaken("machine", "web")

    with pytest.raises(NameTaken):
        engine.submit_now(refuse, CALLER)
    with pytest.raises(WorkflowUnknown):
        submit(engine, Plan(kind="test.none", description="", arguments={}))
    with database.read() as session:
        assert not session.scalars(sa.select(Activity)).all()


def test_conflicting_activities_run_one_after_the_other_in_order(start: Callable[..., Engine]) -> None:
    engine = start()
    gates["first"] = threading.Event()
    first = submit(engine, plan("first", locks=(Lock("x"),)))
    others = [submit(engine, plan(name, locks=(Lock("x"),))) for name in ("second", "third")]
    free = submit(engine, plan("free", locks=(Lock("y"),)))
    engine.wait(free.id)
    assert [activity.state for activity in others] == [State.WAITING, State.WAITING]
    gates["first"].set()
    for activity in (first, *others):
        assert engine.wait(activity.id).state == State.COMPLETED
    assert [name for name in log if name != "free"] == ["first", "second", "third"]


def test_shared_locks_are_held_together_and_nobody_overtakes_an_exclusive_one(start: Callable[..., Engine]) -> None:
    engine = start()
    gates["a"] = threading.Event()
    a = submit(engine, plan("a", locks=(Lock("x", shared=True),)))
    b = submit(engine, plan("b", locks=(Lock("x", shared=True),)))
    engine.wait(b.id)
    exclusive = submit(engine, plan("exclusive", locks=(Lock("x"),)))
    late = submit(engine, plan("late", locks=(Lock("x", shared=True),)))
    assert late.state == State.WAITING
    gates["a"].set()
    for activity in (a, exclusive, late):
        engine.wait(activity.id)
    assert log.index("exclusive") < log.index("late")


def test_the_same_key_is_the_same_activity(start: Callable[..., Engine]) -> None:
    engine = start()
    caller = Caller("tenant-1", "user-1", "key-1", "digest-1")
    first = submit(engine, plan("a"), caller)
    again = submit(engine, plan("never"), caller)
    assert again.id == first.id
    with pytest.raises(IdempotencyConflict):
        submit(engine, plan("other"), Caller("tenant-1", "user-1", "key-1", "digest-2"))
    assert submit(engine, plan("b"), Caller("tenant-2", "user-1", "key-1", "digest-2")).id != first.id
    for key in ("", "k" * 256):
        with pytest.raises(IdempotencyKeyInvalid):
            submit(engine, plan("c"), Caller("tenant-1", "user-1", key, "d"))
    assert "never" not in log


def test_a_failure_that_may_pass_is_no_answer_to_keep(start: Callable[..., Engine]) -> None:
    engine = start()
    caller = Caller("tenant-1", "user-1", "key-1", "digest-1")
    broken.add("a")
    failed = engine.wait(submit(engine, plan("a"), caller).id)
    broken.clear()
    second = engine.wait(submit(engine, plan("a"), caller).id)
    assert (failed.state, second.state) == (State.FAILED, State.COMPLETED)
    assert submit(engine, plan("never"), caller).id == second.id
    bug = Plan(kind="test.bug", description="Bug", arguments={})
    final = Caller("tenant-1", "user-1", "key-2", "digest-1")
    fault = engine.wait(submit(engine, bug, final).id)
    assert (fault.state, fault.retryable) == (State.FAILED, False)
    assert submit(engine, plan("never"), final).id == fault.id
    assert "never" not in log


def test_background_work_gives_way(start: Callable[..., Engine]) -> None:
    engine = start()
    gates["finish"] = threading.Event()
    background = Plan(
        kind="test.background", description="", arguments={"done": "finish"}, locks=(Lock("x"),), preemptible=True
    )
    slow = submit(engine, background)
    assert engine.wait(submit(engine, plan("quick", locks=(Lock("x"),))).id).state == State.COMPLETED
    gates["finish"].set()
    assert engine.wait(slow.id).state == State.COMPLETED


def test_an_undo_that_fails_is_kept_and_tried_again(start: Callable[..., Engine], database: Database) -> None:
    engine = start(undo_pauses=())
    broken.update({"b", "undo a"})
    failed = engine.wait(submit(engine, plan("a", "b")).id)
    assert "Not undone: took a back" in (failed.reason or "")
    with database.read() as session:
        states = {row.arguments["name"]: row.state for row in session.scalars(sa.select(ActivityUndo))}
    assert states == {"a": UndoState.FAILED, "b": UndoState.DONE}
    broken.discard("undo a")
    assert engine.wait(engine.retry_undo(failed.id).id).state == State.COMPLETED
    mended = engine.wait(failed.id)
    assert "Not undone" not in (mended.reason or "")
    assert mended.undone == ["took b back", "took a back"]
    with pytest.raises(NothingToUndo):
        engine.retry_undo(failed.id)


def test_a_fault_of_the_engine_itself_loses_no_activity(start: Callable[..., Engine]) -> None:
    faults = [RuntimeError("the log is full")]

    def faulty(_kind: str, step: str, moment: str) -> None:
        if (step, moment) == ("end", "before") and faults:
            raise faults.pop()

    engine = start(boundary=faulty)
    ended = engine.wait(submit(engine, plan("a", "b")).id)
    assert (ended.state, ended.deaths) == (State.COMPLETED, 1)


def test_what_a_stopped_engine_left_goes_on_at_the_next_start(start: Callable[..., Engine]) -> None:
    engine = start()
    gates["b"] = threading.Event()
    activity = submit(engine, plan("a", "b", "c"))
    while "b" not in log:
        time.sleep(0.01)
    threading.Timer(0.2, gates["b"].set).start()
    engine = start()
    assert engine.wait(activity.id).state == State.COMPLETED
    assert log.count("a") == 1
    assert log[-1] == "c"


def test_another_build_undoes_what_the_old_one_left(start: Callable[..., Engine]) -> None:
    engine = start(build="1")
    gates["b"] = threading.Event()
    activity = submit(engine, plan("a", "b", "c"))
    while "b" not in log:
        time.sleep(0.01)
    threading.Timer(0.2, gates["b"].set).start()
    ended = start(build="2").wait(activity.id)
    assert ended.state == State.FAILED
    assert "upgraded from 1 to 2" in (ended.reason or "")
    assert "undo a" in log
    assert "c" not in log
