"""What an array needs: loop devices, XFS, and ports on which its daemons can answer; and what a vault does."""

import re
from collections.abc import Iterator
from pathlib import Path

from naos.engines.check import machine, network
from naos.engines.check.report import Look, said
from naos.engines.points.onhost import rest
from naos.inventory.model import Array

PORTS = 64
"""So many ports from the first on are looked at: a volume takes one."""
_DAEMON = "qemu-storage-da"  # the kernel keeps 15 letters of a program's name
_QUIT = '{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'
_AT_REST = f"{Path(rest.__file__).read_text(encoding='utf-8')}\nimport sys\nsys.stdout.write(at_rest(sys.argv[1]))"
_USERS = re.compile(r'\("([^"]*)",pid=(\d+)')


def array(look: Look, wanted: Array) -> None:
    if wanted.backing == "lvm":
        _volume_group(look, wanted.path)
    else:
        machine.writable_folder(look, wanted.path)
        machine.disk(look, wanted.path)
    machine.program_version(look, "qemu", "qemu-storage-daemon", "qemu-storage-daemon", machine.QEMU)
    _file_system(look)
    if network.address(look, str(wanted.address), "address") is not None:
        _ports(look, str(wanted.address), wanted.first_port)


def vault(look: Look, folder: str) -> None:
    machine.writable_folder(look, folder)
    machine.disk(look, folder)
    machine.program_version(look, "qemu", "qemu-storage-daemon", "qemu-storage-daemon", machine.QEMU)
    with look.topic("encryption"):
        done = look.run("python3", "-I", "-S", "-c", _AT_REST, folder)
        if done.code == 0:  # else the folder, or Python, is missed already
            look.facts["encryption"] = done.stdout
        if done.code == 0 and not done.stdout:
            look.remarks.append(
                f"What lies in {folder} is not encrypted there: disks of encrypted volumes are backed up to it only where their policy allows "
                "that (naos policy terms POLICY --encrypted clear). A folder under fscrypt, or on dm-crypt, needs no leave."
            )


def _volume_group(look: Look, group: str) -> None:
    with look.topic("volume group"):
        done = look.run("vgs", "--noheadings", "--units", "g", "--nosuffix", "--options", "vg_size,vg_free", group)
        if done.code != 0:
            look.fault("volume group", f"It has no volume group {group}: {said(done)}; make it with vgcreate.")
        elif not look.succeeds("dmsetup", "version"):
            look.fault("kernel", "Its kernel has no device mapper, which logical volumes need: modprobe dm-mod")


def _file_system(look: Look) -> None:
    with look.topic("kernel"):
        known = "\txfs" in look.run("cat", "/proc/filesystems").stdout
        if not known and not look.succeeds("modprobe", "--dry-run", "--quiet", "xfs"):
            look.fault("kernel", "Its kernel has no XFS, which volumes are made of: modprobe xfs")
        if not look.succeeds("test", "-c", "/dev/loop-control"):
            look.fault("kernel", "There is no /dev/loop-control, which volumes are mounted through: modprobe loop")


def _ports(look: Look, address: str, first: int) -> None:
    """Who else has ports that volumes will want, and can one really be had?"""
    with look.topic("ports"):
        done = look.run("ss", "-H", "-l", "-t", "-n", "-p")
        if done.code != 0:
            return  # `tools` says so
        owners = dict(listeners(done.stdout, address))
        wanted = range(first, min(first + PORTS, 65536))
        for port in wanted:
            if port in owners and not owners[port].startswith(_DAEMON):
                look.fault(
                    "ports",
                    f"Port {port} of {address}, which a volume will need, is taken by {owners[port]}; stop that, or "
                    f"choose another `first_port` than {first} in the inventory.",
                )
        free = next((port for port in wanted if port not in owners), None)
        if free is None:
            look.fault("ports", f"None of the {PORTS} ports from {first} on is free; choose another `first_port`.")
        else:
            _bind(look, address, free)


def _bind(look: Look, address: str, port: int) -> None:
    """Start a daemon that listens there and ends at once."""
    done = look.run(
        *("timeout", "--signal=KILL", "5", "qemu-storage-daemon"),
        *("--chardev", "stdio,id=control", "--monitor", "chardev=control"),
        *("--nbd-server", f"addr.type=inet,addr.host={address},addr.port={port}"),
        stdin=_QUIT,
    )
    if done.code != 0:
        look.fault("ports", f"A storage daemon cannot listen on {address} port {port}: {said(done)}")


def listeners(text: str, address: str) -> Iterator[tuple[int, str]]:
    """Ports that are taken on `address`, with who has them, from what `ss -H -l -t -n -p` prints."""
    everywhere = {"0.0.0.0", "*", "[::]", "::", address, f"[{address}]", f"[::ffff:{address}]"}  # noqa: S104 - as ss prints
    for fields in map(str.split, text.splitlines()):
        if len(fields) < 4 or fields[0] != "LISTEN":
            continue
        place, _, port = fields[3].rpartition(":")
        if place.partition("%")[0] in everywhere and port.isdigit():
            match = _USERS.search(" ".join(fields[5:]))
            yield int(port), f"{match[1]} (process {match[2]})" if match else "a program that does not show its name"
