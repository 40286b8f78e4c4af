"""What a descriptor is read as, and which ones are refused, each with its reason."""

import pytest
from appliances import DISKS, FILES, HARDWARE, PRODUCT, envelope
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from naos.catalogue.images.errors import BadDescriptor, ForeignFile, ImageRefused, UnsupportedFormat
from naos.catalogue.ovf import descriptor, properties
from naos.catalogue.ovf.descriptor import Descriptor
from naos.catalogue.ovf.properties import Property, PropertyInvalid, PropertyMissing
from naos.units import GIB, MIB


def test_the_whole_machine_is_read() -> None:
    found = descriptor.read("a.ova", envelope())
    assert (found.name, found.cpu, found.cores_per_socket, found.memory) == ("Ma machine", 4, 2, 512 * MIB)
    assert (found.firmware, found.hardware_version, found.system_id) == ("efi", "vmx-14", "debian12_64Guest")
    assert found.system_name == "Debian 12"
    assert found.networks == ["Réseau"]
    assert [(entry.id, entry.name, entry.network, entry.type) for entry in found.adapters] == [
        ("6", "Network adapter 1", "Réseau", "VmxNet3")
    ]
    assert [(entry.id, entry.type, entry.sub_type) for entry in found.controllers] == [("3", "SCSI", "VirtualSCSI")]
    assert [(disk.name, disk.file, disk.capacity, disk.controller, disk.unit) for disk in found.disks] == [
        ("System", "system.vmdk", 2 * MIB, "3", 0),
        ("Data", "data.vmdk", 3 * MIB, "3", 1),
    ], "by their address, whatever their order in the file"
    assert [entry.key for entry in found.properties] == [
        *("hostname", "password", "workers", "mode", "build"),
        "org.example.licence.1",
    ]
    first = found.properties[0]
    assert (first.default, first.label, first.description, first.category, first.user_configurable) == (
        *("appliance", "Host name", "Its name.", "Identity"),
        True,
    )
    assert [(entry.key, entry.value, entry.required) for entry in found.extra_config] == [
        ("disk.enableUUID", "TRUE", False)
    ]
    assert found.transports == ["iso", "com.vmware.guestInfo"]
    assert Descriptor.model_validate(found.model_dump()) == found


def test_the_default_configuration_decides() -> None:
    options = """<DeploymentOptionSection><Info/><Configuration ovf:id="small"/><Configuration ovf:id="big" ovf:default="true"/>
    </DeploymentOptionSection>"""
    bigger = HARDWARE.replace(
        " <vmw:Config",
        """<Item ovf:configuration="big"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>8</rasd:VirtualQuantity></Item>
        <Item ovf:configuration="small"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item> <vmw:Config""",
        1,
    )
    networks = '<NetworkSection><Info/><Network ovf:name="Réseau"/></NetworkSection>'
    assert descriptor.read("a.ova", envelope(hardware=bigger, networks=networks + options)).cpu == 8


@pytest.mark.parametrize(
    ("number", "unit", "size"),
    [
        ("10", "byte * 2^30", 10 * GIB),
        ("10", "byte*2 ^ 30", 10 * GIB),
        ("3", "byte * 10^9", 3 * 10**9),
        ("5", "MegaBytes", 5 * MIB),
        ("7", "byte", 7),
        ("7", "", 7),
    ],
)
def test_units(number: str, unit: str, size: int) -> None:
    assert descriptor.capacity("a", number, unit) == size


@pytest.mark.parametrize(("number", "unit"), [("${size}", "byte"), ("-1", "byte"), ("1", "parsec"), ("1", "byte * 2^99"),
                                              ("9" * 20, "byte"), ("1", "byte * 7^3"), ("1.5", "byte")])  # fmt: skip
def test_units_that_say_nothing(number: str, unit: str) -> None:
    with pytest.raises(BadDescriptor):
        descriptor.capacity("a", number, unit)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (envelope(files=FILES + FILES), BadDescriptor, "twice"),
        (envelope(disks=DISKS + DISKS), BadDescriptor, "twice"),
        (envelope(hardware=HARDWARE.replace("<rasd:InstanceID>4<", "<rasd:InstanceID>5<")), BadDescriptor, "twice"),
        (envelope(product=PRODUCT + PRODUCT), BadDescriptor, "twice"),
        (envelope(hardware=HARDWARE.replace("<rasd:InstanceID>4</rasd:InstanceID>", "")), BadDescriptor, "no id"),
        (envelope(hardware=HARDWARE.replace("/disk/data", "/disk/other")), BadDescriptor, "not listed"),
        (envelope(hardware=HARDWARE.replace("ovf:/disk/data", "file:///etc/passwd")), BadDescriptor, "not listed"),
        (envelope(hardware=HARDWARE.replace(">4</rasd:VirtualQ", ">many</rasd:VirtualQ")), BadDescriptor, "vCPUs"),
        (envelope(networks='<NetworkSection><Network ovf:name="x"/></NetworkSection>'), BadDescriptor, "not listed"),
        (envelope(files=FILES.replace("<File", '<File ovf:compression="lzma"', 1)), UnsupportedFormat, "lzma"),
        (envelope(disks=DISKS.replace("<Disk", '<Disk ovf:parentRef="base"', 1)), ForeignFile, "base"),
        (envelope(disks=DISKS.replace('"2"', '"${size}"')), BadDescriptor, "capacity"),
        (
            envelope(systems="<VirtualSystemCollection><VirtualSystem/></VirtualSystemCollection>"),
            BadDescriptor,
            "several",
        ),
        (envelope(systems='<VirtualSystem ovf:id="a"/><VirtualSystem ovf:id="b"/>'), BadDescriptor, "several"),
        (envelope(head='<!DOCTYPE x SYSTEM "http://192.0.2.1/x.dtd">'), BadDescriptor, "document type"),
        (
            envelope(head='<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>', product="&b;"),
            BadDescriptor,
            "document type",
        ),
        (
            envelope(head="<!DOCTYPE x>").decode().replace("UTF-8", "UTF-16").encode("utf-16"),
            BadDescriptor,
            "document type",
        ),
        (envelope(product="<a>" * 300 + "</a>" * 300), BadDescriptor, "no XML"),
        (envelope(product="<a/>" * 30_000), BadDescriptor, "elements"),
        (b"\xff\xfe\x00", BadDescriptor, "no XML"),
    ],
)
def test_bad_descriptors(text: bytes, error: type[ImageRefused], words: str) -> None:
    with pytest.raises(error, match=words):
        descriptor.read("a.ova", text)


PIECES = st.sampled_from(
    [HARDWARE, PRODUCT, FILES, DISKS, "<Item/>", "<Disk/>", "<File/>", "ovf:/disk/system", "&#0;", "<![CDATA["]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(2000, 4, "<Property/>")
@given(st.integers(0, 6000), st.integers(0, 400), st.one_of(PIECES, st.text(max_size=40)))
def test_whatever_is_cut_and_pasted_is_read_or_refused_in_words(place: int, cut: int, pasted: str) -> None:
    whole = envelope()
    place %= len(whole)
    text = whole[:place] + pasted.encode("utf-8", "replace") + whole[place + cut :]
    try:
        found = descriptor.read("a.ova", text)
    except ImageRefused:
        return
    assert Descriptor.model_validate(found.model_dump()) == found
    assert 1 <= len(found.disks) <= descriptor.MOST_DISKS


# ----------------------------------------------------------------------------------------------------------- properties


def test_values_are_settled() -> None:
    wanted = descriptor.read("a.ova", envelope()).properties
    settled = properties.settle("a", wanted, {"hostname": "web", "org.example.licence.1": "L-1", "build": "42"})
    assert settled == {
        "hostname": "web",
        "password": "",
        "workers": "2",
        "mode": "small",
        "build": "42",
        "org.example.licence.1": "L-1",
    }
    with pytest.raises(PropertyMissing, match=r"org\.example\.licence\.1"):
        properties.settle("a", wanted, {})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hostname", "x" * 21, "21 characters"),
        ("hostname", "a\0b", "XML"),
        ("workers", "256", "0 to 255"),
        ("workers", "two", "whole number"),
        ("mode", "medium", "small, large"),
        ("build", "43", "does not let"),
    ],
)
def test_values_that_do_not_fit(key: str, value: str, words: str) -> None:
    wanted = {entry.key: entry for entry in descriptor.read("a.ova", envelope()).properties}
    with pytest.raises(PropertyInvalid, match=words):
        properties.check("a", wanted[key], value)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("boolean", "True", "yes"),
        ("sint8", "-128", "128"),
        ("uint64", str(2**64 - 1), str(2**64)),
        ("real32", "-1.5e3", "e"),
        ("int", "5", "5.0"),
        ("string", "anything", None),
        ("ip:front", "10.0.0.1", None),
    ],
)
def test_types(kind: str, good: str, bad: str | None) -> None:
    wanted = Property(key="k", type=kind, user_configurable=True)
    properties.check("a", wanted, good)
    if bad is not None:
        with pytest.raises(PropertyInvalid):
            properties.check("a", wanted, bad)
