"""A simulated blade's VLANs. What a bridge has learned follows from the guests' adapters that are on it and on its peers."""

import json
from collections.abc import Mapping

from naos.engines.errors import Busy, Missing, Unsupported
from naos.engines.ports import VlanSpec
from naos.engines.simulated.calls import SimulatedEngine
from naos.engines.simulated.store import Store


class SimulatedFabric(SimulatedEngine):
    """`addresses`: every blade's address on the fabric -> its name; a trunk has none."""

    port = "fabric"

    def __init__(self, name: str, store: Store, addresses: dict[str, str]) -> None:
        super().__init__(name, store)
        self._addresses = addresses
        self._own = next((address for address, blade in addresses.items() if blade == name), None)

    def bridge(self, tag: int) -> str:
        if not 1 <= tag <= 4094:
            raise Unsupported(self.name, f"VLAN {tag}", "tags run from 1 to 4094")
        return f"nv{tag}"

    def ensure_vlan(self, vlan: VlanSpec) -> str:
        bridge = self.bridge(vlan.tag)
        peers = sorted({str(peer) for peer in vlan.peers} - {self._own or ""}) if self._own else []
        with self._call("ensure_vlan") as db:
            values = (self.name, vlan.tag, json.dumps(peers))
            db.execute("INSERT OR REPLACE INTO vlans (blade, tag, peers) VALUES (?, ?, ?)", values)
        return bridge

    def admit(self, guests: Mapping[str, str]) -> None:
        """No frame leaves a simulated guest but what `learned_macs` tells of, which is with its own address."""
        del guests
        with self._call("admit"):
            pass

    def remove_vlan(self, tag: int) -> None:
        bridge = self.bridge(tag)
        with self._call("remove_vlan") as db:
            query = "SELECT domain FROM ports WHERE blade = ? AND bridge = ? ORDER BY domain"
            users = [row["domain"] for row in db.execute(query, (self.name, bridge))]
            if users:
                raise Busy(self.name, f"VLAN {tag}", f"ports of guests are on it: {', '.join(users)}")
            db.execute("DELETE FROM vlans WHERE blade = ? AND tag = ?", (self.name, tag))

    def vlans(self) -> dict[int, list[str]]:
        with self._call("vlans") as db:
            rows = db.execute("SELECT tag, peers FROM vlans WHERE blade = ? ORDER BY tag", (self.name,)).fetchall()
        return {row["tag"]: json.loads(row["peers"]) for row in rows}

    def learned_macs(self, tag: int) -> dict[str, str]:
        """Own guests' addresses at their port, others' at the uplink. A peer counts when both sides name each other."""
        bridge = self.bridge(tag)
        with self._call("learned_macs") as db:
            rows = db.execute("SELECT blade, peers FROM vlans WHERE tag = ?", (tag,)).fetchall()
            carried = {row["blade"]: set(json.loads(row["peers"])) for row in rows}
            if self.name not in carried:
                raise Missing(self.name, f"VLAN {tag}", f"there is no bridge {bridge}")
            found = {}
            ports = db.execute("SELECT * FROM ports WHERE bridge = ? AND connected = 1", (bridge,)).fetchall()
        near = carried[self.name]
        for port in ports:
            blade = port["blade"]
            if blade == self.name:
                found[port["mac"]] = f"port-{port['nic'][:8]}"
            elif self._own is None or (self._own in carried.get(blade, ()) and near & self._addresses_of(blade)):
                found[port["mac"]] = f"nx{tag}"
        return found

    def _addresses_of(self, blade: str) -> set[str]:
        return {address for address, name in self._addresses.items() if name == blade}
