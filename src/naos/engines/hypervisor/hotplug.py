"""Devices, processors and memory of a machine, running or not: the guest's part first, then the definition."""

import json
import time
from collections.abc import Callable
from dataclasses import replace

import libvirt
import libvirt_qemu

from naos.engines.errors import Busy, EngineError, GuestRefused, Missing, Unsupported
from naos.engines.hypervisor import agent, devices, drives, xml
from naos.engines.hypervisor.domains import Domains
from naos.engines.ports import DomainCdrom, DomainController, DomainDisk, DomainNic
from naos.units import MIB, size_text

MEMORY_BLOCK = 128 * MIB  # the smallest piece of memory that a Linux guest takes in
_POLL = 0.1  # seconds
_POLITE, _DOOR = 3.0, 30.0  # seconds that a guest is asked to open its drive, and until it must be open
_REMIND = 5.0  # seconds: a guest that is still starting has missed the first request
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_STOP = "stop the machine first"


def attach_disk(domains: Domains, domain_id: str, disk: DomainDisk) -> None:
    """Raises Busy when the guest holds the disk through another export."""
    live = domains.live(domain_id)
    if live is not None:
        present = devices.find(live, disk.id)
        if present is None:
            plugged = devices.disk(disk)
            if live.find("iothreads") is not None:  # else it was started from a definition that had none
                devices.set_iothread(plugged)
            _plug(domains, domain_id, plugged)
        elif devices.address_of(present) != disk.source:
            held = devices.address_of(present)
            raise Busy(domains.where, f"disk {disk.id}", f"the guest uses it through {held}; detach it, or {_STOP}")
    _edit(domains, domain_id, disk.id, lambda: devices.disk(disk), lambda element: devices.edit_disk(element, disk))


def attach_controller(domains: Domains, domain_id: str, controller: DomainController) -> None:
    """Raises Unsupported while it runs, for one that libvirt cannot plug in."""
    live = domains.live(domain_id)
    if live is not None and devices.find(live, controller.id) is None:
        if controller.model not in drives.PLUGGABLE:
            raise Unsupported(domains.where, f"plugging a {controller.model} controller into a running machine", _STOP)
        for device in drives.filled_in(live, controller):
            _unplug_unnamed(domains, domain_id, device, controller)
        _plug(domains, domain_id, drives.controller(controller))
    root = domains.inactive(domain_id)
    if devices.find(root, controller.id) is None:
        drives.add_controller(root, controller)
        domains.redefine(root)


def _unplug_unnamed(domains: Domains, domain_id: str, device: devices.Element, controller: DomainController) -> None:
    """Take a controller that libvirt filled a gap with from a guest, and wait until it is gone."""
    text, until = xml.render(device), time.monotonic() + _DOOR
    domains.on(domain_id, "making room for a controller", lambda domain: domain.detachDeviceFlags(text, _LIVE), _DOOR)
    while (live := domains.live(domain_id)) is not None and drives.filled_in(live, controller):
        if time.monotonic() > until:
            raise GuestRefused(domains.where, f"giving up SCSI controller {controller.index}", f"it holds on; {_STOP}")
        time.sleep(_POLL)


def put_cdrom(domains: Domains, domain_id: str, drive: DomainCdrom) -> None:
    """Raises Unsupported for a new IDE drive while it runs."""
    own = drives.own_controller(drive)
    if own is not None:
        attach_controller(domains, domain_id, own)
    live = domains.live(domain_id)
    if live is not None:
        present = devices.find(live, drive.id)
        if present is None:
            if own is None:
                raise Unsupported(domains.where, "plugging an IDE drive into a running machine", _STOP)
            present = drives.drive(drive if drive.path is not None else replace(drive, path=drives.NOTHING))
            _plug(domains, domain_id, present)
        if drives.holds(present) != drive.path:
            drives.fill_drive(present, drive)
            _change_medium(domains, domain_id, present)
    _edit(domains, domain_id, drive.id, lambda: drives.drive(drive), lambda element: drives.fill_drive(element, drive))


def _change_medium(domains: Domains, domain_id: str, element: devices.Element) -> None:
    """A guest that keeps the door shut is asked for a moment; then it is opened by force: an image loses nothing.

    libvirt does not know that a drive has a door when it was plugged in while the machine ran; then QEMU's monitor opens it.
    """
    text, until = xml.render(element), time.monotonic() + _POLITE

    def change(domain: libvirt.virDomain) -> None:
        opened = False
        while True:
            forced = time.monotonic() > until
            try:
                domain.updateDeviceFlags(
                    text, _LIVE | (libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE if forced and not opened else 0)
                )
            except libvirt.libvirtError as error:
                if (
                    "is not open" not in str(error) and "locked" not in str(error)
                ) or time.monotonic() > until + _POLITE:
                    raise
                _door(domain, element, "blockdev-open-tray", force=forced)
                opened = True
                time.sleep(_POLL)
            else:
                break
        if opened:
            _door(domain, element, "blockdev-close-tray")

    domains.on(domain_id, "changing the image in a drive", change, _DOOR)


def _door(domain: libvirt.virDomain, element: devices.Element, command: str, **arguments: bool) -> None:
    asked = {"execute": command, "arguments": {"id": devices.alias_of(element), **arguments}}
    libvirt_qemu.qemuMonitorCommand(domain, json.dumps(asked), 0)


def attach_nic(domains: Domains, domain_id: str, nic: DomainNic) -> None:
    live = domains.live(domain_id)
    if live is not None:
        present = devices.find(live, nic.id)
        if present is None:
            _plug(domains, domain_id, devices.nic(nic))
        else:
            _change_nic(domains, domain_id, present, nic)
    _edit(domains, domain_id, nic.id, lambda: devices.nic(nic), lambda element: devices.edit_nic(element, nic))


def update_nic(domains: Domains, domain_id: str, nic: DomainNic) -> None:
    """Raises Missing when the machine has no such adapter, Unsupported for another MAC or MTU while it runs."""
    live = domains.live(domain_id)
    present = devices.find(domains.inactive(domain_id) if live is None else live, nic.id)
    if present is None:
        raise Missing(domains.where, f"adapter {nic.id}", f"machine {domain_id} does not have it")
    if live is not None:
        _change_nic(domains, domain_id, present, nic)
    _edit(domains, domain_id, nic.id, lambda: devices.nic(nic), lambda element: devices.edit_nic(element, nic))


def detach(domains: Domains, domain_id: str, device_id: str, deadline: float) -> None:
    """Take a device from guest and definition; an absent one is left alone.

    Raises GuestRefused when the guest still holds it after `deadline` seconds: then it stays in the definition too.
    """
    until, remind = time.monotonic() + deadline, 0.0
    while _is_plugged(domains, domain_id, device_id):
        now = time.monotonic()
        if now > until:
            why = f"it still holds it after {deadline:g} s and is {domains.state(domain_id)}; unmount it there, or {_STOP}"
            raise GuestRefused(domains.where, f"letting go of device {device_id}", why)
        if now >= remind:
            remind = now + _REMIND
            _ask_back(domains, domain_id, device_id)
        else:
            time.sleep(_POLL)
    root = domains.inactive(domain_id)
    if devices.remove(root, device_id):
        domains.redefine(root)


def resize(
    domains: Domains, domain_id: str, *, vcpus: int, cores_per_socket: int, memory: int, deadline: float
) -> None:
    """Raises Unsupported, before anything is changed, for what a running guest cannot be given; GuestRefused when it has not
    given vCPUs back after `deadline` seconds."""
    live, root = domains.live(domain_id), domains.inactive(domain_id)
    removable = root.find("vcpus") is not None
    if live is not None:
        _check_fewer(domains.where, live, vcpus, removable=removable)
        _check_room(domains.where, live, vcpus, memory)
        _shrink(domains, domain_id, vcpus, deadline)  # first: it is what the guest may refuse
        _grow(domains, domain_id, live, max(vcpus, xml.processors(live)[0]), memory)
    before = xml.render(root)
    now, most = xml.processors(root)
    xml.set_processors(root, vcpus, cores_per_socket, most if most > now or removable else vcpus, removable=removable)
    xml.set_memory(root, memory, xml.memory(root)[1] if root.find("maxMemory") is not None else memory)
    if xml.render(root) != before:
        domains.redefine(root)


# -------------------------------------------------------------------------------------------------------------- devices


def _edit(
    domains: Domains,
    domain_id: str,
    device_id: str,
    make: Callable[[], devices.Element],
    edit: Callable[[devices.Element], None],
) -> None:
    root = domains.inactive(domain_id)
    before = xml.render(root)
    present = devices.find(root, device_id)
    if present is None:
        devices.append(root, make())
    else:
        edit(present)
    if xml.render(root) != before:
        domains.redefine(root)


def _plug(domains: Domains, domain_id: str, device: devices.Element) -> None:
    text = xml.render(device)
    domains.on(
        domain_id, f"plugging in {devices.identity(device)}", lambda domain: domain.attachDeviceFlags(text, _LIVE)
    )


def _change_nic(domains: Domains, domain_id: str, present: devices.Element, nic: DomainNic) -> None:
    if devices.mtu_of(present) not in (None, nic.mtu) or devices.mac_of(present) != nic.mac.lower():
        raise Unsupported(domains.where, f"another MAC or MTU for adapter {nic.id}", f"the guest holds it; {_STOP}")
    if devices.is_connected_so(present, nic):
        return
    devices.connect_nic(present, nic)
    text = xml.render(present)
    domains.on(domain_id, f"changing adapter {nic.id}", lambda domain: domain.updateDeviceFlags(text, _LIVE))


def _is_plugged(domains: Domains, domain_id: str, device_id: str) -> bool:
    live = domains.live(domain_id)
    return live is not None and devices.find(live, device_id) is not None


def _ask_back(domains: Domains, domain_id: str, device_id: str) -> None:
    """Ask the guest for the device. Being refused is no failure yet: a guest that is still starting is asked again."""

    def ask(domain: libvirt.virDomain) -> None:
        try:
            domain.detachDeviceAlias(f"ua-{device_id}", _LIVE)
        except libvirt.libvirtError as error:
            if not _is_patience(error):
                raise

    domains.on(domain_id, f"asking for device {device_id}", ask, 15.0)


def _is_patience(error: libvirt.libvirtError) -> bool:
    """The request stands already, or the device went or the machine stopped meanwhile."""
    return "process of unplug" in str(error) or error.get_error_code() in (
        libvirt.VIR_ERR_DEVICE_MISSING,
        libvirt.VIR_ERR_OPERATION_INVALID,
    )


# ------------------------------------------------------------------------------------------------- processors and memory


def _check_fewer(where: str, live: xml.Element, vcpus: int, *, removable: bool) -> None:
    """libvirt shows every vCPU that was plugged in as one that may go; the definition says whether the machine is meant so.

    QEMU's emulator goes on using the memory of a vCPU that was taken out (its listener on the address space stays): the machine
    would die at its next move. The processor's own virtualisation has no such listener.
    """
    now = xml.processors(live)[0]
    if vcpus >= now:
        return
    what = f"taking vCPUs from a running machine ({now} to {vcpus})"
    if not removable or now - vcpus > xml.removable_processors(live):
        raise Unsupported(where, what, _STOP)
    if live.get("type") != "kvm":
        raise Unsupported(where, what, f"its processor is emulated, and QEMU's emulator cannot take one out; {_STOP}")


def _check_room(where: str, live: xml.Element, vcpus: int, memory: int) -> None:
    most = xml.processors(live)[1]
    if vcpus > most:
        raise Unsupported(where, f"{vcpus} vCPUs", f"the machine was started with room for {most}; {_STOP}")
    has, limit = xml.memory(live)
    if memory < has:
        raise Unsupported(
            where, f"taking memory from a running machine ({size_text(has)} to {size_text(memory)})", _STOP
        )
    if memory > limit:
        room = f"the machine was started with room for {size_text(limit)}; {_STOP}"
        raise Unsupported(where, f"{size_text(memory)} of memory", room)
    if (memory - has) % MEMORY_BLOCK:
        step = f"a running machine takes more in steps of {size_text(MEMORY_BLOCK)}; choose such a size, or {_STOP}"
        raise Unsupported(where, f"{size_text(memory - has)} more memory", step)
    if memory > has and len(devices.memory_modules(live)) >= xml.MEMORY_SLOTS:
        raise Unsupported(where, "more memory", f"all {xml.MEMORY_SLOTS} slots for modules are taken; {_STOP}")


def _grow(domains: Domains, domain_id: str, live: xml.Element, vcpus: int, memory: int) -> None:
    more = memory - xml.memory(live)[0]
    if more:
        number = max(devices.memory_modules(live), default=0) + 1
        _plug(domains, domain_id, devices.memory_module(more, number))
    if vcpus != xml.processors(live)[0]:
        domains.on(domain_id, "adding vCPUs", lambda domain: domain.setVcpusFlags(vcpus, _LIVE))
    if more or vcpus != xml.processors(live)[0]:
        # Many guests take in what was plugged in only when they are told; one without an agent has its own rules.
        agent.take_in(domains, domain_id, vcpus)


def _shrink(domains: Domains, domain_id: str, vcpus: int, deadline: float) -> None:
    """Ask the guest for processors back until it has given them; being refused is no failure before the deadline."""
    until, reason = time.monotonic() + deadline, ""
    while (live := domains.live(domain_id)) is not None and (now := xml.processors(live)[0]) > vcpus:
        if time.monotonic() > until:
            why = f"it still has {now} after {deadline:g} s ({reason or 'no answer'}); {_STOP}"
            raise GuestRefused(domains.where, f"giving vCPUs back ({now} to {vcpus})", why)
        reason = domains.on(domain_id, "taking vCPUs out", lambda domain: _ask_for_processors(domain, vcpus), 30.0)
        time.sleep(_POLL)


def _ask_for_processors(domain: libvirt.virDomain, vcpus: int) -> str:
    """What libvirt says when the guest has not given them back at once; it goes on watching for that."""
    try:
        domain.setVcpusFlags(vcpus, _LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (
            libvirt.VIR_ERR_OPERATION_TIMEOUT,
            libvirt.VIR_ERR_OPERATION_FAILED,
            libvirt.VIR_ERR_INTERNAL_ERROR,
        ):
            raise
        return str(error)
    return ""


def disk_resized(domains: Domains, domain_id: str, disk_id: str, size: int, deadline: float) -> None:
    """Raises Missing when the machine does not have the disk, EngineError when its export is still smaller."""
    live = domains.live(domain_id)
    if live is None:
        return
    present = devices.find(live, disk_id)
    if present is None:
        raise Missing(domains.where, f"disk {disk_id}", f"machine {domain_id} does not have it")
    target = devices.target_of(present)

    def shown(domain: libvirt.virDomain) -> int:
        return int(domain.blockInfo(target)[0])

    def tell(domain: libvirt.virDomain) -> None:
        domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def nudge(domain: libvirt.virDomain) -> None:
        # The disk's new size is learned when the client connects anew, and it connects with its next request only.
        # libvirt has no call that reads, so QEMU's own monitor does; what it prints, an error included, says nothing.
        backend = f"/machine/peripheral/{devices.alias_of(present)}"
        if devices.bus_of(present) == "virtio":
            backend += "/virtio-backend"
        command = f'qemu-io -d {backend} "read 0 512"'
        libvirt_qemu.qemuMonitorCommand(domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)

    until = time.monotonic() + deadline
    while domains.on(domain_id, "reading a disk's size", shown) != size:
        try:
            domains.on(domain_id, "telling the guest of its disk's size", tell)
        except EngineError:
            if time.monotonic() > until:
                raise
            domains.on(domain_id, "reading from a disk", nudge)
            time.sleep(_POLL)
