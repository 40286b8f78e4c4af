"""Exports: the package that leaves is taken in again with the same disks and the same machine."""

import hashlib
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliances import appliance
from simulated_platform import COMPUTE, Platform, furnished_in

from naos.catalogue import exports
from naos.catalogue.images import intake
from naos.catalogue.ovf import packing
from naos.catalogue.ovf.descriptor import Descriptor
from naos.catalogue.ovf.properties import Property
from naos.units import GIB, MIB

EXPORTS = f"{COMPUTE}/exports"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("exports")
    with furnished_in(folder) as platform:
        content = random.Random(4).randbytes(MIB) + bytes(MIB)
        platform.made["appliance"] = platform.add_template("appliance", appliance(folder / "a.ova", system=content))
        yield platform


def fetched(platform: Platform, export_id: str, target: Path) -> Path:
    answer = platform.client.get(f"{EXPORTS}/{export_id}/file")
    assert answer.status_code == 200
    shown = platform.get(f"{EXPORTS}/{export_id}")
    assert (shown["size"], shown["status"]) == (len(answer.content), "active")
    assert shown["checksum"] == f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    target.write_bytes(answer.content)
    return target


def item_of(platform: Platform, template: str) -> dict[str, object]:
    found: dict[str, object] = platform.get(f"{COMPUTE}/content_libraries/{platform.made['library']}/items/{template}")
    return found


def test_a_template_comes_back_as_it_went(platform: Platform, tmp_path: Path) -> None:
    export = platform.done("POST", EXPORTS, {"contentLibraryItemId": platform.made["appliance"]})
    file = fetched(platform, export, tmp_path / "machine.ova")
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["machine.ovf", "machine.mf", "disk-1.vmdk", "disk-2.vmdk"]
        tar.extractall(tmp_path)
    info = subprocess.check_output(["qemu-img", "info", tmp_path / "disk-1.vmdk"], text=True)
    assert "streamOptimized" in info
    again = platform.add_template("again", file)
    before, after = item_of(platform, platform.made["appliance"]), item_of(platform, again)
    for key in ("cpu", "coresPerSocket", "memory", "firmware", "operatingSystem", "ovfProperties", "properties"):
        assert after[key] == before[key], key
    library = platform.services.settings.library
    for number in range(2):
        images = [
            library / f"{exports.library.image_id(item, number)}.img" for item in (platform.made["appliance"], again)
        ]
        subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", *images], check=True)
    answer = platform.client.get(f"{EXPORTS}/{export}/file", headers={"Range": "bytes=0-99"})
    assert (answer.status_code, len(answer.content)) == (206, 100)


def test_a_machine_is_exported_with_its_settings(platform: Platform, tmp_path: Path) -> None:
    options = [{"id": "org.example.licence.1", "value": "L-1"}, {"id": "password", "value": "secret"}]
    wish = {"contentLibraryItemId": platform.made["appliance"], "deployOptions": options, "memory": 256 * MIB, "cpu": 1}
    wish["networkAdapters"] = [{"networkId": platform.made["vlan"]}]
    machine = platform.deploy("to-export", powerOn=False, **wish)
    export = platform.done("POST", EXPORTS, {"virtualMachineId": machine})
    again = item_of(platform, platform.add_template("exported", fetched(platform, export, tmp_path / "m.ova")))
    assert (again["cpu"], again["memory"], again["firmware"]) == (1, 256 * MIB, "efi")
    adapters = again["networkAdapters"]
    assert isinstance(adapters, list)
    assert [entry["networkName"] for entry in adapters] == ["front"]
    found = again["properties"]
    assert isinstance(found, list)
    values = {entry["id"]: entry["value"] for entry in found}
    assert (values["org.example.licence.1"], values["password"]) == ("L-1", ""), "secrets stay"
    disks = again["disks"]
    assert isinstance(disks, list)
    assert [disk["capacity"] for disk in disks] == [2 * MIB, 3 * MIB]


def test_what_cannot_be_exported(platform: Platform) -> None:
    running = platform.deploy("running")
    assert platform.refused("POST", EXPORTS, {"virtualMachineId": running})["code"] == "compute.wrong_power"
    place = {"hostClusterId": platform.made["pool-AZ05"], "datastoreId": platform.made["volume-AZ05"]}
    bare = platform.done("POST", f"{COMPUTE}/virtual_machines", {"name": "bare", **place})
    assert platform.refused("POST", EXPORTS, {"virtualMachineId": bare})["code"] == "compute.nothing_to_export"
    platform.refused("POST", EXPORTS, {})
    both = {"virtualMachineId": bare, "contentLibraryItemId": platform.made["template"]}
    assert platform.refused("POST", EXPORTS, both)["status"] == 422
    assert platform.refused("POST", EXPORTS, {"virtualMachineId": bare}, client=platform.stranger())["status"] == 404
    platform.remove(running)


def test_exports_belong_to_their_tenant_and_go_with_their_file(platform: Platform) -> None:
    export = platform.done("POST", EXPORTS, {"contentLibraryItemId": platform.made["template"]})
    stranger = platform.stranger()
    assert stranger.get(EXPORTS).json() == []
    for path in (f"{EXPORTS}/{export}", f"{EXPORTS}/{export}/file"):
        assert stranger.get(path).status_code == 404
    assert platform.refused("DELETE", f"{EXPORTS}/{export}", client=stranger)["status"] == 404
    assert export in [entry["id"] for entry in platform.get(EXPORTS)]
    file = exports.file(platform.services.world, export)
    assert file.is_file()
    platform.done("DELETE", f"{EXPORTS}/{export}")
    assert not file.exists()
    assert platform.client.get(f"{EXPORTS}/{export}").status_code == 404


def test_a_package_is_equal_bytes_and_survives_odd_names(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as handle:
        handle.write(random.Random(1).randbytes(3 * MIB))
        handle.truncate(GIB)
    image = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    controllers, disks = exports.hung_up([('Disque <1> & "autre"', GIB)])
    wanted = Property(key="clé", type="string", user_configurable=True, default='a"b<c>&é\n2')
    machine = Descriptor(
        name="機械 <&>",
        cpu=2,
        cores_per_socket=2,
        memory=256 * MIB,
        networks=["réseau & co"],
        adapters=exports.adapters_of([("réseau & co", "E1000")]),
        controllers=controllers,
        disks=disks,
        properties=[wanted],
    )
    digests, shares = [], []
    for number in range(2):
        vmdk = tmp_path / f"{number}.vmdk"
        packing.convert(packing.of_image(image), vmdk, shares.append)
        packing.pack(tmp_path / "out.ova", machine, [packing.Source(vmdk, GIB)])
        with tarfile.open(tmp_path / "out.ova") as tar:
            member = tar.extractfile("machine.ovf")
            assert member is not None
            digests.append(hashlib.sha256(member.read()).hexdigest())
    assert digests[0] == digests[1]
    assert shares
    taken = intake.accept_item(
        tmp_path / "out.ova", lambda number: tmp_path / f"kept{number}", max_virtual_size=2 * GIB
    )
    read = taken.descriptor
    assert read is not None
    assert (read.name, read.cpu, read.memory, read.networks) == ("機械 <&>", 2, 256 * MIB, ["réseau & co"])
    assert [(entry.key, entry.default) for entry in read.properties] == [("clé", 'a"b<c>&é\n2')]
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, tmp_path / "kept0"], check=True)
