"""What people and programs get to see."""

import contextlib
import io
import re
import time
from typing import Any

import pytest

from naos.cli import output
from naos.cli.output import Column, field

COLUMNS = (field("NAME", "name"), field("SIZE", "size", show=output.gib, right=True), field("ID", "id"))
ID = "00000000-0000-4000-8000-000000000001"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    return Screen()


def show(items: list[dict[str, Any]], screen: Screen) -> list[str]:
    """The lines of a list on a terminal."""
    with contextlib.redirect_stdout(screen):
        output.show_list(items, COLUMNS)
    return plain_lines(screen)


def plain_lines(screen: Screen) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 GiB"),
        (2**30, "1 GiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**40, "1024 GiB"),
        (64 * 2**20, "0.0625 GiB"),
        (1, "9.31e-10 GiB"),
        (None, ""),
    ],
)
def test_sizes_are_in_gib(size: int | None, shown: str) -> None:
    assert output.gib(size) == shown


def test_times_are_in_the_local_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    try:
        assert output.moment("2026-07-01T08:00:00Z") == "2026-07-01 10:00:00 CEST"
        assert output.moment("2026-11-25T08:00:00.5+00:00") == "2026-11-25 09:00:00 CET"
        assert output.moment(None) == ""
        assert output.moment("soon") == "soon"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (True, "yes"), (False, "no"), (0, "0"), (["a", "b"], "a, b"), ("a\x1b[2Jb\n", "a\\x1b[2Jb\\x0a")],
)
def test_values_for_people(value: Any, shown: str) -> None:
    assert output.text(value) == shown


def test_names_are_data_not_markup(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shown = show([{"name": "[bold]x[/bold] :smile: \x1b[31m", "size": 0, "id": ID}], screen)
    assert "[bold]x[/bold] :smile: \\x1b[31m" in shown[1]


def test_a_narrow_terminal_gives_the_ids_up_before_it_breaks_names(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [{"name": "web-1", "size": 2**30, "id": ID}]
    monkeypatch.setenv("COLUMNS", "60")
    assert show(items, screen)[-1].endswith(ID)
    monkeypatch.setenv("COLUMNS", "40")
    assert show(items, screen)[-1].split() == ["web-1", "1", "GiB"]


def test_off_a_terminal_nothing_is_cut_coloured_or_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    name = "a long name " * 20 + "end"
    output.show_list([{"name": name, "size": 2**30, "id": ID}], COLUMNS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split("  ")[0] == name
    assert [line.rstrip() for line in lines] == lines
    assert "\x1b" not in "".join(lines)


def test_csv_quotes_what_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (*COLUMNS, Column("POOLS", lambda item: item["pools"]))
    output.show_list([{"name": 'a,"b', "size": 5, "id": ID, "pools": [{"name": "x"}, "y"]}], columns, as_csv=True)
    assert capsys.readouterr().out == f'name,size,id,pools\n"a,""b",5,{ID},x y\n'


def test_json_keeps_names_readable(capsys: pytest.CaptureFixture[str]) -> None:
    output.json_out({"name": "é🙂"})
    assert capsys.readouterr().out == '{\n  "name": "é🙂"\n}\n'


def test_an_object_leaves_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_object({"name": "x", "id": None}, COLUMNS)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["Name", "x"]]
