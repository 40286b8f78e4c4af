"""The memory of a running machine, on real libvirt and QEMU: saved while it stands still, carried, and gone on from elsewhere."""

import uuid

import pytest
from hypervisor_rig import Rig, available, wait_for

from naos.catalogue.images.network import visiting
from naos.engines.errors import EngineError, Missing, NoSpace
from naos.engines.hypervisor.driver import LibvirtHypervisor
from naos.engines.ports import DomainSpec, PowerState
from naos.storage.memories import size_for
from naos.units import MIB, TIB

pytestmark = [
    pytest.mark.lab,
    pytest.mark.soak,
    pytest.mark.skipif(not available(), reason="needs root, libvirt and QEMU"),
]

# Counts in a word of its memory, and prints each number in four digits on the serial line, nine a second: ds = 0, [8000] = 0; inc,
# four times rol ax, 4 and the digit; line feed; two ticks of the clock; again.
COUNTING = bytes.fromhex(
    "31c08ed8c70600800000ff060080a10080b90400c1c00450240f049027144027baf803ee58e2edb00aeefbf4f4ebdb"
)
MEMORY = 64 * MIB


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("rig"))
    try:
        made.start()
        with visiting(made.center):
            for blade in made.blades:
                wait_for(blade.answers, f"{blade.name} answers")
            yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def blades(rig):
    made = [LibvirtHypervisor(blade.name, blade.uri, blade, "tcg") for blade in rig.blades[:2]]
    yield made
    for blade in made:
        blade.close()


@pytest.fixture
def counting(rig, blades):
    """A machine that counts on the first blade."""
    disk = rig.storage.create(0, MIB)
    with rig.storage.file(disk.id).open("r+b") as file:
        file.write(COUNTING.ljust(510, b"\0") + b"\x55\xaa")
    spec = DomainSpec(str(uuid.uuid4()), "counting", vcpus=1, cores_per_socket=1, memory=MEMORY, disks=[disk])
    blades[0].define(spec)
    blades[0].start(spec.id)
    yield spec
    for blade in blades:
        blade.power_off(spec.id)
        blade.undefine(spec.id)


def _numbers(blade, domain_id):
    """What it has counted since its process began; the last line may be cut."""
    lines = blade.serial_log(domain_id).replace("\r", "").split("\n")
    return [int(line, 16) for line in lines[:-1] if len(line) == 4 and set(line) <= set("0123456789ABCDEF")]


def _wait_for(blade, domain_id, number):
    wait_for(lambda: [found for found in _numbers(blade, domain_id) if found >= number], f"it counts to {number}")


def test_a_machine_goes_on_from_its_memory_and_does_so_on_another_blade(rig, blades, counting):
    first, second = blades
    memory_id, room = str(uuid.uuid4()), size_for(MEMORY)
    _wait_for(first, counting.id, 5)
    for _ in range(2):  # the second call begins anew
        size = first.keep_memory(counting.id, memory_id, room)
        assert first.state(counting.id) is PowerState.PAUSED
    assert 0 < size < room
    then = _numbers(first, counting.id)[-1]
    first.resume(counting.id)
    _wait_for(first, counting.id, then + 5)
    place = rig.storage.create(0, room)
    (checksum,) = {first.send_memory(memory_id, place.source) for _ in range(2)}
    for _ in range(2):
        first.drop_memory(counting.id, memory_id)
    with pytest.raises(Missing):
        first.send_memory(memory_id, place.source)
    _wait_for(first, counting.id, then + 10)
    first.power_off(counting.id)
    second.define(counting)
    with pytest.raises(Missing):
        second.restore_memory(counting.id, memory_id)
    for _ in range(2):
        second.fetch_memory(memory_id, place.source, size, checksum)
    for _ in range(2):
        second.restore_memory(counting.id, memory_id)
        assert second.state(counting.id) is PowerState.PAUSED
    assert _numbers(second, counting.id) == []
    second.resume(counting.id)
    _wait_for(second, counting.id, then + 3)
    assert _numbers(second, counting.id)[0] in (then + 1, then + 2)
    second.drop_memory(counting.id, memory_id)
    assert second.state(counting.id) is PowerState.RUNNING


def test_a_machine_whose_memory_cannot_be_kept_loses_nothing(blades, counting):
    """It runs on where there is no room, and can be resumed whatever happened to the save."""
    first, memory_id = blades[0], str(uuid.uuid4())
    _wait_for(first, counting.id, 2)
    with pytest.raises(NoSpace, match="are free"):
        first.keep_memory(counting.id, memory_id, 100 * TIB)
    assert first.state(counting.id) is PowerState.RUNNING
    with pytest.raises(NoSpace, match="were set aside"):
        first.keep_memory(counting.id, memory_id, MIB)
    then = _numbers(first, counting.id)[-1]
    first.drop_memory(counting.id, memory_id)
    first.resume(counting.id)
    _wait_for(first, counting.id, then + 3)
    first.power_off(counting.id)
    with pytest.raises(EngineError, match="stopped"):
        first.keep_memory(counting.id, memory_id, size_for(MEMORY))
