"""What is read from real file systems is what was written to them, name by name and byte by byte."""

import ctypes
import ctypes.util
import os
import random
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from built_disks import MIB, Told, call, empty, ext4, gpt, mbr, physical_volume, populate, read_tree, told
from hypothesis import given, settings
from hypothesis import strategies as st

from naos.engines.files.onhost import names, packing, requests
from naos.engines.files.onhost.disk import Damaged, Image, Raw
from naos.engines.files.onhost.requests import Refused
from naos.engines.files.onhost.volumes import FAILURES, Point


@contextmanager
def opened(*paths: Path) -> Iterator[Point]:
    handles = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        yield Point([(str(unit), f"disk {unit}", Raw(handle)) for unit, handle in enumerate(handles)])
    finally:
        for handle in handles:
            os.close(handle)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    folder = tmp_path_factory.mktemp("source")
    return folder, populate(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    folder = tmp_path_factory.mktemp("plain")
    return folder, populate(folder, plain=True)


def kinds(point: Point) -> dict[str, str]:
    return {volume["id"]: volume["kind"] for volume in requests.volumes(point)["volumes"]}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ext4", ()),
        ("ext4", ("-I", "512", "-O", "inline_data,metadata_csum,64bit")),
        ("ext4", ("-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg")),
        ("ext3", ("-O", "^extents,^64bit,^huge_file,^metadata_csum,^flex_bg", "-b", "1024")),
        ("ext2", ("-O", "^extents,^has_journal,^64bit,^metadata_csum,^flex_bg")),
    ],
)
def test_ext(tmp_path: Path, source: tuple[Path, Told], kind: str, options: tuple[str, ...]) -> None:
    with opened(ext4(tmp_path / "disk", source[0], *options)) as point:
        assert kinds(point) in ({"0": kind}, {"0": "ext4"})
        assert dict(read_tree(point, "0")) == source[1]


def test_btrfs(tmp_path: Path, source: tuple[Path, Told]) -> None:
    call("mkfs.btrfs", "-q", "--rootdir", source[0], empty(tmp_path / "disk", 200 * MIB))
    with opened(tmp_path / "disk") as point:
        assert kinds(point) == {"0": "btrfs"}
        assert dict(read_tree(point, "0")) == source[1]


@pytest.mark.parametrize("options", [(), ("-m", "crc=0"), ("-n", "size=16k"), ("-m", "bigtime=0", "-b", "size=1024")])
def test_xfs(tmp_path: Path, plain: tuple[Path, Told], options: tuple[str, ...]) -> None:
    """mkfs takes names without blanks from its prototype."""
    lines = ["/", "0 0", "d--755 0 0"]
    lines += [f"{path} ---640 3 4 {plain[0] / path}" for path in ("random", "tiny", "empty", "words", "100%")]
    lines += ["out l--777 0 0 /etc/passwd", "pipe p--644 0 0", "many d--755 0 0"]
    lines += [f"{file.name} ---644 0 0 {file}" for file in sorted((plain[0] / "many").iterdir())]
    (tmp_path / "proto").write_text("\n".join([*lines, "$", "$"]) + "\n")
    call("mkfs.xfs", "-q", *options, "-p", tmp_path / "proto", empty(tmp_path / "disk", 320 * MIB))
    with opened(tmp_path / "disk") as point:
        assert kinds(point) == {"0": "xfs"}
        found = dict(read_tree(point, "0"))
        assert (found.pop("/out"), found.pop("/pipe")) == (("link", "/etc/passwd"), ("skipped",))
        wanted = {path: each for path, each in plain[1].items() if not path.startswith("/etc")}
        assert found == wanted


def test_ntfs(tmp_path: Path, plain: tuple[Path, Told]) -> None:
    """Written by a program of the user's, compressed folders too."""
    disk, folder = empty(tmp_path / "disk", 100 * MIB), tmp_path / "mounted"
    call("mkntfs", "-q", "-F", "-L", "windows", disk)
    folder.mkdir()
    call("ntfs-3g", "-o", "compression", disk, folder)
    try:
        (folder / "packed").mkdir()
        os.setxattr(folder / "packed", "system.ntfs_attrib_be", b"\x00\x00\x08\x10")
        call("cp", "-r", f"{plain[0]}/.", folder)
        call("cp", plain[0] / "words", plain[0] / "random", folder / "packed")
        packed = int.from_bytes(os.getxattr(folder / "packed/words", "system.ntfs_attrib_be"), "big")
        wanted = told(folder)
    finally:
        call("umount", folder)
    assert packed & 0x800
    with opened(disk) as point:
        assert kinds(point) == {"0": "ntfs"}
        assert dict(read_tree(point, "0")) == wanted
        assert len(wanted) == len(plain[1]) + 3


@pytest.mark.parametrize(("bits", "size"), [(12, 8), (16, 40), (32, 300)])
def test_fat(tmp_path: Path, plain: tuple[Path, Told], bits: int, size: int) -> None:
    disk = empty(tmp_path / "disk", size * MIB)
    call("mkfs.vfat", "-F", bits, "-n", "STICK", disk)
    call("mcopy", "-i", disk, "-s", plain[0] / "etc", plain[0] / "random", plain[0] / "100%", plain[0] / "empty", "::/")
    with opened(disk) as point:
        assert kinds(point) == {"0": f"fat{bits}"}
        wanted = {path: each for path, each in plain[1].items() if path.startswith(("/etc", "/ran", "/100", "/emp"))}
        assert dict(read_tree(point, "0")) == wanted


def test_a_journal_that_was_not_played_is(tmp_path: Path, source: tuple[Path, Told]) -> None:
    """As after a power cut: the new name is in the journal alone."""
    disk = ext4(tmp_path / "disk", source[0], "-b", "4096")
    before = disk.read_bytes()
    call("debugfs", "-w", "-R", f"write {source[0] / 'tiny'} fresh", disk)
    after = disk.read_bytes()
    changed = [at // 4096 for at in range(0, len(before), 4096) if before[at : at + 4096] != after[at : at + 4096]]
    data = [block for block in changed if after[block * 4096] == ord("x") and not after[block * 4096 + 1]]
    disk.write_bytes(before)
    script = []
    for number, block in enumerate(changed):
        if block and block not in data:
            (tmp_path / f"block-{number}").write_bytes(after[block * 4096 : (block + 1) * 4096])
            script.append(f"jw -b {block} {tmp_path / f'block-{number}'}")
    with disk.open("r+b") as file:
        for block in data:
            file.seek(block * 4096)
            file.write(after[block * 4096 : (block + 1) * 4096])
    (tmp_path / "script").write_text("\n".join(["jo", *script, "jc"]) + "\n")
    call("debugfs", "-w", "-f", tmp_path / "script", disk)
    with opened(disk) as point:
        assert dict(read_tree(point, "0"))["/fresh"] == source[1]["/tiny"]


def test_partitions_and_groups_of_one_name(tmp_path: Path, source: tuple[Path, Told], plain: tuple[Path, Told]) -> None:
    """Two disks with volume groups of one name, and one that is a copy of another with all of its ids."""
    one, two = (ext4(tmp_path / name, tree[0], size=24 * MIB) for name, tree in (("one", source), ("two", plain)))
    ids = tuple(letter * 32 for letter in "abc")
    first = physical_volume(tmp_path / "pv-one", "rootvg", ids, one, striped=True)
    second = physical_volume(tmp_path / "pv-two", "rootvg", tuple(letter * 32 for letter in "def"), two)
    copy = physical_volume(tmp_path / "pv-copy", "rootvg", ids, two)
    luks = empty(tmp_path / "luks", 4 * MIB)
    with luks.open("r+b") as file:
        file.write(b"LUKS\xba\xbe\x00\x02")
    with opened(gpt(tmp_path / "gpt", [two, first, luks]), second) as point:
        found = {volume["id"]: volume for volume in requests.volumes(point)["volumes"]}
        assert {volume["kind"] for volume in found.values()} == {"ext4", "lvm", "luks"}
        assert "encrypted" in found["0.3"]["problem"]
        assert found[f"lvm.{'c' * 32}"]["name"] == found[f"lvm.{'f' * 32}"]["name"] == "rootvg/root"
        assert dict(read_tree(point, "0.1")) == plain[1] == dict(read_tree(point, f"lvm.{'f' * 32}"))
        assert dict(read_tree(point, f"lvm.{'c' * 32}")) == source[1]
        with pytest.raises(Refused, match="encrypted"):
            requests.folder(point, {"volume": "0.3", "path": "/", "limit": 1})
    with opened(first, copy) as point:
        assert dict(read_tree(point, f"lvm.{'c' * 32}.0")) == source[1]
        assert dict(read_tree(point, f"lvm.{'c' * 32}.1")) == plain[1]
    described = first.read_bytes()
    os.truncate(first, 12 * MIB)  # the group says more than there is
    with opened(first, two) as point:
        found = {volume["id"]: volume for volume in requests.volumes(point)["volumes"]}
        assert found["1"]["problem"] == ""
        assert "lie beyond the end" in found[f"lvm.{'c' * 32}"]["problem"]
    first.write_bytes(described)
    with opened(mbr(tmp_path / "mbr", two, [one, two])) as point:
        assert kinds(point) == {"0.1": "ext4", "0.5": "ext4", "0.6": "ext4"}
        assert dict(read_tree(point, "0.5")) == source[1]
    with (tmp_path / "gpt").open("r+b") as file:  # the first copy of the table is damaged
        file.seek(1024)
        file.write(b"\xff" * 64)
    with opened(tmp_path / "gpt") as point:
        assert dict(read_tree(point, "0.1")) == plain[1]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_description_of_a_group_may_say_anything(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Words and numbers of a real one, changed here and there: volumes or none, and no other end."""
    disk = tmp_path_factory.getbasetemp() / "described"
    if not disk.exists():
        physical_volume(disk, "vg", tuple(letter * 32 for letter in "abc"), empty(disk.with_name("inside"), 4 * MIB))
    with disk.open("r+b") as file:
        kept = os.pread(file.fileno(), 2048, 4608)
        end = kept.index(b"\0")
        changed = bytearray(kept)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, end - 1))
            word = data.draw(
                st.sampled_from([b"{", b"}", b"[", b"]", b"=", b'"', b"9", b" ", b"99999999", b"\xff", b"= [", b"= {"])
            )
            changed[at : at + len(word)] = word
        os.pwrite(file.fileno(), changed, 4608)
        try:
            with opened(disk) as point:
                requests.volumes(point)
                for volume in kinds(point):
                    with suppress(Refused, *FAILURES):
                        dict(read_tree(point, volume))
        finally:
            os.pwrite(file.fileno(), kept, 4608)


def test_images_over_each_other(tmp_path: Path, source: tuple[Path, Told]) -> None:
    disk = ext4(tmp_path / "disk", source[0], size=64 * MIB)
    call("qemu-img", "convert", "-O", "qcow2", disk, tmp_path / "base")
    call("qemu-img", "create", "-f", "qcow2", "-b", "base", "-F", "qcow2", tmp_path / "top", 96 * MIB)
    call(
        "qemu-io", "-c", "write -P 7 80M 100k", "-c", "write -z 1M 64k", "-c", "write -P 9 70000 3000", tmp_path / "top"
    )
    call("qemu-img", "convert", "-O", "raw", tmp_path / "top", tmp_path / "raw")
    wanted = (tmp_path / "raw").read_bytes()
    handles = [os.open(tmp_path / name, os.O_RDONLY) for name in ("top", "base")]
    image = Image(handles)
    assert image.size == len(wanted)
    chance = random.Random(3)
    for _ in range(200):
        at = chance.randrange(image.size)
        size = min(chance.choice((1, 700, 70000, 3 * MIB)), image.size - at)
        assert image.read(at, size) == wanted[at : at + size]
    with pytest.raises(Damaged):
        image.read(image.size - 1, 2)
    for handle in handles:
        os.close(handle)


def test_pages_of_a_folder(tmp_path: Path, source: tuple[Path, Told]) -> None:
    with opened(ext4(tmp_path / "disk", source[0])) as point:
        seen: list[str] = []
        after = ""
        while True:
            page = requests.folder(point, {"volume": "0", "path": "/many", "after": after, "limit": 70})
            seen += [entry["name"] for entry in page["entries"]]
            if not page["more"]:
                break
            after = page["entries"][-1]["name"]
        assert seen == sorted(path.split("/")[-1] for path in source[1] if path.startswith("/many/"))
        hosts = requests.folder(point, {"volume": "0", "path": "/etc", "limit": 9})["entries"]
        assert [(each["name"], each["mode"], each["links"]) for each in hosts if each["kind"] == "file"] == [
            ("again", 0o640, 2),
            ("hosts", 0o640, 2),
        ]
        for path, why in (("/absolute/x", "not followed"), ("/nothing", "no such"), ("/tiny/x", "no folder")):
            with pytest.raises(Refused, match=why):
                requests.folder(point, {"volume": "0", "path": path, "limit": 1})
        for path in ("/../x", "/a%00b", "/50%"):
            with pytest.raises(names.Unclear):
                requests.folder(point, {"volume": "0", "path": path, "limit": 1})


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs", "fat", "ntfs"])
def test_damage_is_told_and_ends(tmp_path: Path, kind: str) -> None:
    """Whatever bytes are wrong, the answer is a list, a refusal or an end, and never another exception."""
    source, disk = tmp_path / "source", tmp_path / "disk"
    source.mkdir()
    for number in range(30):
        (source / f"file-{number}").write_text("content " * 300 * (number % 7))
    if kind == "ext4":
        ext4(disk, source, size=8 * MIB)
    elif kind == "btrfs":
        call("mkfs.btrfs", "-q", "--rootdir", source, empty(disk, 120 * MIB))
    elif kind == "xfs":
        lines = "".join(f"{file.name} ---644 0 0 {file}\n" for file in source.iterdir())
        (tmp_path / "proto").write_text(f"/\n0 0\nd--755 0 0\n{lines}$\n$\n")
        call("mkfs.xfs", "-q", "-p", tmp_path / "proto", empty(disk, 320 * MIB))
    elif kind == "ntfs":
        call("mkntfs", "-q", "-F", empty(disk, 4 * MIB))
    else:
        call("mkfs.vfat", "-F", "16", empty(disk, 20 * MIB))
        call("mcopy", "-i", disk, *source.iterdir(), "::/")
    with disk.open("rb") as file:
        used = [
            at
            for at in range(0, min(disk.stat().st_size, 64 * MIB), 512)
            if os.pread(file.fileno(), 512, at).strip(b"\0")
        ]
    chance = random.Random(5)
    kept: dict[int, bytes] = {}
    with disk.open("r+b") as file:
        for _ in range(25):
            for at in chance.sample(used, 3):
                kept.setdefault(at, os.pread(file.fileno(), 512, at))
                os.pwrite(file.fileno(), chance.randbytes(chance.choice((1, 4, 40))), at + chance.randrange(0, 470))
            with opened(disk) as point:
                try:
                    requests.volumes(point)
                    dict(read_tree(point, "0"))
                except (*FAILURES, Refused, AssertionError):
                    pass
            for at, data in kept.items():
                os.pwrite(file.fileno(), data, at)


def _lzo() -> ctypes.CDLL | None:
    found = ctypes.util.find_library("lzo2")
    return ctypes.CDLL(found) if found else None


def test_what_was_packed_is_unpacked() -> None:
    chance = random.Random(9)
    data = (b"words and words " * 3000 + chance.randbytes(20000) + bytes(50000))[:131072]
    packed = zlib.compress(data)
    assert packing.unpacked(1, packed + bytes(100), len(data), 4096) == data
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    target = ctypes.create_string_buffer(len(data) + 1000)
    size = library.ZSTD_compress(target, ctypes.c_size_t(len(target)), data, ctypes.c_size_t(len(data)), 3)
    assert packing.unpacked(3, target.raw[:size] + bytes(100), len(data), 4096) == data
    lzo = _lzo()
    if lzo is not None:
        for piece in (data[:4096], data[46000:50096], chance.randbytes(4096), bytes(4096), b"abc"):
            memory = ctypes.create_string_buffer(16384 * 8)
            length = ctypes.c_size_t(0)
            lzo.lzo1x_1_compress(piece, ctypes.c_size_t(len(piece)), target, ctypes.byref(length), memory)
            assert packing.lzo1x(target.raw[: length.value], 4096) == piece
    for method in (1, 2, 3):
        for _ in range(50):
            with suppress(Damaged):
                assert len(packing.unpacked(method, chance.randbytes(300), 4096, 4096)) <= 4096 * 80


@given(
    st.lists(
        st.binary(min_size=1, max_size=40).filter(lambda name: name not in (b".", b"..") and b"\0" not in name),
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_name_comes_back(parts: list[bytes]) -> None:
    text = names.path(parts)
    assert text.isprintable()
    assert names.named(text) == parts


def test_sandbox_tools_are_not_needed() -> None:
    """The readers are carried to a host that has only Python: nothing else is imported."""
    script = (
        "import sys; sys.path.insert(0, 'src'); import naos.engines.files.onhost.browse; print(*sorted(sys.modules))"
    )
    done = subprocess.run(["python3", "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    outside = {name.partition(".")[0] for name in done.stdout.split()} - set(__import__("sys").stdlib_module_names)
    assert outside <= {"naos", "__main__", "_distutils_hack"}
