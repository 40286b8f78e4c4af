"""The documentation as data: pages, their fenced blocks, their links, and the commands that they name.

A comment on the line before a block says how it is to be taken:

    <!-- file: NAME -->     the block is written to that file of the page's folder
    <!-- refused -->        the block's command ends with an exit code other than 0
    <!-- shown -->          the `text` block is what the `sh` block before it prints, once figures and ids are set aside
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)$")
_NOTE = re.compile(r"^<!-- (?P<kind>[a-z]+)(?:: (?P<value>.+))? -->$")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_VARIABLE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}\b|\d+(?:\.\d+)?|\b(?:kvm|tcg)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line`: of its first fence, from 1. `note`: kind and value of the comment before it."""

    page: str
    line: int
    language: str
    text: str
    note: tuple[str, str] = ("", "")

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page, by its path from the root of the tree."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks in order. Raises AssertionError for a fence that is not closed or a note that means nothing."""
    lines = text_of(page).splitlines()
    position = 0
    while position < len(lines):
        fence = _FENCE.match(lines[position])
        if fence is None:
            assert not lines[position].startswith("```"), f"{page}:{position + 1}: what kind of block is this?"
            position += 1
            continue
        end = next((at for at in range(position + 1, len(lines)) if lines[at] == "```"), None)
        assert end is not None, f"{page}:{position + 1}: the block is not closed"
        note = _NOTE.match(lines[position - 1]) if position else None
        kind, value = (note["kind"], note["value"] or "") if note else ("", "")
        assert kind in ("", "file", "refused", "shown"), f"{page}:{position}: {kind}?"
        body = "\n".join(lines[position + 1 : end]) + "\n"
        yield Block(page, position + 1, fence[1], body, (kind, value))
        position = end + 1


def links(page: str) -> list[str]:
    return _LINK.findall(_without_blocks(text_of(page)))


def anchors(page: str) -> set[str]:
    """The headings of a page, as links name them."""
    found = set()
    for heading in _HEADING.findall(_without_blocks(text_of(page))):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(kept.strip().replace(" ", "-"))
    return found


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Where the page names a command of naos, and its words: in prose between backquotes, and in `sh` blocks."""
    spans = [(page, span) for span in _SPAN.findall(_without_blocks(text_of(page)))]
    spans += [
        (block.place, line.strip())
        for block in blocks(page)
        if block.language == "sh"
        for line in re.split(r"[\n|;&()]", block.text.replace("\\\n", " "))
    ]
    found = []
    for place, span in spans:
        words = re.findall(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""", span)
        while words and re.fullmatch(r"[A-Z_]+=\S*|if|while|until|do|then|!", words[0]):
            words = words[1:]
        if words and words[0] == "naos":
            found.append((place, words[1:]))
    return found


def masked(text: str) -> set[str]:
    """The lines of what was printed, without what differs from run to run: figures, ids, the width of columns."""
    found = set()
    for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r", "\n").splitlines():
        plain = " ".join(_VARIABLE.sub("#", line).split())
        if plain:
            found.add(plain)
    return found


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
