"""Network adapters: rows, MAC addresses, and what the hypervisor must know of them."""

import secrets
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines.ports import DomainNic
from naos.errors import Unknown
from naos.lifecycle import Lifecycle
from naos.names import itself
from naos.network.errors import MacTaken, TooManyAdapters
from naos.network.models import Adapter, Vlan
from naos.network.rules import ADAPTERS_PER_MACHINE, MODELS, check_mac, mac_from
from naos.settings import settings
from naos.world import World


def find(session: Session, tenant_id: str, adapter_id: str) -> Adapter:
    """An adapter of the tenant. Raises Unknown."""
    adapter = session.get(Adapter, adapter_id)
    if adapter is None or adapter.tenant_id != tenant_id:
        raise Unknown("network adapter", adapter_id)
    return adapter


def of_machine(session: Session, machine_id: str) -> list[Adapter]:
    """The machine's adapters in the order of their units."""
    return list(session.scalars(sa.select(Adapter).where(Adapter.machine_id == machine_id).order_by(Adapter.unit)))


def addresses(session: Session, machine_ids: Iterable[str]) -> dict[str, str]:
    """Id -> MAC address of all adapters of these machines."""
    wanted = sa.select(Adapter.id, Adapter.mac).where(Adapter.machine_id.in_(list(machine_ids)))
    return {found.id: found.mac for found in session.execute(wanted)}


def reserve(
    session: Session,
    *,
    vlan: Vlan,
    machine_id: str,
    machine_name: str,
    mac: str | None,
    connected: bool,
    adapter_type: str = "VMXNET3",
    name_of: Callable[[Session, str], str] = itself,
) -> Adapter:
    """Add the row of an adapter to come. Raises MacInvalid, MacTaken, TooManyAdapters."""
    present = of_machine(session, machine_id)
    if len(present) >= ADAPTERS_PER_MACHINE:
        raise TooManyAdapters(machine_name, len(present), ADAPTERS_PER_MACHINE)
    units = {adapter.unit for adapter in present}
    unit = next(unit for unit in range(ADAPTERS_PER_MACHINE) if unit not in units)
    address = mac or free_mac(session, vlan.tenant_id)
    adapter = Adapter(
        tenant_id=vlan.tenant_id,
        machine_id=machine_id,
        vlan_id=vlan.id,
        unit=unit,
        mac=address,
        mac_key=claim_mac(session, vlan.tenant_id, address, name_of=name_of),
        mac_type="MANUAL" if mac else "ASSIGNED",
        type=adapter_type,
        connected=connected,
        auto_connect=connected,
    )
    session.add(adapter)
    session.flush()
    return adapter


def claim_mac(
    session: Session,
    tenant_id: str,
    mac: str,
    *,
    adapter_id: str | None = None,
    name_of: Callable[[Session, str], str] = itself,
) -> str:
    """The key of a MAC that no other adapter of the tenant has. `name_of`: a machine's name by its id.

    Raises MacInvalid, MacTaken.
    """
    key = check_mac(mac)
    holder = session.scalar(sa.select(Adapter).where(Adapter.tenant_id == tenant_id, Adapter.mac_key == key))
    if holder is not None and holder.id != adapter_id:
        raise MacTaken(mac, holder.id, name_of(session, holder.machine_id))
    return key


def free_mac(session: Session, tenant_id: str) -> str:
    """A generated MAC that the tenant does not use yet."""
    while True:
        mac = mac_from(secrets.randbits(24), settings().mac_prefix)
        if not session.scalar(sa.select(Adapter.id).where(Adapter.tenant_id == tenant_id, Adapter.mac_key == mac)):
            return mac


def nic(world: World, adapter_id: str, bridge: str, mtu: int) -> DomainNic:
    """An adapter as the hypervisor needs it."""
    with world.database.read() as session:
        adapter = session.get(Adapter, adapter_id)
        if adapter is None:
            raise Unknown("network adapter", adapter_id)
    model = MODELS.get(adapter.type, "virtio")
    return DomainNic(adapter.id, adapter.unit, adapter.mac, bridge, connected=adapter.connected, mtu=mtu, model=model)


def connect_at_start(world: World, machine_id: str) -> None:
    """The cables that are in when the machine starts."""
    with world.database.write() as session:
        session.execute(
            sa.update(Adapter)
            .where(Adapter.machine_id == machine_id, Adapter.auto_connect.is_(True))
            .values(connected=True)
        )


def set_active(world: World, adapter_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.update(Adapter).where(Adapter.id == adapter_id).values(lifecycle=Lifecycle.ACTIVE))


def forget(world: World, adapter_id: str) -> None:
    with world.database.write() as session:
        session.execute(sa.delete(Adapter).where(Adapter.id == adapter_id))
