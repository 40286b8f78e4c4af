"""naos-tiny: a small bootable guest, built from Debian's packages alone.

Kernel, busybox, dropbear and the QEMU guest agent come out of their packages; the scripts of `guest/` make a system of
them that reads a NoCloud seed, grows to its disk, answers the ACPI button and the agent, and says on the serial console
that it is ready.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from naos.catalogue.images import bootdisk, commands, cpio, modules, packages, store
from naos.catalogue.images.errors import BuildFailed

VIRTUAL_SIZE = 64 * bootdisk.MIB
LARGEST_FILE = 48 * bootdisk.MIB
# no_timer_check: on a busy host an emulated guest may see no tick in the instant that the check takes, and would panic.
COMMAND_LINE = "console=tty0 console=ttyS0,115200 quiet edd=off no_timer_check root=/dev/vda2 naos.root=/dev/vda2"

_KERNEL = "linux-image-cloud-amd64"
_PACKAGES = (
    *("busybox-static", "dropbear-bin", "qemu-guest-agent", "e2fsprogs", "util-linux"),
    *("libc6", "libcom-err2", "libext2fs2", "libblkid1", "libuuid1"),
    *("libcrypt1", "libtomcrypt1", "libtommath1", "libgmp10", "zlib1g"),
    *("libglib2.0-0", "libpcre2-8-0", "libnuma1", "libudev1", "liburing2"),
)
_PROGRAMS = {
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/sbin/qemu-ga": "usr/sbin/qemu-ga",
    "sbin/resize2fs": "sbin/resize2fs",
    "sbin/mke2fs": "sbin/mkfs.ext4",
    "usr/bin/resizepart": "sbin/resizepart",
}
_DISK_MODULES = ("virtio_pci", "virtio_blk")
_OTHER_MODULES = (
    *("virtio_net", "virtio_console", "virtio_rng", "virtio_balloon", "evdev", "button"),
    *("isofs", "sr_mod", "sd_mod", "virtio_scsi", "ata_piix", "nls_ascii", "nls_cp437", "vfat"),
    *("qemu_fw_cfg", "efivarfs"),
)
_SCRIPTS = (
    "boot",
    "common",
    "network",
    "lease",
    "hotplug",
    "seed",
    "first-boot",
    "yaml.awk",
    "network.awk",
    "runcmd.awk",
)
_EARLY_APPLETS = ("cat", "dmesg", "insmod", "ls", "mount", "sh", "switch_root", "tr", "usleep")
_LOADER = "lib64/ld-linux-x86-64.so.2"
_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class TinyImage:
    """A built image: qcow2 file, bytes of the file and of the disk, kernel version, and a hash of what it is from."""

    path: Path
    file_size: int
    virtual_size: int
    kernel: str
    key: str


def build_tiny(target: Path, cache: Path = store.CACHE, progress: Callable[[float], None] = store.silent) -> TinyImage:
    """Have naos-tiny at `target` (qcow2, no backing file); built only when its packages or parts changed since the last
    time.

    cache: folder for packages and built images, shared by concurrent callers. progress: share from 0 to 1.
    Raises PackagesUnavailable, ToolMissing, ToolFailed, BuildUnprivileged, BuildFailed.
    """
    kernel_package, wanted = _inputs()
    key = _key(wanted)
    built = cache / "tiny" / f"{key}.qcow2"
    with store.locked(cache, "tiny"):
        if not built.is_file():
            store.require_root("naos-tiny")
            packages.fetch(wanted, cache / "packages", lambda share: progress(share * 0.5))
            with tempfile.TemporaryDirectory(dir=cache, prefix="tiny-") as folder:
                _build(Path(folder), wanted, cache / "packages", bytes.fromhex(key), progress)
                built.parent.mkdir(exist_ok=True)
                (Path(folder) / "disk.qcow2").rename(built)
    store.place(built, target)
    progress(1.0)
    version = kernel_package.removeprefix("linux-image-")
    return TinyImage(target, target.stat().st_size, VIRTUAL_SIZE, version, key)


def build_probe_kernel(cache: Path = store.CACHE) -> tuple[Path, Path]:
    """A kernel and an initramfs that print ``naos-probe-ok`` on ttyS0 and power off: the smallest Linux guest that
    proves an accelerator.

    Start with ``-append "console=ttyS0 quiet"``. Raises PackagesUnavailable, ToolMissing, ToolFailed, BuildFailed.
    """
    wanted = packages.candidates([packages.dependency(_KERNEL, r"linux-image-.*-cloud-amd64"), "busybox-static"])
    key = hashlib.sha256(repr((wanted, _guest("probe"))).encode()).hexdigest()
    kernel, initramfs = cache / "probe" / f"{key}.vmlinuz", cache / "probe" / f"{key}.initrd"
    with store.locked(cache, "tiny"):
        if not (kernel.is_file() and initramfs.is_file()):
            packages.fetch(wanted, cache / "packages")
            with tempfile.TemporaryDirectory(dir=cache, prefix="probe-") as folder:
                tree = Path(folder) / "tree"
                packages.unpack(wanted, cache / "packages", tree)
                version = modules.kernel_version(tree)
                kernel.parent.mkdir(exist_ok=True)
                entries = [*_initramfs_base(tree), cpio.file("init", _guest("probe"), executable=True)]
                (Path(folder) / "initrd").write_bytes(cpio.archive(entries))
                (Path(folder) / "initrd").rename(initramfs)
                (tree / "boot" / f"vmlinuz-{version}").rename(kernel)
    return kernel, initramfs


def _inputs() -> tuple[str, list[packages.Package]]:
    kernel = packages.dependency(_KERNEL, r"linux-image-.*-cloud-amd64")
    return kernel, packages.candidates([kernel, *_PACKAGES])


def _key(wanted: Sequence[packages.Package]) -> str:
    """A hash over everything that can change the image: packages, guest files, and this builder's own text."""
    digest = hashlib.sha256(repr(wanted).encode())
    for resource in sorted(files(__package__).joinpath("guest").iterdir(), key=lambda item: item.name):
        digest.update(resource.name.encode() + b"\0" + resource.read_bytes() + b"\0")
    for source in ("tiny.py", "bootdisk.py", "cpio.py", "modules.py", "store.py"):
        digest.update(files(__package__).joinpath(source).read_bytes())
    return digest.hexdigest()


def _guest(name: str) -> bytes:
    return files(__package__).joinpath("guest", name).read_bytes()


def _build(
    folder: Path, wanted: Sequence[packages.Package], cached: Path, identity: bytes, progress: Callable[[float], None]
) -> None:
    tree, root = folder / "tree", folder / "root"
    packages.unpack(wanted, cached, tree)
    progress(0.65)
    version = modules.kernel_version(tree)
    _make_root(tree, root)
    initramfs = folder / "initrd"
    initramfs.write_bytes(_initramfs(tree))
    progress(0.7)
    boot = bootdisk.BootFiles(tree / "boot" / f"vmlinuz-{version}", initramfs, COMMAND_LINE)
    bootdisk.assemble(folder / "disk.raw", VIRTUAL_SIZE, boot, root, bootdisk.Identity(identity, store.MOMENT))
    progress(0.8)
    image = folder / "disk.qcow2"
    argv = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(folder / "disk.raw"), str(image)]
    commands.run(argv, timeout=300)
    if image.stat().st_size > LARGEST_FILE:
        raise BuildFailed("naos-tiny", f"the image has {image.stat().st_size} bytes, more than {LARGEST_FILE}")


# ------------------------------------------------------------------------------------------------------------ initramfs


def _initramfs_base(tree: Path) -> list[cpio.Entry]:
    folders = [cpio.folder(name) for name in ("bin", "dev", "modules", "proc", "root", "sys")]
    console = cpio.character_device("dev/console", 5, 1)
    return [*folders, console, cpio.file("bin/busybox", (tree / "bin/busybox").read_bytes(), executable=True)]


def _initramfs(tree: Path) -> bytes:
    drivers = modules.load_order(tree, _DISK_MODULES)
    order = "".join(f"{path.name}\n" for path in drivers)
    return cpio.archive(
        [
            *_initramfs_base(tree),
            *(cpio.link(f"bin/{applet}", "busybox") for applet in _EARLY_APPLETS),
            cpio.file("init", _guest("init"), executable=True),
            cpio.file("modules/order", order.encode()),
            *(cpio.file(f"modules/{path.name}", path.read_bytes()) for path in drivers),
        ]
    )


# ----------------------------------------------------------------------------------------------------- root file system


def _make_root(tree: Path, root: Path) -> None:
    for name in (
        *("bin", "sbin", "lib64", "usr/bin", "usr/sbin", "usr/lib/naos/drivers", _LIBRARY_FOLDERS[0]),
        *(
            "etc/dropbear",
            "etc/acpi/PWRF",
            "var/lib/naos",
            "var/log",
            "var/tmp",
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "mnt",
        ),
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "root").mkdir(mode=0o700)
    (root / "var/run").symlink_to("/run")
    _install_programs(tree, root)
    _install_drivers(tree, root)
    _install_scripts(root)
    _install_settings(tree, root)
    for path in [root, *root.rglob("*")]:
        os.utime(path, (store.MOMENT, store.MOMENT), follow_symlinks=False)


def _install_programs(tree: Path, root: Path) -> None:
    shutil.copy(tree / "bin/busybox", root / "bin/busybox")
    for applet in commands.run([str(tree / "bin/busybox"), "--list-full"], timeout=30).split():
        if Path(applet).name not in {"busybox", "poweroff", "reboot", "halt", "mke2fs", "linuxrc"}:
            (root / applet).symlink_to("/bin/busybox")
    for source, name in _PROGRAMS.items():
        shutil.copy(tree / source, root / name)
        for library in _libraries(tree, tree / source):
            shutil.copy(library, root / _LIBRARY_FOLDERS[0] / library.name)
    loader = tree / _LIBRARY_FOLDERS[0] / Path(_LOADER).name
    shutil.copy(loader, root / _LOADER)


def _libraries(tree: Path, program: Path) -> list[Path]:
    """The libraries that the packages' own loader finds for a program, all of them among the packages. Raises
    BuildFailed.
    """
    loader = tree / _LIBRARY_FOLDERS[0] / Path(_LOADER).name
    where = ":".join(str(tree / folder) for folder in _LIBRARY_FOLDERS)
    listing = commands.run(
        [str(loader), "--inhibit-cache", "--library-path", where, "--list", str(program)], timeout=30
    )
    found = []
    for name, path in re.findall(r"^\s*(\S+) => (.*?)(?: \(0x[0-9a-f]+\))?$", listing, re.MULTILINE):
        if Path(name).name == Path(_LOADER).name:
            continue
        if not Path(path).is_relative_to(tree):
            raise BuildFailed("naos-tiny", f"{program.name} needs {name}, which none of its packages holds")
        found.append(Path(path))
    return found


def _install_drivers(tree: Path, root: Path) -> None:
    early = modules.load_order(tree, _DISK_MODULES)
    later = [path for path in modules.load_order(tree, (*_DISK_MODULES, *_OTHER_MODULES)) if path not in early]
    for path in later:
        shutil.copy(path, root / "usr/lib/naos/drivers" / path.name)
    (root / "usr/lib/naos/drivers/order").write_text("".join(f"{path.name}\n" for path in later))


def _install_scripts(root: Path) -> None:
    for name in _SCRIPTS:
        _write(root / "usr/lib/naos" / name, _guest(name), 0o755)
    _write(root / "sbin/growdisk", _guest("growdisk"), 0o755)
    _write(root / "etc/acpi/PWRF/00000080", _guest("power-button"), 0o755)
    _write(root / "sbin/shutdown", _guest("shutdown"), 0o755)
    for name in ("poweroff", "reboot", "halt"):
        (root / "sbin" / name).symlink_to("shutdown")


def _install_settings(tree: Path, root: Path) -> None:
    _write(root / "etc/inittab", _guest("inittab"), 0o644)
    _write(root / "etc/profile", _guest("profile"), 0o644)
    _write(root / "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
    _write(root / "etc/shadow", b"root:*:19000:0:99999:7:::\n", 0o600)
    _write(root / "etc/group", b"root:x:0:\ntty:x:5:\n", 0o644)
    _write(root / "etc/shells", b"/bin/sh\n", 0o644)
    shutil.copy(tree / "etc/mke2fs.conf", root / "etc/mke2fs.conf")


def _write(path: Path, content: bytes, mode: int) -> None:
    path.write_bytes(content)
    path.chmod(mode)
