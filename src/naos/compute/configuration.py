"""What a machine can be set to: rules, and the plan of a change. Bytes and milliseconds."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute import customisation, extra_config, guest_seed, guest_systems, machines, rules, seeds
from naos.compute.configuration_errors import (
    BootOptionRefused,
    CustomisationRefused,
    NotWhileRunning,
    ReservationTooLarge,
)
from naos.compute.customisation import Customisation
from naos.compute.firmware import EFI
from naos.compute.models import Power, VirtualMachine
from naos.fleet.models import Cpool
from naos.network import adapters
from naos.units import size_text
from naos.world import World

SIZES = ("cpu", "memory", "cores_per_socket")
COLUMNS = (
    *SIZES,
    *("memory_reservation", "hot_add_cpu", "hot_remove_cpu", "hot_add_memory"),
    *("boot_delay", "boot_retry", "boot_retry_delay", "enter_setup", "firmware", "secure_boot", "nested"),
)
LONGEST_WAIT = 65_535
OFF = "power it off first"
_SWITCHES = {
    "hot_add_cpu": "switching hot add of CPUs",
    "hot_add_memory": "switching hot add of memory",
    "secure_boot": "switching secure boot",
    "nested": "switching nested virtualisation",
}


def plan_update(session: Session, world: World, tenant_id: str, machine_id: str, changes: Mapping[str, Any]) -> Plan:
    """Change columns of `COLUMNS`; sizes of 0 and values of None leave what is there.

    What can never be is refused here; what only a running machine cannot take fails in the activity, when it is known.
    """
    machine = machines.find(session, tenant_id, machine_id)
    wanted = {key: value for key, value in changes.items() if value is not None and not (key in SIZES and value == 0)}
    check(session, world, machine, wanted)
    names = ", ".join(key.replace("_", " ") for key in wanted if wanted[key] != getattr(machine, key))
    description = f"Change {machine.name}: {names}" if names else f"Leave {machine.name} as it is"
    return machines.plan(session, machine, "virtual_machine.update", description, arguments={"changes": wanted})


def check(session: Session, world: World, machine: VirtualMachine, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that differ. Raises for a state that no machine can be in, running or not."""
    after = {key: getattr(machine, key) for key in COLUMNS} | dict(wanted)
    cpool = session.get_one(Cpool, machine.cpool_id)
    machines.check_size(world, cpool, after["cpu"], after["memory"])
    rules.check_cores(machine.name, cpu=after["cpu"], cores=after["cores_per_socket"])
    check_reservation(machine.name, after["memory_reservation"], memory=after["memory"], pool=cpool.memory)
    check_boot(machine.name, after)
    if any(after[key] != getattr(machine, key) for key in ("firmware", "memory")):
        rules.check_firmware(machine.name, after["firmware"], after["memory"])
    return {key: value for key, value in wanted.items() if value != getattr(machine, key)}


def check_reservation(machine: str, wanted: int, *, memory: int, pool: int) -> None:
    """Raises ReservationTooLarge for more than the machine's memory, or than its cpool's."""
    for limit_of, limit in (("its own memory", memory), ("the memory of its cpool", pool)):
        if wanted > limit:
            raise ReservationTooLarge(machine, size_text(wanted), limit_of, size_text(limit))


def check_boot(machine: str, after: Mapping[str, Any]) -> None:
    """Raises BootOptionRefused for what the firmware cannot do."""
    for option, key in (("bootDelay", "boot_delay"), ("bootRetryDelay", "boot_retry_delay")):
        if not 0 <= after[key] <= LONGEST_WAIT:
            reason = f"it is a number of milliseconds from 0 to {LONGEST_WAIT}"
            raise BootOptionRefused(machine, option, str(after[key]), reason)
    efi = after["firmware"] == EFI
    if after["secure_boot"] and not efi:
        reason = "secure boot needs the firmware efi; choose it, or switch efiSecureBootEnabled off"
        raise BootOptionRefused(machine, "efiSecureBootEnabled", "true", reason)
    if after["enter_setup"] and not efi:
        reason = (
            "its BIOS (SeaBIOS) has no setup; choose the firmware efi, or set bootDelay to reach the boot menu with Esc"
        )
        raise BootOptionRefused(machine, "enterBIOSSetup", "true", reason)
    if after["boot_retry"] and efi:
        reason = (
            "its EFI firmware does not start over by itself; choose the firmware bios, or switch bootRetryEnabled off"
        )
        raise BootOptionRefused(machine, "bootRetryEnabled", "true", reason)


def check_running(machine: VirtualMachine, changed: Mapping[str, Any]) -> None:
    """Raises NotWhileRunning for what a running machine cannot take. Boot times, the reservation and hot removal of CPUs can be
    changed at any time; they count from the next start."""
    if machine.power != Power.RUNNING:
        return
    _check_memory(machine, changed.get("memory", machine.memory))
    _check_cpu(machine, changed.get("cpu", machine.cpu))
    if "cores_per_socket" in changed:
        change = f"{changed['cores_per_socket']} instead of {machine.cores_per_socket} cores per socket"
        raise NotWhileRunning(machine.name, change, "it to be stopped", OFF)
    if "firmware" in changed:
        raise NotWhileRunning(machine.name, f"the firmware {changed['firmware']}", "it to be stopped", OFF)
    for key, change in _SWITCHES.items():
        if key in changed:
            word = "on" if changed[key] else "off"
            raise NotWhileRunning(machine.name, f"{change} {word}", "it to be stopped", OFF)


def _check_memory(machine: VirtualMachine, memory: int) -> None:
    change = f"memory of {size_text(memory)} instead of {size_text(machine.memory)}"
    if memory < machine.memory:
        raise NotWhileRunning(machine.name, f"less memory, {change},", "it to be stopped", OFF)
    if memory > machine.memory and not machine.hot_add_memory:
        remedy = "power it off first; memoryHotAddEnabled, set while it is off, lets it grow later while it runs"
        raise NotWhileRunning(machine.name, change, "hot add of memory, which is off", remedy)


def _check_cpu(machine: VirtualMachine, cpu: int) -> None:
    change = f"{cpu} vCPUs instead of {machine.cpu}"
    if cpu > machine.cpu and not machine.hot_add_cpu:
        remedy = "power it off first; cpuHotAddEnabled, set while it is off, lets it grow later while it runs"
        raise NotWhileRunning(machine.name, change, "hot add of CPUs, which is off", remedy)
    if cpu < machine.cpu and not machine.hot_remove_cpu:
        remedy = "power it off first; cpuHotRemoveEnabled, set while it is off, lets its guest give vCPUs back later"
        raise NotWhileRunning(machine.name, change, "hot removal of CPUs, which is off", remedy)


# ---------------------------------------------------------------------------------------------------------------- guest


def plan_guest(session: Session, tenant_id: str, machine_id: str, guest_os: str) -> Plan:
    """What the guest is said to be. Raises GuestSystemUnknown."""
    machine = machines.find(session, tenant_id, machine_id)
    chosen = guest_systems.find(guest_os)
    check_guest(machine, guest_os)
    description = f"Say that {machine.name} runs {chosen.full_name}"
    arguments = {"guest_os": guest_os}
    return machines.plan(session, machine, "virtual_machine.set_guest", description, arguments=arguments)


def check_guest(machine: VirtualMachine, guest_os: str) -> None:
    """Raises NotWhileRunning when the machine's hardware would be another one: its clock tells Windows the local time."""
    differs = guest_systems.is_windows(guest_os) != guest_systems.is_windows(machine.guest_os)
    if differs and machine.power == Power.RUNNING:
        change = f"the guest {guest_systems.name_of(guest_os)} instead of {guest_systems.name_of(machine.guest_os)}"
        raise NotWhileRunning(machine.name, change, "it to be stopped", OFF)


def plan_customise(session: Session, tenant_id: str, machine_id: str, wish: Customisation) -> Plan:
    """Names and addresses that the guest takes in at its next start. Raises WrongPower, CustomisationRefused, SeedRefused."""
    machine = machines.find(session, tenant_id, machine_id)
    check_customisable(machine)
    plugged = adapters.of_machine(session, machine.id)
    change = customisation.seed_of(machine.name, wish, [adapter.mac for adapter in plugged])
    after = guest_seed.customised(machine.seed, change)
    if any(change["dns"].values()) and guest_seed.has_whole_network(after, machine.extra_config):
        reason = "its network configuration was given as a whole, by deployment or metadata; give its adapters, too"
        raise CustomisationRefused(machine.name, reason)
    seeds.check_effective(machine, after, machine.extra_config)
    description = f"Customise the guest of {machine.name} as {change['hostname']}"
    return machines.plan(session, machine, "virtual_machine.customise", description, arguments={"change": change})


def check_customisable(machine: VirtualMachine) -> None:
    """Raises WrongPower: the guest reads its seed when it starts."""
    rules.check_stopped(machine.name, machine.power)


def plan_extra_config(session: Session, tenant_id: str, machine_id: str, change: Mapping[str, Any]) -> Plan:
    """Set keys, or take them away with an empty text; the guest reads them at its next start.

    Raises ExtraKeyUnknown, ExtraValueInvalid, SeedRefused.
    """
    machine = machines.find(session, tenant_id, machine_id)
    wanted = extra_config.checked(change)
    after = extra_config.merged(machine.extra_config, wanted)
    if guest_seed.is_needed(machine) or "guestinfo.userdata" in after or "guestinfo.metadata" in after:
        seeds.check_effective(machine, guest_seed.reconfigured(machine.seed, machine.extra_config, after), after)
    told = guest_seed.unread(machine.extra_config, after)
    description = f"Set the extra configuration of {machine.name}: {', '.join(sorted(wanted)) or 'nothing'}"
    description += f" (warning: {told})" if told else ""
    arguments = {"change": wanted}
    return machines.plan(session, machine, "virtual_machine.extra_config", description, arguments=arguments)
