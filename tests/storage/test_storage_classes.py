"""Changes of a volume's IOPS class: the decision alone, and over a whole controller."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_platform import COMPUTE, Platform, furnished_in

from naos.engines.errors import EngineError
from naos.inventory.catalogues import StorageClass, load_storage
from naos.storage.classes import ClassMedia, ClassUnchanged, check_change
from naos.storage.errors import LunSize

GIB = 2**30
DATASTORES = f"{COMPUTE}/datastores"
CLASSES = load_storage().classes
FLASH = sorted(name for name, kind in CLASSES.items() if kind.iops_per_to)


def _change(present: str, wanted: str, size: int = 500 * GIB, **limits: int) -> None:
    kind = StorageClass.model_validate(CLASSES[wanted].model_dump() | limits)
    check_change("fast", CLASSES[present], kind, size, CLASSES)


@given(st.sampled_from(FLASH), st.sampled_from(FLASH), st.integers(min_value=500, max_value=20480))
def test_flash_changes_to_any_other_flash(present: str, wanted: str, gib: int) -> None:
    if present == wanted:
        with pytest.raises(ClassUnchanged, match="other classes are"):
            _change(present, wanted, gib * GIB)
    else:
        _change(present, wanted, gib * GIB)


@pytest.mark.parametrize(("present", "wanted"), [("standard", "mass"), ("mass", "ultra")])
def test_mass_storage_lies_elsewhere(present: str, wanted: str) -> None:
    with pytest.raises(ClassMedia, match=f"create a volume of class {wanted}"):
        _change(present, wanted, 1024 * GIB)


@pytest.mark.parametrize("limits", [{"maximum_gib": 600}, {"minimum_gib": 700}, {"step_gib": 4}])
def test_the_new_class_must_have_the_size(limits: dict[str, int]) -> None:
    with pytest.raises(LunSize, match="premium"):
        _change("standard", "premium", 651 * GIB, **{"minimum_gib": 500, "maximum_gib": 20480, **limits})


# ---------------------------------------------------------------------------------------------- over a whole controller


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with furnished_in(tmp_path_factory.mktemp("platform")) as made:
        yield made


def _at_array(platform: Platform, lun_id: str) -> tuple[int, int | None]:
    """What the array lets through: operations and bytes a second."""
    with platform.rack.faults._store.transaction() as db:
        row = db.execute("SELECT iops, bandwidth FROM luns WHERE id = ?", (lun_id,)).fetchone()
    return row["iops"], row["bandwidth"]


def test_a_volume_changes_its_class_and_back(platform: Platform) -> None:
    lun_id = platform.made["volume-AZ05"]
    for name in ("ultra", "essential", "standard"):
        platform.done("PATCH", DATASTORES, {"id": lun_id, "storageClass": name})
        shown = platform.get(f"{DATASTORES}/{lun_id}")
        limit = 500 * GIB * CLASSES[name].iops_per_to // 10**12
        assert (shown["storageClass"], shown["iops"], shown["bandwidth"]) == (name, limit, None)
        assert _at_array(platform, lun_id) == (limit, None)
    activity = platform.get("/activity/v1/activities")[0]
    assert activity["description"] == "Change volume volume-AZ05 from essential to standard: 268 to 805 IOPS"


def test_growth_raises_the_limit_at_the_array(platform: Platform) -> None:
    lun_id = platform.made["volume-AZ05"]
    platform.done("PATCH", DATASTORES, {"id": lun_id, "capacity": 1000 * GIB})
    assert _at_array(platform, lun_id) == (1000 * GIB * 1500 // 10**12, None)


def test_a_failed_change_leaves_the_class_of_before_in_both_places(platform: Platform) -> None:
    lun_id = platform.made["volume-AZ06"]
    before = _at_array(platform, lun_id)
    platform.rack.faults.fail_next("array.limit_lun", EngineError("rack", "array.limit_lun", "boom"), late=True)
    assert "boom" in platform.failed("PATCH", DATASTORES, {"id": lun_id, "storageClass": "ultra"})
    assert platform.get(f"{DATASTORES}/{lun_id}")["storageClass"] == "standard"
    assert _at_array(platform, lun_id) == before


def test_refusals_name_the_way_out(platform: Platform) -> None:
    lun_id = platform.made["volume-AZ06"]
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"storageClass": "standard"}, 409, "storage.class_unchanged"),
        ({"storageClass": "mass"}, 409, "storage.class_media"),
        ({"storageClass": "gold"}, 422, "storage.class_unknown"),
        ({}, 422, "storage.one_change"),
        ({"storageClass": "ultra", "capacity": 501 * GIB}, 422, "storage.one_change"),
    ]
    for body, status, code in cases:
        error = platform.refused("PATCH", DATASTORES, {"id": lun_id, **body})
        assert (error["status"], error["code"]) == (status, code)
    foreign = platform.refused("PATCH", DATASTORES, {"id": lun_id, "storageClass": "ultra"}, client=platform.stranger())
    assert foreign["status"] == 404


def test_the_volumes_of_a_cluster_stay_of_one_class(platform: Platform) -> None:
    clusters = f"{COMPUTE}/datastore_clusters"
    lun_id = platform.made["volume-AZ06"]
    cluster = platform.done("POST", clusters, {"name": "both", "datastoreIds": [lun_id]})
    platform.done("PATCH", DATASTORES, {"id": lun_id, "storageClass": "premium"})
    assert platform.get(f"{clusters}/{cluster}")["storageClass"] == "premium"
    body = {"name": "second", "datacenterId": "AZ06", "storageClass": "premium", "capacity": 500 * GIB}
    second = platform.done("POST", DATASTORES, body)
    platform.done("PATCH", clusters, {"id": cluster, "add": [second]})
    error = platform.refused("PATCH", DATASTORES, {"id": lun_id, "storageClass": "ultra"})
    assert error["code"] == "storage.class_of_cluster"
    platform.done("PATCH", clusters, {"id": cluster, "remove": [second]})
    platform.done("PATCH", DATASTORES, {"id": lun_id, "storageClass": "standard"})
