"""The rules of policies, as a table."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.protection import rules
from naos.protection.errors import (
    HeldUnassignable,
    LastPolicy,
    PolicyHeld,
    PolicyMissing,
    SameZone,
    ScheduleInvalid,
    SchedulesMissing,
)
from naos.protection.metrics import History
from naos.protection.processor import Meter
from naos.protection.rules import JobStatus, Policy, RunStatus, Schedule, Trigger

DAILY = Policy("daily", "AZ06", held=False)
HELD = Policy("old", "AZ06", held=True)
NO_BACKUP = Policy("nobackup", None, held=False)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("snc", "policies", "error"),
    [
        (True, [], PolicyMissing),
        (True, [NO_BACKUP], None),
        (True, [DAILY], None),
        (True, [DAILY, HELD], PolicyHeld),
        (False, [], None),
        (False, [HELD], PolicyHeld),
    ],
)
def test_what_starts(snc: bool, policies: list[Policy], error: type[Exception] | None) -> None:
    if error is None:
        rules.check_start("web", "Prod", snc=snc, policies=policies)
    else:
        with pytest.raises(error):
            rules.check_start("web", "Prod", snc=snc, policies=policies)


def test_a_refused_start_says_how_to_go_on() -> None:
    with pytest.raises(PolicyMissing) as refusal:
        rules.check_start("web", "Prod", snc=True, policies=[])
    for words in ("'web'", "'Prod'", "SecNumCloud", "nobackup", "naos policy assign web nobackup"):
        assert words in str(refusal.value)


def test_a_policy_of_the_machines_own_zone_is_refused_with_both_zones() -> None:
    rules.check_zones("web", "AZ05", [DAILY, NO_BACKUP])
    with pytest.raises(SameZone) as refusal:
        rules.check_zones("web", "AZ06", [NO_BACKUP, DAILY])
    assert "stores in zone AZ06" in str(refusal.value)
    assert "(zone AZ06)" in str(refusal.value)


def test_a_held_policy_is_not_assigned() -> None:
    rules.check_assignable([DAILY, NO_BACKUP])
    with pytest.raises(HeldUnassignable, match="naos policy release old"):
        rules.check_assignable([DAILY, HELD])


@given(st.booleans(), st.booleans(), st.integers(min_value=0, max_value=3))
def test_only_a_running_machine_under_the_rules_keeps_its_last_policy(snc: bool, running: bool, remaining: int) -> None:
    if snc and running and remaining == 0:
        with pytest.raises(LastPolicy):
            rules.check_last("web", "Prod", snc=snc, running=running, remaining=remaining)
    else:
        rules.check_last("web", "Prod", snc=snc, running=running, remaining=remaining)


@pytest.mark.parametrize(
    ("trigger", "frequency", "retention", "said"),
    [
        (Trigger.DAILY, 1, 1, None),
        (Trigger.MONTHLY, 12, 3650, None),
        (Trigger.DAILY, 0, 7, "frequency"),
        (Trigger.WEEKLY, 53, 7, "1 to 52; 53"),
        (Trigger.DAILY, 1, 0, "retention in days is 1 to 3650; 0"),
        (Trigger.DAILY, 1, -5, "retention"),
        (Trigger.DAILY, 2**70, 5, "frequency"),
    ],
)
def test_schedules_have_bounds(trigger: Trigger, frequency: int, retention: int, said: str | None) -> None:
    schedule = Schedule(trigger, frequency, retention, NOW)
    if said is None:
        rules.check_schedules([schedule])
    else:
        with pytest.raises(ScheduleInvalid, match=said):
            rules.check_schedules([schedule])


@pytest.mark.parametrize("count", [0, rules.MOST_SCHEDULES + 1])
def test_a_policy_has_a_few_schedules(count: int) -> None:
    with pytest.raises(SchedulesMissing):
        rules.check_schedules([Schedule(Trigger.DAILY, 1, 1, NOW)] * count)


def test_words_for_jobs_and_runs() -> None:
    assert rules.job_status(running=False, held=False, active=False) == JobStatus.IDLE == "IDLE"
    assert rules.job_status(running=False, held=False, active=True) == "RESOURCE ACTIVE"
    assert rules.job_status(running=True, held=False, active=True) == "RUNNING"
    assert rules.job_status(running=True, held=True, active=True) == "HELD"
    assert rules.outcome(failed=0) == RunStatus.COMPLETED
    assert rules.outcome(failed=1) == RunStatus.PARTIAL


def test_no_run_is_no_success() -> None:
    assert History(0, 0, 0, 0, 0).percent == 0.0
    assert History(total=5, success=3, warning=0, failed=1, running=1).percent == 75.0


def test_the_meter_shows_what_was_busy_in_between(tmp_path) -> None:  # type: ignore[no-untyped-def]
    source = tmp_path / "stat"
    source.write_text("cpu 100 0 100 700 100 0 0 0 0 0\ncpu0 1\n", encoding="ascii")
    meter = Meter(source)
    assert meter.percent() == 20
    source.write_text("cpu 200 0 100 700 100 0 0 0 0 0\n", encoding="ascii")
    assert meter.percent() == 100
    assert meter.percent() == 100  # nothing has passed
