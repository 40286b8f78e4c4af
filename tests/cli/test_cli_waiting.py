"""Following activities: to the end, through a controller's absence, and away from them."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_platform import Cli, identifier, machine

from naos.cli import client, waiting
from naos.cli.failures import Failure


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [machine(10, "web-1")]
    return made


def started(cli: Cli) -> str:
    return cli.ok("vm", "start", "web-1", "--no-wait").strip()


def test_no_wait_prints_the_activity_and_reads_nothing_more(cli: Cli) -> None:
    activity = started(cli)
    assert activity in cli.platform.activities
    assert cli.platform.requests[-1].url.path.endswith("/power")
    shown = json.loads(cli.ok("vm", "start", "web-1", "--no-wait", "--json"))
    assert list(shown["state"]) == ["waiting"]


def test_following_reads_until_the_end_with_growing_pauses(cli: Cli) -> None:
    cli.platform.story[1:1] = [cli.platform.story[1]] * 10
    cli.ok("vm", "start", "web-1")
    assert cli.pauses == sorted(cli.pauses)
    assert len(cli.pauses) == 12
    assert max(cli.pauses) == waiting.LONGEST_PAUSE_SECONDS


def test_a_failed_activity_is_its_reason_and_exit_code_1(cli: Cli) -> None:
    cli.platform.story = [{"failed": {"reason": "par1-blade1 does not answer", "startDate": "", "stopDate": ""}}]
    said = cli.refused("vm", "start", "web-1")
    (activity,) = cli.platform.activities
    assert said == f"Error: Power failed: par1-blade1 does not answer (activity {activity})"


@pytest.mark.parametrize("state", [{}, {"paused": {}}, {"running": {}, "failed": {}}])
def test_a_state_that_is_none_is_not_taken_for_an_end(cli: Cli, state: dict[str, Any]) -> None:
    cli.platform.story = [state, state, {"completed": {}}]
    cli.ok("vm", "start", "web-1")


def test_a_restarting_controller_is_waited_for(cli: Cli) -> None:
    away = [True] * 5

    def before(request: httpx.Request) -> None:
        if "/activities/" in request.url.path and away:
            away.pop()
            raise httpx.ConnectError("Connection refused")

    cli.platform.before = before
    cli.ok("vm", "start", "web-1")
    assert away == []


def test_a_controller_that_stays_away_is_given_up_with_the_way_back(cli: Cli) -> None:
    activity = started(cli)

    def before(request: httpx.Request) -> None:
        if "/activities/" in request.url.path:
            raise httpx.ConnectError("Connection refused")

    cli.platform.before = before
    ticks = iter(range(0, 10_000, 50))
    with client.opened(cli.connection) as api, pytest.raises(Failure, match=f"naos activity watch {activity}"):
        waiting.follow(api, activity, clock=lambda: float(next(ticks)))


def test_ctrl_c_leaves_the_activity_and_says_how_to_watch_it(cli: Cli) -> None:
    def before(request: httpx.Request) -> None:
        if "/activities/" in request.url.path:
            raise KeyboardInterrupt

    cli.platform.before = before
    result = cli("vm", "start", "web-1")
    (activity,) = cli.platform.activities
    assert result.exit_code == 130
    assert f"goes on without you; watch it with `naos activity watch {activity}`" in result.stderr
    cli.platform.before = lambda _request: None
    assert "completed" in cli("activity", "watch", activity[:8]).stderr


def test_activities_are_listed_newest_first_with_local_times(cli: Cli) -> None:
    first, second = started(cli), started(cli)
    rows = cli.ok("activity", "list", env={"TZ": "UTC"}).splitlines()
    assert rows[0].split() == ["CREATED", "STATE", "DONE", "DESCRIPTION", "ID"]
    assert [row.split()[-1] for row in rows[1:]] == [second, first]
    assert "100%" in rows[1]
    assert len(cli.ok("activity", "list", "--limit", "1").splitlines()) == 2
    assert cli.ok("activity", "list", "--state", "running") == ""
    assert "is not waiting" in cli.refused("activity", "list", "--state", "done", code=2)


def test_an_activity_goes_by_the_start_of_its_id(cli: Cli) -> None:
    for number in (1, 2):
        cli.platform.activities[f"abc{number}"] = {"id": f"abc{number}", "description": "Copy", "concernedItems": []}
    assert "Copy" in cli.ok("activity", "show", "ABC1")
    assert "2 activities start with 'abc'" in cli.refused("activity", "show", "abc")
    assert "There is no activity 'x'" in cli.refused("activity", "show", "x")
    assert "There is no activity" in cli.refused("activity", "show", identifier(1))


def test_show_tells_times_step_reason_and_what_it_concerns(cli: Cli) -> None:
    activity = started(cli)
    cli.platform.story = [
        {
            "failed": {
                "startDate": "2026-11-25T08:00:01+00:00",
                "stopDate": "2026-11-25T08:00:02+00:00",
                "reason": "no room",
            }
        }
    ]
    shown = cli.ok("activity", "show", activity)
    assert "no room" in shown
    assert f"virtual_machine {identifier(10)}" in shown
    assert json.loads(cli.ok("activity", "show", activity, "--json"))["id"] == activity
    assert "no room" in cli.refused("activity", "watch", activity)


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        ({"concernedItems": [{"id": "a", "type": "vlan"}, {"id": "b", "type": "disk"}]}, "b"),
        ({"concernedItems": [], "state": {"completed": {"result": "c"}}}, "c"),
    ],
)
def test_what_was_made_is_in_the_items_or_in_the_result(activity: dict[str, Any], expected: str) -> None:
    assert waiting.made(activity, "disk") == expected


def test_an_activity_that_names_nothing_is_a_failure() -> None:
    with pytest.raises(Failure, match="names no disk"):
        waiting.made({"id": "a", "state": {"completed": {}}}, "disk")
