"""The data files that rules read: blade models, storage classes, prices.

Each ships with naos and can be replaced by a file that the inventory names. Sizes are written in GiB in the files,
which people edit, and are bytes here.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from naos.inventory.model import Catalogues
from naos.units import GIB

BYTES_PER_TO = 10**12


def _exact(value: object) -> object:
    """A TOML float has lost its last digit already; text and whole numbers have not."""
    if isinstance(value, float):
        raise ValueError(f'write {value} as text, "{value}": a binary fraction is not exact')  # noqa: TRY004 - pydantic's
    return value


Exact = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Links(_Strict):
    count: PositiveInt
    gbps: PositiveInt


class Gpus(_Strict):
    model: str
    count: PositiveInt
    memory_gib: PositiveInt


class BladeModel(_Strict):
    """A model of blade; `reference` is the name that inventories and orders use."""

    reference: str = Field(min_length=1, max_length=63)
    sku: str
    physical_memory_gib: PositiveInt
    memory_floor_per_blade_gib: PositiveInt
    base_ghz: Exact
    turbo_ghz: Exact
    cpu: str
    cores: PositiveInt
    threads: PositiveInt
    links: Links
    gpus: Gpus | None = None
    lab: bool = False

    @property
    def physical_memory(self) -> int:
        """Bytes that one blade holds."""
        return self.physical_memory_gib * GIB

    @model_validator(mode="after")
    def _floor_fits(self) -> Self:
        if self.memory_floor_per_blade_gib > self.physical_memory_gib:
            raise ValueError(
                f"{self.reference}: a floor of {self.memory_floor_per_blade_gib} GiB is more than the "
                f"{self.physical_memory_gib} GiB that a blade holds"
            )
        return self


class BladeCatalogue(_Strict):
    """Every model of blade, by reference."""

    maximum_blades_per_cpool: PositiveInt
    memory_floor_per_blade_gib: PositiveInt
    models: Mapping[str, BladeModel]

    @model_validator(mode="before")
    @classmethod
    def _by_reference(cls, data: Any) -> Any:
        return _keyed(data, "models", "reference", ("memory_floor_per_blade_gib",))


class StorageClass(_Strict):
    """A class of volumes. `name` is the word that users and tables use; `label` is for display."""

    name: str = Field(min_length=1, max_length=32)
    label: str
    sku: str
    console_code: str | None = None
    iops_per_to: PositiveInt | None = None
    iops_cap: PositiveInt | None = None
    bandwidth_cap_mb: PositiveInt | None = None
    unit: Literal["GiB", "TiB"]
    minimum_gib: PositiveInt
    maximum_gib: PositiveInt
    step_gib: PositiveInt

    @property
    def minimum(self) -> int:
        """Bytes of the smallest volume."""
        return self.minimum_gib * GIB

    @property
    def maximum(self) -> int:
        """Bytes of the largest volume."""
        return self.maximum_gib * GIB

    @property
    def step(self) -> int:
        """Bytes: every size is a multiple of it."""
        return self.step_gib * GIB

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.minimum_gib > self.maximum_gib or self.minimum_gib % self.step_gib or self.maximum_gib % self.step_gib:
            raise ValueError(f"{self.name}: minimum and maximum must be multiples of the step, and in this order")
        return self


class StorageCatalogue(_Strict):
    """Every storage class, by name. Caps are kept by a class only where caps are applied."""

    apply_iops_caps: bool = False
    classes: Mapping[str, StorageClass]

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("classes"), dict):
            return data
        dropped = set() if data.get("apply_iops_caps") else {"iops_cap", "bandwidth_cap_mb"}
        classes = {
            name: {"name": name, **{key: value for key, value in entry.items() if key not in dropped}}
            if isinstance(entry, dict)
            else entry
            for name, entry in data["classes"].items()
        }
        return data | {"classes": classes}


class Price(_Strict):
    """What one `unit` of `sku` costs for a month, without tax."""

    sku: str
    label: str
    unit: str
    amount: Exact


class PriceBook(_Strict):
    """Every price, by SKU. `example`: the amounts are nobody's offer, and whatever shows them says so."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    example: bool = False
    prices: Mapping[str, Price]

    @model_validator(mode="before")
    @classmethod
    def _by_sku(cls, data: Any) -> Any:
        return _keyed(data, "prices", "sku", ())


def _keyed(data: Any, table: str, key: str, defaults: Sequence[str]) -> Any:
    """The list under `table` as a mapping by `key`; entries take `defaults` from the file's top level."""
    if not isinstance(data, dict) or not isinstance(data.get(table), list):
        return data
    inherited = {name: data[name] for name in defaults if name in data}
    entries: dict[str, Any] = {}
    for entry in data[table]:
        name = entry.get(key, "") if isinstance(entry, dict) else ""
        if name in entries:
            raise ValueError(f"{table}: {name!r} is there more than once")
        entries[name] = inherited | entry if isinstance(entry, dict) else entry
    return data | {table: entries}


# -------------------------------------------------------------------------------------------------------------- loading


@dataclass(frozen=True)
class DataFiles:
    """The three data files of a platform."""

    blades: BladeCatalogue
    storage: StorageCatalogue
    prices: PriceBook


def load_blades(path: Path | None = None) -> BladeCatalogue:
    """The blade catalogue of `path`, or the shipped one.

    Raises pydantic.ValidationError (every fault at once), tomllib.TOMLDecodeError or OSError.
    """
    return BladeCatalogue.model_validate(_read(path, "blades.toml"))


def load_storage(path: Path | None = None) -> StorageCatalogue:
    """The storage classes of `path`, or the shipped ones. Raises like `load_blades`."""
    return StorageCatalogue.model_validate(_read(path, "storage_classes.toml"))


def load_prices(path: Path | None = None) -> PriceBook:
    """The price book of `path`, or the shipped one. Raises like `load_blades`."""
    return PriceBook.model_validate(_read(path, "prices.toml"))


def load_catalogues(replacements: Catalogues, folder: Path) -> DataFiles:
    """What an inventory asks for. Relative paths start at `folder`, the inventory file's own."""

    def chosen(text: str) -> Path | None:
        return folder / text if text else None

    return DataFiles(
        load_blades(chosen(replacements.blades)),
        load_storage(chosen(replacements.storage)),
        load_prices(chosen(replacements.prices)),
    )


def _read(path: Path | None, shipped: str) -> dict[str, Any]:
    source = files("naos").joinpath("data", shipped) if path is None else path
    return tomllib.loads(source.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------------------------------------- rules


def iops_limit(kind: StorageClass, size: int) -> int | None:
    """Operations a second that a volume of `size` bytes may do; None where the class commits to nothing.

    Never 0, which engines take for "no limit".
    """
    if kind.iops_per_to is None:
        return None
    limit = max(size * kind.iops_per_to // BYTES_PER_TO, 1)
    return limit if kind.iops_cap is None else min(limit, kind.iops_cap)


def bandwidth_limit(kind: StorageClass) -> int | None:
    """Bytes a second that a volume may read and write, whatever its size; None where nothing caps it."""
    return None if kind.bandwidth_cap_mb is None else kind.bandwidth_cap_mb * 10**6


def memory_floor(model: BladeModel, blades: int) -> int:
    """Bytes that a cpool of so many blades enables at least."""
    return blades * model.memory_floor_per_blade_gib * GIB


def memory_ceiling(model: BladeModel, blades: int) -> int:
    """Bytes that a cpool of so many blades can enable at most: all that is in them."""
    return blades * model.physical_memory


def regional_sku(sku: str, region: str) -> str:
    """The SKU as it is billed in a region: ``csp:(region):iaas:az:v1`` in FR1 is ``csp:fr1:iaas:az:v1``."""
    return sku.replace("(region)", region.lower())
