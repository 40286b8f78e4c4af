"""How a snapshot grows, over HTTP. Read from the tables; no array is asked."""

from typing import Annotated

from fastapi import APIRouter, Depends

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.storage import snapshot_growth, snapshots
from naos.storage.growth_wire import SnapshotGrowth, growth_wire

router = APIRouter(prefix="/compute/v1/vcenters")


@router.get("/snapshots/{snapshot_id}/growth")
def read_growth(
    snapshot_id: ResourceId,
    identity: Annotated[Identity, Depends(require("compute_iaas_vmware_read"))],
    services: ServicesOf,
) -> SnapshotGrowth:
    """What a snapshot holds over time."""
    with services.database.read() as session:
        row = snapshots.find(session, identity.tenant_id, snapshot_id)
        return growth_wire(snapshot_growth.of(session, [row], services.world.settings)[row.id])
