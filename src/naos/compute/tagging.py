"""Machines carry tags."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos import tags
from naos.compute.models import VirtualMachine
from naos.errors import Unknown


def _check(session: Session, tenant_id: str, machine_id: str) -> None:
    mine = sa.select(VirtualMachine.id).where(VirtualMachine.id == machine_id, VirtualMachine.tenant_id == tenant_id)
    if session.scalar(mine.with_for_update(read=True)) is None:
        raise Unknown("virtual machine", machine_id)


MACHINES = tags.Kind("vcenter_virtual_machine", "vmware", "Machine", _check)
tags.register(MACHINES)
