"""The domains of one blade: looked up, read and defined by id."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import libvirt

from naos.engines.errors import Missing, Unsupported
from naos.engines.hypervisor import xml
from naos.engines.hypervisor.connection import CALL, Connection
from naos.engines.hypervisor.states import power_state
from naos.engines.ports import PowerState

T = TypeVar("T")

_INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


@dataclass(frozen=True)
class Domains:
    connection: Connection

    @property
    def where(self) -> str:
        return self.connection.name

    def on(self, domain_id: str, what: str, function: Callable[[libvirt.virDomain], T], deadline: float = CALL) -> T:
        """What `function` returns for the domain. Raises Missing when there is none, else as `Connection.call`."""
        checked(self.where, domain_id)
        return self.connection.call(
            what, lambda connection: function(connection.lookupByUUIDString(domain_id)), deadline
        )

    def state_and_reason(self, domain_id: str) -> tuple[int, int]:
        """libvirt's own numbers. Raises Missing."""
        state, reason = self.on(domain_id, "reading a machine's state", lambda domain: domain.state(0))
        return int(state), int(reason)

    def state(self, domain_id: str) -> PowerState:
        try:
            return power_state(*self.state_and_reason(domain_id))
        except Missing:
            return PowerState.ABSENT

    def states(self) -> dict[str, PowerState]:
        def read(connection: libvirt.virConnect) -> dict[str, PowerState]:
            flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
            every = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, flags)
            return {
                domain.UUIDString(): power_state(found.get("state.state", 0), found.get("state.reason", 0))
                for domain, found in every
            }

        return self.connection.call("listing machines", read)

    def definition(self, domain_id: str) -> str:
        """The inactive XML, secrets included. Raises Missing."""
        return self.on(domain_id, "reading a definition", lambda domain: str(domain.XMLDesc(_INACTIVE)))

    def inactive(self, domain_id: str) -> xml.Element:
        return xml.parse(self.definition(domain_id))

    def live(self, domain_id: str) -> xml.Element | None:
        """The running machine's XML, None when it does not run. Raises Missing."""

        def read(domain: libvirt.virDomain) -> str | None:
            text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
            return str(text) if domain.isActive() else None

        text = self.on(domain_id, "reading a running machine", read)
        return None if text is None else xml.parse(text)

    def redefine(self, root: xml.Element) -> str:
        """Define, and return what libvirt made of it."""
        text = xml.render(root)

        def define(connection: libvirt.virConnect) -> str:
            domain = connection.defineXMLFlags(text, 0)
            return str(domain.XMLDesc(_INACTIVE))

        return self.connection.call("defining a machine", define)

    def undefine(self, domain_id: str) -> None:
        """An absent domain is left alone; an active one must not be passed."""
        try:
            self.on(domain_id, "undefining a machine", lambda domain: domain.undefineFlags(_EVERYTHING))
        except Missing:
            return


def checked(where: str, domain_id: str) -> str:
    """The id itself. Raises Unsupported when it is not a UUID as naos writes them: it becomes the name of files."""
    try:
        canonical = str(uuid.UUID(domain_id)) == domain_id
    except ValueError:
        canonical = False
    if not canonical:
        raise Unsupported(where, f"the machine id {domain_id!r}", "ids are UUIDs in lower case")
    return domain_id
