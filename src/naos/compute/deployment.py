"""From a deployment's options to what the seed holds."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from naos.compute import seeds
from naos.compute.machines import AdapterRequest, MachineRequest
from naos.compute.wire import Deployment
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
    except (binascii.Error, UnicodeDecodeError) as error:
        raise OptionInvalid(name, f"it must be base64 of UTF-8 text ({error})") from None


def _lines(_name: str, value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()]


def _text(_name: str, value: str) -> str:
    return value


_OPTIONS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "hostname": ("hostname", _text),
    "instance-id": ("instance_id", _text),
    "password": ("password", _text),
    "public-keys": ("ssh_keys", _lines),
    "user-data": ("user_data", _decoded),
    "network-config": ("network_config", _decoded),
}


def seed_of(options: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The seed's fields from (id, value) pairs, in any order. Raises OptionUnknown, OptionInvalid."""
    seed: dict[str, Any] = {}
    for name, value in options:
        if name not in _OPTIONS:
            raise OptionUnknown(name, ", ".join(sorted(_OPTIONS)))
        field, read = _OPTIONS[name]
        seed[field] = read(name, value)
    return seed


def request_of(body: Deployment) -> MachineRequest:
    """A deployment as the check wants it. Raises OptionUnknown, OptionInvalid, SeedRefused."""
    request = MachineRequest(
        name=body.name,
        cpool_id=body.host_cluster_id,
        lun_id=body.datastore_id,
        cpu=body.cpu,
        memory=body.memory,
        template_id=body.content_library_item_id,
        disk_size=body.disk_capacity,
        provisioning=body.disks_provisioning_type,
        blade_id=body.host_id,
        datacenter_id=body.datacenter_id,
        power_on=body.power_on,
        seed=seed_of([(option.id, option.value) for option in body.deploy_options]),
        adapters=[
            AdapterRequest(wish.network_id, wish.mac_address, wish.address, wish.gateway)
            for wish in body.network_adapters
        ],
    )
    seeds.check(request.name, request.seed, [(wish.address, wish.gateway) for wish in request.adapters])
    return request
