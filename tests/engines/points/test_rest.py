"""What encrypts a folder where it lies: fscrypt for real, dm-crypt by what the kernel shows of devices."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from naos.engines.points.onhost import rest

KEY = bytes(range(64))
_ADD_KEY, _SET_POLICY = 0xC0506617, 0x800C6613
"""FS_IOC_ADD_ENCRYPTION_KEY and FS_IOC_SET_ENCRYPTION_POLICY, of the kernel's fscrypt documentation."""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system that knows of encryption."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    image.touch()
    os.truncate(image, 32 * 2**20)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-O", "encrypt", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False).returncode:
        pytest.skip("this kernel does not mount it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.lab
def test_a_folder_under_fscrypt_is_encrypted_and_the_one_beside_it_is_not(mounted: Path) -> None:
    sealed, plain = mounted / "sealed", mounted / "plain"
    for folder in (sealed, plain):
        folder.mkdir()
    handle = os.open(sealed, os.O_RDONLY)
    try:
        # struct fscrypt_add_key_arg: its kind (2: by an identifier, which comes back), the raw key's size, the key
        added = bytearray(struct.pack("<II32sII32s", 2, 0, b"", len(KEY), 0, b"") + KEY)
        fcntl.ioctl(handle, _ADD_KEY, added)
        # struct fscrypt_policy_v2: version, AES-256-XTS, AES-256-CTS, padding of names, the key's identifier
        policy = struct.pack("<BBBBB3s16s", 2, 1, 4, 3, 0, b"", bytes(added[8:24]))
        fcntl.ioctl(handle, _SET_POLICY, policy)
    finally:
        os.close(handle)
    (sealed / "deep").mkdir()
    assert [rest.at_rest(str(folder)) for folder in (sealed, sealed / "deep", plain)] == ["fscrypt", "fscrypt", ""]
    (sealed / "deep" / "file").write_bytes(b"nobody else reads this" * 1000)
    os.sync()
    image = mounted.parent / "image"
    assert b"nobody else reads this" not in image.read_bytes()


def test_what_lies_on_dm_crypt_with_all_of_its_parts_is_encrypted(tmp_path: Path) -> None:
    """The kernel of this machine has no device mapper: what it shows of one is made up, the folder's own device is not."""
    number = tmp_path.stat().st_dev
    top = tmp_path / f"dev/block/{os.major(number)}:{os.minor(number)}"

    def part(name: str, uuid: str = "", parent: Path = top) -> Path:
        folder = parent / "slaves" / name
        (folder / "dm").mkdir(parents=True)
        if uuid:
            (folder / "dm/uuid").write_text(uuid, encoding="ascii")
        return folder

    assert rest.at_rest(str(tmp_path), str(tmp_path)) == ""
    part("dm-1", "CRYPT-LUKS2-0123-vault\n")
    assert rest.at_rest(str(tmp_path), str(tmp_path)) == "dm-crypt"
    volume = part("dm-2", "LVM-0123\n")
    assert rest.at_rest(str(tmp_path), str(tmp_path)) == "", "a part of it is not"
    part("dm-3", "CRYPT-LUKS2-4567-disk\n", parent=volume)
    assert rest.at_rest(str(tmp_path), str(tmp_path)) == "dm-crypt"
    with pytest.raises(FileNotFoundError):
        rest.at_rest(str(tmp_path / "none"), str(tmp_path))


def test_a_file_system_without_a_device_of_its_number_is_found_by_its_mount(tmp_path: Path) -> None:
    shown = tmp_path / "mountinfo"
    shown.write_text("29 1 0:45 / /srv rw shared:1 - btrfs /dev/null rw\n30 1 0:46 / /tmp rw - tmpfs tmpfs rw\n")
    null = Path("/dev/null").stat().st_rdev
    assert rest._device(os.makedev(0, 45), str(shown)) == f"{os.major(null)}:{os.minor(null)}"
    assert rest._device(os.makedev(0, 46), str(shown)) is None
