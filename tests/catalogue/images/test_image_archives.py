"""OVA appliances: what is taken out of them, and which archives are refused."""

import gzip
import hashlib
import tarfile

import pytest
from crafted_images import MIB, convert, create, disk_bytes, make, ova, ovf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naos.catalogue.images import intake
from naos.catalogue.images.errors import (
    BadDescriptor,
    ChecksumMismatch,
    ForeignFile,
    ImageDamaged,
    ImageTooLarge,
    UnsafeArchive,
    UnsupportedFormat,
)
from naos.errors import NaosError


@pytest.fixture
def disk(tmp_path):
    raw = make(tmp_path, "disk.img", disk_bytes())
    return convert(raw, tmp_path / "disk.vmdk", "vmdk", "-o", "subformat=streamOptimized").read_bytes()


@pytest.fixture
def take(tmp_path):
    return lambda source: intake.accept(source, tmp_path / "library" / "kept", max_virtual_size=64 * MIB)


def test_an_appliances_disk_is_kept(tmp_path, disk, take):
    digests = (
        f"SHA256(machine.ovf)= {hashlib.sha256(ovf()).hexdigest()}\nSHA1(disk.vmdk)= {hashlib.sha1(disk).hexdigest()}\n"
    )
    facts = take(
        ova(tmp_path / "a.ova", [("machine.ovf", ovf()), ("machine.mf", digests.encode()), ("disk.vmdk", disk)])
    )
    assert (facts.format, facts.virtual_size) == ("ova", 2 * MIB)
    plain = intake.accept(tmp_path / "disk.vmdk", tmp_path / "plain", max_virtual_size=64 * MIB)
    assert facts.checksum == plain.checksum


def test_a_manifest_that_does_not_fit_is_refused(tmp_path, disk, take):
    manifest = f"SHA256(disk.vmdk)= {'0' * 64}\n".encode()
    with pytest.raises(ChecksumMismatch):
        take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("m.mf", manifest), ("disk.vmdk", disk)]))
    with pytest.raises(BadDescriptor):
        take(
            ova(
                tmp_path / "a.ova",
                [("m.ovf", ovf()), ("m.mf", manifest.replace(b"disk", b"gone")), ("disk.vmdk", disk)],
            )
        )


@pytest.mark.parametrize("name", ["../m.ovf", "/etc/passwd", "folder/m.ovf", "..", "a\\b", "a\nb"])
def test_names_that_are_paths_are_refused(tmp_path, disk, take, name):
    with pytest.raises(UnsafeArchive):
        take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("disk.vmdk", disk), (name, b"x")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_entries_that_are_no_plain_files_are_refused(tmp_path, take, kind):
    with pytest.raises(UnsafeArchive):
        take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("disk.vmdk", b"")], kind=kind, link="/etc/shadow"))


def test_too_many_entries_and_repeated_ones_are_refused(tmp_path, take):
    with pytest.raises(UnsafeArchive):
        take(ova(tmp_path / "a.ova", [(f"file{n}", b"") for n in range(100)]))
    with pytest.raises(UnsafeArchive):
        take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("m.ovf", ovf())]))


def test_a_disk_that_is_not_in_the_archive_is_refused(tmp_path, disk, take):
    for name in ("/etc/shadow", "../disk.vmdk", "http://host/disk.vmdk", "other.vmdk"):
        with pytest.raises(ForeignFile):
            take(ova(tmp_path / "a.ova", [("m.ovf", ovf(name)), ("disk.vmdk", disk)]))


@pytest.mark.parametrize(
    "descriptor",
    [
        b"no xml",
        b"<Other/>",
        ovf(disks=0),
        ovf(disks=17),
        ovf(head='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
        b" " * (5 * MIB),
    ],
)
def test_descriptors_that_are_not_usable_are_refused(tmp_path, disk, take, descriptor):
    with pytest.raises(BadDescriptor):
        take(ova(tmp_path / "a.ova", [("m.ovf", descriptor), ("disk.vmdk", disk)]))


def test_an_archive_without_a_descriptor_is_refused(tmp_path, disk, take):
    with pytest.raises(BadDescriptor):
        take(ova(tmp_path / "a.ova", [("disk.vmdk", disk)]))


def test_a_packed_disk_is_unpacked(tmp_path, disk, take):
    packed = ovf(attributes='ovf:compression="gzip"')
    whole = take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("disk.vmdk", disk)]))
    for content in (gzip.compress(disk), gzip.compress(disk[:3000]) + gzip.compress(disk[3000:])):
        assert take(ova(tmp_path / "a.ova", [("m.ovf", packed), ("disk.vmdk", content)])).checksum == whole.checksum


@pytest.mark.parametrize(
    ("attributes", "content", "error"),
    [
        ('ovf:compression="gzip"', b"no gzip at all", ImageDamaged),
        ('ovf:compression="gzip"', gzip.compress(disk_bytes())[:-20], ImageDamaged),
        ('ovf:compression="gzip"', gzip.compress(b"\0" * 80 * MIB), ImageTooLarge),
        ('ovf:compression="rar"', b"Rar!", UnsupportedFormat),
        ('ovf:chunkSize="0"', b"", BadDescriptor),
        ('ovf:chunkSize="4096"', b"", ForeignFile),
    ],
)
def test_packing_that_cannot_be_undone_is_refused(tmp_path, take, attributes, content, error):
    with pytest.raises(error):
        take(ova(tmp_path / "a.ova", [("m.ovf", ovf(attributes=attributes)), ("disk.vmdk", content)]))


def test_a_disk_in_parts_is_joined(tmp_path, disk, take):
    whole = take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("disk.vmdk", disk)]))
    parts = [
        (f"disk.vmdk.{number:09}", disk[number * 4096 : (number + 1) * 4096]) for number in range(len(disk) // 4096 + 1)
    ]
    assert len(parts) > 1
    descriptor = ovf(attributes='ovf:chunkSize="4096"')
    assert take(ova(tmp_path / "a.ova", [("m.ovf", descriptor), *parts])).checksum == whole.checksum


FLAT = b"""# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=%b
createType="monolithicFlat"
RW %b FLAT "%b" 0
RW 2048 ZERO
"""


def flat(parent: bytes = b"ffffffff", sectors: bytes = b"4096", extent: bytes = b"disk-flat.vmdk") -> bytes:
    return FLAT % (parent, sectors, extent)


def test_a_flat_disk_has_its_extents_in_the_same_archive(tmp_path, take):
    entries = [("disk.vmdk", flat()), ("disk-flat.vmdk", disk_bytes())]
    with_descriptor = take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), *entries]))
    without = take(ova(tmp_path / "b.ova", entries))
    assert with_descriptor == without
    assert without.virtual_size == 3 * MIB


@pytest.mark.parametrize(
    ("descriptor", "error"),
    [
        (flat(extent=b"/etc/passwd"), ForeignFile),
        (flat(extent=b"../disk-flat.vmdk"), ForeignFile),
        (flat(parent=b"0badcafe"), ForeignFile),
        (flat(sectors=b"8192"), ImageDamaged),
        (flat(sectors=b"99999999999"), ImageTooLarge),
        (flat().replace(b"FLAT", b"SPARSE"), UnsupportedFormat),
        (flat()[:40], BadDescriptor),
    ],
)
def test_flat_disks_that_reach_beyond_their_archive_are_refused(tmp_path, take, descriptor, error):
    with pytest.raises(error):
        take(ova(tmp_path / "a.ova", [("disk.vmdk", descriptor), ("disk-flat.vmdk", disk_bytes())]))


def test_a_disk_inside_is_judged_like_one_outside(tmp_path, take):
    create(tmp_path / "flat.vmdk", "vmdk", "-o", "subformat=monolithicFlat")
    with pytest.raises(ForeignFile):
        take(ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("disk.vmdk", (tmp_path / "flat.vmdk").read_bytes())]))


def test_an_archive_that_was_cut_short_is_refused(tmp_path, disk, take):
    whole = ova(tmp_path / "a.ova", [("m.ovf", ovf()), ("disk.vmdk", disk)]).read_bytes()
    with pytest.raises(ImageDamaged):
        take(make(tmp_path, "short.ova", whole[: whole.index(b"KDMV") + 2048]))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    raw = make(folder, "disk.img", disk_bytes())
    content = convert(raw, folder / "disk.vmdk", "vmdk", "-o", "subformat=streamOptimized").read_bytes()
    digests = f"SHA256(disk.vmdk)= {hashlib.sha256(content).hexdigest()}\n".encode()
    return folder, ova(folder / "a.ova", [("m.ovf", ovf()), ("m.mf", digests), ("disk.vmdk", content)]).read_bytes()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    place=st.one_of(st.integers(0, 4096), st.integers(0, 2**20)),
    cut=st.integers(0, 600),
    pasted=st.one_of(
        st.binary(max_size=64), st.sampled_from([b"../../etc/passwd\0", b"\xff" * 12, b"0" * 12, b"g", b"1"])
    ),
)
def test_whatever_is_done_to_an_archive_it_is_taken_or_refused_in_words(sound, place, cut, pasted):
    folder, whole = sound
    place %= len(whole)
    source = make(folder, "mutated.ova", whole[:place] + pasted + whole[place + cut :])
    try:
        facts = intake.accept(source, folder / "kept" / "disk", max_virtual_size=64 * MIB)
    except NaosError:
        assert not list((folder / "kept").glob(".*"))
        return
    assert facts.virtual_size == 2 * MIB
    (folder / "kept" / "disk").unlink()
