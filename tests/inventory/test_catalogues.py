"""The shipped data files, and the rules that read them."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from naos.inventory.catalogues import (
    StorageClass,
    bandwidth_limit,
    iops_limit,
    load_blades,
    load_catalogues,
    load_prices,
    load_storage,
    memory_ceiling,
    memory_floor,
    regional_sku,
)
from naos.inventory.model import Catalogues
from naos.units import GIB, TIB

TO = 10**12
SIZES = st.integers(min_value=1, max_value=100 * TIB)


def a_class(**changes) -> StorageClass:
    fields = {
        "name": "standard",
        "label": "FLASH Standard",
        "sku": "sku",
        "iops_per_to": 1500,
        "unit": "GiB",
        "minimum_gib": 500,
        "maximum_gib": 20480,
        "step_gib": 1,
    }
    return StorageClass.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("reference", "memory_gib", "base", "turbo", "cores", "threads", "links", "sku"),
    [
        ("ECO v3", 384, "2.20", "3.0", 20, 40, (2, 10), "eco"),
        ("STANDARD v3", 384, "2.40", "3.4", 32, 64, (2, 25), "standard"),
        ("ADVANCE v3", 768, "2.80", "3.5", 48, 96, (2, 25), "advance"),
        ("PERFORMANCE 1 v3", 384, "3.20", "3.6", 16, 32, (2, 25), "perf1"),
        ("PERFORMANCE 2 v3", 768, "3.00", "3.6", 36, 72, (2, 25), "perf2"),
        ("PERFORMANCE 3 v3", 1536, "2.60", "3.5", 56, 112, (2, 25), "perf3"),
        ("PERFORMANCE 4 v3", 512, "2.50", "4.1", 32, 64, (2, 25), "perf4"),
    ],
)
def test_the_offer_s_blades(reference, memory_gib, base, turbo, cores, threads, links, sku):
    model = load_blades().models[reference]
    assert model.physical_memory == memory_gib * GIB
    assert (model.base_ghz, model.turbo_ghz) == (Decimal(base), Decimal(turbo))
    assert (model.cores, model.threads) == (cores, threads)
    assert (model.links.count, model.links.gbps) == links
    assert regional_sku(model.sku, "FR1") == f"csp:fr1:iaas:vmware:{sku}:v3"
    assert not model.lab


def test_only_performance_4_has_gpus():
    with_gpus = [model for model in load_blades().models.values() if model.gpus]
    assert [(model.reference, model.gpus.count, model.gpus.memory_gib) for model in with_gpus] == [
        ("PERFORMANCE 4 v3", 2, 48)
    ]


@pytest.mark.parametrize(
    ("reference", "blades", "floor_gib", "ceiling_gib"),
    [
        ("ECO v3", 1, 128, 384),
        ("ECO v3", 2, 256, 768),
        ("PERFORMANCE 3 v3", 32, 4096, 49152),
        ("LAB v1", 2, 2, 8),
    ],
)
def test_memory_of_a_pool(reference, blades, floor_gib, ceiling_gib):
    model = load_blades().models[reference]
    assert memory_floor(model, blades) == floor_gib * GIB
    assert memory_ceiling(model, blades) == ceiling_gib * GIB


def test_a_pool_has_at_most_32_blades():
    assert load_blades().maximum_blades_per_cpool == 32


@pytest.mark.parametrize(
    ("name", "size", "limit"),
    [
        ("standard", TO // 2, 750),
        ("ultra", 10 * TO, 150_000),
        ("essential", TO, 500),
        ("premium", 2 * TO, 6000),
        ("enterprise", TO, 7500),
        ("standard", 500 * GIB, 805),  # binary units make a volume of "500" a little larger than 0.5 To
        ("mass", TIB, None),
        ("mass", 20 * TIB, None),
    ],
)
def test_iops_of_a_volume(name, size, limit):
    assert iops_limit(load_storage().classes[name], size) == limit


@given(SIZES, SIZES)
def test_a_larger_volume_is_never_slower(one, other):
    small, large = sorted((one, other))
    kind = a_class()
    assert iops_limit(kind, small) <= iops_limit(kind, large)


@given(SIZES)
def test_a_limit_is_never_zero_and_never_above_the_ratio(size):
    limit = iops_limit(a_class(), size)
    assert limit >= 1
    assert limit == 1 or limit * TO <= size * 1500


@given(SIZES, st.integers(min_value=1, max_value=10**6))
def test_a_cap_only_lowers(size, cap):
    assert iops_limit(a_class(iops_cap=cap), size) == min(iops_limit(a_class(), size), cap)


def test_the_six_classes_and_their_codes():
    classes = load_storage().classes
    assert {name: (kind.iops_per_to, kind.unit, kind.console_code) for name, kind in classes.items()} == {
        "essential": (500, "GiB", "live"),
        "standard": (1500, "GiB", "hio"),
        "premium": (3000, "GiB", "xhio"),
        "enterprise": (7500, "GiB", None),
        "ultra": (15000, "GiB", None),
        "mass": (None, "TiB", "mass"),
    }
    assert all(kind.name == name for name, kind in classes.items())
    assert {kind.minimum for name, kind in classes.items() if name != "mass"} == {500 * GIB}
    assert (classes["mass"].minimum, classes["mass"].step) == (TIB, TIB)


def test_caps_are_off_until_they_are_asked_for(tmp_path):
    assert iops_limit(load_storage().classes["ultra"], 10 * TO) == 150_000
    capped = tmp_path / "storage.toml"
    shipped = Path(__file__).parents[2] / "src/naos/data/storage_classes.toml"
    capped.write_text(shipped.read_text().replace("apply_iops_caps = false", "apply_iops_caps = true"))
    assert iops_limit(load_storage(capped).classes["ultra"], 10 * TO) == 30_000
    assert iops_limit(load_storage(capped).classes["essential"], 30 * TO) == 10_000
    for found, essential, ultra in ((load_storage(), None, None), (load_storage(capped), 512 * 10**6, 1024 * 10**6)):
        assert bandwidth_limit(found.classes["essential"]) == essential
        assert bandwidth_limit(found.classes["ultra"]) == ultra
        assert bandwidth_limit(found.classes["mass"]) is None


def test_everything_that_is_sold_has_a_price():
    book = load_prices()
    assert book.example
    assert book.currency == "EUR"
    sold = [model.sku for model in load_blades().models.values()]
    sold += [kind.sku for kind in load_storage().classes.values()]
    assert [sku for sku in sold if sku not in book.prices] == []
    units = {kind.sku: kind.unit for kind in load_storage().classes.values()}
    assert {sku: book.prices[sku].unit for sku in units} == units
    assert all(isinstance(price.amount, Decimal) for price in book.prices.values())


def test_an_inventory_replaces_one_file_and_keeps_the_others(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'currency = "CHF"\n[[prices]]\nsku = "s"\nlabel = "l"\nunit = "blade"\namount = "1.10"\n'
    )
    data = load_catalogues(Catalogues(prices="mine.toml"), tmp_path)
    assert data.prices.currency == "CHF"
    assert data.prices.prices["s"].amount == Decimal("1.10")
    assert data.blades == load_blades()
    assert data.storage == load_storage()


BLADE = """
[[models]]
reference = "X"
sku = "s"
physical_memory_gib = {memory}
base_ghz = "2"
turbo_ghz = "2"
cpu = "c"
cores = 1
threads = 1
links = {{ count = 1, gbps = 1 }}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BLADE.format(memory=64), "floor of 128 GiB is more than the 64 GiB"),
        (BLADE.format(memory=0), "greater than 0"),
        (BLADE.format(memory=256) * 2, "'X' is there more than once"),
        (BLADE.format(memory=256).replace('"2"', "2.2"), "binary fraction"),
        (BLADE.format(memory=256) + 'colour = "red"\n', "colour"),
        ("models = 3\n", "models"),
        ("models = [3]\n", "models"),
    ],
)
def test_a_faulty_blade_catalogue_says_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "blades.toml"
    path.write_text("maximum_blades_per_cpool = 32\nmemory_floor_per_blade_gib = 128\n" + text)
    with pytest.raises(ValidationError, match=said):
        load_blades(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('currency = "EUR"\n[[prices]]\nsku = "s"\nlabel = "l"\nunit = "u"\namount = 1.1\n', "binary fraction"),
        ('currency = "EUR"\n[[prices]]\nsku = "s"\nlabel = "l"\nunit = "u"\namount = "-1"\n', "greater than or equal"),
        ('currency = "euro"\nprices = []\n', "currency"),
    ],
)
def test_a_faulty_price_book_says_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ValidationError, match=said):
        load_prices(path)


@pytest.mark.parametrize("changes", [{"minimum_gib": 501, "step_gib": 500}, {"maximum_gib": 100}])
def test_a_class_whose_sizes_do_not_fit_its_step(changes):
    with pytest.raises(ValidationError, match="multiples of the step"):
        a_class(**changes)
