"""`naos activity`: what was asked for, how far it is and how it ended."""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from naos.cli import naming, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure, Unreachable
from naos.cli.options import AsCsv, AsJson
from naos.cli.output import Column, field, json_out, moment, note, plain, show_list, show_object, text
from naos.cli.waiting import ACTIVITIES, share_of, state_of

app = typer.Typer(no_args_is_help=True, help="Activities: every write, followed from start to end.")


def _fact(title: str, name: str, *, time: bool = False) -> Column:
    return Column(title, lambda activity: state_of(activity)[1].get(name), moment if time else text)


def _concerned(items: Any) -> str:
    return ", ".join(f"{item.get('type')} {item.get('id')}" for item in items or [])


STATE = Column("STATE", lambda activity: state_of(activity)[0])
DONE = Column("DONE", share_of, lambda share: f"{share:.0%}", right=True)
LIST = (
    field("CREATED", "creationDate", show=moment),
    STATE,
    DONE,
    field("DESCRIPTION", "description"),
    field("ID", "id"),
)
SHOW = (
    field("DESCRIPTION", "description"),
    STATE,
    DONE,
    field("CREATED", "creationDate", show=moment),
    _fact("STARTED", "startDate", time=True),
    _fact("STOPPED", "stopDate", time=True),
    _fact("STEP", "status"),
    _fact("RESULT", "result"),
    _fact("REASON", "reason"),
    Column("CONCERNS", lambda activity: activity.get("concernedItems"), _concerned),
    field("ID", "id"),
)
ActivityId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Id of the activity, or its first characters when those are its own.", show_default=False
    ),
]


@app.command("list", epilog="Example: naos activity list --state failed --limit 5")
def list_activities(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, the newest first.")] = 20,
    state: Annotated[
        str | None,
        typer.Option(help="Only those that are waiting, running, completed or failed.", show_default=False),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only of this kind, e.g. virtual_machine.create.", show_default=False)
    ] = None,
    contains: Annotated[
        str | None, typer.Option("--text", help="Only with this in description or reason.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Only of this user.", show_default=False)] = None,
    concerns: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those that concern this object.", show_default=False)
    ] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Only those that ended more than 30 days ago.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the activities, the newest first."""
    if state not in (None, "waiting", "running", "completed", "failed"):
        raise typer.BadParameter(f"{state!r} is not waiting, running, completed or failed", param_hint="--state")
    filters = {"state": state, "kind": kind, "text": contains, "initiator": user, "concernedItem": concerns}
    with connect(context) as api:
        found: list[Json] = api.get(ACTIVITIES, limit=limit, archived="true" if archived else None, **filters)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no such activity.")


@app.command(epilog="Example: naos activity show 5d0f8c0e-6f0e-4a53-9c3c-7b1d0f0a9a63")
def show(context: typer.Context, activity: ActivityId, as_json: AsJson = False) -> None:
    """Show an activity: what it does, how far it is, why it failed."""
    with connect(context) as api:
        show_object(find(api, activity), SHOW, as_json=as_json)


@app.command(epilog="Example: naos activity watch 5d0f8c0e")
def watch(context: typer.Context, activity: ActivityId, as_json: AsJson = False) -> None:
    """Follow an activity to its end; exit code 1 when it fails. Ctrl-C leaves it running."""
    with connect(context) as api:
        ended = waiting.follow(api, find(api, activity)["id"])
    if as_json:
        json_out(ended)
    else:
        note(f"{ended.get('description', 'The activity')}: completed.")


@app.command(epilog="Example: naos activity follow")
def follow(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print each activity as one line of JSON.")] = False,
) -> None:
    """Print every activity that is unfinished, and each change as it happens, until Ctrl-C."""
    last = ""
    seen: dict[str, str] = {}
    with connect(context) as api:
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                for event in events(api.stream(f"{ACTIVITIES}/stream", headers=headers)):
                    last = event.get("id", last)
                    if event.get("event") == "end":
                        raise Failure(event["data"])
                    if event.get("event") == "activity":
                        _print_change(event["data"], seen, as_json=as_json)
            except Unreachable:
                if not last:
                    raise
            api.connection.sleep(1.0)


def events(parts: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """The server-sent events of a stream: what stands behind each name; comments are left out."""
    rest = b""
    event: dict[str, str] = {}
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            name, colon, value = line.decode("utf-8", "replace").rstrip("\r").partition(":")
            if name:
                event[name] = value.removeprefix(" ")
            elif not colon and event:
                yield event
                event = {}


def _print_change(data: str, seen: dict[str, str], *, as_json: bool) -> None:
    """Print an activity, unless it was printed as it is: a stream that goes on after a break repeats what it may have said."""
    activity = json.loads(data)
    if seen.get(activity["id"]) == data:
        return
    if len(seen) > 10_000:
        seen.clear()
    seen[activity["id"]] = data
    if as_json:
        print(data, flush=True)
        return
    state, facts = state_of(activity)
    told = facts.get("status") if state == "running" else facts.get("reason")
    words = [plain(str(activity.get("description", ""))), state, plain(str(told or ""))]
    print(": ".join(word for word in words if word), flush=True)


def find(api: Api, reference: str) -> Json:
    """An activity by its id or by the start of it. Raises Failure when that is none, or more than one."""
    identifier = naming.normal_id(reference)
    if identifier is not None:
        found: Json = api.get(f"{ACTIVITIES}/{identifier}")
        return found
    start = reference.lower()
    matching = [item for item in api.get(ACTIVITIES) if start and item["id"].startswith(start)]
    if len(matching) == 1:
        only: Json = matching[0]
        return only
    if matching:
        lines = "".join(f"\n  {item['id']}  {item.get('description', '')}" for item in matching[:10])
        raise Failure(f"{len(matching)} activities start with {reference!r}; give more of it:{lines}")
    raise Failure(f"There is no activity {reference!r}; `naos activity list` shows the newest.")
