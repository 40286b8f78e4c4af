"""The documentation says what is so: its links lead somewhere, its commands exist, and each block of it runs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import page_shell
import pages
import postgres_server
import pytest
import typer
from pages import ROOT, Block
from pydantic import BaseModel

from naos import lifecycle
from naos.activity import models as activity_models
from naos.cli.main import app
from naos.inventory import model
from naos.lab import record
from naos.wire import Wire

CLI = typer.main.get_command(app)
LAB = "--name pages --range 10.223.0.0/16 --port 8489"
URL = "http://127.0.0.1:8489"
CACHE = Path("/var/cache/naos")
PROMPT = re.compile(r"^(\S+:\S* ?# )(.*)$")
GUEST_PROMPT = re.compile(r"^\S+:\S*# (?:\x1b\[6n)?$", re.MULTILINE)
LOOKS = re.compile(r"^naos (?:\w+ (?:list|show|status|log)|doctor)(?! --fix)\b[^;&|]*$")
MATCH_SECONDS = 150.0

RUN_ON_A_LAB = (
    "README.md",
    "docs/how-to/add-a-template.md",
    "docs/how-to/script.md",
    "docs/how-to/recover.md",
    "docs/how-to/try-failures.md",
    "docs/reference/api.md",
    "docs/tutorial/first-machine.md",
)
"""In this order on one lab: the first page makes it, the last takes it away."""
RUN_FOR_LONG = ("docs/how-to/build-debian-12.md",)
RUN_WITHOUT_A_LAB = ("docs/how-to/real-rack.md", "docs/how-to/several-controllers.md")
GENERATED = "docs/reference/cli.md"


# ------------------------------------------------------------------------------------------------------------- the text


@pytest.mark.parametrize("page", pages.pages())
def test_links_lead_somewhere(page: str) -> None:
    for link in pages.links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            name = str(target.resolve().relative_to(ROOT))
            assert anchor in pages.anchors(name), f"{page} links to {link}; {name} has no such heading"


def test_every_page_is_reached_from_the_first() -> None:
    reached, left = set(), ["README.md"]
    while left:
        page = left.pop()
        if page not in reached:
            reached.add(page)
            paths = [link.partition("#")[0] for link in pages.links(page) if "://" not in link]
            targets = [(ROOT / page).parent / path for path in paths if path.endswith(".md")]
            left += [str(target.resolve().relative_to(ROOT)) for target in targets]
    assert set(pages.pages()) - reached == set()


@pytest.mark.parametrize("page", [page for page in pages.pages() if page != GENERATED])
def test_named_commands_and_options_exist(page: str) -> None:
    for place, words in pages.commands(page):
        _check_command(place, words)


def _check_command(place: str, words: list[str]) -> None:
    said, command, options = f"{place}: naos {' '.join(words)}", CLI, _options(CLI)
    at = 0
    while at < len(words) and not re.match(r"--$|\d?[<>]", words[at]):
        word = words[at]
        children: dict[str, Any] = getattr(command, "commands", {})
        if word.startswith("-"):
            name = word.partition("=")[0]
            assert name in options, f"{said}: there is no {name}"
            at += 1 if options[name] or "=" in word else 2
        elif children:
            if re.fullmatch(r"[A-Z.]+|\.\.\.", word):
                return
            assert word in children, f"{said}: there is no {word}"
            command = children[word]
            options = options | _options(command)
            at += 1
        else:
            at += 1


def _options(command: Any) -> dict[str, bool]:
    """Each option's spelling, and whether it stands alone."""
    found = {"--help": True}
    for parameter in command.params:
        if parameter.param_type_name == "option":
            found |= dict.fromkeys((*parameter.opts, *parameter.secondary_opts), parameter.is_flag)
    return found


def test_every_block_that_can_be_run_is_run() -> None:
    runnable = {page for page in pages.pages() for block in pages.blocks(page) if block.language in ("sh", "python")}
    assert runnable == {*RUN_ON_A_LAB, *RUN_FOR_LONG, *RUN_WITHOUT_A_LAB}
    languages = {block.language for page in pages.pages() for block in pages.blocks(page)}
    assert languages <= {"sh", "python", "text", "console", "toml", "ini", "json"}


def test_every_variable_of_the_code_is_described() -> None:
    files = [*(ROOT / "src").rglob("*.py"), ROOT / "Makefile", *(ROOT / "scripts").iterdir()]
    used = {name for file in files for name in re.findall(r"\bNAOS_[A-Z_]+", file.read_text(encoding="utf-8"))}
    described = set(re.findall(r"`(NAOS_[A-Z_]+)`", pages.text_of("docs/reference/configuration.md")))
    assert described == used


def test_every_field_of_the_inventory_is_described() -> None:
    page = pages.text_of("docs/reference/inventory.md")
    for kind in _models(model):
        for name in kind.model_fields:
            assert f"`{name}`" in page or f"[{name}]" in page, f"{kind.__name__}.{name}"


def _models(module: Any) -> list[type[BaseModel]]:
    found = [entry for entry in vars(module).values() if isinstance(entry, type) and issubclass(entry, BaseModel)]
    return [entry for entry in found if entry not in (BaseModel, Wire)]


@pytest.mark.parametrize("page", ["docs/reference/inventory.md", "docs/how-to/real-rack.md"])
def test_inventories_in_the_pages_are_valid(page: str) -> None:
    found = [block for block in pages.blocks(page) if block.language == "toml"]
    assert found
    for block in found:
        model.Inventory.model_validate(tomllib.loads(block.text))


@pytest.mark.parametrize(
    ("name", "table"), [("activity", activity_models.TRANSITIONS), ("lifecycle", lifecycle.TRANSITIONS)]
)
def test_the_states_in_the_page_are_those_of_the_code(name: str, table: dict[str, tuple[str, ...]]) -> None:
    drawn = [f"| {state} | {', '.join(following)} |" for state, following in table.items() if following]
    part = pages.text_of("docs/explanation/activities.md").partition(f"<!-- states: {name} -->\n")[2]
    assert part.partition("\n\n")[0].splitlines()[2:] == drawn


def test_the_error_in_the_page_has_the_shape_of_an_error() -> None:
    (block,) = [block for block in pages.blocks("docs/reference/api.md") if block.language == "json"]
    assert set(json.loads(block.text)["error"]) == {"code", "status", "message", "details"}


# ------------------------------------------------------------------------------------------------------------ the blocks


class Reader:
    """Follows a page from its first block to its last. `root`: of the lab, which pages call by its usual place."""

    def __init__(self, opened: page_shell.Shell, root: Path) -> None:
        self._shell, self._root = opened, root
        self._printed = ""
        self._before: Block | None = None

    def follow(self, page: str) -> None:
        found = list(pages.blocks(page))
        for block, following in pairwise([*found, None]):
            assert block is not None
            if block.note[0] == "file":
                (self._shell.work / block.note[1]).write_text(block.text)
            elif block.language == "sh":
                self._type(block, following)
            elif block.language == "python":
                done = subprocess.run(
                    [sys.executable, "-c", block.text],
                    env=self._shell.environment, cwd=self._shell.work, capture_output=True, text=True, check=False,
                )  # fmt: skip
                self._printed = done.stdout
                assert done.returncode == 0, f"{block.place}: {done.stderr}"
            elif block.note[0] == "shown":
                self._compare(block)
            self._before = block

    def _type(self, block: Block, following: Block | None) -> None:
        if following is not None and following.language == "console":
            self._use_console(block, following)
        elif block.text == "make test\n":
            # This is what runs the test; of a second one it is enough to see what it would do.
            code, self._printed = self._shell.run("MAKEFLAGS=-n make test")
            assert (code, "scripts/test" in self._printed) == (0, True), self._printed
        elif block.note[0] == "refused":
            code, self._printed = self._shell.run(f"if {block.text.strip()}; then exit 99; fi")
            assert code == 0, f"{block.place}: it was not refused: {self._printed[-2000:]}"
        else:
            # What a look prints is compared; until it is so, the look may well end with 1, which would end the shell too.
            is_compared = _only_looks(block) and following is not None and following.note[0] == "shown"
            code, self._printed = self._shell.run(f"(\n{block.text}) || true\n" if is_compared else block.text)
            assert code == 0, f"{block.place}: exit code {code}: {self._printed[-3000:]}"

    def _use_console(self, block: Block, transcript: Block) -> None:
        lines = transcript.text.splitlines()
        keys = [found[2] for line in lines if (found := PROMPT.match(line)) and found[2]]
        assert keys, f"{transcript.place}: nothing is typed"
        shell = self._shell
        shown = page_shell.typed(block.text.strip(), keys, GUEST_PROMPT, shell.environment, shell.work)
        assert self._missing(transcript, shown) == set(), f"{transcript.place}: the console showed {shown}"

    def _compare(self, block: Block) -> None:
        """What only looks may look again until the world has come round."""
        assert self._before is not None, block.place
        again = _only_looks(self._before)
        end = time.monotonic() + MATCH_SECONDS
        while missing := self._missing(block, self._printed):
            if not again or time.monotonic() > end:
                pytest.fail(f"{block.place}: {missing} is not in {self._printed}")
            time.sleep(1.5)  # a look costs processor time, which an emulated guest needs for itself
            self._type(self._before, block)

    def _missing(self, block: Block, printed: str) -> set[str]:
        """Lines of the page that were not printed; a guest's own words may stand behind its prompt."""
        there = pages.masked(printed.replace(str(self._root), "/var/lib/naos"))
        return {line for line in pages.masked(block.text) if not any(found.endswith(line) for found in there)}


def _only_looks(block: Block) -> bool:
    return all(LOOKS.match(line) for line in block.text.splitlines())


def _environment(root: Path, home: Path) -> dict[str, str]:
    """What makes the pages' commands work on a lab of their own, in a home that goes with the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NAOS_", "PYTEST_", "MAKE"))}
    return kept | {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "200",
        "NAOS_ROOT": str(root),
        "NAOS_URL": URL,
        "NAOS_CREDENTIALS": str(root / "credentials"),
        "NAOS_UP": LAB,
    }


def _follow(page: str, environment: dict[str, str], work: Path, root: Path) -> None:
    with page_shell.shell(environment, work) as opened:
        Reader(opened, root).follow(page)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A place for the lab of the pages; what they leave there goes, whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="naos-", dir="/var/tmp"))
    try:
        if CACHE.is_dir():  # a lab's packages are the same everywhere
            for part in ("packages", "tiny", "probe"):
                if (CACHE / part).is_dir():
                    shutil.copytree(CACHE / part, folder / "cache" / part)
        yield folder
    finally:
        if record.read(folder) is not None:
            down = [str(ROOT / ".venv" / "bin" / "naos"), "down", "--yes"]
            subprocess.run(down, env=os.environ | {"NAOS_ROOT": str(folder)}, check=True, capture_output=True)
        shutil.rmtree(folder)


@pytest.mark.lab
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")
@pytest.mark.parametrize("page", RUN_ON_A_LAB)
def test_page_on_a_lab(page: str, root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if page != RUN_ON_A_LAB[0] and record.read(root) is None:
        pytest.fail(f"{RUN_ON_A_LAB[0]} has not left a lab")
    work = ROOT if page in (RUN_ON_A_LAB[0], RUN_ON_A_LAB[-1]) else tmp_path
    _follow(page, _environment(root, home), work, root)


@pytest.mark.lab
def test_the_last_page_has_taken_the_lab_away(root: Path) -> None:
    assert record.read(root) is None
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert "naos-pages-" not in namespaces


@pytest.mark.parametrize("page", RUN_WITHOUT_A_LAB)
@pytest.mark.timeout(300)
def test_page_without_a_lab(page: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = _environment(tmp_path, home)
    for name in ("NAOS_URL", "NAOS_CREDENTIALS", "NAOS_ROOT"):
        environment.pop(name)
    with ExitStack() as stack:
        if "createdb" in pages.text_of(page):
            server = stack.enter_context(postgres_server.server())
            environment |= {"PGHOST": str(server.folder), "PGUSER": "postgres"}
        _follow(page, environment, tmp_path, tmp_path)


@pytest.mark.soak
@pytest.mark.lab
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", RUN_FOR_LONG)
def test_long_page(page: str, root: Path, tmp_path: Path) -> None:
    environment = _environment(root, tmp_path)
    if record.read(root) is None:
        subprocess.run(["make", "up"], env=environment, cwd=ROOT, check=True)
    _follow(page, environment, tmp_path, root)
