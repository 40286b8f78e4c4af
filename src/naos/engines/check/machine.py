"""What every host is asked: does it answer, what is it, what time is it there, what has it installed and free?

Nothing but POSIX utilities, iproute2 and the engines' own programs is run; no Python is needed for it.
"""

import re
import time
from collections.abc import Mapping

from naos.engines.check.report import Look, Lost, said
from naos.engines.errors import EngineError
from naos.units import GIB, MIB, size_text

MOST_SKEW = 2.0  # seconds: restore points and the audit log are ordered by clocks of several hosts
KERNEL = (5, 10)
QEMU = (7, 2)
LIBVIRT = (9, 0)
"""The oldest that naos is proven with."""
MEMORY = {"blade": GIB, "array": 512 * MIB, "vault": 256 * MIB, "witness": 128 * MIB}
DISK = GIB
_CLOCK = re.compile(r"(\d+)(?:\.(\d+))?")
_MEMORY = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB", re.MULTILINE)
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_CONFIGURED = 'zcat /proc/config.gz 2> /dev/null || cat "/boot/config-$(uname -r)" 2> /dev/null'
_BREAKS = "CONFIG_INET_DIAG_DESTROY"
# Prints those of its arguments that are no commands here.
_MISSING = 'for word; do command -v "$word" >/dev/null || echo "$word"; done'

TOOLS: Mapping[str, Mapping[str, str]] = {
    "blade": {
        "ip": "iproute2",
        "bridge": "iproute2",
        "nft": "nftables",
        "ss": "iproute2",
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "tail": "coreutils",
        "tee": "coreutils",
        "timeout": "coreutils",
    },
    "array": {
        "qemu-storage-daemon": "qemu-utils",
        "qemu-img": "qemu-utils",
        "mkfs.xfs": "xfsprogs",
        "xfs_growfs": "xfsprogs",
        "mount": "mount",
        "losetup": "mount",
        "findmnt": "util-linux",
        "flock": "util-linux",
        "find": "findutils",
        "ss": "iproute2",
        "ip": "iproute2",
        "python3": "python3",
    },
    "vault": {
        "find": "findutils",
        "qemu-storage-daemon": "qemu-utils",
        "qemu-img": "qemu-utils",
        "python3": "python3",
    },
    "witness": {"ip": "iproute2"},
}
"""What the drivers call on a host of each kind -> its Debian package."""


def contact(look: Look) -> None:
    """Raises Lost when no command runs there."""
    before = time.time()
    try:
        done = look.run("date", "+%s.%N")
    except EngineError as error:  # it is no host at all: no such lab host, no such address
        look.fault("contact", str(error))
        raise Lost from error
    after = time.time()
    match = _CLOCK.match(done.stdout)
    if done.code != 0 or match is None:
        answer = said(done) if done.code else repr(done.stdout[:80])
        look.fault("contact", f"`date` answers {answer}; the account needs a POSIX shell and no forced command.")
        raise Lost
    look.reached = True
    there = float(f"{match[1]}.{match[2] or 0}")
    # a clock that shows whole seconds may be up to one behind what it shows
    doubt = (after - before) / 2 + (0 if match[2] else 1)
    ahead = there - (before + after) / 2
    look.facts["clock"] = round(ahead, 3)
    if abs(ahead) - doubt > MOST_SKEW:
        side = "ahead of" if ahead > 0 else "behind"
        look.fault(
            "clock",
            f"Its clock is {abs(ahead):.1f} s {side} this machine's, and {MOST_SKEW:g} s are allowed; let both follow "
            "a time server (chrony).",
        )


def system(look: Look) -> None:
    """Name, kernel, and the right to change things. Raises Lost for what is not Linux."""
    with look.topic("kernel"):
        words = look.run("uname", "-s", "-n", "-r").stdout.split()
        name, hostname, release = words if len(words) == 3 else ("an unknown system", "", "")
        look.facts |= {"hostname": hostname, "kernel": release}
        if name != "Linux":
            look.fault("kernel", f"It runs {name}; naos needs Linux {dotted(KERNEL)} or newer.")
            raise Lost
        require_version(look, "kernel", "Linux", release, KERNEL)
    with look.topic("rights"):
        user = look.run("id", "-u").stdout.strip()
        if user != "0":
            look.fault("rights", f"Commands run as user {user}, and naos needs root; write root@... in the inventory.")


def breaks_connections(look: Look) -> None:
    """Can a connection be ended whose other side says nothing? A kernel that does not show its configuration is believed."""
    with look.topic("kernel"):
        if f"# {_BREAKS} is not set" in look.run("sh", "-c", _CONFIGURED).stdout:
            look.fault(
                "kernel",
                f"Its kernel was built without {_BREAKS}: others would wait for a host that says nothing any more. Debian's has it.",
            )


def tools(look: Look) -> None:
    with look.topic("tools"):
        packages = TOOLS[look.kind]
        missing = look.run("sh", "-c", _MISSING, "sh", *packages).stdout.split()
        if missing:
            wanted = " ".join(sorted({packages[name] for name in missing if name in packages}))
            look.fault(
                "tools",
                f"{', '.join(missing)} cannot be called: not installed, or not in the PATH that commands have "
                f"there. Debian: apt-get install {wanted}",
            )


def memory(look: Look) -> None:
    with look.topic("memory"):
        found = {name: int(size) * 1024 for name, size in _MEMORY.findall(look.run("cat", "/proc/meminfo").stdout)}
        if len(found) != 2:
            look.fault(
                "memory", "Its /proc/meminfo has no MemTotal and MemAvailable; naos needs a real Linux kernel's /proc."
            )
            return
        free, needed = found["MemAvailable"], MEMORY[look.kind]
        look.facts |= {"memory": free, "memory_in_all": found["MemTotal"]}
        if free < needed:
            look.fault(
                "memory", f"{size_text(free)} of memory are available, {size_text(needed)} are needed; free some."
            )


def disk(look: Look, folder: str) -> None:
    """Free room where naos keeps things on this host."""
    with look.topic("disk"):
        done = look.run("stat", "--file-system", "-c", "%a %S", "--", folder)
        numbers = done.stdout.split()
        if done.code != 0 or len(numbers) != 2:
            look.fault("disk", f"The folder {folder} cannot be used ({said(done)}); create it there.")
            return
        free = int(numbers[0]) * int(numbers[1])
        look.facts["disk"] = free
        if free < DISK:
            look.fault("disk", f"{folder} has {size_text(free)} free, {size_text(DISK)} are needed; free or add some.")


def writable_folder(look: Look, folder: str) -> None:
    with look.topic("folder"):
        if not look.succeeds("test", "-d", folder):
            look.fault("folder", f"There is no folder {folder}; create it, or mend `path` in the inventory.")
        elif not look.succeeds("test", "-w", folder):
            look.fault("folder", f"The folder {folder} cannot be written to; mount it writable, or mend its owner.")


def program_version(look: Look, what: str, program: str, label: str, least: tuple[int, ...]) -> None:
    """The version that a program says it has. One that is not there is told by `tools`."""
    with look.topic(what):
        done = look.run(program, "--version")
        if done.code == 0:
            match = _VERSION.search(done.stdout)
            look.facts[what] = match[0] if match else ""
            require_version(look, what, label, look.facts[what], least)


def require_version(look: Look, what: str, label: str, text: str, least: tuple[int, ...]) -> None:
    match = _VERSION.search(text)
    if match is None:
        look.fault(what, f"{label} does not say its version ({text!r}); naos needs {dotted(least)} or newer.")
    elif (int(match[1]), int(match[2])) < least:
        look.fault(what, f"{label} is {match[0]}, and naos needs {dotted(least)} or newer; upgrade it.")


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
