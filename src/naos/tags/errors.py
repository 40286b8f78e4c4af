"""Refusals of tags."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class KeyUnfit(NaosError):
    code: ClassVar[str] = "tag.key_unfit"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{key!r} cannot be the key of a tag: {reason}. A key is what stands at the end of an address."
    )
    key: str
    reason: str


@dataclass(eq=False)
class ValueTooLong(NaosError):
    code: ClassVar[str] = "tag.value_too_long"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The value of tag {key!r} has {length} characters and may have at most {maximum}; shorten it."
    )
    key: str
    length: int
    maximum: int


@dataclass(eq=False)
class TooManyTags(NaosError):
    code: ClassVar[str] = "tag.too_many"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{noun} {resource_id} carries {maximum} tags, and no object carries more; remove one, or change a value."
    )
    noun: str
    resource_id: str
    maximum: int


@dataclass(eq=False)
class KindUnknown(NaosError):
    code: ClassVar[str] = "tag.kind_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Objects of type {type!r} and source {source!r} carry no tags; those that do: {known}."
    type: str
    source: str
    known: str


@dataclass(eq=False)
class ResourceMissing(NaosError):
    code: ClassVar[str] = "tag.resource_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Name at least one object in `resources`: a tag is put on objects."
