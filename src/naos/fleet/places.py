"""Where everything is: the platform's regions and zones, read once for a whole answer."""

import uuid
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.fleet.models import Region, Zone
from naos.wire import Reference


def stable_id(owner: str, what: str) -> str:
    """The id (a UUID) of something that has no row of its own: always the same for the same owner and word."""
    return str(uuid.uuid5(uuid.UUID(owner), what))


class Places:
    """Regions and zones by name: two statements, however many rows then ask where they are."""

    def __init__(self, session: Session) -> None:
        self.regions = list(session.scalars(sa.select(Region).order_by(Region.name, Region.id)))
        self.zones = list(session.scalars(sa.select(Zone).order_by(Zone.name, Zone.id)))
        self._regions = {region.name: region for region in self.regions}
        self._zones = {zone.name: zone for zone in self.zones}

    def zone(self, name: str) -> Zone:
        """Raises Unknown."""
        found = self._zones.get(name)
        if found is None:
            raise Unknown("zone", name)
        return found

    def manager(self, zone: str) -> Reference:
        """The region of a zone, as a machine manager. Raises Unknown."""
        region = self._regions.get(self.zone(zone).region)
        if region is None:
            raise Unknown("region of zone", zone)
        return Reference(id=region.id, name=region.name)

    def datacenter(self, zone: str) -> Reference:
        """A zone as a virtual datacenter. Raises Unknown."""
        found = self.zone(zone)
        return Reference(id=found.id, name=found.name)

    def names(
        self,
        *,
        manager_id: str | None = None,
        datacenter_id: str | None = None,
        within: Collection[str | None] = (),
    ) -> set[str]:
        """The names of the zones that filters leave: of a region, one by id, and all of `within` (of which None is no zone).

        An id that is not there leaves none.
        """
        found = set()
        for zone in self.zones:
            region = self._regions.get(zone.region)
            if manager_id is not None and (region is None or region.id != manager_id):
                continue
            if datacenter_id not in (None, zone.id) or any(name != zone.name for name in within):
                continue
            found.add(zone.name)
        return found
