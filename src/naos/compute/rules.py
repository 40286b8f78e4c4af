"""What may be done with machines: pure functions of plain values."""

from naos.compute.configuration_errors import BootOptionRefused
from naos.compute.errors import CoresUneven, MachineSize, PoolFull, TemplateLarger, WrongPower, WrongZone
from naos.compute.firmware import EFI
from naos.compute.models import Power
from naos.units import MIB, size_text

MINIMUM_MEMORY = 32 * MIB  # the wire API's default machine
EFI_MEMORY = 256 * MIB
"""The least with which a machine starts under EFI. A distribution's kernel needs some 80 MiB of what the firmware leaves before its
first line runs: its file (14 MiB), the image that is started (14) and 52 in one piece to unpack itself to. With 128 MiB there is no such
piece, and the loader ends with "Failed to allocate usable memory for kernel"."""


def check_size(cpool: str, *, cpu: int, memory: int, threads: int, physical: int) -> None:
    """Raises MachineSize unless the machine could run alone on a blade of `threads` and `physical` bytes."""
    if not 1 <= cpu <= threads:
        raise MachineSize(cpool, "vCPUs", str(cpu), "1", str(threads), "the threads of one blade")
    if not MINIMUM_MEMORY <= memory <= physical:
        low, high = size_text(MINIMUM_MEMORY), size_text(physical)
        raise MachineSize(
            cpool, "of memory", f"{size_text(memory)} ({memory} bytes)", low, high, "the memory of one blade"
        )
    if memory % MIB:
        low, high = size_text(MINIMUM_MEMORY), size_text(physical)
        raise MachineSize(cpool, "of memory", f"{memory} bytes", low, high, "in whole MiB")


def check_firmware(machine: str, firmware: str, memory: int) -> None:
    """Raises BootOptionRefused for an EFI machine that could not load a kernel."""
    if firmware == EFI and memory < EFI_MEMORY:
        least = size_text(EFI_MEMORY)
        reason = (
            f"with {size_text(memory)} of memory the firmware cannot load a kernel; give it {least} or more, or the firmware bios, "
            f"which needs {size_text(MINIMUM_MEMORY)}"
        )
        raise BootOptionRefused(machine, "firmware", EFI, reason)


def check_cores(machine: str, *, cpu: int, cores: int) -> None:
    """Raises CoresUneven unless the vCPUs fill whole sockets of `cores`."""
    if cores < 1 or cpu % cores:
        possible = ", ".join(str(number) for number in range(1, cpu + 1) if cpu % number == 0)
        raise CoresUneven(machine, cores, cpu, possible)


def check_zones(*, volume: str, volume_zone: str, cpool: str, cpool_zone: str) -> None:
    """Raises WrongZone unless volume and cpool share a zone."""
    if volume_zone != cpool_zone:
        raise WrongZone(volume, volume_zone, cpool, cpool_zone)


def check_template_fits(template: str, *, template_size: int, wanted: int) -> None:
    """Raises TemplateLarger when the disk would cut the template's end off."""
    if wanted < template_size:
        raise TemplateLarger(template, size_text(template_size), size_text(wanted))


def check_stopped(machine: str, power: str, remedy: str = "power it off first") -> None:
    """Raises WrongPower unless the machine is stopped."""
    if power != Power.STOPPED:
        raise WrongPower(machine, power, Power.STOPPED, remedy)


def check_running(machine: str, power: str, remedy: str = "power it on first") -> None:
    """Raises WrongPower unless the machine is running."""
    if power != Power.RUNNING:
        raise WrongPower(machine, power, Power.RUNNING, remedy)


def check_pool_memory(cpool: str, machine: str, *, enabled: int, used: int, needed: int) -> None:
    """Raises PoolFull when the running machines would use more than the cpool's enabled memory."""
    if used + needed > enabled:
        missing = used + needed - enabled
        raise PoolFull(cpool, machine, *(size_text(value) for value in (enabled, used, needed, missing)))
