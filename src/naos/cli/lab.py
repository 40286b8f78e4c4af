"""`naos lab`: the one-machine rack. The only noun that works on this machine itself instead of over the API."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from naos.cli import options
from naos.cli.failures import Failure
from naos.cli.options import AsCsv, AsJson, Yes
from naos.cli.output import field, keep_logs_apart, note, show_list

if TYPE_CHECKING:
    from naos.lab.record import Record

app = typer.Typer(
    no_args_is_help=True,
    help="A rack on one machine: zones, blades and arrays as network namespaces. Needs root. NAOS_ROOT says where it lives.",
)

PARTS = (
    field("NAME", "name"),
    field("KIND", "kind"),
    field("ZONE", "zone"),
    field("ADDRESS", "address"),
    field("STATE", "state"),
    field("CABLE", "cable"),
    field("LIBVIRT", "service"),
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A blade, array, vault or witness, or `controller`.", show_default=False)
]
Cable = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A host, `controller`, or a zone for its link to the others.", show_default=False
    ),
]


Zones = Annotated[
    int | None, typer.Option(help="Zones with blades and an array; one more has vault and witness. Default 2.")
]
Blades = Annotated[int | None, typer.Option(help="Blades in each of these zones. Default 2.")]
LabName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Tells its namespaces from another lab's. Default lab.")
]
Range = Annotated[
    str | None, typer.Option("--range", metavar="RANGE", help="Addresses inside the lab. Default 10.213.0.0/16.")
]
Port = Annotated[
    int | None, typer.Option(min=1024, max=65535, help="Where the API listens on 127.0.0.1. Default 8470.")
]


def make(root: Path, *, port: int | None, **given: str | int | None) -> tuple["Record", str]:
    """Make or repair the lab without its controller; its record, and the acceleration that was proved.

    given: parameters of `default_plan`; None is its default. Raises LabError, EngineError.
    """
    from naos.catalogue.images import tiny
    from naos.lab import acceleration, build
    from naos.lab.plan import default_plan

    chosen = {key: value for key, value in given.items() if value is not None}
    plan = default_plan(**chosen) if chosen else None  # type: ignore[arg-type]  # each key has its own type
    kept = build.up(root, plan, _said, port=port)
    # Packages come over this machine's network, which the controller is not in.
    return kept, acceleration.settle(root, lambda: tiny.build_probe_kernel(root / "cache"))


@app.command(epilog="Example: naos lab up --zones 2 --blades 2")
def up(
    *,
    zones: Zones = None,
    blades: Blades = None,
    name: LabName = None,
    network: Range = None,
    port: Port = None,
) -> None:
    """Make the lab and start its controller, or repair what is not as it shall be.

    Nothing of this machine's own network is changed. Without options a lab that is there stays as it was planned.
    """
    from naos.lab import controller
    from naos.lab.record import lab_root

    root = lab_root()
    with refusals():
        kept, kind = make(root, zones=zones, blades=blades, name=name, network=network, port=port)
        _said(f"acceleration: {kind}")
        controller.start(root)
    note(f"The lab is up; the API is at http://127.0.0.1:{kept.port}.")
    usual = Path("/var/lib/naos/credentials")
    if root / "credentials" != usual:
        note(f"Credentials: {root / 'credentials'} (--credentials or NAOS_CREDENTIALS).")


@app.command(epilog="Example: naos lab down --yes")
def down(*, yes: Yes = False) -> None:
    """Remove the lab with all machines, disks and tables in it, and every trace of it on this machine."""
    from naos.lab import build, record

    root = record.lab_root()
    with refusals():
        if record.read(root) is None:
            build.down(root)
            note(f"There is no lab in {root}.")
            return
        options.confirm(f"Remove the lab in {root} with everything in it?", yes=yes)
        build.down(root, _said)
    note("The lab is gone.")


@app.command(epilog="Example: naos lab status")
def status(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show every part of the lab. Exit code 1 when one is off, cut or dead."""
    from naos.lab import status as looks
    from naos.lab.record import lab_root

    with refusals():
        parts = looks.parts(lab_root())
    show_list([asdict(part) for part in parts], PARTS, as_json=as_json, as_csv=as_csv)
    if not all(part.healthy for part in parts):
        raise typer.Exit(1)


@app.command(epilog="Example: naos lab start az05-blade1")
def start(name: Name) -> None:
    """Switch a host on, or start the controller."""
    _do("start", name)


@app.command(epilog="Example: naos lab stop az05-blade1")
def stop(name: Name) -> None:
    """Shut a host or the controller down: what runs in it is asked to end."""
    _do("stop", name)


@app.command(epilog="Example: naos lab kill az05-blade1")
def kill(name: Name) -> None:
    """Pull the plug of a host, or kill the controller."""
    _do("kill", name)


@app.command(epilog="Example: naos lab cut az05-blade1")
def cut(name: Cable) -> None:
    """Pull a network cable: the host runs on and is reached by nobody."""
    _do("cut", name)


@app.command(epilog="Example: naos lab join az05-blade1")
def join(name: Cable) -> None:
    """Put a cable back that was cut."""
    _do("join", name)


def _do(order: str, name: str) -> None:
    from naos.lab import faults
    from naos.lab.record import lab_root

    act: Callable[[Path, str], None] = getattr(faults, order)
    with refusals():
        act(lab_root(), name)


def _said(step: str) -> None:
    note(f"  {step}")


@contextmanager
def refusals() -> Iterator[None]:
    """Refusals and failures of the lab as the command line shows them."""
    from naos.errors import NaosError

    keep_logs_apart()
    try:
        yield
    except NaosError as error:
        raise Failure(str(error), code=error.code, details=error.details()) from error
    except PermissionError as error:
        if os.geteuid() != 0:
            raise Failure("The lab is root's; use sudo.") from error
        raise
