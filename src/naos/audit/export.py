"""The audit log as a file, written piece by piece: it is never in memory as a whole."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from naos.audit.reading import Line
from naos.audit.wire import AuditEntryWire, to_wire

COLUMNS = tuple(field.alias or name for name, field in AuditEntryWire.model_fields.items())
_OBEYED = ("=", "+", "-", "@")


def as_json(lines: Iterable[Line]) -> Iterator[str]:
    """A JSON array, one entry a line."""
    before = "[\n"
    for line in lines:
        yield before + json.dumps(_fields(line), ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def as_csv(lines: Iterable[Line]) -> Iterator[str]:
    """RFC 4180: a line of titles, CRLF, quotes doubled; lists and objects as JSON."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")

    def written(cells: Iterable[Any]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield written(COLUMNS)
    for line in lines:
        yield written(cell(value) for value in _fields(line).values())


FORMATS: dict[str, tuple[str, Callable[[Iterable[Line]], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "json": ("application/json", as_json),
}


def cell(value: Any) -> str:
    """A value as a cell. A text that a spreadsheet would take for a formula stands behind an apostrophe: names are data."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.lstrip().startswith(_OBEYED) or text.startswith(("\t", "\r", "\n")) else text


def _fields(line: Line) -> dict[str, Any]:
    return to_wire(line).model_dump(mode="json", by_alias=True)
