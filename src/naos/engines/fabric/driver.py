"""VLANs on a Linux host: a bridge each, joined to the other hosts by VXLAN tunnels or by a switched trunk.

Only interfaces that carry naos' mark are ever touched. Each call reads what is there, works out what is missing and
applies just that, so that a repeated call changes nothing and a call after a crash finishes the earlier one.
"""

import ipaddress
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from naos.engines.errors import Busy, CommandFailed, EngineError, Missing, Unsupported
from naos.engines.fabric import guarding, plan
from naos.engines.fabric.state import NOBODY, SEALS, Link, parse_entries, parse_links, parse_seals
from naos.engines.ports import Completed, Host, VlanSpec, guest_port

ATTEMPTS = 4  # others may change the host between the reading and the doing; then it is read again
LINKS = ("ip", "-details", "-json", "link", "show")
ENTRIES = ("bridge", "-json", "fdb", "show")
LIST_SEALS = ("nft", "-j", "list", "table", "netdev", SEALS)
_NO_SUCH_KIND = ("Unknown device type", "Operation not supported")
_MODULES = {"vxlan": "vxlan", "vlan": "8021q"}


class LinuxFabric:
    """One blade's VLANs, made with iproute2 and nftables over `host`.

    address: this blade's own address on the fabric (driver `vxlan`). device: the interface that carries the trunk
    (driver `trunk`). mtu: bytes of the largest packet that guests may send; a tunnel over a fabric that does not carry
    50 bytes more (70 for IPv6) works, in fragments.
    """

    def __init__(
        self,
        name: str,
        host: Host,
        driver: Literal["vxlan", "trunk"],
        *,
        address: str | None = None,
        device: str = "",
        mtu: int = 1500,
    ) -> None:
        if driver == "trunk" and not plan.is_interface_name(device):
            raise Unsupported(name, f"a trunk on {device!r}", "this is no name of a network interface")
        if driver == "vxlan" and not address:
            raise Unsupported(name, "VXLAN tunnels", "the inventory gives the blade no fabric address")
        self.name = name
        self._host = host
        self._own = str(ipaddress.ip_address(address)) if address and driver == "vxlan" else ""
        self._device = device
        self._mtu = mtu
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------------------- port

    def bridge(self, tag: int) -> str:
        """The name that `ensure_vlan` gives the bridge of `tag`. Raises Unsupported outside 1-4094."""
        if not 1 <= tag <= 4094:
            raise Unsupported(self.name, f"VLAN {tag}", "tags run from 1 to 4094")
        return plan.bridge_name(tag)

    def ensure_vlan(self, vlan: VlanSpec) -> str:
        """Make the VLAN's bridge, joined to exactly these peers; returns the bridge's name.

        Every peer must be told too: a host that still names this one as its peer goes on sending to it. Raises Busy
        when an interface of that name is not ours, Unsupported when the kernel or the tools lack what it takes.
        """
        wanted = self._wanted(vlan)
        with self._lock:
            for attempt in range(1, ATTEMPTS + 1):
                steps = plan.steps(wanted, self._present(wanted))
                if not steps:
                    break
                try:
                    self._apply(steps)
                    break
                except CommandFailed:
                    if attempt == ATTEMPTS:
                        raise
        return wanted.bridge

    def admit(self, guests: Mapping[str, str]) -> None:
        """Let these adapters (id -> MAC address) speak, each with its own address only; those that were let in earlier stay."""
        wanted = {guest_port(adapter_id): mac.lower() for adapter_id, mac in guests.items()}
        with self._lock:
            listed = self._run(guarding.LIST, check=False)
            known = guarding.parse(listed.stdout) if listed.code == 0 else guarding.NOTHING
            if not wanted or guarding.lets_in(known, wanted):
                return
            after = guarding.merged(known, wanted, self._links(), int(time.time()) // 3600)
            result = self._run(("nft", "-f", "-"), stdin=guarding.text(after).encode(), check=False)
        if result.code != 0:
            raise Unsupported(
                self.name,
                "keeping guests to their own MAC addresses",
                f"{' '.join(result.stderr.split()) or f'exit code {result.code}'}; "
                "install nftables, on a kernel with its bridge family",
            )

    def remove_vlan(self, tag: int) -> None:
        """Remove the VLAN's bridge and uplink, if they are there. Raises Busy while a guest's port is on it."""
        wanted = self._wanted(VlanSpec(tag))
        with self._lock:
            links = self._links()
            self._refuse_foreign(wanted, links)
            ports = plan.guest_ports(wanted, links)
            if ports:
                raise Busy(self.name, f"VLAN {tag}", f"ports of guests are on it: {', '.join(ports)}")
            lines = plan.removal_lines(wanted, links)
            if lines:
                self._batch("ip", lines)
            if wanted.bridge in self._seals():
                self._unseal(wanted.bridge)

    def vlans(self) -> dict[int, list[str]]:
        """Tag -> peers, sorted; a trunk has none. Half-made VLANs are listed too."""
        found: dict[int, list[str]] = {tag: [] for tag in sorted(plan.tags(self._links()))}
        if self._own and found:
            tunnels = {f"nx{tag}": tag for tag in found}
            for entry in parse_entries(self._run(ENTRIES).stdout):
                if entry.port in tunnels and entry.mac == NOBODY and entry.peer:
                    found[tunnels[entry.port]].append(entry.peer)
        return {tag: sorted(peers) for tag, peers in found.items()}

    def learned_macs(self, tag: int) -> dict[str, str]:
        """MAC address -> port. Addresses on other blades show the uplink's name as their port. Raises Missing."""
        bridge = self.bridge(tag)
        result = self._run((*ENTRIES, "br", bridge), check=False)
        if result.code != 0:
            raise Missing(self.name, f"VLAN {tag}", result.stderr.strip() or f"there is no bridge {bridge}")
        return {
            entry.mac: entry.port
            for entry in parse_entries(result.stdout)
            if entry.learned and entry.master == bridge and entry.peer is None
        }

    # ---------------------------------------------------------------------------------------------------------- reading

    def _wanted(self, vlan: VlanSpec) -> plan.Wanted:
        self.bridge(vlan.tag)
        if not self._own:
            return plan.Wanted(vlan.tag, plan.subinterface(vlan.tag, self._device), self._mtu)
        try:
            peers = plan.normal_peers(vlan.peers, self._own)
        except ValueError as error:
            raise Unsupported(self.name, f"VLAN {vlan.tag}", f"a peer is no address: {error}") from error
        return plan.Wanted(vlan.tag, plan.tunnel(vlan.tag, self._own), self._mtu, peers)

    def _present(self, wanted: plan.Wanted) -> plan.Present:
        links = self._links()
        self._refuse_foreign(wanted, links)
        name, entries = wanted.uplink.name, ""
        if wanted.uplink.kind == "vxlan" and name in links:
            entries = self._run((*ENTRIES, "dev", name), check=False).stdout
        sealed = wanted.bridge in links and wanted.bridge in self._seals()
        return plan.Present(links, parse_entries(entries, name), sealed)

    def _links(self) -> dict[str, Link]:
        return parse_links(self._run(LINKS).stdout)

    def _seals(self) -> set[str]:
        result = self._run(LIST_SEALS, check=False)
        return parse_seals(result.stdout) if result.code == 0 else set()

    def _refuse_foreign(self, wanted: plan.Wanted, links: dict[str, Link]) -> None:
        name = plan.foreign(wanted, links)
        if name is not None:
            raise Busy(
                self.name, f"the name {name}", "an interface that naos did not make has it; rename or remove that one"
            )

    # ------------------------------------------------------------------------------------------------------------ doing

    def _run(self, argv: Sequence[str], *, stdin: bytes = b"", check: bool = True) -> Completed:
        return self._host.run(argv, stdin=stdin, check=check)

    def _apply(self, steps: plan.Steps) -> None:
        if steps.make:
            self._batch("ip", steps.make)
        if steps.seal:
            self._seal(steps.seal)
        if steps.peers:
            self._batch("bridge", steps.peers)
        if steps.switch_on:
            self._batch("ip", steps.switch_on)

    def _batch(self, tool: Literal["ip", "bridge"], lines: Sequence[str]) -> None:
        result = self._run((tool, "-batch", "-"), stdin="\n".join([*lines, ""]).encode(), check=False)
        if result.code != 0:
            raise self._failure(tool, lines, result)

    def _failure(self, tool: str, lines: Sequence[str], result: Completed) -> EngineError:
        """The tool names the line at which it stopped: "Command failed -:2"."""
        reason = " ".join(result.stderr.split())
        number = reason.rpartition("-:")[2]
        line = lines[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(lines) else "; ".join(lines)
        kind = line.partition(" type ")[2].split(" ")[0]
        if kind in _MODULES and any(text in reason for text in _NO_SUCH_KIND):
            module = _MODULES[kind]
            return Unsupported(
                self.name, f"interfaces of type {kind}", f"its kernel lacks them; provide the module {module}"
            )
        return CommandFailed(self.name, f"{tool} {line}", reason or f"exit code {result.code}")

    def _seal(self, text: str) -> None:
        result = self._run(("nft", "-f", "-"), stdin=text.encode(), check=False)
        if result.code != 0:
            reason = " ".join(result.stderr.split()) or f"exit code {result.code}"
            raise Unsupported(
                self.name,
                "keeping guests' frames away from the host itself",
                f"{reason}; install nftables, on a kernel with its netdev family",
            )

    def _unseal(self, bridge: str) -> None:
        result = self._run(("nft", "-f", "-"), stdin=plan.unseal_text(bridge).encode(), check=False)
        if result.code != 0 and bridge in self._seals():
            raise CommandFailed(self.name, f"nft delete chain {bridge}", " ".join(result.stderr.split()))
