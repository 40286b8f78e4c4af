"""GPUs in libvirt's words: which node devices are some, and how a machine's definition has them."""

from naos.engines.hypervisor import passthrough, xml
from naos.engines.ports import BladeGpu, DomainSpec

DEVICE = """<device><name>pci_0000_3b_00_0</name><capability type='pci'><class>{kind}</class>
  <domain>0</domain><bus>59</bus><slot>0</slot><function>0</function>
  <product id='0x26b9'>L40S</product><vendor id='0x10de'>NVIDIA Corporation</vendor>{group}</capability></device>"""
GROUP = "<iommuGroup number='7'/>"
MACHINE = "0b0e1f5c-2f8e-4b55-9f25-7a3b5a6f0d11"


def test_a_display_in_an_iommu_group_is_a_gpu() -> None:
    for kind in ("0x030000", "0x030200"):
        found = passthrough.described(DEVICE.format(kind=kind, group=GROUP))
        assert found == BladeGpu("0000:3b:00.0", "NVIDIA Corporation L40S")
    assert passthrough.described(DEVICE.format(kind="0x020000", group=GROUP)) is None, "a network card"
    assert passthrough.described(DEVICE.format(kind="0x030200", group="")) is None, "it cannot be handed over"


def test_a_definition_has_those_that_are_handed_over_and_no_others() -> None:
    spec = DomainSpec(MACHINE, "m", 1, 1, 2**30, gpus=("0000:3b:00.0", "0000:af:10.1"))
    root, traits = xml.new(spec, xml.Traits("kvm", "10.0.0.1")), xml.Traits("kvm", "10.0.0.1")
    places = [dict(entry.attrib) for entry in root.iterfind("devices/hostdev/source/address")]
    assert places == [
        {"domain": "0x0000", "bus": "0x3b", "slot": "0x00", "function": "0x0"},
        {"domain": "0x0000", "bus": "0xaf", "slot": "0x10", "function": "0x1"},
    ]
    (first, _) = root.findall("devices/hostdev")
    assert (first.get("mode"), first.get("type"), first.get("managed")) == ("subsystem", "pci", "yes")
    xml.converge(root, DomainSpec(MACHINE, "m", 1, 1, 2**30, gpus=("0000:af:10.1",)), traits)
    assert [entry.get("bus") for entry in root.iterfind("devices/hostdev/source/address")] == ["0xaf"]
    xml.converge(root, DomainSpec(MACHINE, "m", 1, 1, 2**30), traits)
    assert root.find("devices/hostdev") is None
