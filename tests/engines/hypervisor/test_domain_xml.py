"""A machine's definition: what a new one says, and that an old one keeps everything that naos does not speak of."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from naos.engines.errors import Unsupported
from naos.engines.hypervisor import boot, devices, nvram, xml
from naos.engines.hypervisor.xml import Traits
from naos.engines.ports import DomainDisk, DomainNic, DomainSpec, NbdAddress
from naos.units import GIB, MIB

GOLDEN = Path(__file__).with_name("golden")
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
MACHINE = "7f3c9f4e-0f5b-4d0a-9c58-0a4c3d1f2b11"
KVM, TCG = Traits("kvm", "10.0.0.11"), Traits("tcg", "10.0.0.11")
PLAIN = DomainSpec(id=MACHINE, title="one", vcpus=1, cores_per_socket=1, memory=GIB)


def identity(number, kind=0):
    return f"a1b2c3d4-0000-4000-8000-0000000000{kind:x}{number:x}"


def disk(number, *, unit=None, epoch=1, port=10809):
    place = number - 1 if unit is None else unit
    return DomainDisk(identity(number), place, NbdAddress("10.0.0.5", port, f"{identity(number)}.{epoch}"))


def nic(number, **changes):
    made = DomainNic(identity(number, 10), number - 1, f"02:4e:00:00:00:{number:02x}", "vlan10")
    return replace(made, **changes)


FULL = DomainSpec(
    id=MACHINE,
    title="Zoë's <machine> & 機械 🦊",
    vcpus=2,
    cores_per_socket=2,
    memory=2 * GIB,
    disks=[disk(2, epoch=7, port=10810), disk(1, epoch=3)],
    nics=[nic(1), nic(2, bridge="vlan20", connected=False, mtu=1450)],
    cdrom="/var/lib/libvirt/naos/seeds/seed.iso",
    firmware="efi",
    secure_boot=True,
    boot_delay=3000,
    boot_retry=10_000,
    told=[("opt/naos/guestinfo.userdata", "/var/lib/libvirt/naos/told/one")],
    nested=True,
    windows=True,
    max_vcpus=5,
    max_memory=8 * GIB,
    removable_vcpus=True,
)


@pytest.fixture
def kept():
    """A definition as libvirt returned it, with much that is somebody else's."""
    return xml.parse((GOLDEN / "kept.xml").read_text())


def shown(root):
    copy = etree.fromstring(xml.render(root), etree.XMLParser(remove_blank_text=True))
    etree.indent(copy)
    return etree.tostring(copy, encoding="unicode") + "\n"


def outline(root):
    """Each element as a path with its attributes and text, in no order: libvirt does not look at it outside lists."""
    found = []
    for element in root.iter(etree.Element):
        path = "/".join([*(parent.tag for parent in reversed(list(element.iterancestors()))), element.tag])
        found.append((path, tuple(sorted(element.attrib.items())), (element.text or "").strip()))
    return sorted(found)


def find(root, path):
    found = root.find(path)
    assert found is not None, path
    return found


def target_names(root):
    return [devices.target_of(element) for element in root.iterfind("devices/disk[@type='network']")]


# ----------------------------------------------------------------------------------------------------------- whole texts


@pytest.mark.parametrize("traits", [KVM, TCG], ids=["kvm", "tcg"])
def test_a_new_machine_is_written_so(traits):
    root = xml.new(FULL, traits)
    assert shown(root) == (GOLDEN / f"new-{traits.acceleration}.xml").read_text()


def test_an_old_machine_is_rewritten_so(kept):
    xml.converge(kept, replace(FULL, firmware="bios", told=(), nested=False), KVM)
    assert shown(kept) == (GOLDEN / "redefined.xml").read_text()


@pytest.mark.parametrize("traits", [KVM, TCG], ids=["kvm", "tcg"])
@pytest.mark.parametrize("spec", [PLAIN, FULL], ids=["plain", "full"])
def test_libvirts_own_schema_accepts_it(spec, traits):
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    schema.assertValid(xml.parse(xml.render(xml.new(spec, traits))))


# ------------------------------------------------------------------------------------------------------------- lossless


def test_a_new_definition_that_says_the_same_changes_nothing():
    root = xml.new(FULL, KVM)
    before = xml.render(root)
    xml.converge(root, FULL, KVM)
    assert xml.render(root) == before


def test_what_is_not_naos_own_stays_as_it_is(kept):
    before = outline(kept)
    disks = [disk(1, epoch=3), disk(2, port=10810)]
    spec = replace(PLAIN, title="an earlier name", disks=disks, nics=[nic(1)], boot_delay=3000)
    xml.converge(kept, spec, Traits("kvm", "10.0.0.99"))
    gone = [entry for entry in before if entry not in outline(kept)]
    added = [entry for entry in outline(kept) if entry not in before]
    # Disk 2 had no serial number and no policy, and neither had a thread of its own; the module that was plugged in while it ran is part
    # of the base by now.
    stopping = (
        ("error_policy", "stop"),
        ("iothread", "1"),
        ("name", "qemu"),
        ("rerror_policy", "stop"),
        ("type", "raw"),
    )
    unmapping = (("cache", "none"), ("discard", "unmap"), *stopping)
    hidden = [("domain/cpu/feature", (("name", name), ("policy", "disable")), "") for name in ("svm", "vmx")]
    assert added == [
        *hidden,
        ("domain/devices/disk/driver", unmapping, ""),
        ("domain/devices/disk/driver", stopping, ""),
        ("domain/devices/disk/serial", (), identity(2)),
        ("domain/devices/interface/target", (("dev", "ng0000000000a1"),), ""),
        ("domain/iothreads", (), "1"),
    ]
    assert [path for path, _, _ in gone if not path.startswith("domain/devices/memory")] == [
        "domain/devices/disk/driver"
    ]
    assert ("domain/devices/memory/alias", (("name", "ua-memory-module-1"),), "") in gone


def test_a_foreign_disk_adapter_and_module_survive_a_machine_without_any(kept):
    xml.converge(kept, PLAIN, KVM)
    assert [devices.target_of(found) for found in kept.iterfind("devices/disk")] == ["sda"]
    assert [devices.mac_of(found) for found in kept.iterfind("devices/interface")] == ["02:4e:00:00:00:99"]
    assert [found.get("model") for found in kept.iterfind("devices/memory")] == ["nvdimm"]
    assert any(isinstance(found, etree._Comment) for found in find(kept, "devices"))


def test_a_disk_keeps_its_place_on_the_bus_and_its_limits_under_a_new_epoch(kept):
    xml.converge(kept, replace(PLAIN, disks=[disk(1, epoch=4)]), KVM)
    found = devices.find(kept, identity(1))
    assert devices.address_of(found) == NbdAddress("10.0.0.5", 10809, f"{identity(1)}.4")
    assert find(found, "address").get("slot") == "0x07"
    assert find(found, "iotune/total_iops_sec").text == "500"
    assert find(found, "source").get("index") is None
    assert len(found.findall("source/host")) == 1


def test_an_entity_in_a_kept_definition_reads_no_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    text = f'<!DOCTYPE domain [<!ENTITY leak SYSTEM "file://{secret}">]><domain><title>&leak;</title></domain>'
    assert "hidden" not in xml.render(xml.parse(text))


# ---------------------------------------------------------------------------------------------------------------- disks


def test_a_disk_stops_its_guest_rather_than_failing_inside_it():
    found = devices.find(xml.new(FULL, KVM), identity(1))
    driver = find(found, "driver")
    assert (driver.get("error_policy"), driver.get("rerror_policy"), driver.get("cache")) == ("stop", "stop", "none")
    assert (find(found, "source").get("protocol"), find(found, "source").get("name")) == ("nbd", f"{identity(1)}.3")
    assert find(found, "serial").text == identity(1)


def test_a_disk_that_lost_its_policies_gets_them_back():
    root = xml.new(FULL, KVM)
    driver = find(devices.find(root, identity(1)), "driver")
    driver.set("error_policy", "report")
    driver.set("cache", "directsync")
    del driver.attrib["rerror_policy"]
    xml.converge(root, FULL, KVM)
    assert (driver.get("error_policy"), driver.get("rerror_policy"), driver.get("cache")) == (
        "stop",
        "stop",
        "directsync",
    )


def test_disks_stand_in_the_order_of_their_units():
    assert target_names(xml.new(FULL, KVM)) == ["vda", "vdb"]


def test_two_disks_change_places():
    root = xml.new(replace(PLAIN, disks=[disk(1), disk(2)]), KVM)
    devices.converge_disks(root, [disk(1, unit=1), disk(2, unit=0)])
    names = {devices.identity(found): devices.target_of(found) for found in root.iterfind("devices/disk")}
    assert names == {identity(1): "vdb", identity(2): "vda"}


@pytest.mark.parametrize(("unit", "name"), [(0, "vda"), (25, "vdz"), (26, "vdaa"), (51, "vdaz"), (702, "vdaaa")])
def test_a_unit_has_the_name_that_linux_gives_it(unit, name):
    assert devices.target_name(unit) == name


def test_an_image_can_be_put_in_changed_and_taken_out():
    root = xml.new(PLAIN, KVM)
    devices.set_cdrom(root, "/one.iso")
    devices.set_cdrom(root, "/two.iso")
    found = root.findall("devices/disk[@device='cdrom']")
    assert [find(entry, "source").attrib for entry in found] == [{"file": "/two.iso", "startupPolicy": "optional"}]
    devices.converge_disks(root, [])
    assert devices.find(root, devices.CDROM) is not None
    devices.set_cdrom(root, None)
    devices.set_cdrom(root, None)
    assert root.findall("devices/disk") == []


def test_a_device_is_removed_by_its_id_only(kept):
    assert devices.remove(kept, identity(1))
    assert not devices.remove(kept, identity(1))
    assert not devices.remove(kept, "sda")
    assert target_names(kept) == ["vdb"]


# ------------------------------------------------------------------------------------------------------------- adapters


def test_an_adapter_is_on_its_bridge_with_its_address_size_and_link():
    found = devices.find(xml.new(FULL, KVM), identity(2, 10))
    assert devices.mac_of(found) == "02:4e:00:00:00:02"
    assert devices.mtu_of(found) == 1450
    assert devices.is_connected_so(found, nic(2, bridge="vlan20", connected=False))
    assert not devices.is_connected_so(found, nic(2, bridge="vlan20", connected=True))
    assert not devices.is_connected_so(found, nic(2, bridge="vlan10", connected=False))


def test_an_adapter_without_a_link_element_is_connected(kept):
    found = devices.find(kept, identity(1, 10))
    devices.drop(found, "link")
    assert devices.is_connected_so(found, nic(1))


def test_another_bridge_leaves_an_adapters_bandwidth_and_slot(kept):
    xml.converge(kept, replace(PLAIN, nics=[nic(1, bridge="vlan30")]), KVM)
    found = devices.find(kept, identity(1, 10))
    assert find(found, "source").get("bridge") == "vlan30"
    assert find(found, "bandwidth/inbound").get("average") == "1000"
    assert find(found, "address").get("slot") == "0x05"


# ------------------------------------------------------------------------------------------------- processors and memory


def test_room_for_processors_is_whole_sockets():
    root = xml.new(FULL, KVM)
    assert xml.processors(root) == (2, 6)
    assert find(root, "cpu/topology").attrib == {"sockets": "3", "dies": "1", "cores": "2", "threads": "1"}
    assert xml.cores_per_socket(root) == 2
    assert find(root, "cpu/numa/cell").get("cpus") == "0-5"


def test_a_machine_without_room_has_none():
    root = xml.new(PLAIN, KVM)
    assert xml.processors(root) == (1, 1)
    assert xml.memory(root) == (GIB, GIB)
    assert root.find("maxMemory") is None
    assert root.find("cpu/numa") is None


def test_room_for_memory_comes_and_goes():
    root = xml.new(PLAIN, KVM)
    xml.set_memory(root, GIB, 4 * GIB)
    assert xml.memory(root) == (GIB, 4 * GIB)
    assert find(root, "maxMemory").get("slots") == "32"
    assert find(root, "cpu/numa/cell").get("memory") == str(GIB // 1024)
    xml.set_memory(root, GIB, GIB)
    assert xml.memory(root) == (GIB, GIB)
    assert root.find("cpu/numa") is None


def test_an_emulated_machine_has_no_more_room_than_its_processor_can_address():
    root = xml.new(replace(PLAIN, max_memory=2048 * GIB), TCG)
    assert xml.memory(root) == (GIB, 512 * GIB)
    root = xml.new(replace(PLAIN, max_memory=2048 * GIB), KVM)
    assert xml.memory(root) == (GIB, 2048 * GIB)


def test_modules_are_counted_by_number_and_become_part_of_the_base(kept):
    devices.append(kept, devices.memory_module(256 * MIB, 12))
    assert devices.memory_modules(kept) == [1, 12]
    xml.set_memory(kept, 2 * GIB, 2 * GIB)
    assert devices.memory_modules(kept) == []
    assert xml.memory(kept) == (2 * GIB, 2 * GIB)


# ----------------------------------------------------------------------------------------------------- blade, title, ...


def test_a_machine_moves_between_hardware_and_emulator(kept):
    xml.settle(kept, TCG)
    assert kept.get("type") == "qemu"
    assert find(kept, "cpu").attrib == {"mode": "custom", "match": "exact", "check": "none"}
    assert kept.find("cpu/feature") is None
    assert find(kept, "cpu/model").text == "Nehalem"
    xml.settle(kept, KVM)
    assert kept.get("type") == "kvm"
    assert find(kept, "cpu").attrib == {"mode": "host-passthrough", "check": "none", "migratable": "on"}
    assert find(kept, "cpu/topology").get("cores") == "1"


def test_only_vnc_listens_on_the_blade(kept):
    xml.settle(kept, KVM)
    listening = {found.get("type"): found.get("listen") for found in kept.iterfind("devices/graphics")}
    assert listening == {"vnc": "10.0.0.11", "spice": "127.0.0.1"}
    assert find(kept, "devices/graphics[@type='vnc']/listen").get("address") == "10.0.0.11"


def test_consoles_are_those_that_have_a_port(kept):
    assert xml.consoles(kept) == []
    find(kept, "devices/graphics[@type='vnc']").set("port", "5907")
    assert xml.consoles(kept) == [("10.0.0.99", 5907)]


def test_firmware_is_bios_or_uefi_and_can_change():
    root = xml.new(replace(PLAIN, firmware="efi"), KVM)
    assert find(root, "os/nvram").text == f"/var/lib/libvirt/qemu/nvram/{MACHINE}.fd"
    assert find(root, "os/nvram").get("template") == boot.VARIABLES
    xml.converge(root, replace(PLAIN, firmware="efi", secure_boot=True), KVM)
    assert find(root, "os/nvram").get("template") == boot.ENROLLED
    find(root, "os").set("firmware", "efi")  # as an earlier naos wrote it
    xml.converge(root, PLAIN, KVM)
    assert find(root, "os").get("firmware") is None
    assert root.find("os/nvram") is root.find("os/loader") is None
    with pytest.raises(Unsupported) as refusal:
        xml.converge(root, replace(PLAIN, firmware="coreboot"), KVM)
    assert "coreboot" in refusal.value.what


@pytest.mark.parametrize("traits", [KVM, TCG], ids=["kvm", "tcg"])
def test_what_a_machine_starts_with_goes_when_it_is_not_wished_any_more(traits):
    root = xml.new(PLAIN, traits)
    before = outline(root)
    full = {"boot_delay": 5000, "boot_retry": 100, "told": [("opt/naos/a", "/a")], "nested": True, "windows": True}
    xml.converge(root, replace(PLAIN, **full), traits)
    assert outline(root) != before
    assert find(root, "clock").get("offset") == "localtime"
    assert (root.find("features/hyperv") is not None) == (traits is KVM)
    xml.converge(root, PLAIN, traits)
    assert outline(root) == before


def test_only_an_amd_processor_is_emulated_with_virtualisation():
    shown = xml.new(replace(PLAIN, nested=True), TCG)
    assert find(shown, "cpu/feature").attrib == {"policy": "require", "name": "svm"}
    assert find(shown, "cpu/model").text == "Opteron_G2"


def test_the_request_for_the_setup_is_one_more_variable_that_replaces_the_last():
    fresh = Path(boot.VARIABLES)
    if not fresh.exists():
        pytest.skip("the firmware's package is not installed")
    once = nvram.with_setup(fresh.read_bytes())
    twice = nvram.with_setup(once)
    name = "OsIndications\0".encode("utf-16-le")
    assert (once.count(name), twice.count(name)) == (1, 2)
    states = [twice[place - 58] for place in range(len(twice)) if twice.startswith(name, place)]
    assert states == [0x3D, 0x3F]
    for wrong in (b"", bytes(100), fresh.read_bytes()[:72] + bytes(1000)):
        with pytest.raises(ValueError, match=r"they are no|unknown kind"):
            nvram.with_setup(wrong)


@settings(deadline=None)
@given(st.text())
def test_any_title_is_carried_on_one_line(title):
    root = xml.new(PLAIN, KVM)
    xml.set_title(root, title)
    again = xml.parse(xml.render(root).encode().decode())
    text = again.findtext("title")
    assert text is None or (text == text.strip() and text and "\n" not in text)
    if title.isprintable() and title.strip():
        assert text == title.strip()


@pytest.mark.parametrize("title", ["", "  \n", "\0", "\ud800", "\ufffe"])
def test_a_title_of_nothing_is_none(title):
    root = xml.new(PLAIN, KVM)
    xml.set_title(root, title)
    assert root.find("title") is None
    xml.parse(xml.render(root))
