"""The permissions and features that ship as data (naos.tenancy.permissions)."""

import tomllib
import uuid
from importlib.resources import files

from naos.tenancy.permissions import features, leaf_features, permissions, permissions_by_id


def test_every_name_of_the_offer_is_there_once() -> None:
    assert len(permissions()) == len(permissions_by_id()) == 63
    assert list(permissions())[:2] == ["activity_read", "activity_write"]
    assert {"object-storage_iam_management", "compute_iaas_vmware_console_access", "iam_offline_access"} <= set(
        permissions()
    )


def test_ids_follow_from_names_and_so_never_change() -> None:
    text = files("naos").joinpath("data/permissions.toml").read_text(encoding="utf-8")
    namespace = uuid.UUID(tomllib.loads(text)["namespace"])
    assert str(namespace) == "5d0f8c0e-6f0e-5a53-9c3c-7b1d0f0a9a63"
    for name, permission in permissions().items():
        assert permission.id == str(uuid.uuid5(namespace, name))
    for name, feature in features().items():
        assert feature.id == str(uuid.uuid5(namespace, f"feature:{name}"))


def test_every_permission_belongs_to_a_feature_without_sub_features() -> None:
    leaves = set(leaf_features())
    assert {permission.area for permission in permissions().values()} == leaves
    assert all(permission.description.endswith(".") for permission in permissions().values())


def test_features_are_two_levels_deep() -> None:
    parents = {feature.parent for feature in features().values()} - {None}
    assert all(features()[parent].parent is None for parent in parents)
    assert [name for name, feature in features().items() if feature.parent == "rtms"] == [
        "rtms_monitoring",
        "rtms_metric",
    ]
