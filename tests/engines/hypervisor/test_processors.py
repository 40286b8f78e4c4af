"""vCPUs that a guest gives back: at once, late, or not at all."""

import libvirt
import pytest

from naos.engines.errors import EngineError, GuestRefused, Unsupported
from naos.engines.hypervisor import hotplug, xml
from naos.engines.ports import DomainSpec
from naos.units import MIB

MACHINE = "7f3c9f4e-0f5b-4d0a-9c58-0a4c3d1f2b11"


def definition(vcpus, *, removable=True, acceleration="kvm"):
    spec = DomainSpec(MACHINE, "one", vcpus, 1, 256 * MIB, max_vcpus=4, removable_vcpus=removable)
    return xml.new(spec, xml.Traits(acceleration, "10.0.0.11"))


def failure(code):
    error = libvirt.libvirtError("it says no")
    error.err = (code, 0, "it says no", 2, "", "", "", 0, 0)
    return error


class Guest:
    """A running machine: `answers` are what each request does, a number of vCPUs that are there after it or an error."""

    where = "blade1"

    def __init__(self, vcpus, *answers, removable=True, acceleration="kvm"):
        self.vcpus, self.answers, self.removable, self.kept = vcpus, list(answers), removable, None
        self.acceleration = acceleration

    def live(self, _machine):
        """libvirt shows what was plugged in as something that may go, whatever the definition says."""
        return definition(self.vcpus, acceleration=self.acceleration)

    def inactive(self, _machine):
        return definition(3, removable=self.removable)

    def on(self, _machine, _what, function, _deadline):
        try:
            return function(self)
        except libvirt.libvirtError as error:
            raise EngineError(self.where, "asking", str(error)) from error

    def setVcpusFlags(self, _vcpus, _flags):  # noqa: N802 - libvirt's name
        answer = self.answers.pop(0) if self.answers else failure(libvirt.VIR_ERR_OPERATION_TIMEOUT)
        if isinstance(answer, Exception):
            raise answer
        self.vcpus = answer

    def redefine(self, root):
        self.kept = xml.processors(root)[0]


def shrink(guest, deadline):
    hotplug.resize(guest, MACHINE, vcpus=1, cores_per_socket=1, memory=256 * MIB, deadline=deadline)


def test_a_guest_that_gives_them_back_at_once_and_one_that_is_late():
    late = failure(libvirt.VIR_ERR_OPERATION_TIMEOUT), 2, failure(libvirt.VIR_ERR_INTERNAL_ERROR), 1
    for answers in ((1,), late):
        guest = Guest(3, *answers)
        shrink(guest, 20.0)
        assert (guest.vcpus, guest.kept) == (1, 1)


def test_one_that_keeps_them_is_told_on_and_stays_as_it_was_defined():
    guest = Guest(3)
    with pytest.raises(GuestRefused) as refusal:
        shrink(guest, 0.2)
    assert "it still has 3" in str(refusal.value)
    assert guest.kept is None


def test_a_real_failure_is_none_of_patience_and_fixed_ones_are_never_asked_for():
    with pytest.raises(EngineError):
        shrink(Guest(3, failure(libvirt.VIR_ERR_NO_DOMAIN)), 20.0)
    with pytest.raises(Unsupported):
        shrink(Guest(3, 1, removable=False), 20.0)


def test_the_emulator_is_never_asked_for_one():
    """A vCPU that QEMU's emulator has taken out is still used by it: the machine dies at its next move."""
    guest = Guest(3, 1, acceleration="tcg")
    with pytest.raises(Unsupported) as refusal:
        shrink(guest, 20.0)
    assert "its processor is emulated" in str(refusal.value)
    assert (guest.vcpus, guest.kept, len(guest.answers)) == (3, None, 1)
