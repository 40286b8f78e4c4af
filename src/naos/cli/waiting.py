"""Following an activity to its end: a progress bar on a terminal, silence elsewhere. Leaving never stops it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from naos.cli.client import Api, Json
from naos.cli.failures import Failure, Unreachable
from naos.cli.output import dig, json_out, note, plain, terminal

ACTIVITIES = "/activity/v1/activities"
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
"""How long a controller may be away, e.g. restarting, before following gives up."""
INTERRUPTED = 130

Report = Callable[[Json, str], None]


def state_of(activity: Json) -> tuple[str, Json]:
    """The activity's state and what belongs to it: ``{"running": {...}}`` -> ``("running", {...})``."""
    states = activity.get("state") or {}
    if len(states) != 1:
        return "unknown", {}
    ((name, facts),) = states.items()
    return str(name), facts or {}


def share_of(activity: Json) -> float:
    """How much is done, 0 to 1."""
    name, facts = state_of(activity)
    return 1.0 if name == "completed" else min(max(float(facts.get("progression") or 0.0), 0.0), 1.0)


def follow(api: Api, activity_id: str, *, clock: Callable[[], float] = time.monotonic) -> Json:
    """The activity once it has ended well. Raises Failure with its reason; Ctrl-C leaves it running (typer.Exit)."""
    try:
        with _bar() as report:
            activity = _ended(api, activity_id, report, clock)
    except KeyboardInterrupt:
        note(f"The activity goes on without you; watch it with `naos activity watch {activity_id}`.")
        raise typer.Exit(INTERRUPTED) from None
    name, facts = state_of(activity)
    if name == "completed":
        return activity
    reason = facts.get("reason") or "it did not say why"
    raise Failure(f"{activity.get('description', 'The activity')} failed: {reason} (activity {activity_id})")


def finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool) -> Json | None:
    """What a command does after its write: follow it, or with `no_wait` print the activity and return None."""
    if not no_wait:
        return follow(api, activity_id)
    if as_json:
        json_out(api.get(f"{ACTIVITIES}/{activity_id}"))
    else:
        print(activity_id)
    return None


def made(activity: Json, kind: str) -> str:
    """The id of the object of `kind` (e.g. ``virtual_machine``) that a finished activity made or changed."""
    for item in activity.get("concernedItems") or []:
        if item.get("type") == kind and item.get("id"):
            return str(item["id"])
    result = state_of(activity)[1].get("result")
    if result:
        return str(result)
    raise Failure(f"Activity {activity.get('id')} ended well but names no {kind}.")


def _ended(api: Api, activity_id: str, report: Report, clock: Callable[[], float]) -> Json:
    pause, away_since = FIRST_PAUSE_SECONDS, None
    while True:
        try:
            activity: Json = api.get(f"{ACTIVITIES}/{activity_id}")
        except Unreachable as failure:
            away_since = away_since if away_since is not None else clock()
            if clock() - away_since > PATIENCE_SECONDS:
                raise Failure(
                    f"{failure} The activity goes on once a controller is back; "
                    f"watch it with `naos activity watch {activity_id}`."
                ) from failure
            report({}, "the controller does not answer; trying again")
        else:
            away_since = None
            report(activity, "")
            if state_of(activity)[0] in {"completed", "failed"}:
                return activity
        api.connection.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


@contextmanager
def _bar() -> Iterator[Report]:
    """A progress bar on standard error; nothing where that is no terminal, so that logs stay short."""
    if not sys.stderr.isatty():
        yield lambda _activity, _remark: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting", total=1.0)

        def report(activity: Json, remark: str) -> None:
            if not activity:
                progress.update(task, description=remark)
                return
            name, facts = state_of(activity)
            step = facts.get("status") or dig(activity, "step") or ""
            words = [plain(str(activity.get("description", ""))), plain(str(step)) if name == "running" else name]
            progress.update(task, completed=share_of(activity), description=": ".join(word for word in words if word))

        yield report
