"""Hypervisor builds: published by the platform's operator, offered to every cpool."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import NameTaken, Unknown
from naos.fleet.errors import BuildInUse, OperatorsOnly
from naos.fleet.models import HypervisorBuild, PoolUpdate
from naos.identity import Identity
from naos.tenancy.models import Organisation

OPEN = ("running", "ending")
"""States of updates that are not over."""


def check_operator(session: Session, identity: Identity, what: str) -> None:
    """The operator is the first organisation of the platform. Raises OperatorsOnly."""
    first = session.scalars(sa.select(Organisation).order_by(Organisation.created_at, Organisation.id)).first()
    if first is None or first.id != identity.organisation_id:
        raise OperatorsOnly(what, first.name if first is not None else "")


def listed(session: Session) -> list[HypervisorBuild]:
    """The latest first."""
    order = (HypervisorBuild.published_at.desc(), HypervisorBuild.id)
    return list(session.scalars(sa.select(HypervisorBuild).order_by(*order)))


def latest(session: Session) -> str:
    """The version that was published last, "" when there is none."""
    query = sa.select(HypervisorBuild.version).order_by(HypervisorBuild.published_at.desc(), HypervisorBuild.id)
    return session.scalar(query.limit(1)) or ""


def find(session: Session, build_id: str) -> HypervisorBuild:
    """Raises Unknown."""
    build = session.get(HypervisorBuild, build_id)
    if build is None:
        raise Unknown("hypervisor build", build_id)
    return build


def publish(
    session: Session,
    *,
    version: str,
    description: str,
    advisories: Sequence[Mapping[str, Any]],
    packages: Sequence[str],
    command: str,
    check_command: str,
    reboot: bool,
    deadline: int,
) -> HypervisorBuild:
    """Raises NameTaken."""
    if session.scalar(sa.select(HypervisorBuild.id).where(HypervisorBuild.version == version)):
        raise NameTaken("hypervisor build", version)
    build = HypervisorBuild(
        version=version,
        description=description,
        advisories=[dict(advisory) for advisory in advisories],
        packages=list(packages),
        command=command,
        check_command=check_command,
        reboot=reboot,
        deadline=deadline,
    )
    session.add(build)
    session.flush()
    return build


def withdraw(session: Session, build_id: str) -> None:
    """Blades that have it keep it. Raises Unknown, BuildInUse while a cpool takes it."""
    build = find(session, build_id)
    updates = list(session.scalars(sa.select(PoolUpdate).where(PoolUpdate.build_id == build.id)))
    if any(update.state in OPEN for update in updates):
        raise BuildInUse(build.version)
    if updates:
        raise BuildInUse(build.version, "was taken by a cpool and stays in its history")
    session.delete(build)
