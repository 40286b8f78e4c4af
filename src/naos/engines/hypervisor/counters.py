"""What guests ask of their disks, as QEMU counts it at the device: from the guest's request to its answer.

Latencies are counted in classes from the first look on; QEMU forgets them with the device.
"""

import contextlib
import json
import re
from typing import Any

import libvirt
import libvirt_qemu

from naos.engines.ports import LATENCY_BOUNDS_NS, IoCounters

_DEVICE = re.compile(r"(?:^|/)ua-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/|$)")
_BOUNDS = list(LATENCY_BOUNDS_NS)


def read(connection: libvirt.virConnect) -> dict[str, IoCounters]:
    """By disk id. A machine that a longer job works on (a migration, a dump) is left out: it would be waited for."""
    found: dict[str, IoCounters] = {}
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        with contextlib.suppress(libvirt.libvirtError):  # it has stopped meanwhile
            if domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
                found |= _of(domain)
    return found


def _of(domain: libvirt.virDomain) -> dict[str, IoCounters]:
    found = {}
    for entry in _ask(domain, "query-blockstats"):
        device = _DEVICE.search(entry.get("qdev", ""))
        if device is None:
            continue
        counted = entry["stats"]
        if counted.get("rd_latency_histogram", {}).get("boundaries") != _BOUNDS:
            _ask(domain, "block-latency-histogram-set", {"id": entry["qdev"], "boundaries": _BOUNDS})
        found[device[1]] = as_counters(counted)
    return found


def as_counters(counted: dict[str, Any]) -> IoCounters:
    """QEMU's statistics of a device. Flushes are no requests for data and count nowhere."""
    histograms = [counted.get(f"{kind}_latency_histogram", {}) for kind in ("rd", "wr")]
    bins: tuple[int, ...] = ()
    if all(histogram.get("boundaries") == _BOUNDS for histogram in histograms):
        bins = tuple(sum(pair) for pair in zip(*(histogram["bins"] for histogram in histograms), strict=True))
    return IoCounters(
        counted["rd_operations"],
        counted["wr_operations"],
        counted["rd_bytes"],
        counted["wr_bytes"],
        counted["rd_total_time_ns"] + counted["wr_total_time_ns"],
        bins,
    )


def _ask(domain: libvirt.virDomain, command: str, arguments: dict[str, Any] | None = None) -> Any:
    asked = {"execute": command, **({"arguments": arguments} if arguments else {})}
    return json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(asked), 0)).get("return", [])
