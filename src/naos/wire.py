"""What every area's wire shapes share: camel-case names, references, the platform as a machine manager."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Strict
from pydantic.alias_generators import to_camel

Whole = Annotated[int, Strict()]
"""A whole number in a request; text, true and 2.0 are none."""


class Wire(BaseModel):
    """A wire shape: fields in camel case, unknown fields of requests refused by name."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Request(Wire):
    """A request's body. A misspelt field is refused: an ignored one would be an option that does nothing."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Reference(BaseModel):
    id: str
    name: str
