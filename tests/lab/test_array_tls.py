"""An array with certificates: who reaches the exports of a volume, and who does not."""

import uuid
from dataclasses import replace

import pytest
from array_rig import ADDRESS, MIB, Rig, available

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.ports import DiskCopy, ExportedDisk, Provisioning
from naos.inventory.certificates import issue
from naos.inventory.model import Inventory

pytestmark = [pytest.mark.lab, pytest.mark.skipif(not available(), reason="needs root and QEMU's tools")]


def a_blade(name):
    access = {"driver": "ssh", "target": f"root@{name}"}
    chassis, fabric = {"driver": "lab", "address": "/none"}, {"driver": "trunk", "device": "bond0"}
    return {
        "name": name,
        "zone": "Z1",
        "model": "LAB v1",
        "hypervisor": "test:///",
        "access": access,
        "chassis": chassis,
        "fabric": fabric,
    }


INVENTORY = Inventory.model_validate(
    {
        "regions": [{"name": "R", "zones": [{"name": "Z1"}]}],
        "blades": [a_blade(name) for name in ("blade1", "blade2")],
        "arrays": [
            {
                "name": "array1",
                "zone": "Z1",
                "access": {"driver": "ssh", "target": "root@array1"},
                "address": ADDRESS,
                "backing": "file",
                "path": "/srv/luns",
                "capacity": 10**12,
            }
        ],
    }
)


class SecuredRig(Rig):
    """`ours` and `theirs`: folders of two authorities, with the certificates of hosts of the same names."""

    def __init__(self, folder, certificates):
        super().__init__(folder)
        self.ours, self.theirs = certificates / "ours", certificates / "theirs"
        for authority in (self.ours, self.theirs):
            list(issue(INVENTORY, authority))
        tls = str(self.ours / "arrays/array1")
        self.array = StorageDaemonArray("array1", self.host, ADDRESS, "file", str(folder), tls)

    def volume(self, *clients):
        lun = replace(self.lun_spec(), clients=clients)
        self.array.create_lun(lun)
        self.array.ensure_daemon(lun, [])
        return lun

    def reach(self, address, credentials=None):
        """What a client is told that reads with these credentials, "" when it could."""
        options = f"driver=nbd,host={address.host},port={address.port},export={address.name}"
        words = ["qemu-io", "-c", "read 0 64k"]
        if credentials is not None:
            words += ["--object", f"tls-creds-x509,id=own,endpoint=client,dir={credentials}"]
            options += ",tls-creds=own"
        done = self.host.run([*words, "--image-opts", options], check=False)
        return "" if done.code == 0 and "read 65536/65536" in done.stdout else done.stdout + done.stderr


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = SecuredRig(tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("c"))
    yield made
    made.close()


def a_disk(rig, lun):
    disk_id = str(uuid.uuid4())
    rig.array.create_disk(lun, disk_id, 32 * MIB, Provisioning.DYNAMIC)
    return disk_id, rig.array.export_disk(lun, disk_id, 1)


def test_only_the_volumes_own_clients_with_the_platforms_certificates_are_answered(rig):
    lun = rig.volume("blade1", "array1")
    disk_id, address = a_disk(rig, lun)
    assert address.tls
    ours, theirs = rig.ours / "blades", rig.theirs / "blades"
    assert rig.reach(address, ours / "blade1") == ""
    assert "TLS" in rig.reach(address)
    assert rig.reach(address, theirs / "blade1")
    assert rig.reach(address, ours / "blade2"), "another tenant's blade"
    moved = replace(lun, clients=("blade2", "array1"))
    rig.array.admit(moved)
    assert rig.reach(address, ours / "blade2") == ""
    assert rig.reach(address, ours / "blade1"), "it has left the cpool"
    rig.host.kill_daemon(lun.id)
    rig.array.ensure_daemon(moved, [ExportedDisk(disk_id, 1)])
    assert rig.reach(address, ours / "blade2") == ""
    assert rig.reach(address, ours / "blade1")
    rig.array.export_disk(lun, disk_id, 2)
    assert rig.reach(address, ours / "blade1"), "the old epoch is gone for everyone"
    assert rig.reach(replace(address, name=f"{disk_id}.2"), ours / "blade1") == ""


@pytest.mark.soak
def test_arrays_copy_to_each_other_over_tls(rig):
    lun, other = rig.volume("array1"), rig.volume("array1")
    disk_id, _ = a_disk(rig, lun)
    target_id, target = a_disk(rig, other)
    way = DiskCopy(disk_id, target_id, target)
    rig.array.begin_copies(lun, [way])
    while rig.array.copies(lun, [way]).running:
        pass
    rig.array.finish_copies(lun, [way])
    stranger = rig.volume("blade1")
    shut_id, shut = a_disk(rig, stranger)
    with pytest.raises(Exception, match=r"TLS|refused|remote"):
        rig.array.begin_copies(lun, [DiskCopy(disk_id, shut_id, shut)])
