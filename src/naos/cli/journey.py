"""`naos up` and `naos down`: from nothing to machines that reach each other, on one machine, and back."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from naos.cli import console, lab, naming, waiting
from naos.cli.client import DEFAULT_URL, Api, Connection, Json, opened
from naos.cli.failures import Failure
from naos.cli.naming import LIBRARY, MACHINE, POOL, VLAN, VOLUME, ZONE
from naos.cli.options import Yes
from naos.cli.output import note, terminal
from naos.cli.template import build_image, upload
from naos.units import GIB, MIB

TEMPLATE, VLAN_NAME, MODEL = "naos-tiny", "front", "LAB v1"
NETWORK = "192.168.100"  # inside the VLAN only
GUEST_MEMORY = 128 * MIB
VOLUME_SIZE = 500 * GIB  # sparse
SETTLE_SECONDS, GUEST_SECONDS = 60.0, 120.0
READY = re.compile(r"^.*naos-tiny \S+ ready:.*$", re.MULTILINE)
PING = re.compile(r"^.*packets transmitted.*$", re.MULTILINE)
BOOTSTRAP = "NAOS_BOOTSTRAP"
"""What ran before this command, as ``name=seconds`` pairs: `scripts/bootstrap` hands it over."""


@dataclass
class Journey:
    """The stages with their seconds, and what came of them."""

    root: Path
    stages: list[tuple[str, float]] = field(default_factory=list)
    acceleration: str = ""
    url: str = DEFAULT_URL

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        note(f"... {name}")
        yield
        seconds = time.monotonic() - started
        self.stages.append((name, seconds))
        note(f"ok  {name}: {seconds:.1f} s")


@dataclass(frozen=True)
class Guest:
    """A machine of the journey: where it is, its address, and the address that it pings (None: it only answers)."""

    name: str
    zone: str
    address: str
    pings: str | None


def up(
    *,
    zones: lab.Zones = None,
    blades: lab.Blades = None,
    name: lab.LabName = None,
    network: lab.Range = None,
    port: lab.Port = None,
) -> None:
    """Make a rack on this machine, and a pool, a volume and a machine in each of its zones, joined by one VLAN.

    Everything is real: machines of QEMU under libvirt, volumes with their IOPS limit, a VLAN over both zones. What is there
    already is left as it is, so a second run only looks. Needs root; `naos down` takes all of it away again.
    """
    from naos.lab import controller
    from naos.lab.record import lab_root

    journey = Journey(lab_root(), _bootstrap_stages())
    with lab.refusals():
        with journey.stage("rack: zones, blades, arrays; whether KVM works"):
            kept, journey.acceleration = lab.make(
                journey.root, zones=zones, blades=blades, name=name, network=network, port=port
            )
        journey.url = f"http://127.0.0.1:{kept.port}"
        with journey.stage("controller"):
            controller.start(journey.root)
    with opened(Connection(journey.url, journey.root / "credentials")) as api:
        with journey.stage("settle what was interrupted"):
            _settle(api)
        with journey.stage("pools, volumes, VLAN and template"):
            guests = _furnish(api, journey)
        with journey.stage("machines"):
            for guest in reversed(guests):
                _ensure_machine(api, guest)
        with journey.stage("guests boot and reach each other"):
            ready = {guest.name: _await_guest(api, guest) for guest in guests}
            pings = {guest.name: _ping(api, guest) for guest in guests if guest.pings is not None}
        _report(api, journey, guests, ready, pings)


def down(*, yes: Yes = False) -> None:
    """Take the rack away with all that is in it: processes, namespaces, mounts and files. Nothing else is touched."""
    lab.down(yes=yes)


def _bootstrap_stages() -> list[tuple[str, float]]:
    pairs = (entry.partition("=") for entry in os.environ.get(BOOTSTRAP, "").split(",") if "=" in entry)
    return [(name, float(seconds)) for name, _, seconds in pairs]


def _settle(api: Api) -> None:
    """After a crash the controller first puts in order what it finds; wait until nothing is under way or amiss."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        activities = api.get(waiting.ACTIVITIES)
        busy = [item for item in activities if waiting.state_of(item)[0] in {"waiting", "running"}]
        findings = api.get("/platform/v1/doctor")
        if not busy and not findings:
            return
        if time.monotonic() > end:
            left = "; ".join([item["description"] for item in busy] + [item["sentence"] for item in findings])
            raise Failure(f"After {SETTLE_SECONDS:.0f} s this is still not in order: {left}. See `naos doctor`.")
        time.sleep(0.3)


# ---------------------------------------------------------------------------------------------------------- the objects


def _furnish(api: Api, journey: Journey) -> list[Guest]:
    """What is missing of a pool and a volume in every zone with blades, the VLAN, and the template."""
    from naos.inventory.model import load

    equipped = {blade.zone for blade in load(journey.root / "inventory.toml").blades}
    zones = sorted((zone for zone in api.get(ZONE.path) if zone["name"] in equipped), key=lambda zone: zone["name"])
    pending = [activity for zone in zones for activity in _ensure_zone(api, zone)]
    template = _template_missing(api)
    if template is not None:
        pending.append(_add_template(api, template, journey))
    for activity in pending:
        waiting.follow(api, activity)
    _ensure_vlan(api, [f"pool-{zone['name']}" for zone in zones])
    addresses = [f"{NETWORK}.{11 + position}" for position in range(len(zones))]
    return [
        Guest(
            f"first-{zone['name'].lower()}",
            zone["name"],
            address,
            addresses[1] if not position and len(zones) > 1 else None,
        )
        for position, (zone, address) in enumerate(zip(zones, addresses, strict=True))
    ]


def _ensure_zone(api: Api, zone: Json) -> Iterator[str]:
    """The activities that make the zone's pool and volume, where these are missing."""
    pool, volume = f"pool-{zone['name']}", f"volume-{zone['name']}"
    if not api.get(POOL.path, name=pool):
        hosts = {"name": pool, "datacenterId": zone["id"], "model": MODEL, "hosts": _free_blades(zone)}
        yield api.write("POST", POOL.path, hosts)
    if not api.get(VOLUME.path, name=volume):
        body = {"name": volume, "datacenterId": zone["id"], "storageClass": "standard", "capacity": VOLUME_SIZE}
        yield api.write("POST", VOLUME.path, body)


def _free_blades(zone: Json) -> int:
    from naos.inventory.model import load
    from naos.lab.record import lab_root

    return sum(1 for blade in load(lab_root() / "inventory.toml").blades if blade.zone == zone["name"])


def _template_missing(api: Api) -> Json | None:
    """The library that should have the template and has not."""
    library: Json = naming.only(api, LIBRARY, "--library")
    return None if api.get(f"{LIBRARY.path}/{library['id']}/items", name=TEMPLATE) else library


def _add_template(api: Api, library: Json, journey: Journey) -> str:
    image = journey.root / "cache" / f"{TEMPLATE}.qcow2"
    build_image(TEMPLATE, image, journey.root / "cache")
    wanted = {"name": TEMPLATE, "description": "Built from Debian's packages", "uploadId": upload(api, image)}
    return api.write("POST", f"{LIBRARY.path}/{library['id']}/templates", wanted)


def _ensure_vlan(api: Api, pools: list[str]) -> None:
    if not api.get(VLAN.path, name=VLAN_NAME):
        identifiers = [naming.find(api, POOL, pool)["id"] for pool in pools]
        waiting.follow(api, api.write("POST", VLAN.path, {"name": VLAN_NAME, "hostClusterIds": identifiers}))


def _ensure_machine(api: Api, guest: Guest) -> None:
    found = api.get(MACHINE.path, name=guest.name)
    if found and found[0]["powerState"] == "running":
        return
    if found:
        body = {"id": found[0]["id"], "powerAction": "on"}
        waiting.follow(api, api.write("PATCH", f"{MACHINE.path}/power", body))
        return
    template = naming.find_template(api, TEMPLATE)
    deploy = {
        "name": guest.name,
        "contentLibraryItemId": template["id"],
        "hostClusterId": naming.find(api, POOL, f"pool-{guest.zone}")["id"],
        "datastoreId": naming.find(api, VOLUME, f"volume-{guest.zone}")["id"],
        "cpu": 1,
        "memory": GUEST_MEMORY,
        "powerOn": True,
        "networkAdapters": [{"networkId": naming.find(api, VLAN, VLAN_NAME)["id"], "address": f"{guest.address}/24"}],
    }
    waiting.follow(api, api.write("POST", f"{LIBRARY.path}/{template['library']['id']}/items", deploy))


# ------------------------------------------------------------------------------------------------------------ the proof


def _await_guest(api: Api, guest: Guest) -> str:
    """The line of the guest's own console that says it is up."""
    machine = naming.find(api, MACHINE, guest.name)
    end = time.monotonic() + GUEST_SECONDS
    while True:
        printed = api.text(f"{MACHINE.path}/{machine['id']}/consoles/log")
        ready = READY.search(printed)
        if ready:
            return ready[0].strip()
        if time.monotonic() > end:
            last = " / ".join(printed.strip().splitlines()[-3:])
            raise Failure(f"{guest.name} is not ready after {GUEST_SECONDS:.0f} s; its console ends with: {last}")
        time.sleep(0.2)


def _ping(api: Api, guest: Guest) -> str:
    """What the guest's own ping counts, asked for at its prompt. Raises Failure when nothing comes back."""
    machine = naming.find(api, MACHINE, guest.name)
    counted = console.ask(api, machine["id"], f"ping -c 3 -i 0.2 -W 2 {guest.pings}", PING, GUEST_SECONDS)
    if counted is None or ", 0 packets received" in counted:
        raise Failure(f"{guest.name} does not reach {guest.pings}: {counted or 'its console says nothing'}")
    return counted


def _report(api: Api, journey: Journey, guests: list[Guest], ready: dict[str, str], pings: dict[str, str]) -> None:
    from rich.table import Table

    screen = terminal()
    running = Table("MACHINE", "ZONE", "BLADE", "VOLUME", "VLAN", "ADDRESS", "STATE", box=None, pad_edge=False)
    for guest in guests:
        machine = naming.find(api, MACHINE, guest.name)
        host = (machine["host"] or {}).get("name", "")
        cells = (guest.name, guest.zone, host, machine["datastore"]["name"], VLAN_NAME, guest.address)
        running.add_row(*cells, machine["powerState"])
    times = Table("STAGE", "SECONDS", box=None, pad_edge=False)
    for name, seconds in journey.stages:
        times.add_row(name, f"{seconds:.1f}")
    times.add_row("in all", f"{sum(seconds for _, seconds in journey.stages):.1f}")
    screen.print()
    screen.print(running)
    screen.print()
    for guest in guests:
        screen.print(ready[guest.name])
        if guest.pings is not None:
            screen.print(f"{guest.name} pings {guest.pings}: {pings[guest.name]}")
    screen.print()
    screen.print(times)
    screen.print()
    screen.print(f"API          {journey.url} (its description: {journey.url}/docs)")
    screen.print(f"Credential   {journey.root / 'credentials'} (used by `naos` by itself)")
    screen.print(f"Acceleration {journey.acceleration}")
    screen.print(f"Console      naos vm console {guests[0].name}")
