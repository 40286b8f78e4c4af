"""Tags of machines over the whole controller (contract section 6.1), and what a failed creation leaves for clients."""

import threading
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from simulated_platform import COMPUTE, Platform

from naos.engines.errors import EngineError

TAGS = "/tag/v1/tags"


def machine_in(platform: Platform, name: str) -> str:
    pool = {"hostClusterId": platform.made["pool-AZ05"], "datastoreId": platform.made["volume-AZ05"]}
    body = {"name": name, "cpu": 1, "memory": 128 * 2**20, "datacenterId": platform.zone("AZ05"), **pool}
    return platform.done("POST", f"{COMPUTE}/virtual_machines", body)


@pytest.fixture(scope="module")
def tagged(simulated: Platform) -> str:
    return machine_in(simulated, "tagged")


def body_of(machine: str, key: str, value: str, **changes: Any) -> dict[str, Any]:
    resource = {"uuid": machine, "type": "vcenter_virtual_machine", "source": "vmware"}
    return {"key": key, "value": value, "resources": [resource | changes]}


def put(platform: Platform, machine: str, key: str, value: str) -> None:
    answer = platform.client.post(TAGS, json=body_of(machine, key, value))
    assert answer.status_code == 201, answer.text
    assert "Location" not in answer.headers


def tags_of(platform: Platform, machine: str) -> dict[str, str]:
    answer = platform.client.get(f"{TAGS}/resources/{machine}")
    assert (answer.status_code, "Location" in answer.headers) == (200, False)
    tenant = platform.get("/iam/v2/tenants")[0]["id"]
    assert all((tag["tenant"], tag["resource"]) == (tenant, machine) for tag in answer.json())
    return {tag["key"]: tag["value"] for tag in answer.json()}


def test_a_tag_is_there_at_once_changes_and_goes(simulated: Platform, tagged: str) -> None:
    assert tags_of(simulated, tagged) == {}
    put(simulated, tagged, "owner", "billing")
    put(simulated, tagged, "env", "")
    put(simulated, tagged, "owner", "ops")
    assert list(tags_of(simulated, tagged).items()) == [("env", ""), ("owner", "ops")]
    for key in ("owner", "env", "env"):
        answer = simulated.client.delete(f"{TAGS}/resources/{tagged.upper()}/keys/{key}")
        assert (answer.status_code, answer.content, "Location" in answer.headers) == (204, b"", False)
    assert tags_of(simulated, tagged) == {}


@pytest.mark.parametrize(
    "key", ["a b", "a/b", "a//b/", "50%", "50%25", "é漢🖥", "a?b=c", "a&b", "a;b", "a+b", "keys/x", "/a"]
)
def test_odd_keys_are_removed_whether_the_address_is_escaped_or_not(simulated: Platform, tagged: str, key: str) -> None:
    for escaped in (quote(key, safe=""), quote(key, safe="/?&;=+%") if "%" not in key else quote(key)):
        put(simulated, tagged, key, "v")
        assert tags_of(simulated, tagged) == {key: "v"}
        assert simulated.client.delete(f"{TAGS}/resources/{tagged}/keys/{escaped}").status_code == 204
        assert tags_of(simulated, tagged) == {}, escaped


def test_what_is_unknown_or_foreign_has_no_tags_and_gets_none(simulated: Platform, tagged: str) -> None:
    put(simulated, tagged, "owner", "billing")
    stranger = simulated.stranger()
    for client, machine in ((stranger, tagged), (simulated.client, str(uuid.uuid4())), (simulated.client, "no-id")):
        assert client.get(f"{TAGS}/resources/{machine}").json() == []
        assert client.delete(f"{TAGS}/resources/{machine}/keys/owner").status_code == 204
    assert tags_of(simulated, tagged) == {"owner": "billing"}
    error = simulated.refused("POST", TAGS, body_of(tagged, "owner", "me"), client=stranger)
    assert (error["status"], error["code"]) == (404, "naos.unknown")
    assert simulated.refused("POST", TAGS, body_of(simulated.made["vlan"], "a", "b"))["code"] == "naos.unknown"
    assert tags_of(simulated, tagged) == {"owner": "billing"}
    simulated.client.delete(f"{TAGS}/resources/{tagged}/keys/owner")


def test_what_cannot_be_is_refused_and_nothing_of_it_is_done(simulated: Platform, tagged: str) -> None:
    good = body_of(tagged, "a", "b")["resources"][0]
    refused = [
        (body_of(tagged, "", "v"), "tag.key_unfit"),
        (body_of(tagged, "..", "v"), "tag.key_unfit"),
        (body_of(tagged, "k", "v" * 5000), "tag.value_too_long"),
        (body_of(tagged, "k", "v", type="virtual_disk"), "tag.kind_unknown"),
        (body_of(tagged, "k", "v", source="open_iaas"), "tag.kind_unknown"),
        ({"key": "k", "value": "v", "resources": []}, "tag.resource_missing"),
        ({"key": "k", "value": "v", "resources": [good, good | {"uuid": str(uuid.uuid4())}]}, "naos.unknown"),
        ({"key": "k", "value": 1, "resources": [good]}, "api.fields_invalid"),
        ({"key": "k", "value": "v", "resources": [good | {"colour": "red"}]}, "api.fields_invalid"),
    ]
    for body, code in refused:
        assert simulated.refused("POST", TAGS, body)["code"] == code
    assert tags_of(simulated, tagged) == {}


def test_an_object_carries_so_many_tags_and_no_more(simulated: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("naos.tags.rules.MOST", 3)
    machine = machine_in(simulated, "laden")
    for number in range(3):
        put(simulated, machine, f"k{number}", "v")
    assert simulated.refused("POST", TAGS, body_of(machine, "k3", "v"))["code"] == "tag.too_many"
    put(simulated, machine, "k0", "other")
    simulated.done("DELETE", f"{COMPUTE}/virtual_machines/{machine}")
    assert tags_of(simulated, machine) == {}


def test_tags_go_with_their_machine_even_while_one_is_being_put(simulated: Platform) -> None:
    machine = machine_in(simulated, "short")
    codes: list[int] = []

    def tag() -> None:
        bodies = [body_of(machine, f"k{number}", "v") for number in range(20)]
        codes.extend(simulated.client.post(TAGS, json=body).status_code for body in bodies)

    thread = threading.Thread(target=tag)
    thread.start()
    simulated.done("DELETE", f"{COMPUTE}/virtual_machines/{machine}")
    thread.join(60)
    assert set(codes) <= {201, 404}
    assert tags_of(simulated, machine) == {}


def test_a_creation_that_was_undone_names_nothing_and_a_made_object_is_named(simulated: Platform) -> None:
    """A client keeps the id that it is told: of a machine that is gone it would never find it again."""
    simulated.rack.faults.fail_next("array.clone_template", EngineError("az05-array", "the copy", "it was pulled"))
    activity = simulated.ended(simulated.write("POST", simulated.deploy_path, simulated.deployment("lost")))
    assert set(activity["state"]) == {"failed"}
    assert activity["concernedItems"] == []
    assert simulated.get(f"{COMPUTE}/virtual_machines", name="lost") == []
    made = simulated.ended(simulated.write("POST", simulated.deploy_path, simulated.deployment("kept", powerOn=False)))
    machine = made["state"]["completed"]["result"]
    assert made["concernedItems"][0] == {"id": machine, "type": "virtual_machine"}
    assert [entry["id"] for entry in simulated.get("/activity/v1/activities", concernedItem=machine)] == [made["id"]]
