"""The memory of a guest, saved beside it: taken while it stands still, carried to an array and back, and gone on from.

QEMU writes memory and the state of all devices to a file of the blade, as it would send them to another blade, and keeps running
afterwards, paused; so a guest whose memory could not be kept has lost nothing. libvirt does it as the memory of an external
snapshot without disks, and notes nothing of it.
"""

import re
import time

import libvirt
from lxml import etree

from naos.engines.errors import CommandFailed, EngineError, Missing, NoSpace, Unsupported
from naos.engines.hypervisor import console_log, devices, failures, resuming, xml
from naos.engines.hypervisor.domains import Domains, checked
from naos.engines.hypervisor.states import ACTIVE
from naos.engines.ports import Host, NbdAddress, PowerState
from naos.units import MIB, size_text

FOLDER = "/var/lib/libvirt/naos/memory"
_SLOWEST = 32 * MIB
"""Bytes a second below which saving, carrying or reading is given up."""
_SHORT = 60.0  # seconds
_POLL = 0.2
_CONFIGURATION = "/etc/libvirt/qemu.conf"
_CERTIFICATES = re.compile(r'^\s*(nbd|default)_tls_x509_cert_dir\s*=\s*"([^"]+)"', re.MULTILINE)
_OWN, _DEFAULT = "/etc/pki/libvirt-nbd", "/etc/pki/qemu"


def path(memory_id: str) -> str:
    return f"{FOLDER}/{memory_id}.memory"


def _part(memory_id: str) -> str:
    return f"{FOLDER}/{memory_id}.part"


def patience(size: int) -> float:
    """Seconds."""
    return _SHORT + size / _SLOWEST


# --------------------------------------------------------------------------------------------------------------- saving


def keep(domains: Domains, host: Host, domain_id: str, memory_id: str, room: int) -> int:
    """Pause it and save its memory; it is paused when this returns or raises. Begins anew when it is repeated.

    room: the most bytes that it may take. Returns those that it took. Raises NoSpace, before it is paused, Unsupported, EngineError.
    """
    checked(domains.where, memory_id)
    _check_tool(host)
    settle(domains, domain_id)
    host.run(["mkdir", "-p", "-m", "700", FOLDER])
    host.run(["rm", "-f", path(memory_id)])
    _check_room(host, memory_id, room)
    if domains.state(domain_id) == PowerState.PAUSED:
        resuming.resume(domains, domain_id)  # QEMU saves none whose state was saved before, unless it has run since
    resuming.pause(domains, domain_id)
    live = domains.live(domain_id)
    if live is None:
        raise EngineError(domains.where, f"saving the memory of machine {domain_id}", "it does not run")
    what, wanted = f"saving the memory of machine {domain_id}", request(live, path(memory_id))
    with domains.connection.another(what) as own:

        def save() -> None:
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
            own.lookupByUUIDString(domain_id).snapshotCreateXML(wanted, flags)

        domains.connection.call_on(own, what, save, patience(room))
    state = domains.state(domain_id)
    if state != PowerState.PAUSED:
        raise EngineError(domains.where, what, f"it is {state} afterwards")
    size = int(host.run(["stat", "-c", "%s", path(memory_id)]).stdout)
    if size > room:
        raise NoSpace(domains.where, what, f"it took {size} bytes, {room} were set aside")
    return size


def request(live: xml.Element, file: str) -> str:
    """What libvirt is asked: the memory alone."""
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "memory", snapshot="external", file=file)
    every = etree.SubElement(root, "disks")
    for disk in live.iterfind("devices/disk"):
        etree.SubElement(every, "disk", name=devices.target_of(disk), snapshot="no")
    return xml.render(root)


def settle(domains: Domains, domain_id: str) -> None:
    """End what an earlier call has left saving; none is fine, and so is no such machine."""
    until = time.monotonic() + _SHORT
    try:
        while domains.on(domain_id, "ending a save", _abort):
            if time.monotonic() > until:
                raise EngineError(domains.where, f"saving the memory of machine {domain_id}", "it cannot be ended")
            time.sleep(_POLL)
    except Missing:
        return


def _abort(domain: libvirt.virDomain) -> bool:
    """Whether it is being saved."""
    try:
        if not domain.isActive():
            return False
        found = domain.jobStats()
        if found.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT or not found.get("type"):
            return False
        domain.abortJob()
    except libvirt.libvirtError as error:
        if failures.is_lost(error):
            raise
        return bool(failures.code(error) != libvirt.VIR_ERR_OPERATION_INVALID and domain.isActive())
    return True


# ------------------------------------------------------------------------------------------------------------- carrying


def send(host: Host, memory_id: str, target: NbdAddress) -> str:
    """Write what was saved to an export; flushed there when this returns. Returns its SHA-256. Raises Missing, EngineError."""
    found = host.run(["stat", "-c", "%s", path(memory_id)], check=False)
    if found.code != 0:
        raise Missing(host.name, f"memory {memory_id}", "it was not saved here, or the blade lost it")
    words = ["-f", "raw", "-t", "writeback", "--target-image-opts", path(memory_id), _options(target)]
    _convert(host, target, ["-n", *words], patience(int(found.stdout)))
    return _sum(host, path(memory_id), int(found.stdout))


def fetch(host: Host, memory_id: str, source: NbdAddress, size: int, checksum: str) -> None:
    """Bring what was saved, `size` bytes, to this blade; complete and as it was, or not there. checksum: as `send` said, or "" where
    nothing is known. Raises NoSpace, EngineError."""
    _check_tool(host)
    done = host.run(["stat", "-c", "%s", path(memory_id)], check=False)
    if done.code == 0 and int(done.stdout) == size:
        return
    host.run(["mkdir", "-p", "-m", "700", FOLDER])
    host.run(["rm", "-f", path(memory_id), _part(memory_id)])
    _check_room(host, memory_id, size)
    whole = -(-size // 512) * 512
    words = ["--image-opts", f"driver=raw,size={whole},{_options(source, 'file.')}", "-O", "raw", _part(memory_id)]
    _convert(host, source, words, patience(size))
    host.run(["truncate", "-s", str(size), _part(memory_id)])
    if checksum and _sum(host, _part(memory_id), size) != checksum:
        host.run(["rm", "-f", _part(memory_id)])
        reason = f"it is damaged: its SHA-256 is not {checksum} any more, as it was when it was saved"
        raise EngineError(host.name, f"bringing memory {memory_id}", reason)
    host.run(["sync", _part(memory_id)], timeout=patience(size))
    host.run(["mv", "-T", _part(memory_id), path(memory_id)])


def drop(host: Host, memory_id: str) -> None:
    host.run(["rm", "-f", path(memory_id), _part(memory_id)])


def _sum(host: Host, file: str, size: int) -> str:
    return host.run(["sha256sum", "--binary", file], timeout=patience(size)).stdout.split()[0]


def _options(address: NbdAddress, prefix: str = "") -> str:
    found = {
        "driver": "nbd",
        "server.type": "inet",
        "server.host": address.host,
        "server.port": str(address.port),
        "export": address.name,
    }
    if address.tls:
        found["tls-creds"] = "tls"
    return ",".join(f"{prefix}{name}={value}" for name, value in found.items())


def _convert(host: Host, address: NbdAddress, words: list[str], timeout: float) -> None:
    shown: list[str] = []
    if address.tls:
        shown = ["--object", f"tls-creds-x509,id=tls,endpoint=client,verify-peer=on,dir={_certificates(host)}"]
    try:
        host.run(["qemu-img", "convert", "-q", "-W", *shown, *words], timeout=timeout)
    except CommandFailed as error:
        raise EngineError(host.name, f"carrying memory over {address.host}:{address.port}", error.reason) from error


def _certificates(host: Host) -> str:
    """Where libvirt looks for what the blade's disks present, as its documentation has it."""
    found = dict(_CERTIFICATES.findall(host.run(["cat", _CONFIGURATION], check=False).stdout))
    if "nbd" in found:
        return str(found["nbd"])
    own = host.run(["test", "-d", _OWN], check=False).code == 0
    return _OWN if own else str(found.get("default", _DEFAULT))


def _check_tool(host: Host) -> None:
    if host.run(["sh", "-c", "command -v qemu-img"], check=False).code != 0:
        raise Unsupported(host.name, "keeping a guest's memory", "qemu-img is not installed there (package qemu-utils)")


def _check_room(host: Host, memory_id: str, needed: int) -> None:
    block, free = host.run(["stat", "-f", "-c", "%S %a", FOLDER]).stdout.split()
    there = int(block) * int(free)
    if needed > there:
        words = f"{size_text(needed)} are needed in {FOLDER} of the blade, {size_text(there)} are free"
        raise NoSpace(host.name, f"memory {memory_id}", words)


# ------------------------------------------------------------------------------------------------------------- going on


def restore(domains: Domains, host: Host, domain_id: str, memory_id: str, traits: xml.Traits) -> None:
    """Start the defined machine from what was saved, paused: nothing has run when this returns. One that is there is left alone.

    Raises Missing, EngineError.
    """
    if domains.state(domain_id) in ACTIVE:
        return
    if host.run(["test", "-e", path(memory_id)], check=False).code != 0:
        raise Missing(host.name, f"memory {memory_id}", "it was not brought to this blade")
    console_log.begin(host, domain_id)
    what = f"bringing the memory of machine {domain_id} back"
    present, file = domains.inactive(domain_id), path(checked(domains.where, memory_id))
    size = int(host.run(["stat", "-c", "%s", file]).stdout)
    with domains.connection.another(what) as own:

        def read() -> str:
            return str(own.saveImageGetXMLDesc(file, libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE))

        saved = xml.parse(domains.connection.call_on(own, what, read, _SHORT))
        fit(saved, present, traits)
        text = xml.render(saved)
        flags = libvirt.VIR_DOMAIN_SAVE_PAUSED
        domains.connection.call_on(own, what, lambda: own.restoreFlags(file, text, flags), patience(size))


def fit(saved: xml.Element, present: xml.Element, traits: xml.Traits) -> None:
    """Let what was saved find its disks, images and networks where the present definition has them, and listen here."""
    for tag in ("disk", "interface"):
        for device in saved.iterfind(f"devices/{tag}"):
            device_id = devices.identity(device)
            now = devices.find(present, device_id) if device_id is not None else None
            if now is None:
                continue
            for name in ("source", "link") if tag == "interface" else ("source",):
                devices.drop(device, name)
                part = now.find(name)
                if part is not None:
                    device.append(xml.parse(xml.render(part)))
    xml.listen_on(saved, traits.address)
