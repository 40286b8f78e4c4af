"""The reference page of the command line, written from the commands themselves: ``python -m naos.cli.reference``."""

import sys
from collections.abc import Iterator
from typing import Any

import typer

HEAD = """# The command line

This page is made from the commands: `python -m naos.cli.reference > docs/reference/cli.md`.

Objects go by name or id. A name that starts with a dash stands behind `--`. Sizes are written `512MiB`, `64GiB` or
`1TiB`; a bare number is in GiB, and every unit is binary: `10GB` is `10GiB`. Lists take `--json` and `--csv`, single
objects `--json`: JSON is the API's own answer, CSV keeps sizes in bytes and times in UTC. Tables show sizes in GiB and
times in the local zone.

A write is followed to its end. `--no-wait` prints the id of its activity instead. Ctrl-C leaves the activity running.

| Exit code | Meaning |
|---|---|
| 0 | done |
| 1 | refused or failed; standard error says why. `naos doctor`: differences are left |
| 2 | the command itself was not understood |
| 130 | left by Ctrl-C |
"""


def render() -> str:
    """The page, in Markdown. It does not depend on the terminal or the environment."""
    from naos.cli.main import app

    lines = [HEAD, *_command(typer.main.get_command(app), "naos", 2)]
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Any, name: str, level: int) -> Iterator[str]:
    yield f"{'#' * min(level, 4)} `{name}`"
    yield ""
    yield _paragraphs(command.help or "")
    yield ""
    children = getattr(command, "commands", {})
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    shown = [item for item in command.params if item.param_type_name == "option" and not item.hidden]
    if not children or getattr(command, "invoke_without_command", False):
        words = [name, *(["[OPTIONS]"] if shown else []), *(item.metavar or item.name.upper() for item in arguments)]
        yield f"    {' '.join(words)}"
        yield ""
    for item in arguments:
        yield f"- `{item.metavar or item.name.upper()}`: {_text(item.help)}"
    for item in shown:
        yield f"- {_option(item)}"
    if arguments or shown:
        yield ""
    if command.epilog:
        yield f"Example: `{_text(command.epilog).removeprefix('Example: ')}`"
        yield ""
    for word, child in children.items():
        yield from _command(child, f"{name} {word}", level + 1)


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" `{option.metavar or _kind(option)}`"
    facts = []
    if option.required:
        facts.append("required")
    if option.multiple:
        facts.append("may be repeated")
    if option.envvar:
        facts.append(f"environment: `{option.envvar}`")
    if option.show_default and not option.is_flag and option.default not in (None, [], ()):
        facts.append(f"default: {option.default}")
    return f"{names}{value}: {_text(option.help)}" + (f" ({'; '.join(facts)})" if facts else "")


def _kind(option: Any) -> str:
    return "NUMBER" if option.type_descriptor.annotation is int else "NAME"


def _text(value: str | None) -> str:
    return " ".join((value or "").split())


def _paragraphs(value: str) -> str:
    return "\n\n".join(_text(part) for part in value.split("\n\n"))


if __name__ == "__main__":
    sys.stdout.write(render())
