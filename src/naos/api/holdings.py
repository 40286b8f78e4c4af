"""What tenants have, of the areas that know nothing of tenancy: told to `naos.tenancy.holdings`.

An area above tenancy may just as well register its own kinds itself.
"""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from naos.activity.models import UNFINISHED, Activity
from naos.catalogue import library
from naos.catalogue.models import Export, Library, Template, Upload
from naos.compute.models import VirtualMachine
from naos.database import Base
from naos.fleet.models import Cpool, PoolUpdate
from naos.marketplace.models import MarketplaceItem
from naos.network.models import Vlan
from naos.protection.backup.instant_models import InstantStart
from naos.protection.backup.models import BackupQuota, BackupSpace, Restore, RestorePoint
from naos.protection.models import BackupJob, BackupPolicy, BackupRun, KnownDisk, KnownMachine
from naos.protection.notices.models import NoticeTarget
from naos.protection.recovery.models import RecoveryPlan, RecoveryRun, Replica
from naos.protection.replication.models import LunReplication
from naos.storage.models import DatastoreCluster, Lun
from naos.tags.models import Tag
from naos.tenancy.holdings import Holding, register


def _named(
    name: InstrumentedAttribute[str], tenant: InstrumentedAttribute[str]
) -> Callable[[Session, str], Sequence[str]]:
    def names(session: Session, tenant_id: str) -> Sequence[str]:
        return session.scalars(sa.select(name).where(tenant == tenant_id)).all()

    return names


def _under_way(session: Session, tenant_id: str) -> Sequence[str]:
    unfinished = Activity.state.in_(UNFINISHED)
    return session.scalars(sa.select(Activity.description).where(Activity.tenant_id == tenant_id, unfinished)).all()


def _first_library(session: Session, tenant_id: str) -> None:
    library.ensure_default(session, tenant_id)


def _libraries(session: Session, tenant_id: str) -> None:
    session.execute(sa.delete(Library).where(Library.tenant_id == tenant_id))


def _rows(*kinds: type[Base]) -> Callable[[Session, str], None]:
    """Deletes the tenant's rows of these tables, and the rows of others that point to them."""

    def clear(session: Session, tenant_id: str) -> None:
        for kind in kinds:
            table = Base.metadata.tables[kind.__tablename__]
            _delete(session, table, table.c.tenant_id == tenant_id)

    return clear


def _delete(session: Session, table: sa.Table, mine: sa.ColumnElement[bool]) -> None:
    for other in Base.metadata.sorted_tables:
        for key in other.foreign_keys:
            if key.column.table is table and other is not table:
                _delete(session, other, key.parent.in_(sa.select(key.column).where(mine)))
    session.execute(sa.delete(table).where(mine))


def install() -> None:
    """Make these kinds known, in the order in which people would take them away."""
    for holding in (
        Holding("machines", "compute_vmware", _named(VirtualMachine.name, VirtualMachine.tenant_id)),
        Holding(
            "templates",
            "compute_vmware",
            _named(Template.name, Template.tenant_id),
            prepare=_first_library,
            clear=_libraries,
        ),
        Holding("volumes", "compute_vmware", _named(Lun.name, Lun.tenant_id)),
        Holding("replications of volumes", "compute_vmware", clear=_rows(LunReplication)),
        Holding("recovery plans", "compute_vmware", clear=_rows(RecoveryPlan, RecoveryRun, Replica)),
        Holding("VLANs", "network_layer2", _named(Vlan.name, Vlan.tenant_id)),
        Holding("pools", "compute_vmware", _named(Cpool.name, Cpool.tenant_id)),
        Holding("exports", "compute_vmware", _named(Export.name, Export.tenant_id), clear=_rows(Upload)),
        Holding("offers", "compute_vmware", _named(MarketplaceItem.name, MarketplaceItem.tenant_id)),
        Holding("datastore clusters", "compute_vmware", clear=_rows(DatastoreCluster)),
        Holding("updates of pools", "compute_vmware", clear=_rows(PoolUpdate)),
        Holding("tags", "tag", clear=_rows(Tag)),
        Holding(
            "restore points",
            "backup_spp",
            _named(RestorePoint.machine_name, RestorePoint.tenant_id),
            clear=_rows(BackupQuota, BackupSpace, InstantStart, Restore, NoticeTarget),
        ),
        Holding(
            "backup policies", "backup_spp", clear=_rows(BackupRun, BackupJob, BackupPolicy, KnownMachine, KnownDisk)
        ),
        Holding("activities under way", "activity", _under_way),
    ):
        register(holding)
