"""The consoles of a machine: addresses, what it has printed, and the live serial line over a WebSocket."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.compute import machines, rules
from naos.compute.errors import WrongPower
from naos.compute.models import Power
from naos.compute.wire import Endpoint
from naos.engines.ports import SerialStream
from naos.errors import NaosError
from naos.identity import Identity
from naos.world import World

router = APIRouter()

Viewer = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_console_access"))]
REFUSED = 4409
"""WebSocket close code: the console cannot be opened; the reason says why."""


def _blade(world: World, tenant_id: str, machine_id: str) -> str:
    """Where the machine runs. Raises WrongPower."""
    with world.database.read() as session:
        machine = machines.find(session, tenant_id, machine_id)
    rules.check_running(machine.name, machine.power)
    if machine.blade is None:
        raise WrongPower(machine.name, machine.power, Power.RUNNING, "power it on first")
    return machine.blade


@router.get("/virtual_machines/{machine_id}/consoles")
def list_consoles(machine_id: ResourceId, identity: Viewer, services: ServicesOf) -> list[Endpoint]:
    """Where a running machine's consoles are."""
    blade = _blade(services.world, identity.tenant_id, machine_id)
    found = services.rack.hypervisor(blade).endpoints(machine_id)
    path = f"/compute/v1/vcenters/virtual_machines/{machine_id}/consoles/serial"
    return [
        Endpoint(kind=end.kind, host=end.host, port=end.port, path=path if end.kind == "serial" else "")
        for end in found
    ]


@router.get("/virtual_machines/{machine_id}/consoles/log", response_class=PlainTextResponse)
def read_log(
    machine_id: ResourceId,
    identity: Viewer,
    services: ServicesOf,
    last: Annotated[int, Query(ge=1, le=1_048_576, description="Bytes from the end.")] = 65_536,
) -> str:
    """What a running machine has printed on its serial console since its start."""
    blade = _blade(services.world, identity.tenant_id, machine_id)
    return services.rack.hypervisor(blade).serial_log(machine_id, last_bytes=last)


@router.websocket("/virtual_machines/{machine_id}/consoles/serial")
async def attach_serial(websocket: WebSocket, machine_id: ResourceId, identity: Viewer, services: ServicesOf) -> None:
    """The live serial line: binary messages both ways. A second client takes the line over."""
    await websocket.accept()
    try:
        stream = await run_in_threadpool(_open, services.world, identity.tenant_id, machine_id)
    except NaosError as error:
        await websocket.close(REFUSED, str(error)[:120])
        return
    try:
        await _relay(websocket, stream)
    finally:
        await run_in_threadpool(stream.close)


def _open(world: World, tenant_id: str, machine_id: str) -> SerialStream:
    return world.rack.hypervisor(_blade(world, tenant_id, machine_id)).serial(machine_id)


async def _relay(websocket: WebSocket, stream: SerialStream) -> None:
    async def outward() -> None:
        while data := await run_in_threadpool(stream.receive):
            await websocket.send_bytes(data)
        await websocket.close()

    async def inward() -> None:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes") or (message.get("text") or "").encode()
            await run_in_threadpool(stream.send, data)

    tasks = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except WebSocketDisconnect:
        return
    finally:
        for task in tasks:
            task.cancel()
