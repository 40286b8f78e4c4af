"""How things are shown: tables for people, JSON and CSV for programs. Names are data: nothing in them is obeyed."""

import csv
import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from naos.units import GIB

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Json = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a list. `read` takes the raw value out of an object; `show` makes it readable (CSV keeps it raw)."""

    title: str
    read: Callable[[Json], Any]
    show: Callable[[Any], str] = str
    right: bool = False


def field(title: str, *path: str, show: Callable[[Any], str] | None = None, right: bool = False) -> Column:
    """A column of the value at `path`, e.g. ``field("POOL", "hostCluster", "name")``; a missing one is empty."""
    return Column(title, lambda item: dig(item, *path), show or text, right)


def dig(item: Any, *path: str) -> Any:
    """The value at `path` of nested objects; None when it is not there."""
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


# ------------------------------------------------------------------------------------------------------------- values


def plain(value: str) -> str:
    """The text with control characters made visible, so that it cannot move the cursor or colour the screen."""
    return "".join(
        character if unicodedata.category(character) not in {"Cc", "Cs"} else f"\\x{ord(character):02x}"
        for character in value
    )


def text(value: Any) -> str:
    """A value for people: nothing for None, yes and no for truth."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(text(item) for item in value)
    return plain(str(value))


def gib(size: int | None) -> str:
    """Bytes in GiB: ``64 GiB``, ``0.5 GiB``; three digits below a tenth."""
    if size is None:
        return ""
    value = size / GIB
    number = f"{value:.3g}" if 0 < abs(value) < 0.1 else f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{number} GiB"


def mib(size: int | None) -> str:
    """MiB, as the API counts a few figures, in GiB."""
    return "" if size is None else gib(size * 2**20)


def moment(value: str | None) -> str:
    """A time of the API (RFC 3339, UTC) in the local zone: ``2026-11-25 09:12:03 CET``."""
    if not value:
        return ""
    try:
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return plain(value)


def since_epoch(milliseconds: Any) -> str:
    """A time of the API in milliseconds since 1970, in the local zone."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def names(references: Any) -> str:
    """References as their names."""
    return ", ".join(plain(str(item.get("name", ""))) for item in references or [])


# ---------------------------------------------------------------------------------------------------------------- out


def terminal(*, stderr: bool = False) -> "Console":
    """A console on the present standard stream. Off a terminal, lines are as long as they are: programs read them."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def note(sentence: str) -> None:
    """A remark for people, on standard error."""
    for line in sentence.split("\n"):
        print(plain(line), file=sys.stderr, flush=True)


def keep_logs_apart() -> None:
    """For commands that work on this machine themselves: warnings go to standard error, results stay alone on the other."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),  # the stream of the moment of the message
    )


def json_out(value: Any) -> None:
    """The API's own words."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_list(
    items: Sequence[Json], columns: Sequence[Column], *, as_json: bool = False, as_csv: bool = False, empty: str = ""
) -> None:
    """A list: a table, or JSON as the API has it, or CSV with a line of titles and raw values."""
    if as_json:
        json_out(list(items))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([column.title.lower() for column in columns])
        for item in items:
            writer.writerow([_cell(column.read(item)) for column in columns])
    elif not items and empty:
        note(empty)
    else:
        _print_table(items, columns)


def show_object(item: Json, columns: Sequence[Column], *, as_json: bool = False) -> None:
    """One object: a line for each column, or JSON as the API has it."""
    if as_json:
        json_out(item)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for column in columns:
        shown = column.show(column.read(item))
        if shown:
            table.add_row(Text(column.title.capitalize()), Text(shown))
    _put(terminal(), table)


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return " ".join(str(item.get("name", item)) if isinstance(item, dict) else str(item) for item in value)
    return "" if value is None else value


def _print_table(items: Sequence[Json], columns: Sequence[Column]) -> None:
    console = terminal()
    table = _table(items, columns)
    unbounded = console.options.update(max_width=10_000)
    too_wide = console.measure(table, options=unbounded).maximum > console.width
    if too_wide and columns[-1].title == "ID" and columns[0].title == "NAME":
        table = _table(items, columns[:-1])  # a name says which; `show`, --json and --csv have the ids
    _put(console, table)


def _put(console: "Console", table: "Table") -> None:
    """Print a table; off a terminal without the spaces that fill its last column."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(items: Sequence[Json], columns: Sequence[Column]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        fixed = column.title == "ID"
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold", no_wrap=fixed)
    for item in items:
        table.add_row(*(Text(column.show(column.read(item))) for column in columns))
    return table
