"""`naos inventory`: the file that says what a platform is made of. Works on the hosts themselves, not over the API."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from naos.cli.failures import Failure
from naos.cli.options import AsCsv, AsJson
from naos.cli.output import Column, Json, field, note, show_list
from naos.units import size_text

if TYPE_CHECKING:
    from pydantic import ValidationError

    from naos.inventory.model import Inventory

Read = TypeVar("Read")

app = typer.Typer(no_args_is_help=True, help="Inventory files: what a platform is made of.")

_AGAIN = "from naos.cli.main import main; main()"


def _fact(title: str, name: str, show: Any = None, *, right: bool = False) -> Column:
    return field(title, "facts", name, show=show, right=right)


def _room(value: int | None) -> str:
    return "" if value is None else size_text(value)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} s"


def _sentences(item: Json) -> str:
    return " ".join(fault["sentence"] for fault in item["faults"])


def _state(item: Json) -> str:
    if not item["faults"]:
        return "good"
    count = len(item["faults"])
    return f"{count} fault{'s' if count > 1 else ''}" if item["reached"] else "not reached"


_TABLE = (
    field("HOST", "name"),
    field("KIND", "kind"),
    field("ZONE", "zone"),
    Column("STATE", _state),
    _fact("LIBVIRT", "libvirt"),
    _fact("QEMU", "qemu"),
    _fact("KERNEL", "kernel"),
    _fact("GUESTS", "acceleration"),
    _fact("CLOCK", "clock", _seconds, right=True),
    _fact("MEMORY", "memory", _room, right=True),
    _fact("DISK", "disk", _room, right=True),
)
_ISSUED = (
    field("HOST", "host"),
    Column("MADE", lambda row: ", ".join(row["made"]) or "nothing"),
    field("FOLDER", "folder"),
)
_CSV = (*_TABLE, Column("FAULTS", _sentences), field("REMARKS", "remarks"))


@app.command(epilog="Example: naos inventory check /etc/naos/inventory.toml")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The inventory, a TOML file.", show_default=False)],
    *,
    try_kvm: Annotated[
        bool,
        typer.Option(
            "--try-kvm", help="Boot a tiny Linux with KVM on every blade where nobody has yet; fetches its kernel."
        ),
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Look at every host that an inventory names: is it reached, and has it what naos needs?

    Run it where the controller runs. Nothing on the hosts is changed. Exit code 1 when something is missing.
    """
    from naos.inventory.catalogues import load_catalogues

    found = load(file)
    models = _checked(file, lambda: load_catalogues(found.catalogues, file.parent)).blades.models
    kernel = _probe_kernel() if try_kvm else None  # packages come over this machine's network, which a lab is not in
    if _enter_lab(file):
        return

    from naos.engines.check import check_inventory

    _log_to_stderr()
    reports = [asdict(report) for report in check_inventory(found, models=models, kernel=kernel)]
    show_list(reports, _CSV if as_csv else _TABLE, as_json=as_json, as_csv=as_csv, empty="The inventory has no host.")
    if not as_json and not as_csv:
        _explain(reports)
    if any(report["faults"] for report in reports):
        raise typer.Exit(1)


@app.command(epilog="Example: naos inventory certificates /etc/naos/inventory.toml /etc/naos/storage-network")
def certificates(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The inventory, a TOML file.", show_default=False)],
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Where the authority and the hosts' folders are.", show_default=False),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Make the certificates with which blades and arrays trust each other, in a folder for each host.

    Run it again for new hosts, and once a year: what is there and good for 90 days more stays. The folder also holds the
    authority's own key; keep it where only you can read it.
    """
    from naos.inventory.certificates import issue

    found = load(file)
    try:
        rows = [
            {"host": made.host, "folder": str(made.folder), "made": list(made.purposes)}
            for made in issue(found, folder)
        ]
    except OSError as error:
        raise Failure(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
    except ValueError as error:
        raise Failure(f"The authority in {folder} cannot be used: {error}.") from error
    show_list(rows, _ISSUED, as_json=as_json, empty="The inventory has no blade and no array.")


def load(file: Path) -> "Inventory":
    """The inventory. Raises Failure with every fault of the file at once."""
    from naos.inventory import model

    return _checked(file, lambda: model.load(file))


def _checked(file: Path, read: Callable[[], Read]) -> Read:
    """What `read` makes of a file; in sentences what is wrong with it."""
    from pydantic import ValidationError

    try:
        return read()
    except OSError as error:
        raise Failure(f"{error.filename or file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is not TOML: {error}.") from error
    except ValidationError as error:
        raise Failure(f"{file} has {error.error_count()} fault(s):\n{_faults(error)}") from error


def _faults(error: "ValidationError") -> str:
    return "\n".join(
        f"- {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
        for fault in error.errors(include_url=False)
    )


def _explain(reports: Sequence[Json]) -> None:
    """Faults a line each; a remark that is true of many hosts once."""
    for report in reports:
        for fault in report["faults"]:
            note(f"{report['name']} ({report['kind']}): {fault['sentence']}")
    remarks: dict[str, list[str]] = {}
    for report in reports:
        for remark in report["remarks"]:
            remarks.setdefault(remark, []).append(report["name"])
    for remark, names in remarks.items():
        note(f"Remark on {', '.join(names)}: {remark}")


def _log_to_stderr() -> None:
    """Standard output is the list's; of what engines log only warnings are of interest here."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),
    )


def _probe_kernel() -> tuple[Path, Path]:
    from naos.catalogue.images import tiny
    from naos.errors import NaosError

    note("Preparing a kernel to try KVM with.")
    try:
        return tiny.build_probe_kernel()
    except NaosError as error:
        raise Failure(str(error), code=error.code) from error


def _enter_lab(file: Path) -> bool:
    """A lab's hosts answer only in the lab's network. When `file` is a lab's own inventory, run this command once more
    where its controller runs, and end as that one does. True when it has run."""
    from naos.engines.hosts import netns, processes
    from naos.lab import record
    from naos.lab.errors import LabError

    try:
        kept = record.read(file.resolve().parent)
    except (LabError, OSError):
        kept = None
    if kept is None or file.name != "inventory.toml":
        return False
    inside = netns.inode(kept.plan.controller)
    if inside is None:
        raise Failure(f"The network of the lab in {file.resolve().parent} is not there; run `naos lab up`.")
    if inside == processes.network_namespace(os.getpid()):
        return False
    if os.geteuid() != 0:
        raise Failure("The lab is root's; use sudo.")
    enter = ["nsenter", f"--net={netns.path(kept.plan.controller)}", "--"]
    done = subprocess.run([*enter, sys.executable, "-c", _AGAIN, *sys.argv[1:]], check=False)
    raise typer.Exit(done.returncode)
