"""Creating machines on a real lab: one against the same guest made by hand, and twenty at once against twenty times one.

Reference, measured in the same run and turn by turn: `qemu-img create` of an overlay on the same image, `virsh define` and
`virsh start` of the same domain on the same blade, until the same line on its console.
Run as root: `.venv/bin/python benchmarks/create_machine.py`.
"""

import statistics
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from naos.cli import naming
from naos.cli.client import Api, Connection, opened
from naos.cli.journey import READY
from naos.cli.waiting import state_of
from naos.engines.hosts.namespace import NamespaceHost

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from real_platform import URL, Real, real_lab

ROUNDS, AT_ONCE, POLL = 3, 20, 0.02
LOOK, SELDOM = 0.25, 2.0
"""Seconds between two looks at a console: both ways of looking cost processor time, which the guests need. Twenty that wait
look seldom: the API lets one client ask 25 times a second."""
ZONES = ("AZ05", "AZ06")
VIRSH = ("virsh", "-q", "-c", "qemu:///system")


@dataclass(frozen=True)
class Times:
    """Seconds from the call on: until it is accepted work that has ended (`made`), and until the guest's prompt."""

    made: float
    prompt: float


def main() -> None:
    with real_lab() as real:
        for name in ("first-az05", "first-az06"):
            real.naos("vm", "stop", name)
        with opened(Connection(URL, real.root / "credentials")) as api:
            measure(real, api)


def measure(real: Real, api: Api) -> None:
    ours, by_hand = [], []
    for number in range(ROUNDS):
        ours.append(through_naos(api, f"bench-{number}"))
        by_hand.append(with_tools(real, api, f"bench-{number}"))
        remove(real, f"bench-{number}")
    prompt = statistics.median(times.prompt for times in ours)
    reference = statistics.median(times.prompt for times in by_hand)
    print(
        f"machine, API call to guest prompt: {prompt:.2f} s, by hand {reference:.2f} s, ratio {prompt / reference:.2f} (wanted: at most 1.25)"
    )
    share = statistics.median(times.made for times in ours) - statistics.median(times.made for times in by_hand)
    print(f"controller's own share: {share:.2f} s (wanted: at most 1.5 s)")
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        bodies = [wish(api, f"many-{number:02}", ZONES[number % 2]) for number in range(AT_ONCE)]
        each = [times.prompt for times in pool.map(lambda body: create(api, body, SELDOM, SELDOM), bodies)]
    total = time.monotonic() - started
    alone = AT_ONCE * prompt
    words = f"{AT_ONCE} machines at once: {total:.1f} s (slowest {max(each):.1f} s), {AT_ONCE} x one {alone:.1f} s"
    print(f"{words}, ratio {total / alone:.2f}; none failed")


def through_naos(api: Api, name: str) -> Times:
    return create(api, wish(api, name, "AZ05"), POLL, LOOK)


def wish(api: Api, name: str, zone: str) -> dict[str, Any]:
    template = naming.find_template(api, "naos-tiny")
    return {
        "name": name,
        "contentLibraryItemId": template["id"],
        "hostClusterId": naming.find(api, naming.POOL, f"pool-{zone}")["id"],
        "datastoreId": naming.find(api, naming.VOLUME, f"volume-{zone}")["id"],
        "memory": 128 * 2**20,
        "powerOn": True,
        "networkAdapters": [
            {"networkId": naming.find(api, naming.VLAN, "front")["id"], "address": "192.168.100.50/24"}
        ],
    }


def create(api: Api, body: dict[str, Any], poll: float, look: float) -> Times:
    """Ask for the machine, and wait until it is made and its guest shows the prompt."""
    library = naming.find_template(api, "naos-tiny")["library"]["id"]
    started = time.monotonic()
    activity = api.write("POST", f"{naming.LIBRARY.path}/{library}/items", body)
    while True:
        state, facts = state_of(api.get(f"/activity/v1/activities/{activity}"))
        if state == "completed":
            break
        if state == "failed":
            raise RuntimeError(f"{body['name']}: {facts['reason']}")
        time.sleep(poll)
    made = time.monotonic() - started
    path = f"{naming.MACHINE.path}/{facts['result']}/consoles/log"
    while not READY.search(api.text(path)):
        time.sleep(look)
    return Times(made, time.monotonic() - started)


def with_tools(real: Real, api: Api, name: str) -> Times:
    """The same domain beside the one that naos made, which is stopped first, on a local overlay of the same image."""
    real.naos("vm", "stop", name)
    machine = naming.find(api, naming.MACHINE, name)
    host = NamespaceHost(machine["host"]["name"], real.root / "hosts" / machine["host"]["name"])
    own = str(uuid.uuid4())
    domain = etree.fromstring(host.run([*VIRSH, "dumpxml", "--inactive", machine["id"]]).stdout.encode())
    overlay, log = f"/var/log/{own}.qcow2", f"/var/log/{own}.log"
    rewrite(domain, own, overlay, log)
    image = str(real.root / "cache" / "naos-tiny.qcow2")
    host.run(["tee", f"/var/log/{own}.xml"], stdin=etree.tostring(domain))
    started = time.monotonic()
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay])
    host.run([*VIRSH, "define", f"/var/log/{own}.xml"])
    host.run([*VIRSH, "start", own])
    made = time.monotonic() - started
    while not READY.search(host.run(["cat", log], check=False).stdout):
        time.sleep(LOOK)
    prompt = time.monotonic() - started
    host.run([*VIRSH, "destroy", own])
    host.run([*VIRSH, "undefine", own])
    host.run(["rm", "-f", overlay, log, f"/var/log/{own}.xml"])
    return Times(made, prompt)


def rewrite(domain: etree._Element, own: str, overlay: str, log: str) -> None:
    domain.find("name").text = domain.find("uuid").text = own
    for disk in domain.findall("devices/disk[@type='network']"):
        disk.set("type", "file")
        disk.replace(disk.find("source"), etree.Element("source", file=overlay))
        disk.find("driver").set("type", "qcow2")
    for element in domain.iter("log"):
        element.set("file", log)


def remove(real: Real, name: str) -> None:
    real.naos("vm", "delete", name, "--yes")


if __name__ == "__main__":
    main()
