"""The command line, and the fake that its tests use, against the real API's own description of itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import httpx
import pytest
from cli_platform import Cli, Platform, adapter, disk, identifier, machine
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, TypeAdapter
from starlette.routing import compile_path
from test_cli_volume_top import VOLUME as FIGURES

from naos.api.app import area_routers

COMMANDS = """
vm list --pool web
vm show web-1
vm create a
vm create b --template naos-tiny --vlan front --address 10.1.0.2/24 --gateway 10.1.0.1 --hostname b
vm create c --template naos-tiny --disk 1 --blade par1-blade1 --no-start
vm start web-1
vm stop web-1
vm stop web-1 --force
vm reset web-1
vm resize web-1 --cpus 2 --memory 2
vm rename web-1 c
vm migrate web-1 --to par1-blade1
vm move web-1 --to par1-blade1 --pool web --zone par1 --volume fast --disk Disk=fast
vm clone web-1 twin --pool web --zone par1 --volume fast --start
vm log web-1
vm delete db --yes
pool list --zone par1
pool create p --zone par1 --model m --blades 1 --memory 256
pool delete web --yes
blade list --pool web --zone par1
blade show par1-blade1
zone list
volume list --zone par1
volume create v --zone par1 --class standard --size 500
volume grow fast 1TiB
volume set fast --class premium
volume top
volume top fast --json
volume delete fast --yes
vlan list --pool web
vlan create v --pool web --tag 200
vlan propagate front --pool web
vlan delete front --yes
disk list --vm web-1
disk add web-1 --size 1 --volume fast
disk grow Disk 20 --vm web-1
disk delete Disk --vm web-1 --yes
nic list --vm web-1
nic add web-1 --vlan front --mac 02:00:00:00:00:01
nic disconnect Adapter --vm web-1
nic connect Adapter --vm web-1
nic change Adapter --vm web-1 --vlan front --mac 02:00:00:00:00:01 --at-start
nic delete Adapter --vm web-1 --yes
template list
template libraries
template add t {file} --checksum md5:00 --description x
template add s {file} --cpus 2 --memory 1 --network lan
template add u https://images.example/x
template show naos-tiny
template export naos-tiny --output {folder}/t.ova
template delete naos-tiny --yes
vm export web-1 --output {folder}/m.ova
marketplace list
marketplace show debian
marketplace publish naos-tiny --editor Debian --version 12 --category Linux
marketplace withdraw debian --yes
marketplace deploy debian d --network lan=front --set hostname=d
activity list --state failed --kind x --text y --archived
audit list --since 2026-01-01 --outcome refused --path x
audit verify
tag list web-1
tag set web-1 owner billing
tag remove web-1 a/b?c
doctor --fix --yes
""".strip().splitlines()


class Seen(Platform):
    """Keeps every answer beside its request."""

    def handle(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle(request)
        self.answers = [*getattr(self, "answers", []), (request, answer)]
        return answer


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, Any, Any]]:
    app = FastAPI()
    for router in area_routers():
        app.include_router(router)
    return [
        (method, compile_path(context.path)[0], context)
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
        if context.path is not None
    ]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_request_and_answer_is_the_api_s(
    line: str, tmp_path: Path, operations: list[tuple[str, Any, Any]]
) -> None:
    cli = Cli(tmp_path, Seen())
    (tmp_path / "image").write_bytes(b"x")
    finding = {"kind": "seed.orphan", "subject": "a", "sentence": "left", "repair": "remove it", "safe": True}
    cli.platform.findings = [[finding], []]
    cli.platform.lists["virtual_machines"] = [machine(10, "web-1"), machine(11, "db")]
    cli.platform.lists["virtual_disks"] = [disk(20, identifier(10), "Disk")]
    cli.platform.lists["datastore_figures"] = [FIGURES]
    cli.platform.lists["network_adapters"] = [adapter(30, identifier(10), "Adapter")]
    cli.ok(*(word.format(file=tmp_path / "image", folder=tmp_path) for word in line.split()))
    for request, answer in cli.platform.answers:
        operation = _operation(operations, request)
        known = {field.alias for field in _fields(operation.dependant, "query_params")}
        assert set(request.url.params) <= known, (request.url, known)
        for field in _fields(operation.dependant, "body_params"):
            TypeAdapter(field.field_info.annotation).validate_python(json.loads(request.content))
        if answer.headers.get("content-type") == "application/json":
            _check_shape(operation.response_model, answer.json(), str(request.url))


def _operation(operations: list[tuple[str, Any, Any]], request: httpx.Request) -> Any:
    for method, pattern, operation in operations:
        if method == request.method and pattern.match(request.url.path):
            return operation
    raise AssertionError(f"the API has no {request.method} {request.url.path}")


def _fields(dependant: Any, kind: str) -> Iterator[Any]:
    yield from getattr(dependant, kind)
    for inner in dependant.dependencies:
        yield from _fields(inner, kind)


def _check_shape(annotation: Any, value: Any, where: str) -> None:
    """Every key of the fake's answer is a field of the real one, all the way down."""
    if value is None:
        return
    if get_origin(annotation) is list:
        for item in value:
            _check_shape(get_args(annotation)[0], item, where)
        return
    model = next((part for part in (annotation, *get_args(annotation)) if _is_model(part)), None)
    if model is None:
        return
    fields = {field.serialization_alias or field.alias or name: field for name, field in model.model_fields.items()}
    assert set(value) <= set(fields), (where, model.__name__, set(value) - set(fields))
    for key, inner in value.items():
        _check_shape(fields[key].annotation, inner, f"{where} {key}")


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)
