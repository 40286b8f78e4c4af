"""`naos doctor`: differences between what naos has written down and what there is."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.options import AsCsv, AsJson, NoWait, Yes
from naos.cli.output import Column, field, json_out, note, show_list

DOCTOR = "/platform/v1/doctor"
LIST = (
    field("KIND", "kind"),
    field("DIFFERENCE", "sentence"),
    field("REPAIR", "repair"),
    Column("BY --fix", lambda finding: bool(finding.get("safe")), lambda safe: "yes" if safe else "no"),
)


def doctor(
    context: typer.Context,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Apply the repairs that cannot lose data, after showing them.")
    ] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare the tables with the world, and show every difference with its repair.

    Exit code 1 when differences are left. It only looks unless --fix is given; what --fix would do is the
    last column of the list.
    """
    with connect(context) as api:
        findings: list[Json] = api.get(DOCTOR)
        if not (fix and as_json):
            show_list(findings, LIST, as_json=as_json, as_csv=as_csv, empty="No difference between tables and world.")
        if fix and any(item["safe"] for item in findings):
            findings = _repaired(api, findings, yes=yes, no_wait=no_wait, as_json=as_json)
        elif fix and as_json:
            json_out(findings)
    if findings:
        raise typer.Exit(1)


def _repaired(api: Api, findings: list[Json], *, yes: bool, no_wait: bool, as_json: bool) -> list[Json]:
    """Repair what is safe, and look again. Returns what is left; with `no_wait` nothing is known yet."""
    safe = sum(1 for item in findings if item["safe"])
    options.confirm(f"Repair {safe} of {len(findings)} difference(s)?", yes=yes)
    ended = waiting.finish(api, api.write("POST", f"{DOCTOR}/repair"), no_wait=no_wait, as_json=as_json)
    if ended is None:
        return []
    left: list[Json] = api.get(DOCTOR)
    if as_json:
        json_out(left)
        return left
    note(f"Repaired; {len(left)} difference(s) left." if left else "Repaired; nothing is left.")
    if left:
        show_list(left, LIST)
    return left
