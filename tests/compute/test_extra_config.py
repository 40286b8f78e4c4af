"""Extra configuration and customisation: what is taken, what is refused, and what the seed says in the end."""

import base64
import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.compute import extra_config, guest_seed
from naos.compute.configuration_errors import CustomisationRefused, ExtraKeyUnknown, ExtraValueInvalid
from naos.compute.customisation import AdapterSetting, Customisation, network_config, seed_of

ID = "7f3c9f4e-0f5b-4d0a-9c58-0a4c3d1f2b11"
MACS = ("02:4e:00:00:00:01", "02:4E:00:00:00:02")


def packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode())).decode()


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"disk.enableUUID": True}, {"disk.enableUUID": True}),
        ({"DISK.enableuuid": True}, {"disk.enableUUID": True}),
        ({"stealclock.enable": True}, {"stealclock.enable": True}),
        ({"pciPassthru.use64BitMMIO": False}, {"pciPassthru.use64BitMMIO": False}),
        ({"pciPassthru.64bitMMioSizeGB": 64}, {"pciPassthru.64bitMMioSizeGB": 64}),
        ({"guestinfo.userdata": "#!/bin/sh"}, {"guestinfo.userdata": "#!/bin/sh"}),
    ],
)
def test_known_keys_of_their_type_are_taken(sent, kept):
    assert extra_config.checked(sent) == kept


@pytest.mark.parametrize(
    "sent",
    [
        {"disk.enableUUID": "TRUE"},
        {"disk.enableUUID": False},
        {"stealclock.enable": False},
        {"stealclock.enable": 1},
        {"pciPassthru.64bitMMioSizeGB": True},
        {"pciPassthru.64bitMMioSizeGB": 0},
        {"pciPassthru.64bitMMioSizeGB": 2**70},
        {"pciPassthru.64bitMMioSizeGB": 64.0},
        {"guestinfo.userdata": {"a": 1}},
        {"guestinfo.userdata": None},
        {"guestinfo.userdata": "x" * (extra_config.LARGEST + 1)},
        {"guestinfo.userdata.encoding": "rot13"},
    ],
)
def test_values_of_another_type_are_refused_with_the_reason(sent):
    with pytest.raises(ExtraValueInvalid) as refusal:
        extra_config.checked(sent)
    assert next(iter(sent)).lower() in str(refusal.value).lower()


def test_an_unknown_key_is_answered_with_all_that_there_are():
    with pytest.raises(ExtraKeyUnknown) as refusal:
        extra_config.checked({"isolation.tools.copy.disable": True})
    assert all(key in str(refusal.value) for key in extra_config.KEYS)


@pytest.mark.parametrize(
    "config",
    [
        {"guestinfo.userdata": "!", "guestinfo.userdata.encoding": "base64"},
        {"guestinfo.userdata": coded("no gzip"), "guestinfo.userdata.encoding": "gzip+base64"},
        {"guestinfo.userdata": packed("a" * (extra_config.LARGEST + 1)), "guestinfo.userdata.encoding": "gzip+base64"},
        {"guestinfo.userdata": base64.b64encode(b"\xff\xfe").decode(), "guestinfo.userdata.encoding": "base64"},
        {"guestinfo.metadata": "[1, 2]"},
        {"guestinfo.metadata": "a: [unclosed"},
        {"guestinfo.metadata": "a: &a [1]\nb: [*a, *a]"},
        {"guestinfo.metadata": "[" * extra_config.LARGEST},
        {"guestinfo.metadata": "- " * (extra_config.LARGEST // 2)},
        {"guestinfo.metadata": "network: 7"},
        {"guestinfo.ignition.config.data": "variant: fcos"},
    ],
)
def test_data_that_nobody_could_read_is_refused_when_it_is_set(config):
    with pytest.raises(ExtraValueInvalid):
        extra_config.merged({}, config)


@given(st.text(max_size=200))
def test_metadata_of_any_text_is_read_or_refused_in_words(text):
    with suppress(ExtraValueInvalid):
        extra_config.seed_of_metadata({"guestinfo.metadata": text})


def test_a_change_merges_and_an_empty_text_takes_a_key_away():
    before = {"disk.enableUUID": True, "guestinfo.userdata": "#!/bin/sh"}
    after = extra_config.merged(before, {"guestinfo.userdata": "", "pciPassthru.64bitMMioSizeGB": 64})
    assert after == {"disk.enableUUID": True, "pciPassthru.64bitMMioSizeGB": 64}
    assert [extra_config.as_text(value) for value in after.values()] == ["TRUE", "64"]


def test_metadata_becomes_the_seeds_fields():
    network = {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}
    text = json.dumps(
        {
            "instance-id": "own",
            "local-hostname": "web",
            "public-keys": ["ssh-ed25519 AAAA one"],
            "network": packed(json.dumps(network)),
            "network.encoding": "gzip+base64",
        }
    )
    found = extra_config.seed_of_metadata({"guestinfo.metadata": coded(text), "guestinfo.metadata.encoding": "base64"})
    assert json.loads(found.pop("network_config")) == network
    assert found == {"instance_id": "own", "hostname": "web", "ssh_keys": ["ssh-ed25519 AAAA one"]}


def test_what_the_firmware_tells():
    config = {
        "guestinfo.userdata": "#!/bin/sh",
        "guestinfo.ignition.config.data": coded('{"ignition": {"version": "3.4.0"}}'),
        "guestinfo.ignition.config.data.encoding": "base64",
        "pciPassthru.use64BitMMIO": True,
        "pciPassthru.64bitMMioSizeGB": 64,
    }
    told = extra_config.told(config, firmware="efi")
    assert told["opt/naos/guestinfo.userdata"] == "#!/bin/sh"
    assert told["opt/com.coreos/config"] == '{"ignition": {"version": "3.4.0"}}'
    assert told["opt/ovmf/X-PciMmio64Mb"] == "65536"
    assert "opt/ovmf/X-PciMmio64Mb" not in extra_config.told(config, firmware="bios")
    assert all(len(f"opt/naos/{key}") <= 55 for key in extra_config.TEXTS)  # QEMU's limit


# -------------------------------------------------------------------------------------------------------- customisation


def test_adapters_are_taken_by_mac_and_then_in_order():
    wish = Customisation(
        "web",
        "example.org",
        ["10.0.0.53"],
        [],
        [AdapterSetting(None, "10.1.0.7", "255.255.255.0", "10.1.0.1"), AdapterSetting("02-4e-00-00-00-01")],
    )
    found = seed_of("one", wish, MACS)
    assert found["hostname"] == "web.example.org"
    assert found["dns"] == {"addresses": ["10.0.0.53"], "search": ["example.org"]}
    assert found["addresses"] == [
        {"mac": MACS[0], "address": None, "gateway": None},
        {"mac": MACS[1], "address": "10.1.0.7/24", "gateway": "10.1.0.1"},
    ]
    config = network_config(found["addresses"], found["dns"])
    assert config["ethernets"]["eth0"]["dhcp4"] is True
    assert config["ethernets"]["eth1"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.1.0.1"}]
    assert config["ethernets"]["eth1"]["nameservers"] == {"addresses": ["10.0.0.53"], "search": ["example.org"]}


@pytest.mark.parametrize(
    ("adapters", "dns"),
    [
        ([AdapterSetting()] * 3, []),
        ([AdapterSetting("02:4e:00:00:00:09")], []),
        ([AdapterSetting(MACS[0]), AdapterSetting(MACS[0])], []),
        ([AdapterSetting(None, "10.1.0.7")], []),
        ([AdapterSetting(None, "10.1.0.700", "255.255.255.0")], []),
        ([AdapterSetting(None, "10.1.0.7", "255.0.255.0")], []),
        ([AdapterSetting(None, "10.1.0.7", "255.255.255.0", "nowhere")], []),
        ([AdapterSetting(None, None, None, "10.1.0.1")], []),
        ([], ["dns.example.org"]),
    ],
)
def test_what_no_guest_could_take_in_is_refused(adapters, dns):
    with pytest.raises(CustomisationRefused) as refusal:
        seed_of("one", Customisation("web", "", dns, [], adapters), MACS)
    assert "'one'" in str(refusal.value)


def test_a_customisation_goes_before_metadata_and_that_before_the_deployment():
    seed = {"hostname": "deployed", "network_config": "version: 1", "addresses": []}
    config = {
        "guestinfo.metadata": "{local-hostname: told, network: {version: 2}}",
        "guestinfo.userdata": "#!/bin/sh\ntrue",
    }
    told = guest_seed.effective(ID, seed, config)
    assert (told["hostname"], told["network_config"], told["instance_id"]) == ("told", '{"version": 2}', ID)
    change = seed_of("one", Customisation("custom", adapters=[AdapterSetting(None, "10.1.0.7", "255.255.255.0")]), MACS)
    custom = guest_seed.effective(ID, guest_seed.customised(seed, change), config)
    assert (custom["hostname"], custom["instance_id"], custom["user_data"]) == ("custom", f"{ID}-1", "#!/bin/sh\ntrue")
    assert custom.get("network_config") is None  # the addresses are written
    named = guest_seed.customised(seed, seed_of("one", Customisation("custom", "", ["10.0.0.53"]), MACS))
    assert guest_seed.has_whole_network(named, {})
    assert not guest_seed.has_whole_network(guest_seed.customised(seed, change), config)


def test_a_new_instance_for_new_guest_information_unless_it_says_its_own():
    first = {"guestinfo.userdata": "#!/bin/sh"}
    changed = guest_seed.reconfigured({}, {}, first)
    assert changed["revision"] == 1
    assert guest_seed.reconfigured(changed, first, {**first, "disk.enableUUID": True}) == changed
    own = {**first, "guestinfo.metadata": "instance-id: mine"}
    assert guest_seed.reconfigured(changed, first, own) == changed
    assert guest_seed.effective(ID, {}, own)["instance_id"] == "mine"


def metadata(instance: str, network: str) -> dict[str, str]:
    said = "network: {config: {version: 2, ethernets: {" + network + ": {dhcp4: true}}}}"
    return {"guestinfo.metadata": f"instance-id: {instance}\n{said}" if instance else said}


def test_a_network_that_the_guest_will_not_read_again_is_warned_of():
    """A guest reads its network configuration once for each instance: one that keeps its own id would never see the change."""
    before = metadata("mine", "eth0")
    assert guest_seed.unread(before, before) == ""
    assert guest_seed.unread(before, metadata("other", "eth1")) == ""
    assert guest_seed.unread({}, before) == ""
    assert guest_seed.unread(metadata("", "eth0"), metadata("", "eth1")) == "", "a new instance is made by itself"
    told = guest_seed.unread(before, metadata("mine", "eth1"))
    assert "network configuration at the first start" in told
    assert "mine as before" in told
    both = {**metadata("mine", "eth1"), "guestinfo.userdata": "#!/bin/sh\ntrue"}
    assert "network configuration and user data" in guest_seed.unread(before, both)
