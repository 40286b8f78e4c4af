"""The properties that an appliance declares, and whether a value fits one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from naos.catalogue.images.errors import BadDescriptor
from naos.catalogue.ovf.document import Element, attribute, children, inner, local, text_of
from naos.errors import NaosError

MOST = 512
_INTEGER = re.compile(r"([us]?)int(8|16|32|64)?")
_QUALIFIER = re.compile(r"(MinLen|MaxLen|MinValue|MaxValue)\s*\(\s*(-?\d{1,20})\s*\)")
_CHOICES = re.compile(r"ValueMap\s*\{([^}]*)\}")
_CHOICE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
LONGEST_VALUE = 1024 * 1024


@dataclass(eq=False)
class PropertyInvalid(NaosError):
    code: ClassVar[str] = "catalogue.property_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Property {name!r} of {item!r} cannot have this value: {reason}."
    item: str
    name: str
    reason: str


@dataclass(eq=False)
class PropertyMissing(NaosError):
    code: ClassVar[str] = "catalogue.property_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{item!r} needs a value for {names}; give them as deploy options."
    item: str
    names: str


class Property(BaseModel):
    """`key`: ``class.key.instance`` of the OVF environment, the parts that there are; product_class, instance: two of them. type,
    qualifiers: as the descriptor has them."""

    model_config = ConfigDict(frozen=True)
    key: str
    type: str = "string"
    qualifiers: str = ""
    default: str = ""
    user_configurable: bool = False
    required: bool = False
    password: bool = False
    label: str = ""
    description: str = ""
    category: str = ""
    product_class: str = ""
    instance: str = ""

    @property
    def bare_key(self) -> str:
        """The key within its section."""
        start = len(self.product_class) + 1 if self.product_class else 0
        end = len(self.key) - (len(self.instance) + 1 if self.instance else 0)
        return self.key[start:end]


def declared(name: str, system: Element, configuration: str) -> list[Property]:
    """Every property of the product sections, in order. Raises BadDescriptor."""
    found: list[Property] = []
    for section in system:
        if local(section) == "ProductSection" or "ProductSection" in attribute(section, "type"):
            found += _of_section(name, section, configuration)
    if len(found) > MOST:
        raise BadDescriptor(name, f"it has {len(found)} properties, {MOST} is the most")
    return found


def _of_section(name: str, section: Element, configuration: str) -> list[Property]:
    found, category = [], ""
    for element in section:
        if local(element) == "Category":
            category = text_of(element)[:255]
        if local(element) != "Property":
            continue
        key = attribute(element, "key")
        if not key or len(key) > 255 or not key.isprintable():
            raise BadDescriptor(name, f"a property has the key {key[:60]!r}")
        parts = (attribute(section, "class"), key, attribute(section, "instance"))
        if sum(len(part) + 1 for part in parts) > 256:
            raise BadDescriptor(name, f"the key {key[:60]!r} with its class has more than 255 characters")
        found.append(
            Property(
                key=".".join(part for part in parts if part),
                type=attribute(element, "type", "string")[:64],
                qualifiers=attribute(element, "qualifiers")[:4096],
                default=_default(element, configuration),
                user_configurable=_yes(element, "userConfigurable"),
                required=_yes(element, "required"),
                password=_yes(element, "password"),
                label=inner(element, "Label")[:255],
                description=inner(element, "Description"),
                category=category,
                product_class=parts[0],
                instance=parts[2],
            )
        )
    return found


def _yes(element: Element, name: str) -> bool:
    return attribute(element, name).strip().lower() in {"true", "1"}


def _default(element: Element, configuration: str) -> str:
    for value in children(element, "Value"):
        if attribute(value, "configuration") == configuration:
            return attribute(value, "value")
    return attribute(element, "value")


# --------------------------------------------------------------------------------------------------------------- values


def settle(item: str, wanted: Sequence[Property], given: Mapping[str, str]) -> dict[str, str]:
    """The value of every property: what was given, else its default. `given` holds keys of `wanted` only.

    Raises PropertyInvalid, PropertyMissing.
    """
    for entry in wanted:
        if entry.key in given:
            check(item, entry, given[entry.key])
    missing = [entry.key for entry in wanted if needs_value(entry) and not given.get(entry.key)]
    if missing:
        raise PropertyMissing(item, ", ".join(missing))
    return {entry.key: given.get(entry.key, entry.default) for entry in wanted}


def needs_value(wanted: Property) -> bool:
    """Whether a machine cannot be made without a value from its user."""
    lengths = dict(_QUALIFIER.findall(wanted.qualifiers))
    needed = wanted.required or int(lengths.get("MinLen", 0)) > 0
    return wanted.user_configurable and needed and not wanted.default


def check(item: str, wanted: Property, value: str) -> None:
    """Raises PropertyInvalid. A secret value is never repeated."""
    reason = _complaint(wanted, value)
    if reason is not None:
        raise PropertyInvalid(item, wanted.key, reason)


def _complaint(wanted: Property, value: str) -> str | None:
    if not wanted.user_configurable:
        return "the appliance does not let its user set it" if value != wanted.default else None
    if len(value) > LONGEST_VALUE:
        return f"it has {len(value)} characters; {LONGEST_VALUE} is the most"
    if re.search(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", value):
        return "it holds a character that XML cannot carry"
    if not value:
        return "it must not be empty" if wanted.required else None
    return _type_complaint(wanted.type.lower(), value) or _qualifier_complaint(wanted, value)


def _type_complaint(kind: str, value: str) -> str | None:
    if kind == "boolean":
        return None if value.lower() in {"true", "false"} else "it must be true or false"
    if kind.startswith("real"):
        return None if _NUMBER.fullmatch(value) else "it must be a number"
    found = _INTEGER.fullmatch(kind)
    if not found:
        return None
    if not re.fullmatch(r"[+-]?\d{1,20}", value):
        return "it must be a whole number"
    bits = int(found[2] or 32)
    low, high = (0, 2**bits - 1) if found[1] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return None if low <= int(value) <= high else f"it must be from {low} to {high}"


def _qualifier_complaint(wanted: Property, value: str) -> str | None:
    for kind, number in _QUALIFIER.findall(wanted.qualifiers):
        limit = int(number)
        if kind == "MinLen" and len(value) < limit:
            return f"it has {len(value)} characters and needs {limit}"
        if kind == "MaxLen" and len(value) > limit:
            return f"it has {len(value)} characters and may have {limit}"
        if _NUMBER.fullmatch(value) and kind == "MinValue" and float(value) < limit:
            return f"it must be {limit} at least"
        if _NUMBER.fullmatch(value) and kind == "MaxValue" and float(value) > limit:
            return f"it must be {limit} at most"
    listed = _CHOICES.search(wanted.qualifiers)
    choices = [choice.replace('\\"', '"') for choice in _CHOICE.findall(listed[1])] if listed else []
    if choices and value not in choices:
        return f"it must be one of {', '.join(choices)}"[:400]
    return None
