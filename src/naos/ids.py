"""Ids as people and programs send them, and the secrets that they are given."""

import secrets
import uuid
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, WithJsonSchema

from naos.errors import NaosError


@dataclass(eq=False)
class IdMalformed(NaosError):
    code: ClassVar[str] = "api.id_malformed"
    status: ClassVar[int] = 400
    sentence: ClassVar[str] = (
        "{value!r} is not an id: ids are UUIDs such as 5d0f8c0e-6f0e-4a53-9c3c-7b1d0f0a9a63. "
        "Names are looked up in the list of their kind."
    )
    value: str


def normal_id(text: str) -> str | None:
    """The id in the form that tables hold (lower case, hyphens), or None for what is no UUID."""
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


def checked_id(value: str) -> str:
    """The id as tables hold it. Raises IdMalformed."""
    found = normal_id(value)
    if found is None:
        raise IdMalformed(value[:100])
    return found


ResourceId = Annotated[str, AfterValidator(checked_id), WithJsonSchema({"type": "string", "format": "uuid"})]
"""An id in a path or a body: malformed answers 400 here, unknown 404 in the area."""


def new_secret() -> str:
    """256 bits as 43 letters, digits, `-` and `_`; no command line takes it for an option."""
    while (made := secrets.token_urlsafe(32)).startswith("-"):
        pass
    return made
