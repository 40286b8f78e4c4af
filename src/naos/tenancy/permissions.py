"""The permissions and features of the platform, read from `data/permissions.toml`.

A permission is what the wire API calls a role: one right, implying no other.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Permission:
    """`area`: the feature that it belongs to; a tenant without that feature has nobody who holds it."""

    id: str
    name: str
    area: str
    description: str


@dataclass(frozen=True)
class Feature:
    """Something a tenant can have enabled. Permissions belong to features without sub-features."""

    id: str
    name: str
    title: str
    parent: str | None


@cache
def _data() -> tuple[Mapping[str, Permission], Mapping[str, Feature]]:
    document = tomllib.loads(files("naos").joinpath("data/permissions.toml").read_text(encoding="utf-8"))
    features = {entry["name"]: Feature(**{"parent": None} | entry) for entry in document["features"]}
    permissions = {entry["name"]: Permission(**entry) for entry in document["permissions"]}
    return permissions, features


def permissions() -> Mapping[str, Permission]:
    """Every permission by name, in the order of the file."""
    return _data()[0]


def features() -> Mapping[str, Feature]:
    """Every feature by name, parents before their sub-features."""
    return _data()[1]


@cache
def permissions_by_id() -> Mapping[str, Permission]:
    return {permission.id: permission for permission in permissions().values()}


def leaf_features() -> Sequence[str]:
    """Names of the features that have no sub-features: those that can be enabled."""
    parents = {feature.parent for feature in features().values()}
    return [name for name in features() if name not in parents]
