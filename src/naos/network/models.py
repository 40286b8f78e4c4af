"""Tables of network: VLANs, their propagation to cpools, and adapters."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class Vlan(Identified, Base):
    """A layer-2 network of a tenant. The tag is given by naos, never chosen, and unique on the platform."""

    __tablename__ = "vlans"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    tag: Mapped[int] = mapped_column(unique=True)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)


class Propagation(Base):
    """A VLAN that a cpool's blades carry."""

    __tablename__ = "vlan_propagations"
    vlan_id: Mapped[str] = mapped_column(sa.ForeignKey("vlans.id"), primary_key=True)
    cpool_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True, index=True)


class Adapter(Identified, Base):
    """A network adapter of a machine. The MAC is unique in the tenant and kept as given; comparison ignores case.

    mac_key: the MAC in lower case, for the constraint.
    """

    __tablename__ = "adapters"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "mac_key"), sa.UniqueConstraint("machine_id", "unit"))
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    vlan_id: Mapped[str] = mapped_column(sa.ForeignKey("vlans.id"), index=True)
    unit: Mapped[int]
    mac: Mapped[str] = mapped_column(sa.String(17))
    mac_key: Mapped[str] = mapped_column(sa.String(17))
    mac_type: Mapped[str] = mapped_column(sa.String(16))
    type: Mapped[str] = mapped_column(sa.String(16), default="VMXNET3")
    connected: Mapped[bool] = mapped_column(default=False)
    auto_connect: Mapped[bool] = mapped_column(default=False)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
