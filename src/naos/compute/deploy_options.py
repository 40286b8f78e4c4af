"""A deployment's options: an item's own properties and cloud-init's words, together in one list."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from naos.catalogue.ovf import properties
from naos.catalogue.ovf.properties import Property
from naos.errors import NaosError


@dataclass(eq=False)
class OptionUnknown(NaosError):
    code: ClassVar[str] = "compute.option_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no deploy option {name!r}; the options are {known}."
    name: str
    known: str


@dataclass(eq=False)
class OptionInvalid(NaosError):
    code: ClassVar[str] = "compute.option_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Deploy option {name!r} cannot be used: {reason}."
    name: str
    reason: str


def _decoded(name: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise OptionInvalid(name, f"it must be base64 of UTF-8 text ({error})") from None


def _lines(_name: str, value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()]


def _text(_name: str, value: str) -> str:
    return value


_ADDRESS = re.compile(r"(https?|ftp)://[^\s\x00-\x1f\x7f\"'\\]{1,2000}")


def _address(name: str, value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise OptionInvalid(
            name, "it must be an http, https or ftp address from which the guest fetches its user-data and meta-data"
        )
    return value


_OPTIONS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "hostname": ("hostname", _text),
    "instance-id": ("instance_id", _text),
    "password": ("password", _text),
    "public-keys": ("ssh_keys", _lines),
    "seedfrom": ("seedfrom", _address),
    "user-data": ("user_data", _decoded),
    "network-config": ("network_config", _decoded),
}


def seed_of(item: str, declared: Sequence[Property], options: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The seed's fields from (id, value) pairs, in any order. A property that has the name of one of cloud-init's options reaches
    the guest both ways.

    Raises OptionUnknown, OptionInvalid, PropertyInvalid, PropertyMissing.
    """
    keys = {entry.key for entry in declared}
    given: dict[str, str] = {}
    for name, value in options:
        if name not in keys and name not in _OPTIONS:
            raise OptionUnknown(name, ", ".join(sorted(keys | set(_OPTIONS))))
        if name in given:
            raise OptionInvalid(name, "it is given twice")
        given[name] = value
    seed: dict[str, Any] = {}
    for name, value in given.items():
        if name in _OPTIONS and value:
            field, read = _OPTIONS[name]
            seed[field] = read(name, value)
    if declared:
        wanted = {key: value for key, value in given.items() if key in keys}
        seed["properties"] = properties.settle(item, declared, wanted)
    return seed
