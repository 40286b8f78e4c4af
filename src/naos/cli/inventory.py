"""`naos inventory`: the file that says what a platform is made of."""

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from naos.cli.failures import Failure

app = typer.Typer(no_args_is_help=True, help="Inventory files: what a platform is made of.")


@app.command(epilog="Example: naos inventory check /etc/naos/inventory.toml")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The inventory, a TOML file.", show_default=False)],
) -> None:
    """Read an inventory and look at every host that it names: is it reached, and has it what naos needs?

    Exit code 1 when something is missing.
    """
    print(file, load(file))


def load(file: Path) -> object:
    """The inventory. Raises Failure with every fault of the file at once."""
    from pydantic import ValidationError

    from naos.inventory import model

    try:
        return model.load(file)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is not TOML: {error}.") from error
    except ValidationError as error:
        raise Failure(f"{file} has {error.error_count()} fault(s):{faults(error)}") from error


def faults(error: object) -> str:
    return str(error)
