"""Activities as the contract has them (section 2), their lists, and the live stream over a real socket."""

import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from api_platform import Platform

from naos.activity import watching
from naos.activity.models import Activity, State
from naos.api.serving import Server
from naos.tenancy.models import PersonalAccessToken

ACTIVITIES = "/activity/v1/activities"
NOW = datetime.now(UTC)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def put(platform: Platform, number: int, **changes: Any) -> str:
    """An activity as a row, made `number` minutes ago."""
    made = NOW - timedelta(minutes=number)
    state = changes.get("state", State.COMPLETED)
    ended = made if state in (State.COMPLETED, State.FAILED) else None
    values: dict[str, Any] = {
        "sequence": number + 1000,
        "tenant_id": platform.first.tenant_id,
        "actor_id": platform.first.user_id,
        "kind": "virtual_machine.create",
        "description": f"Make machine m{number}",
        "type": "ComputeActivity",
        "tags": [],
        "concerned": [{"id": str(uuid.uuid4()), "type": "virtual_machine"}],
        "arguments": {},
        "locks": [],
        "state": state,
        "created_at": made,
        "started_at": None if state == State.WAITING else made,
        "stopped_at": ended,
        "build": "test",
    }
    with platform.services.database.write() as session:
        row = Activity(**(values | changes))
        session.add(row)
        session.flush()
        return row.id


def change(platform: Platform, activity_id: str, **values: Any) -> None:
    with platform.services.database.write() as session:
        row = session.get_one(Activity, activity_id)
        for name, value in values.items():
            setattr(row, name, value)


def _session(platform: Platform) -> Any:
    """The owner, logged in once."""
    state = platform.app.state
    state.session = getattr(state, "session", None) or platform.owner
    return state.session


def ids(platform: Platform, **filters: Any) -> list[str]:
    answer = _session(platform).get(ACTIVITIES, params=filters)
    assert answer.status_code == 200, answer.text
    assert "Location" not in answer.headers
    return [activity["id"] for activity in answer.json()]


# ------------------------------------------------------------------------------------------------------------ the shape


@pytest.mark.parametrize(
    ("state", "changes", "keys"),
    [
        (State.WAITING, {}, set()),
        (State.RUNNING, {"progression": 1 / 3, "step": "clone"}, {"startDate", "status", "progression"}),
        (State.RUNNING, {"started_at": None}, {"status", "progression"}),
        (State.COMPLETED, {"result": "r"}, {"startDate", "stopDate", "result"}),
        (State.COMPLETED, {"result": None}, {"startDate", "stopDate", "result"}),
        (State.FAILED, {"reason": "no room"}, {"startDate", "stopDate", "reason"}),
        (State.FAILED, {"reason": None}, {"startDate", "stopDate", "reason"}),
    ],
)
def test_the_state_has_one_key_and_its_values_have_the_types_that_clients_decode(
    platform: Platform, state: State, changes: dict[str, Any], keys: set[str]
) -> None:
    activity_id = put(platform, 1, state=state, **changes)
    read = platform.owner.get(f"{ACTIVITIES}/{activity_id}").json()
    assert platform.owner.get(ACTIVITIES).json() == [read]
    (only,) = read["state"]
    assert only == state
    facts = read["state"][state]
    assert set(facts) == keys
    for name in ("startDate", "stopDate", "creationDate"):
        for value in (facts.get(name, "2026-01-01T00:00:00Z"), read["creationDate"]):
            assert RFC3339.fullmatch(value), (name, value)
    assert all(isinstance(facts[name], str) for name in keys - {"progression"})
    assert not isinstance(facts.get("progression", 0.0), (str, bool))
    assert (read["initiator"], read["operationType"]) == (platform.first.user_id, "write")
    assert read["kind"] == "virtual_machine.create"


def test_what_is_not_there_or_of_another_tenant_is_absent(platform: Platform) -> None:
    foreign = put(platform, 1, tenant_id=str(uuid.uuid4()))
    for activity_id in (foreign, str(uuid.uuid4())):
        assert platform.owner.get(f"{ACTIVITIES}/{activity_id}").status_code == 404
    assert platform.owner.get(f"{ACTIVITIES}/no-id").status_code == 400
    assert ids(platform) == []


# ------------------------------------------------------------------------------------------------------------ the lists


def test_filters_narrow_and_combine(platform: Platform) -> None:
    other, machine = str(uuid.uuid4()), str(uuid.uuid4())
    running = put(platform, 1, state=State.RUNNING)
    failed = put(platform, 2, state=State.FAILED, reason="100% of the memory is taken")
    backup = put(platform, 3, type="BackupActivity", kind="backup.run", actor_id=other)
    concerned = put(platform, 4, concerned=[{"id": machine, "type": "virtual_machine"}])
    old = put(platform, 60 * 24 * 31, description="Très OLD_one")
    ancient_running = put(platform, 60 * 24 * 40, state=State.RUNNING)
    everything = [running, failed, backup, concerned, old, ancient_running]
    assert ids(platform) == everything
    assert ids(platform, state="failed") == [failed]
    assert ids(platform, initiator=other) == [backup]
    assert ids(platform, type="BackupActivity") == ids(platform, kind="backup.run") == [backup]
    assert ids(platform, text="old_ONE") == [old]
    assert ids(platform, text="100%") == [failed]
    assert ids(platform, text="%") == [failed]
    assert ids(platform, concernedItem=machine.upper()) == [concerned]
    assert ids(platform, concernedItem="%") == ids(platform, concernedItem=str(uuid.uuid4())) == []
    assert ids(platform, archived=True) == [old]
    assert ids(platform, archived=False) == [running, failed, backup, concerned, ancient_running]
    assert ids(platform, since=(NOW - timedelta(minutes=2)).isoformat()) == [running, failed]
    assert ids(platform, until=(NOW - timedelta(minutes=3)).isoformat()) == [concerned, old, ancient_running]
    assert ids(platform, state="running", archived=False, until=NOW - timedelta(days=1)) == [ancient_running]
    assert ids(platform, until="9999-12-31T23:59:59-14:00") == everything
    assert ids(platform, since="0001-01-01T00:00:00+14:00") == everything
    for wrong in ({"state": "done"}, {"since": "2026-01-01T00:00:00"}, {"limit": 0}, {"limit": 1001}):
        assert _session(platform).get(ACTIVITIES, params=wrong).status_code == 422  # type: ignore[arg-type]


def test_pages_are_stable_while_activities_come_and_change(platform: Platform) -> None:
    same = NOW - timedelta(minutes=5)
    made = {put(platform, number, created_at=same) for number in range(9)}
    first = ids(platform, limit=4)
    put(platform, 20, created_at=NOW)
    change(platform, first[0], sequence=5000, state=State.RUNNING)
    rest = ids(platform, limit=1000, before=first[-1])
    assert len(first) == 4
    assert set(first) | set(rest) == made
    assert not set(first) & set(rest)
    assert ids(platform, before=rest[-1]) == ids(platform, before=str(uuid.uuid4())) == ids(platform, before="x") == []


# ----------------------------------------------------------------------------------------------------------- the stream


@contextmanager
def served(platform: Platform) -> Iterator[str]:
    """The platform's API on a socket of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Server(uvicorn.Config(platform.app, log_config=None, timeout_graceful_shutdown=5))
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            platform.app.state.stopping = True
            made.should_exit = True
            thread.join(20)


class Stream:
    """A client of the stream, in a thread of its own. `events`: (event, id, data) as they came."""

    def __init__(self, url: str, platform: Platform, **headers: str) -> None:
        self.events: list[tuple[str, str, Any]] = []
        self.comments: list[str] = []
        self.ended = threading.Event()
        self._client = httpx.Client(timeout=30)
        given = {"Authorization": _session(platform).headers["Authorization"], **headers}
        self._open = self._client.stream("GET", f"{url}{ACTIVITIES}/stream", headers=given)
        self.answer = self._open.__enter__()
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.answer.status_code == 200:
            self._thread.start()

    def _read(self) -> None:
        event: dict[str, str] = {}
        try:
            for line in self.answer.iter_lines():
                name, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments.append(value)
                elif line:
                    event[name] = value
                elif "data" in event:
                    data = json.loads(event["data"]) if event["event"] == "activity" else event["data"]
                    self.events.append((event["event"], event.get("id", ""), data))
                    event = {}
        except httpx.HTTPError:
            pass
        self.ended.set()

    def sees(self, wanted: Callable[[str, Any], bool]) -> tuple[str, Any]:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for name, event_id, data in list(self.events):
                if wanted(name, data):
                    return event_id, data
            time.sleep(0.02)
        raise AssertionError(f"never seen: {self.events}")

    def close(self) -> None:
        self._client.close()


def is_(activity_id: str, state: str) -> Callable[[str, Any], bool]:
    return lambda name, data: name == "activity" and data["id"] == activity_id and state in data["state"]


def test_a_stream_shows_every_change_and_goes_on_where_it_was_left(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "INTERVAL_SECONDS", 0.05)
    with served(platform) as url:
        running = put(platform, 1, state=State.RUNNING)
        foreign = put(platform, 2, state=State.RUNNING, tenant_id=str(uuid.uuid4()))
        stream = Stream(url, platform)
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        stream.sees(is_(running, "running"))
        change(platform, running, step="clone the disk", progression=0.5)
        _, shown = stream.sees(lambda _, data: data["state"].get("running", {}).get("progression") == 0.5)
        assert shown == platform.owner.get(f"{ACTIVITIES}/{running}").json()
        late = put(platform, 0, state=State.WAITING)
        last, _ = stream.sees(is_(late, "waiting"))
        assert foreign not in {data["id"] for _, _, data in stream.events}
        second = Stream(url, platform)
        second.sees(is_(late, "waiting"))
        for activity_id in (running, late):
            change(platform, activity_id, state=State.COMPLETED, stopped_at=datetime.now(UTC), result="r")
            for one in (stream, second):
                one.sees(is_(activity_id, "completed"))
        resumed = Stream(url, platform, **{"Last-Event-ID": last})
        resumed.sees(is_(late, "completed"))
        fresh = Stream(url, platform, **{"Last-Event-ID": "not an id"})
        time.sleep(0.3)
        assert fresh.events == []
    for one in (stream, second, resumed, fresh):
        assert one.ended.wait(10), "the controller's stop ends every stream"


def test_a_user_has_a_bounded_number_of_streams(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_PER_USER", 2)
    with served(platform) as url:
        streams = [Stream(url, platform) for _ in range(3)]
        assert [stream.answer.status_code for stream in streams] == [200, 200, 429]
        assert streams[2].answer.headers["Retry-After"] == "5"
        assert json.loads(streams[2].answer.read())["error"]["code"] == "activity.too_many_streams"
    assert all(stream.ended.wait(10) for stream in streams[:2])


def test_a_stream_ends_with_the_rights_of_its_session(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naos.activity.routes.CHECK_SECONDS", 0.1)
    monkeypatch.setattr("naos.activity.routes.HEARTBEAT_SECONDS", 0.1)
    with served(platform) as url:
        stream = Stream(url, platform)
        end = time.monotonic() + 10
        while "still here" not in stream.comments and time.monotonic() < end:
            time.sleep(0.05)
        assert "still here" in stream.comments
        with platform.services.database.write() as session:
            session.get_one(PersonalAccessToken, platform.first.token_id).revoked_at = datetime.now(UTC)
        _, reason = stream.sees(lambda name, _: name == "end")
        assert "deleted" in reason
        assert stream.ended.wait(10)
