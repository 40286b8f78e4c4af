"""The reference page, and what every command's help must hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_platform import Cli

from naos.cli import reference
from naos.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield words, command
    for name, child in children.items():
        yield from commands(child, (*words, name))


EVERY = dict(commands(typer.main.get_command(app)))


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.render(), (
        "run: python -m naos.cli.reference > docs/reference/cli.md"
    )


def test_the_page_does_not_depend_on_where_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    page = reference.render()
    for name, value in (("COLUMNS", "40"), ("NAOS_URL", "http://x"), ("HOME", "/nowhere"), ("LC_ALL", "fr_FR.UTF-8")):
        monkeypatch.setenv(name, value)
    assert reference.render() == page


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_teaches_with_an_example_of_its_own(words: tuple[str, ...]) -> None:
    command = EVERY[words]
    assert command.help.strip()
    assert command.epilog.startswith(f"Example: naos {' '.join(words)}")
    for parameter in command.params:
        assert parameter.help, parameter.name


def test_the_help_is_shown(tmp_path: Path) -> None:
    shown = Cli(tmp_path).ok("vm", "create", "--help")
    assert "Example: naos vm create" in shown
    assert "a bare number is in GiB" in " ".join(shown.replace("│", " ").split())
