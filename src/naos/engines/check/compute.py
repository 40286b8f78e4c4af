"""What a blade needs: a hypervisor that answers where the inventory says and is this very machine, and KVM that works."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from naos.engines.check import machine
from naos.engines.check.report import Look
from naos.engines.errors import EngineError
from naos.engines.hypervisor import acceleration
from naos.engines.hypervisor.connection import Connection
from naos.engines.ports import BladePower, Chassis
from naos.inventory.catalogues import BladeModel
from naos.inventory.model import Blade
from naos.units import size_text

ANSWER = 20.0  # seconds; a daemon that was just started looks at every QEMU first
PROBE = 15.0  # seconds for the tiny Linux to reach user space
_PLACE = f"{acceleration.STORE}/check"
_UNPROTECTED = ("qemu+tcp://",)
_SHOWN = 0.9


@dataclass(frozen=True)
class HypervisorAnswer:
    """What answers at a libvirt URI. uuid: by which libvirt tells hosts apart."""

    kind: str
    hostname: str
    uuid: str
    libvirt: tuple[int, int, int]


def ask_libvirt(name: str, uri: str) -> HypervisorAnswer:
    """Raises EngineError."""
    connection = Connection(name, uri)
    try:
        return connection.call(f"asking {uri}", _answer, ANSWER)
    finally:
        connection.close()


def _answer(connection: Any) -> HypervisorAnswer:
    number = int(connection.getLibVersion())
    return HypervisorAnswer(
        kind=str(connection.getType()),
        hostname=str(connection.getHostname()),
        uuid=str(etree.fromstring(connection.getCapabilities()).findtext("host/uuid")),
        libvirt=(number // 1_000_000, number // 1_000 % 1_000, number % 1_000),
    )


def hypervisor(look: Look, blade: Blade, ask: Callable[[str, str], HypervisorAnswer]) -> None:
    """Needs no command on the host, so it is asked for one that runs none, too."""
    with look.topic("hypervisor"):
        try:
            answer = ask(blade.name, blade.hypervisor)
        except EngineError as error:
            look.fault(
                "hypervisor",
                f"{blade.hypervisor} does not answer ({error.reason}); start libvirt there, let it listen, and open "
                "the way to it, or mend `hypervisor` in the inventory.",
            )
            return
        version = machine.dotted(answer.libvirt)
        look.facts |= {"libvirt": version, "uuid": answer.uuid}
        machine.require_version(look, "libvirt", "libvirt", version, machine.LIBVIRT)
        if answer.kind != "QEMU":
            look.fault("hypervisor", f"{blade.hypervisor} is a hypervisor of kind {answer.kind}, and naos needs QEMU.")
        own = look.facts.get("hostname")
        if own and _short(answer.hostname) != _short(own):
            look.fault(
                "hypervisor",
                f"{blade.hypervisor} is {answer.hostname}, and commands run on {own}: two machines. Mend `hypervisor` or "
                "`access` in the inventory.",
            )
    if look.real and blade.hypervisor.startswith(_UNPROTECTED):
        look.remarks.append(
            f"{blade.hypervisor} asks for no key and hides nothing; use qemu+tls:// or qemu+ssh:// outside a lab."
        )


def model(look: Look, blade: Blade, models: Mapping[str, BladeModel]) -> None:
    """Is it what machines will be placed by? Needs no command on the host, and says more with what one has found."""
    known = models.get(blade.model)
    if known is None:
        look.fault(
            "model", f"The blade catalogue has no model {blade.model!r}; it has {', '.join(sorted(models)) or 'none'}."
        )
        return
    total = look.facts.get("memory_in_all")
    # firmware and the kernel itself keep a part to themselves
    if look.real and total is not None and total < known.physical_memory * _SHOWN:
        look.fault(
            "model",
            f"It has {size_text(total)} of memory, and a {blade.model} has {size_text(known.physical_memory)}: machines would "
            "be placed that do not fit. Mend `model` in the inventory.",
        )


def kvm(look: Look, kernel: tuple[Path, Path] | None) -> None:
    """Does the processor really run guests? Booted once for each start of the host; the answer stays there.

    kernel: kernel and initial RAM disk as `acceleration.probe` takes them, None when it must not be tried.
    """
    with look.topic("kvm"):
        if look.host is None:
            return
        if "qemu" not in look.facts:
            return  # `tools` says that there is no QEMU
        answer = acceleration.stored(look.host)
        if answer is None and not look.succeeds("test", "-c", "/dev/kvm"):
            _emulates(look, "there is no /dev/kvm")
            return
        if answer is None and kernel is not None:
            answer = _try(look, kernel)
        look.facts["acceleration"] = answer or ""
        if answer is None:
            look.remarks.append("Whether KVM works was not tried; use --try-kvm.")
        elif answer == acceleration.TCG:
            _emulates(look, "no guest reached user space with KVM")


def _try(look: Look, kernel: tuple[Path, Path]) -> str:
    """Boot the tiny Linux, and leave no file but the answer."""
    assert look.host is not None  # noqa: S101 - for the type checker
    places = (f"{_PLACE}/kernel", f"{_PLACE}/initrd")
    look.run("mkdir", "-p", "--", _PLACE)
    try:
        for file, place in zip(kernel, places, strict=True):
            look.host.put(file, place)
        return acceleration.probe(look.host, *places, deadline=PROBE)
    finally:
        look.run("rm", "-f", "--", *places)
        look.run("rmdir", "--", _PLACE)


def _emulates(look: Look, why: str) -> None:
    look.facts["acceleration"] = acceleration.TCG
    if look.real:
        look.fault(
            "kvm",
            f"Machines would be emulated, many times slower: {why}. Switch virtualisation on in the firmware, load kvm_intel or "
            "kvm_amd, or use another host.",
        )
    else:
        look.remarks.append(f"Machines are emulated, many times slower: {why}.")


def chassis(look: Look, made: Callable[[], Chassis]) -> None:
    """Needs no command on the host."""
    with look.topic("chassis"):
        try:
            power = made().power()
        except EngineError as error:
            look.fault(
                "chassis",
                f"Its chassis cannot be asked ({error.reason}); mend `chassis` in the inventory or the way to it: without power "
                "control a lost blade is fenced at the array alone.",
            )
            return
        look.facts["power"] = str(power)
        if look.reached and power is BladePower.OFF:
            look.fault(
                "chassis",
                "Its chassis says that it is off, and yet it answers: `chassis` in the inventory is another blade's.",
            )
        elif power is BladePower.OFF:
            look.fault("chassis", "Its chassis says that it is off; switch it on.")


def _short(hostname: str) -> str:
    return hostname.partition(".")[0].lower()
