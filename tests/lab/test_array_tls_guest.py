"""Guests of real blades over TLS: libvirt presents the blade's certificate, and only the volume's own clients start and move."""

import json
import shutil
import subprocess
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypervisor_rig import Blade, Console, Rig, Storage, available, wait_for
from test_array_tls import INVENTORY

from naos.catalogue.images import tiny
from naos.catalogue.images.network import visiting
from naos.engines.array import tls
from naos.engines.array.places import Place
from naos.engines.errors import EngineError
from naos.engines.hypervisor.driver import LibvirtHypervisor
from naos.engines.ports import DomainSpec, PowerState
from naos.inventory.certificates import issue
from naos.inventory.model import Array
from naos.units import MIB

pytestmark = [
    pytest.mark.lab,
    pytest.mark.soak,
    pytest.mark.timeout(280),
    pytest.mark.skipif(not available(), reason="needs root, libvirt and QEMU"),
]


@dataclass
class Secured(Storage):
    """The same, as an array's daemon with certificates is started; it lets `clients` in."""

    certificates: str = ""
    clients: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        return Place("array1", None, str(self.folder), str(uuid.uuid4()), tls=self.certificates)

    def start(self) -> None:
        server = {"addr": {"type": "inet", "host": self.address, "port": str(self.port)}, **tls.server(self.place)}
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "qemu-storage-daemon",
             "--chardev", f"socket,id=m,path={self.folder}/qmp,server=on,wait=off", "--monitor", "chardev=m",
             *tls.options(self.place, self.clients), "--nbd-server", json.dumps(server)],
        )  # fmt: skip
        wait_for((self.folder / "qmp").exists, "the storage daemon listens")

    def admit(self, *clients: str) -> None:
        class Asked:
            execute = staticmethod(lambda command, arguments: self.qmp(command, **arguments))

        tls.admit(Asked, self.place, clients)


def give(blade: Blade, certificates: Path) -> None:
    """As an operator does it."""
    shutil.copytree(certificates / "blades" / blade.name, blade.folder / "etc/libvirt/nbd")
    with (blade.folder / "etc/libvirt/qemu.conf").open("a") as file:
        file.write('nbd_tls_x509_cert_dir = "/etc/libvirt/nbd"\n')
    blade.kill_libvirtd()
    blade.start_libvirtd()


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "rig")
    made.folder.mkdir()
    certificates = tmp_path / "certificates"
    try:
        made.start()
        array = Array.model_validate(INVENTORY.arrays[0].model_dump() | {"address": "10.199.0.1"})
        list(issue(INVENTORY.model_copy(update={"arrays": [array]}), certificates))
        folder = tmp_path / "s"
        folder.mkdir()
        own = str(certificates / "arrays/array1")
        secured = Secured("hub", "10.199.0.1", folder, 10810, certificates=own, clients=("blade1",))
        secured.namespace = made.storage.namespace
        made.storage.kill()
        made.storage = secured
        secured.start()
        with visiting(made.center):
            for blade in made.blades:
                wait_for(blade.answers, f"{blade.name} answers")
                give(blade, certificates)
            for blade in made.blades:
                wait_for(blade.answers, f"{blade.name} answers again")
            yield made
    finally:
        made.stop()


def test_a_guest_runs_over_tls_on_its_own_blades_alone_and_moves_between_them(rig, tmp_path):
    image = tiny.build_tiny(tmp_path / "tiny.qcow2")
    disk = rig.storage.create(0, image.virtual_size, base=image.path)
    secured = replace(disk, source=replace(disk.source, tls=True))
    spec = DomainSpec(str(uuid.uuid4()), "guest", vcpus=1, cores_per_socket=1, memory=192 * MIB, disks=[secured])
    first, second = (LibvirtHypervisor(blade.name, blade.uri, blade, "tcg") for blade in rig.blades)
    try:
        clear = replace(spec, id=str(uuid.uuid4()), disks=[disk])
        first.define(clear)
        with pytest.raises(EngineError, match="TLS"):
            first.start(clear.id)
        second.define(spec)
        with pytest.raises(EngineError):
            second.start(spec.id)
        second.undefine(spec.id)
        first.define(spec)
        first.start(spec.id)
        wait_for(lambda: "naos-tiny" in first.serial_log(spec.id), "the guest is up", 90)
        console = Console(first, spec.id)
        assert "done" in console.type("echo kept > /root/kept; sync && echo done")
        console.close()
        with pytest.raises(EngineError):
            first.migrate(spec.id, second)
        assert first.state(spec.id) == PowerState.RUNNING
        rig.storage.admit("blade1", "blade2")
        first.migrate(spec.id, second)
        console = Console(second, spec.id)
        assert console.type("cat /root/kept; echo more > /root/more; sync && echo done") == "kept\ndone"
        console.close()
    finally:
        for blade in (first, second):
            blade.power_off(spec.id)
            blade.close()
