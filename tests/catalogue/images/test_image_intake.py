"""Which images are taken in, what is kept of them, and that a refusal keeps nothing."""

import hashlib
import json
import random
import struct
import subprocess

import pytest
from crafted_images import MIB, convert, create, disk_bytes, make, patched

from naos.catalogue.images import intake
from naos.catalogue.images.errors import (
    ChecksumMalformed,
    ChecksumMismatch,
    ForeignFile,
    FormatLie,
    ImageDamaged,
    ImageEncrypted,
    ImageTooLarge,
    NestedImage,
    NotAnImage,
    SourceRefused,
    UnsupportedFormat,
)
from naos.catalogue.images.seed import write_seed

LIMIT = 64 * MIB


@pytest.fixture
def raw(tmp_path):
    return make(tmp_path, "disk.img", disk_bytes())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "library" / "kept.img"


@pytest.fixture
def refuse(target):
    """A function that sees an image refused and nothing kept."""

    def refused(error, source, **options):
        with pytest.raises(error) as caught:
            intake.accept(source, target, **{"max_virtual_size": LIMIT, **options})
        assert not target.parent.exists() or not list(target.parent.iterdir())
        return caught.value

    return refused


def content_of(image):
    raw = image.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
    return raw.read_bytes()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("raw", []),
        ("qcow2", []),
        ("qcow2", ["-c"]),
        ("qcow2", ["-o", "compat=0.10"]),
        ("vmdk", []),
        ("vmdk", ["-o", "subformat=streamOptimized"]),
        ("vhdx", []),
        ("vpc", ["-o", "force_size=on"]),
        ("vpc", ["-o", "force_size=on,subformat=fixed"]),
    ],
)
def test_a_disk_is_kept_as_qcow2_with_the_same_content(raw, tmp_path, target, kind, options):
    source = convert(raw, tmp_path / "upload", kind, *options)
    shares = []
    facts = intake.accept(source, target, max_virtual_size=LIMIT, progress=shares.append)
    assert facts.format == {"vpc": "vhd"}.get(kind, kind)
    assert facts.virtual_size == 2 * MIB
    assert facts.checksum == "sha256:" + hashlib.sha256(target.read_bytes()).hexdigest()
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", target]))
    assert info["format"] == "qcow2"
    assert content_of(target) == disk_bytes()


def test_a_vhd_that_needs_another_or_was_cut_short_is_refused(raw, tmp_path, refuse):
    whole = convert(raw, tmp_path / "fixed.vhd", "vpc", "-o", "force_size=on,subformat=fixed").read_bytes()
    kind = len(whole) - 512 + 60
    refuse(ForeignFile, make(tmp_path, "child.vhd", whole[:kind] + struct.pack(">I", 4) + whole[kind + 4 :]))
    refuse(ImageDamaged, make(tmp_path, "odd.vhd", whole[:kind] + struct.pack(">I", 9) + whole[kind + 4 :]))
    refuse(ImageDamaged, make(tmp_path, "short.vhd", whole[-512 * 3 :]))
    grown = convert(raw, tmp_path / "grown.vhd", "vpc", "-o", "force_size=on").read_bytes()
    refuse(ImageDamaged, make(tmp_path, "half.vhd", grown[: len(grown) // 2]))


def test_an_iso_is_kept_byte_for_byte(tmp_path, target):
    source = tmp_path / "seed.iso"
    write_seed(source, instance_id="one", hostname="one")
    facts = intake.accept(source, target, max_virtual_size=LIMIT)
    assert (facts.format, facts.virtual_size) == ("iso", source.stat().st_size)
    assert target.read_bytes() == source.read_bytes()


def test_a_repeated_call_takes_the_place_of_what_a_killed_one_left(raw, target):
    leftover = target.with_name(f".{target.name}.partial")
    leftover.mkdir(parents=True)
    (leftover / "made").write_bytes(b"half")
    intake.accept(raw, target, max_virtual_size=LIMIT)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_discard_removes_the_image_and_leftovers_and_may_be_repeated(raw, target):
    intake.accept(raw, target, max_virtual_size=LIMIT)
    target.with_name(f".{target.name}.partial").mkdir()
    intake.discard(target)
    intake.discard(target)
    assert list(target.parent.iterdir()) == []


def test_a_refused_image_leaves_an_earlier_one_alone(raw, tmp_path, target):
    intake.accept(raw, target, max_virtual_size=LIMIT)
    before = target.read_bytes()
    with pytest.raises(NotAnImage):
        intake.accept(make(tmp_path, "text", b"words" * 500), target, max_virtual_size=LIMIT)
    assert target.read_bytes() == before


# ------------------------------------------------------------------------------------------------------------ checksums


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha512"])
def test_a_checksum_of_the_source_is_compared(raw, target, refuse, algorithm):
    digest = hashlib.new(algorithm, raw.read_bytes()).hexdigest()
    wrong = refuse(ChecksumMismatch, raw, checksum=f"{algorithm}:{'0' * len(digest)}")
    assert wrong.found == digest
    intake.accept(raw, target, checksum=f"{algorithm.upper()}:{digest.upper()}", max_virtual_size=LIMIT)


@pytest.mark.parametrize(
    "checksum", ["", "sha256:", f"sha1:{'0' * 40}", f"sha256:{'0' * 63}", "0" * 64, f"md5:{'g' * 32}"]
)
def test_what_is_no_checksum_is_refused_before_anything_is_read(tmp_path, refuse, checksum):
    refuse(ChecksumMalformed, tmp_path / "absent", checksum=checksum)


# --------------------------------------------------------------------------------------------------- other files' names


def test_a_backing_file_is_refused(raw, tmp_path, refuse):
    source = create(tmp_path / "upload", "qcow2", "-F", "raw", "-b", raw)
    assert refuse(ForeignFile, source).reference == str(raw)


def test_a_backing_file_that_would_read_this_machine_is_refused(tmp_path, refuse):
    plain = create(tmp_path / "plain", "qcow2")
    reference = b"/etc/shadow"
    named = patched(plain, tmp_path / "named", 512, reference)
    source = patched(named, tmp_path / "upload", 8, struct.pack(">QI", 512, len(reference)))
    assert refuse(ForeignFile, source).reference == "/etc/shadow"


def test_an_external_data_file_is_refused(tmp_path, refuse):
    refuse(ForeignFile, create(tmp_path / "upload", "qcow2", "-o", f"data_file={tmp_path}/outside"))


def test_a_vmdk_in_text_is_refused_with_the_file_that_it_names(tmp_path, refuse):
    create(tmp_path / "upload.vmdk", "vmdk", "-o", "subformat=monolithicFlat")
    assert refuse(ForeignFile, tmp_path / "upload.vmdk").reference == "upload-flat.vmdk"


def test_a_sparse_vmdk_whose_descriptor_would_be_followed_is_refused(tmp_path, refuse):
    plain = create(tmp_path / "plain", "vmdk")
    text = (
        b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        b'createType="monolithicFlat"\nRW 8 FLAT "/etc/shadow" 0\n'
    )
    named = patched(plain, tmp_path / "named", 512, text.ljust(1024, b"\0"))
    source = patched(named, tmp_path / "upload", 12, struct.pack("<Q", 0))
    assert refuse(ForeignFile, source).reference == "/etc/shadow"


def test_a_vmdk_with_a_parent_is_refused(raw, tmp_path, refuse):
    parent = convert(raw, tmp_path / "parent.vmdk", "vmdk")
    source = create(tmp_path / "upload", "vmdk", "-F", "vmdk", "-b", parent)
    assert refuse(ForeignFile, source).what == "parent"


# ------------------------------------------------------------------------------------------------------- what it is not


def test_encrypted_images_are_refused(tmp_path, refuse):
    plain = create(tmp_path / "plain", "qcow2")
    for method, name in ((1, "AES"), (2, "LUKS")):
        assert refuse(ImageEncrypted, patched(plain, tmp_path / "upload", 32, struct.pack(">I", method))).how == name
    refuse(ImageEncrypted, make(tmp_path, "luks", b"LUKS\xba\xbe\0\x01".ljust(MIB, b"\0")))


def test_an_image_in_an_image_is_refused(raw, tmp_path, refuse):
    inner = convert(raw, tmp_path / "inner", "qcow2")
    assert refuse(NestedImage, convert(inner, tmp_path / "outer", "qcow2")).inner == "qcow2"
    packed = make(tmp_path, "packed", b"\x1f\x8b\x08\0".ljust(MIB, b"z"))
    assert refuse(NestedImage, convert(packed, tmp_path / "outer", "vmdk")).inner == "gzip file"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", NotAnImage),
        (b"\0" * MIB, NotAnImage),
        (b"words " * 4000, NotAnImage),
        (b"<!doctype html><html>not found</html>", NotAnImage),
        (b"<?xml version='1.0'?><Envelope/>", UnsupportedFormat),
        (b"\x1f\x8b\x08" + b"\0" * 600, UnsupportedFormat),
        (b"\xfd7zXZ\0" + b"\0" * 600, UnsupportedFormat),
        (b"PK\x03\x04" + b"\0" * 600, UnsupportedFormat),
        (b"QFI\xfb\0\0\0\x01" + b"\0" * 600, UnsupportedFormat),
        (b"QED\0" + b"\0" * 600, UnsupportedFormat),
        (b"conectix" + b"\0" * 600, ImageDamaged),
    ],
)
def test_what_is_no_image_of_ours_is_refused_with_what_it_looks_like(tmp_path, refuse, content, error):
    refuse(error, make(tmp_path, "upload", content))


@pytest.mark.parametrize("name", ["disk.raw", "disk.iso", "disk.vmdk", "disk.VHDX", "disk.ova"])
def test_a_name_that_promises_another_format_is_refused(raw, tmp_path, refuse, name):
    assert refuse(FormatLie, convert(raw, tmp_path / name, "qcow2")).found == "qcow2"


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vhdx", "raw"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_an_image_that_was_cut_short_is_refused(tmp_path, refuse, kind, share):
    content = disk_bytes()[:512] + random.Random(5).randbytes(2 * MIB - 512)
    source = convert(make(tmp_path, "full", content), tmp_path / "whole", kind)
    short = source.read_bytes()[: int(source.stat().st_size * share) // 512 * 512]
    refuse(ImageDamaged, make(tmp_path, "upload", short))


def test_an_iso_that_was_cut_short_is_refused(tmp_path, refuse):
    write_seed(tmp_path / "whole", instance_id="one", hostname="one")
    refuse(ImageDamaged, make(tmp_path, "upload", (tmp_path / "whole").read_bytes()[:-4096]))


def test_damaged_tables_are_refused(raw, tmp_path, refuse):
    source = convert(raw, tmp_path / "whole", "qcow2")
    (place,) = struct.unpack_from(">Q", source.read_bytes(), 40)
    refuse(ImageDamaged, patched(source, tmp_path / "upload", place, b"\x80" + b"\xff" * 7))
    refuse(ImageDamaged, patched(source, tmp_path / "marked", 79, b"\x02"))


def test_what_qemu_says_never_shows_where_an_image_lies(tmp_path, refuse):
    source = make(tmp_path, "upload", b"vhdxfile".ljust(MIB, b"\0"))
    assert str(tmp_path) not in str(refuse(ImageDamaged, source))


# ---------------------------------------------------------------------------------------------------------------- sizes


def test_a_disk_over_the_limit_is_refused_however_small_its_file(tmp_path, refuse):
    source = create(tmp_path / "upload", "qcow2", size="1T")
    assert refuse(ImageTooLarge, source).size == 1024**4


def test_a_file_over_the_limit_is_refused(tmp_path, refuse):
    source = tmp_path / "upload"
    with source.open("wb") as stream:
        stream.truncate(LIMIT + 65 * MIB)
    assert refuse(ImageTooLarge, source).what == "file"


def test_a_qcow2_whose_clusters_all_share_one_place_does_not_fill_the_disk(raw, tmp_path, refuse):
    """Its refcounts say one use of that cluster, its tables many."""
    source = convert(raw, tmp_path / "whole", "qcow2")
    content = bytearray(source.read_bytes())
    (first,) = struct.unpack_from(">Q", content, 40)
    (second,) = struct.unpack_from(">Q", content, first)
    place = second & 0x00FFFFFFFFFFFE00
    entry = content[place : place + 8]
    content[place : place + 8 * 32] = entry * 32
    refuse(ImageDamaged, make(tmp_path, "upload", content))


@pytest.mark.parametrize(
    "source", ["file:///etc/passwd", "ftp://mirror/disk.img", "data:text/plain,x", "nbd://host/disk", "HTTP:///x"]
)
def test_other_addresses_than_http_are_refused(refuse, source):
    refuse(SourceRefused, source)


def test_only_plain_files_are_read(raw, tmp_path, refuse):
    refuse(SourceRefused, tmp_path / "absent")
    refuse(SourceRefused, tmp_path)
    link = tmp_path / "link"
    link.symlink_to(raw)
    refuse(SourceRefused, link)
