"""Debian 12 with cloud-init, OpenSSH and the QEMU guest agent, put together from Debian's packages on this machine.

mmdebstrap makes the tree in a mount namespace of its own, so that neither this machine's boot folder nor its mounts are
touched; the disk is written as a plain file, with GRUB's two parts laid before the first partition.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from naos.catalogue.images import bootdisk, commands, store
from naos.catalogue.images.errors import BuildFailed, PackagesUnavailable, ToolFailed

RELEASE = "bookworm"
VIRTUAL_SIZE = 3 * 1024**3
_PARTITION = bootdisk.MIB
_GRUB = "boot/grub/i386-pc"
_GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "search_fs_uuid")
_PACKAGES = (
    *("linux-image-cloud-amd64", "grub-pc", "initramfs-tools", "e2fsprogs", "fdisk", "kmod", "udev"),
    *("systemd", "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "libpam-systemd", "dbus", "netplan.io"),
    *("cloud-init", "cloud-guest-utils", "openssh-server", "qemu-guest-agent"),
    *("apt", "ca-certificates", "curl", "sudo", "iproute2", "iputils-ping", "procps", "less", "nano", "tzdata"),
)
_WORDS = "console=tty0 console=ttyS0,115200 no_timer_check"  # see tiny.COMMAND_LINE


@dataclass(frozen=True)
class DebianImage:
    """A built image: qcow2 file, bytes of the file and of the disk, and what it was built from (hash)."""

    path: Path
    file_size: int
    virtual_size: int
    key: str


def build_debian(
    target: Path, cache: Path = store.CACHE, progress: Callable[[float], None] = store.silent
) -> DebianImage:
    """Have Debian 12 at `target` (qcow2, no backing file); built only when Debian's indexes or this builder changed
    since last time.

    cache: folder for built images, shared by concurrent callers. progress: share from 0 to 1. The first build takes
    minutes.
    Raises PackagesUnavailable, ToolMissing, ToolFailed, ToolTimeout, BuildUnprivileged, BuildFailed.
    """
    sources, key = _inputs()
    built = cache / "debian" / f"{key}.qcow2"
    with store.locked(cache, "debian"):
        if not built.is_file():
            store.require_root("Debian")
            with tempfile.TemporaryDirectory(dir=cache, prefix="debian-") as folder:
                _build(Path(folder), sources, bootdisk.Identity(bytes.fromhex(key), store.MOMENT), progress)
                built.parent.mkdir(exist_ok=True)
                (Path(folder) / "disk.qcow2").rename(built)
    store.place(built, target)
    progress(1.0)
    return DebianImage(target, target.stat().st_size, VIRTUAL_SIZE, key)


def _inputs() -> tuple[list[str], str]:
    """This machine's apt sources for the release, as lines of sources.list, and a hash over all that can change the
    image.
    """
    wanted = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(FILENAME)"
    listing = commands.run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"], timeout=60)
    digest = hashlib.sha256(repr(_PACKAGES).encode())
    digest.update(files(__package__).joinpath("debian.py").read_bytes())
    sources = []
    for uri, suite, component, origin, index in (line.split("|") for line in listing.splitlines()):
        if origin != "Debian" or not re.fullmatch(rf"{RELEASE}(-updates|-security)?", suite):
            continue
        sources.append(f"deb {uri} {suite} {component}")
        digest.update(Path(index).read_bytes())
    if not sources:
        raise PackagesUnavailable(RELEASE, "this machine's apt has no index of that release")
    return sources, digest.hexdigest()


def _build(folder: Path, sources: list[str], identity: bootdisk.Identity, progress: Callable[[float], None]) -> None:
    root = folder / "root"
    _make_tree(root, sources)
    progress(0.7)
    core = _install_grub(root, identity)
    _settle(root, identity)
    disk = folder / "disk.raw"
    _lay_disk(disk, (root / _GRUB / "boot.img").read_bytes(), core, identity)
    part = bootdisk.Partition(bootdisk.LINUX, _PARTITION, VIRTUAL_SIZE - _PARTITION)
    bootdisk.fill_ext4(disk, part, root, bootdisk.Ext4("debian-root", journal=64, inode_ratio=16384), identity)
    shutil.rmtree(root)
    progress(0.85)
    argv = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(folder / "disk.qcow2")]
    commands.run(argv, timeout=1800)


def _make_tree(root: Path, sources: list[str]) -> None:
    argv = [
        *("unshare", "--mount", "--propagation", "private", "--"),
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--components=main"),
        *("--include=" + ",".join(_PACKAGES), "--dpkgopt=path-exclude=/usr/share/doc/*"),
        *("--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=path-exclude=/usr/share/man/*"),
        *(RELEASE, str(root), *sources),
    ]
    try:
        commands.run(argv, timeout=1800, extra={"DEBIAN_FRONTEND": "noninteractive"})
    except ToolFailed as error:
        if "Unable to fetch" in error.reason or "Failed to fetch" in error.reason:
            raise PackagesUnavailable(RELEASE, error.reason) from error
        raise


def _inside(root: Path, *argv: str, stdin: bytes = b"") -> str:
    return commands.run(["chroot", str(root), *argv], timeout=300, stdin=stdin)


# ----------------------------------------------------------------------------------------------------------------- boot


def _install_grub(root: Path, identity: bootdisk.Identity) -> bytes:
    """Put GRUB's modules and first menu into the tree; returns its core, which goes before the first partition."""
    shutil.copytree(root / "usr/lib/grub/i386-pc", root / _GRUB, dirs_exist_ok=True)
    core = f"/{_GRUB}/core.img"
    argv = ["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core, *_GRUB_MODULES]
    _inside(root, *argv)
    versions = sorted(path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*"))
    if len(versions) != 1 or not (root / f"boot/initrd.img-{versions[0]}").is_file():
        raise BuildFailed("Debian", f"one kernel with its initramfs was expected, there are {versions}")
    _write(
        root / "boot/grub/grub.cfg",
        # The first menu only: the guest's own update-grub writes the next one when it gets another kernel.
        "set timeout=0\n"
        f"search --no-floppy --fs-uuid --set=root {identity.root}\n"
        'menuentry "Debian 12" {\n'
        f"  linux /boot/vmlinuz-{versions[0]} root=UUID={identity.root} ro {_WORDS}\n"
        f"  initrd /boot/initrd.img-{versions[0]}\n"
        "}\n",
    )
    _write(
        root / "etc/default/grub.d/naos.cfg",
        f'GRUB_CMDLINE_LINUX="{_WORDS}"\nGRUB_CMDLINE_LINUX_DEFAULT=""\nGRUB_TIMEOUT=0\nGRUB_TERMINAL="console"\n',
    )
    _inside(root, "debconf-set-selections", stdin=b"grub-pc grub-pc/install_devices multiselect /dev/vda\n")
    return (root / _GRUB / "core.img").read_bytes()


def _lay_disk(disk: Path, first: bytes, core: bytes, identity: bootdisk.Identity) -> None:
    """Sector 0 looks for the core from sector 1 on, where it is: both come that way from GRUB's own tools."""
    if len(core) > _PARTITION - bootdisk.SECTOR:
        raise BuildFailed("Debian", f"GRUB's core has {len(core)} bytes and does not fit before the first partition")
    part = bootdisk.Partition(bootdisk.LINUX, _PARTITION, VIRTUAL_SIZE - _PARTITION, active=True)
    with disk.open("wb") as stream:
        stream.truncate(VIRTUAL_SIZE)
        stream.write(bootdisk.table([part], first, identity.signature))
        stream.write(core)


# ------------------------------------------------------------------------------------------------------------- settings


def _settle(root: Path, identity: bootdisk.Identity) -> None:
    """What makes of the tree a system that is nobody's yet."""
    _write(root / "etc/fstab", f"UUID={identity.root} / ext4 errors=remount-ro 0 1\n")
    _write(
        root / "etc/cloud/cloud.cfg.d/99-naos.cfg",
        # Only local sources: no guest waits for a metadata service that is not there.
        # The locale is the one that needs no generating.
        "datasource_list: [NoCloud, ConfigDrive, None]\nlocale: C.UTF-8\n",
    )
    _write(root / "etc/hostname", "debian\n")
    _write(root / "etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    _write(root / "etc/machine-id", "")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
