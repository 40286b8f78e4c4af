"""The doctor finds every difference between tables and world, in both directions, and its repairs lose nothing."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos import insistence
from naos.activity.models import Activity, ActivityLock, State
from naos.catalogue.models import Template, Upload
from naos.compute import seeds
from naos.compute.models import Power, VirtualMachine
from naos.doctor import repairs
from naos.doctor.examine import examine
from naos.engines.errors import EngineError
from naos.engines.ports import DomainSpec, LunSpec, PowerState, Provisioning, VlanSpec
from naos.engines.simulated.array import SimulatedArray
from naos.lifecycle import Lifecycle
from naos.network.models import Vlan
from naos.storage import luns
from naos.storage.models import Disk, Lun

MIB = 2**20
BLADE = "az06-blade1"
ORPHAN = "0b0b0b0b-0000-4000-8000-000000000001"


@pytest.fixture
def quiet(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A platform whose supervisor looks away, so that only the doctor mends; afterwards nothing is found."""
    assert simulated.settled() == []
    monkeypatch.setattr(simulated.services.engine, "is_leader", lambda: False)
    yield simulated
    assert simulated.findings() == []


def kinds(platform: Platform) -> dict[str, bool]:
    """Kind of each finding -> whether the doctor would mend it; each says what it is and what to do."""
    found = platform.findings()
    for finding in found:
        assert finding["sentence"]
        assert finding["repair"]
        assert finding["subject"] in finding["sentence"] or finding["kind"] == "vlan.missing"
    return {finding["kind"]: finding["safe"] for finding in found}


def fix(platform: Platform) -> None:
    platform.done("POST", "/platform/v1/doctor/repair")


def orphan(platform: Platform, *, running: bool) -> None:
    hypervisor = platform.rack.hypervisor(BLADE)
    hypervisor.define(DomainSpec(ORPHAN, "stranger", 1, 1, 64 * MIB))
    if running:
        hypervisor.start(ORPHAN)


# -------------------------------------------------------------------------------------- in the world and in no table


def test_an_unknown_domain_that_runs_is_named_and_left_alone(quiet: Platform) -> None:
    orphan(quiet, running=True)
    assert kinds(quiet) == {"domain.orphan_running": False}
    assert "virsh" in quiet.findings()[0]["repair"]
    fix(quiet)
    assert quiet.rack.hypervisor(BLADE).state(ORPHAN) == PowerState.RUNNING
    assert kinds(quiet) == {"domain.orphan_running": False}
    quiet.rack.hypervisor(BLADE).power_off(ORPHAN)
    assert kinds(quiet) == {"domain.orphan": True}
    fix(quiet)
    assert quiet.rack.hypervisor(BLADE).state(ORPHAN) == PowerState.ABSENT


def test_an_unknown_definition_that_starts_before_the_repair_is_left_alone(quiet: Platform) -> None:
    """What was found may have changed until it is mended: each repair looks again."""
    orphan(quiet, running=False)
    planned = repairs.plan(examine(quiet.services.world))
    assert [repair["action"] for repair in planned.arguments["repairs"]] == ["domain.undefine"]
    quiet.rack.hypervisor(BLADE).start(ORPHAN)
    for repair in planned.arguments["repairs"]:
        repairs.REPAIRS[repair["action"]](quiet.services.world, repair["arguments"])
    assert quiet.rack.hypervisor(BLADE).state(ORPHAN) == PowerState.RUNNING
    quiet.rack.hypervisor(BLADE).power_off(ORPHAN)
    quiet.rack.hypervisor(BLADE).undefine(ORPHAN)


def test_unknown_disks_and_volumes_are_named_and_never_deleted(quiet: Platform) -> None:
    """peers.md 20: both kinds of orphan are listed; data that no table knows is data, and a person's to delete."""
    array, volume = quiet.rack.array("az05-array"), quiet.made["volume-AZ05"]
    with quiet.services.database.read() as session:
        lun = session.get_one(Lun, volume)
    known = LunSpec(volume, lun.capacity, None, lun.port)
    array.create_disk(known, ORPHAN, GIB, Provisioning.DYNAMIC)
    stray = LunSpec(str(uuid.uuid4()), 500 * GIB, None, 50_000)
    array.create_lun(stray)
    assert kinds(quiet) == {"disk.orphan": False, "lun.orphan": False}
    fix(quiet)
    assert kinds(quiet) == {"disk.orphan": False, "lun.orphan": False}
    assert ORPHAN in array.contents(volume).disks
    assert stray.id in array.luns()
    array.delete_disk(volume, ORPHAN)
    array.delete_lun(stray.id)


def test_foreign_files_are_named_and_left_alone(quiet: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SimulatedArray.contents
    monkeypatch.setattr(
        SimulatedArray, "contents", lambda self, lun_id: replace(plain(self, lun_id), foreign=("notes.txt",))
    )
    assert kinds(quiet) == {"file.foreign": False}
    fix(quiet)
    assert kinds(quiet) == {"file.foreign": False}
    monkeypatch.setattr(SimulatedArray, "contents", plain)


def test_an_export_that_nobody_should_have_is_cut(quiet: Platform) -> None:
    machine_id = quiet.deploy("closed", powerOn=False)
    with quiet.services.database.read() as session:
        disk = session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id)).one()
        lun = session.get_one(Lun, disk.lun_id)
    array = quiet.rack.array("az05-array")
    array.export_disk(LunSpec(lun.id, lun.capacity, None, lun.port), disk.id, 7)
    assert kinds(quiet) == {"export.orphan": True}
    fix(quiet)
    assert disk.id not in array.contents(lun.id).exports
    assert disk.id in array.contents(lun.id).disks
    quiet.remove(machine_id)


def test_a_vlan_that_no_cpool_has_is_taken_off(quiet: Platform) -> None:
    quiet.rack.fabric(BLADE).ensure_vlan(VlanSpec(3999, []))
    assert kinds(quiet) == {"vlan.orphan": True}
    fix(quiet)
    assert 3999 not in quiet.rack.fabric(BLADE).vlans()


def test_an_unknown_seed_goes_and_an_unknown_image_stays(quiet: Platform) -> None:
    host, library = quiet.rack.blade_host(BLADE), quiet.services.settings.library
    host.run(["mkdir", "-p", seeds.FOLDER])
    (quiet.folder / "seed.iso").write_bytes(b"seed")
    host.put(quiet.folder / "seed.iso", seeds.path_on_blade(ORPHAN))
    stray = library / f"{ORPHAN}.img"
    stray.write_bytes(b"image")
    assert kinds(quiet) == {"seed.orphan": True, "template.orphan": False}
    fix(quiet)
    assert kinds(quiet) == {"template.orphan": False}
    assert stray.read_bytes() == b"image"
    stray.unlink()


# -------------------------------------------------------------------------------------- in the tables, not in the world


def test_a_machine_that_stopped_unseen_is_noted_and_its_disks_are_fenced(quiet: Platform) -> None:
    machine_id = quiet.deploy("fallen")
    blade = quiet.machine(machine_id)["host"]["name"]
    quiet.rack.hypervisor(blade).power_off(machine_id)
    assert kinds(quiet) == {"machine.power": True}
    fix(quiet)
    assert quiet.machine(machine_id)["powerState"] == "stopped"
    assert not quiet.rack.array("az05-array").contents(quiet.made["volume-AZ05"]).exports
    quiet.remove(machine_id)


def test_a_machine_that_runs_unseen_is_noted_and_never_stopped(quiet: Platform) -> None:
    machine_id = quiet.deploy("risen")
    blade = quiet.machine(machine_id)["host"]["name"]
    with quiet.services.database.write() as session:
        session.get_one(VirtualMachine, machine_id).power = Power.STOPPED
    assert kinds(quiet) == {"machine.power": True}
    fix(quiet)
    assert quiet.machine(machine_id)["powerState"] == "running"
    assert quiet.rack.hypervisor(blade).state(machine_id) == PowerState.RUNNING
    quiet.remove(machine_id)


def test_a_lost_daemon_comes_back_with_its_exports(quiet: Platform) -> None:
    machine_id = quiet.deploy("waiting")
    blade, volume = quiet.machine(machine_id)["host"]["name"], quiet.made["volume-AZ05"]
    before = quiet.rack.array("az05-array").contents(volume).exports
    quiet.rack.faults.kill_daemon(volume)
    assert kinds(quiet) == {"lun.silent": True}
    fix(quiet)
    assert quiet.rack.array("az05-array").contents(volume).exports == before
    assert quiet.rack.hypervisor(blade).state(machine_id) == PowerState.IO_ERROR, (
        "the supervisor resumes, not the doctor"
    )
    quiet.rack.hypervisor(blade).resume(machine_id)
    quiet.remove(machine_id)


def test_a_lost_vlan_comes_back(quiet: Platform) -> None:
    tag = quiet.get(f"{COMPUTE}/networks/{quiet.made['vlan']}")["vlanId"]
    quiet.rack.fabric(BLADE).remove_vlan(tag)
    assert kinds(quiet) == {"vlan.missing": True}
    fix(quiet)
    assert tag in quiet.rack.fabric(BLADE).vlans()


def test_lost_data_is_said_and_its_rows_are_kept(quiet: Platform) -> None:
    """A row whose data is gone is the only trace of it: nothing is forgotten by a repair."""
    machine_id = quiet.deploy("robbed", powerOn=False)
    (disk,) = quiet.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine_id)
    quiet.rack.array("az05-array").delete_disk(quiet.made["volume-AZ05"], disk["id"])
    template = quiet.add_template("lost")
    (quiet.services.settings.library / f"{template}.img").unlink()
    assert kinds(quiet) == {"disk.missing": False, "template.missing": False}
    fix(quiet)
    assert kinds(quiet) == {"disk.missing": False, "template.missing": False}
    assert quiet.get(f"{COMPUTE}/virtual_disks/{disk['id']}")["id"] == disk["id"]
    quiet.remove(machine_id)
    quiet.done("DELETE", f"{COMPUTE}/content_libraries/{quiet.made['library']}/items/{template}")


def test_a_lost_volume_is_said_and_its_row_is_kept(quiet: Platform) -> None:
    body = {"name": "lost", "datacenterId": "AZ06", "storageClass": "standard", "capacity": 500 * GIB}
    volume = quiet.done("POST", f"{COMPUTE}/datastores", body)
    quiet.rack.array("az06-array").delete_lun(volume)
    assert kinds(quiet) == {"lun.missing": False}
    fix(quiet)
    luns.measure(quiet.services.world, volume)
    assert quiet.get(f"{COMPUTE}/datastores/{volume}")["accessible"] == 0
    quiet.done("DELETE", f"{COMPUTE}/datastores/{volume}")


def test_an_upload_without_a_file_is_forgotten(quiet: Platform) -> None:
    upload = quiet.upload()
    (quiet.services.settings.library / "uploads" / upload).unlink()
    assert kinds(quiet) == {"upload.missing": True}
    fix(quiet)
    with quiet.services.database.read() as session:
        assert session.get(Upload, upload) is None


# ------------------------------------------------------------------------------------------------------- the tables alone


@pytest.mark.parametrize("table", [VirtualMachine, Vlan, Lun, Template])
def test_a_row_in_transition_without_an_activity_is_named(quiet: Platform, table: type) -> None:
    """peers.md 11, 12: nothing stays in a transitional state unseen."""
    machine_id = quiet.deploy("between", powerOn=False)
    with quiet.services.database.write() as session:
        row = session.scalars(sa.select(table).limit(1)).one()
        row.lifecycle = Lifecycle.DELETING
        known = row.id
    assert kinds(quiet) == {"row.stuck": False}
    with quiet.services.database.write() as session:
        session.execute(sa.update(table).where(table.id == known).values(lifecycle=Lifecycle.ACTIVE))
    quiet.remove(machine_id)


def test_a_lock_that_nobody_holds_any_more_is_released(quiet: Platform) -> None:
    with quiet.services.database.write() as session:
        ended = session.scalars(sa.select(Activity).where(Activity.state == State.COMPLETED).limit(1)).one()
        resource = f"virtual_machine:{ORPHAN}"
        session.add(ActivityLock(activity_id=ended.id, resource=resource, sequence=ended.sequence, shared=False))
    assert kinds(quiet) == {"lock.stale": True}
    fix(quiet)
    with quiet.services.database.read() as session:
        assert session.scalar(sa.select(ActivityLock).where(ActivityLock.resource == resource)) is None


def test_what_could_not_be_undone_is_undone_later(quiet: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """peers.md 20: the failing teardown is kept and repeated; the row goes only after the last thing it stands for."""
    hasty = replace(quiet.services.engine._services, undo_pauses=())
    monkeypatch.setattr(quiet.services.engine, "_services", hasty)
    monkeypatch.setattr(insistence, "PAUSES_SECONDS", ())
    array, volume, faults = quiet.rack.array("az05-array"), quiet.made["volume-AZ05"], quiet.rack.faults
    boom = EngineError("az05-array", "work", "boom")
    faults.fail_next("hypervisor.start", boom)
    for _ in range(20):
        faults.fail_next("array.delete_disk", boom)
    reason = quiet.failed("POST", quiet.deploy_path, quiet.deployment("sticky"))
    assert "Not undone: removed the disk" in reason
    assert "naos doctor --fix" in reason
    assert len(quiet.get(f"{COMPUTE}/virtual_machines", name="sticky")) == 1
    assert array.contents(volume).disks
    with faults._store.transaction() as db:
        db.execute("DELETE FROM faults")
    assert "undo.failed" in kinds(quiet)
    fix(quiet)
    assert quiet.settled() == []
    assert quiet.get(f"{COMPUTE}/virtual_machines", name="sticky") == []
    assert not array.contents(volume).disks


def test_a_host_that_does_not_answer_hides_nobody_elses_findings(quiet: Platform) -> None:
    orphan(quiet, running=True)
    quiet.rack.faults.cut("az05-blade1")
    quiet.rack.faults.cut("az05-array")
    assert kinds(quiet) == {"domain.orphan_running": False, "host.unreachable": False}
    fix(quiet)
    quiet.rack.faults.join("az05-blade1")
    quiet.rack.faults.join("az05-array")
    quiet.rack.hypervisor(BLADE).power_off(ORPHAN)
    quiet.rack.hypervisor(BLADE).undefine(ORPHAN)


def test_a_sound_platform_is_repaired_by_doing_nothing(quiet: Platform) -> None:
    machine_id = quiet.deploy("sound")
    before = quiet.machine(machine_id)
    for _ in range(2):
        fix(quiet)
    assert quiet.machine(machine_id) == before
    quiet.done("PATCH", POWER, {"id": machine_id, "powerAction": "off"})
    quiet.remove(machine_id)
