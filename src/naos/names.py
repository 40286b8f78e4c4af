"""Names that people give: one rule for all areas.

A name is shown, never used: no file, host name or command is ever made from one, so `../x`, `a;b` and `-rf` are names
like any other.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from naos.errors import NaosError

LONGEST = 255
_FORBIDDEN = {
    "Cc": "a control character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line break",
    "Zp": "a paragraph break",
}
# These turn the reading direction of the text around a name: a list of names would show something else than it holds.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# No XML document can hold these, so no hypervisor could show them.
_NO_CHARACTER = frozenset("\ufffe\uffff")
_INVISIBLE = frozenset({"Cf", "Zs", "Cn", "Co"})


@dataclass(eq=False)
class NameEmpty(NaosError):
    code: ClassVar[str] = "name.empty"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A name is needed; this one is empty or holds only spaces and invisible characters."


@dataclass(eq=False)
class NameTooLong(NaosError):
    code: ClassVar[str] = "name.too_long"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The name has {length} characters and may have at most {maximum}; shorten it by {excess}."
    length: int
    maximum: int
    excess: int


@dataclass(eq=False)
class NameCharacter(NaosError):
    """`position` counts characters from 1."""

    code: ClassVar[str] = "name.character"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The name holds {kind} ({character}) as character {position}; remove it."
    kind: str
    character: str
    position: int


def clean_name(raw: str, *, maximum: int = LONGEST) -> str:
    """The name as it is kept: NFC, without white space at either end.

    Raises NameEmpty, NameCharacter or NameTooLong; lengths are counted in characters (code points) after cleaning.
    """
    name = unicodedata.normalize("NFC", raw).strip()
    for position, character in enumerate(name, start=1):
        kind = _FORBIDDEN.get(unicodedata.category(character))
        if kind is None and character in _DIRECTION:
            kind = "a mark that turns the reading direction"
        if character in _NO_CHARACTER:
            kind = "a code that is no character"
        if kind is not None:
            raise NameCharacter(kind, f"U+{ord(character):04X}", position)
    if all(unicodedata.category(character) in _INVISIBLE for character in name):
        raise NameEmpty
    if len(name) > maximum:
        raise NameTooLong(len(name), maximum, len(name) - maximum)
    return name


def itself(_session: object, identifier: str) -> str:
    """Stands where an area may be given the way from an id to a name that only a higher one knows."""
    return identifier


def listing(names: Iterable[str], *, most: int = 10) -> str:
    """Sorted names for a sentence, each once: the first `most`, and how many more there are."""
    found = sorted(set(names))
    shown = ", ".join(found[:most])
    return f"{shown} and {len(found) - most} more" if len(found) > most else shown


Name = Annotated[str, AfterValidator(clean_name)]
"""A request's field that holds a name: a bad one is refused with the sentence of its rule."""
