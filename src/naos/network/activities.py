"""The durable work of VLANs."""

from typing import Any, cast

from naos.activity import Run, Undo, undo, workflow
from naos.lifecycle import keep
from naos.network import adapters, vlans
from naos.network.models import Vlan
from naos.world import World


@workflow("vlan.create")
def create_vlan(run: Run, arguments: dict[str, Any]) -> str:
    world, vlan_id = cast(World, run.world), arguments["vlan_id"]
    _bring_everywhere(run, world, vlan_id)
    run.step("publish", vlans.set_active, world, vlan_id)
    return str(vlan_id)


@workflow("vlan.propagate")
def propagate_vlan(run: Run, arguments: dict[str, Any]) -> str:
    world, vlan_id = cast(World, run.world), arguments["vlan_id"]
    new = run.step("look which cpools are new", vlans.missing_pools, world, vlan_id, arguments["cpool_ids"])
    run.step(
        "note the cpools",
        vlans.add_pools,
        world,
        vlan_id,
        new,
        undo=Undo("vlan.drop_pools", {**arguments, "cpool_ids": new}, "took the VLAN off the new cpools"),
    )
    _bring_everywhere(run, world, vlan_id)
    return str(vlan_id)


def _bring_everywhere(run: Run, world: World, vlan_id: str) -> None:
    """On every blade: a new blade changes the peers of all the others too."""
    for blade in run.step("list the blades", vlans.blades_with, world, vlan_id):
        run.step(
            f"bring to {blade}",
            vlans.bring,
            world,
            vlan_id,
            blade,
            undo=Undo("vlan.withdraw", {"vlan_id": vlan_id, "blade": blade}, f"took the VLAN off {blade}")
            if run.kind == "vlan.create"
            else None,
        )


@workflow("vlan.restore")
def restore_vlan(run: Run, arguments: dict[str, Any]) -> str:
    run.step("bring it back", vlans.bring, cast(World, run.world), arguments["vlan_id"], arguments["blade"])
    return str(arguments["vlan_id"])


@workflow("vlan.delete")
def delete_vlan(run: Run, arguments: dict[str, Any]) -> str:
    world, vlan_id = cast(World, run.world), arguments["vlan_id"]
    run.step("check that it is unused", _check_unused, world, vlan_id)
    for blade in run.step("list the blades", vlans.blades_with, world, vlan_id):
        run.step(f"take off {blade}", vlans.take, world, vlan_id, blade)
    run.step("forget", vlans.forget, world, vlan_id)
    return str(vlan_id)


def _check_unused(world: World, vlan_id: str) -> None:
    with world.database.read() as session:
        vlan = session.get(Vlan, vlan_id)
        if vlan is not None:
            vlans.check_unused(session, vlan)


@undo("vlan.keep")
def _keep(world: World, arguments: dict[str, Any]) -> bool:
    with world.database.write() as session:
        keep(session, Vlan, arguments["vlan_id"])
    return False


@undo("vlan.withdraw")
def _withdraw(world: World, arguments: dict[str, Any]) -> None:
    vlans.take(world, arguments["vlan_id"], arguments["blade"])


@undo("vlan.drop_pools")
def _drop_pools(world: World, arguments: dict[str, Any]) -> None:
    vlans.drop_pools(world, arguments["vlan_id"], arguments["cpool_ids"])


@undo("vlan.forget")
def _forget(world: World, arguments: dict[str, Any]) -> None:
    vlans.forget(world, arguments["vlan_id"])


@undo("adapter.forget")
def _forget_adapter(world: World, arguments: dict[str, Any]) -> None:
    adapters.forget(world, arguments["adapter_id"])
