"""What a blade, a running machine, a kept definition and an event say, in the port's words."""

from collections.abc import Mapping

import libvirt
from lxml import etree

from naos.engines.errors import EngineError
from naos.engines.hypervisor import devices, xml
from naos.engines.hypervisor.domains import checked
from naos.engines.ports import BladeFacts, DomainSample, DomainStatistics, PowerState

_MIB = 2**20
_GROUPS = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
)
_BLOCK = {"read_ops": "rd.reqs", "read_bytes": "rd.bytes", "write_ops": "wr.reqs", "write_bytes": "wr.bytes"}
_NET = {"rx_bytes": "rx.bytes", "rx_packets": "rx.pkts", "tx_bytes": "tx.bytes", "tx_packets": "tx.pkts"}
_STATE_AFTER = {
    "started": PowerState.RUNNING,
    "resumed": PowerState.RUNNING,
    "suspended": PowerState.PAUSED,
    "io-error": PowerState.IO_ERROR,
    "stopped": PowerState.STOPPED,
    "crashed": PowerState.CRASHED,
}


def facts(connection: libvirt.virConnect, acceleration: str) -> BladeFacts:
    """Sizes in bytes."""
    node = connection.getInfo()
    return BladeFacts(
        hostname=connection.getHostname(),
        libvirt_version=version(connection.getLibVersion()),
        hypervisor_version=version(connection.getVersion()),
        acceleration=acceleration,
        memory=int(node[1]) * _MIB,
        cpus=int(node[2]),
        free_memory=int(connection.getFreeMemory()),
    )


def version(number: int) -> str:
    """9000000 -> 9.0.0"""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def kept(where: str, text: str, traits: xml.Traits) -> xml.Element:
    """A definition kept earlier, fitted to a blade. Raises EngineError when it is none, Unsupported for a foreign id."""
    try:
        root = xml.parse(text)
    except etree.XMLSyntaxError as error:
        raise EngineError(where, "reading a kept definition", str(error)) from error
    checked(where, root.findtext("uuid") or "")
    xml.settle(root, traits)
    return root


def statistics(where: str, domain: libvirt.virDomain) -> DomainStatistics:
    """Counters of a running machine. Raises EngineError when it does not run."""
    root = xml.parse(domain.XMLDesc(0))
    found = domain.connect().domainListGetStats([domain], _GROUPS, 0)[0][1]
    if not domain.isActive():
        raise EngineError(where, f"reading the counters of machine {domain.UUIDString()}", "it does not run")
    # Without control groups libvirt leaves the processor's time out of the list.
    spent = found.get("cpu.time") or domain.info()[4]
    return DomainStatistics(
        cpu_time_ns=int(spent),
        memory_actual=int(found.get("balloon.current", 0)) * 1024,
        memory_rss=int(found.get("balloon.rss", 0)) * 1024,
        block=_counters(found, "block", _BLOCK, devices.names_by_target(root)),
        net=_counters(found, "net", _NET, devices.macs_by_target(root)),
    )


def samples(connection: libvirt.virConnect) -> dict[str, DomainSample]:
    """Every running machine but those that something works on for longer, a move or a process that hangs: such a one is not waited
    for, and the half of its figures that libvirt has by itself would be taken for the whole."""
    flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    groups = libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_VCPU
    found = {}
    for domain, told in connection.getAllDomainStats(groups, flags):
        if "balloon.rss" not in told:
            continue
        try:
            spent = told.get("cpu.time") or domain.info()[4]
            line = xml.parse(domain.XMLDesc(0)).find("devices/channel/target[@name='org.qemu.guest_agent.0']")
        except libvirt.libvirtError:
            continue  # it has stopped meanwhile
        heard = line is not None and line.get("state") == "connected"
        found[domain.UUIDString()] = sample(told, spent=int(spent), heard=heard)
    return found


def sample(told: Mapping[str, object], *, spent: int, heard: bool) -> DomainSample:
    """Of what libvirt lists for one machine: KiB, and nanoseconds for each processor. What a guest does not tell counts as nothing."""

    def number(name: str) -> int:
        return int(str(told.get(name, 0)))

    delays = [number(name) for name in told if name.startswith("vcpu.") and name.endswith(".delay")]
    return DomainSample(
        spent,
        number("balloon.rss") * 1024,
        heard,
        waited_ns=sum(delays) // len(delays) if delays else 0,
        swapped=(number("balloon.swap_in") + number("balloon.swap_out")) * 1024,
        ballooned=max(number("balloon.maximum") - number("balloon.current"), 0) * 1024,
    )


def _counters(
    found: Mapping[str, object], group: str, fields: Mapping[str, str], keys: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    counted = {}
    for number in range(int(str(found.get(f"{group}.count", 0)))):
        key = keys.get(str(found.get(f"{group}.{number}.name")))
        if key is not None:
            counted[key] = {name: int(str(found.get(f"{group}.{number}.{field}", 0))) for name, field in fields.items()}
    return counted


def after(states: Mapping[str, PowerState], domain_id: str, kind: str) -> dict[str, PowerState]:
    """The states that are known once an event has come."""
    known = dict(states)
    if kind == "undefined":
        known.pop(domain_id, None)
    elif kind == "defined":
        known.setdefault(domain_id, PowerState.STOPPED)
    else:
        known[domain_id] = _STATE_AFTER[kind]
    return known
