"""What a machine's seed says, of all that was ever said to it: its deployment, its extra configuration, its customisation. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from naos.compute import extra_config
from naos.compute.customisation import network_config


def is_needed(machine: Any) -> bool:
    """Whether a machine has a seed at all: one from a template, or one to which something was said."""
    if machine.template_id is not None or machine.seed.get("customised"):
        return True
    return any(key in machine.extra_config for key in ("guestinfo.userdata", "guestinfo.metadata"))


def effective(machine_id: str, seed: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The seed as it is written. Extra configuration goes before what the deployment said, a customisation before both.

    A revision is part of the instance's id: the guest takes in what was changed because it sees a new instance.
    """
    said = extra_config.seed_of_metadata(config)
    found = {**seed, **said}
    user_data = extra_config.user_data(config)
    if user_data is not None:
        found["user_data"] = user_data
    if seed.get("customised") and seed.get("hostname"):
        found["hostname"] = seed["hostname"]
    if seed.get("own_network"):
        found["network_config"] = None
    dns = seed.get("dns", {})
    if any(dns.values()) and not found.get("network_config"):
        made = network_config(found.get("addresses", []), dns)
        found["network_config"] = json.dumps(made, indent=1) if made else None
    revision = seed.get("revision", 0)
    instance = found.get("instance_id") or machine_id
    return {**found, "instance_id": f"{instance}-{revision}" if revision else instance}


def customised(seed: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The seed after a customisation; addresses that it gives take the place of a whole network configuration."""
    own = seed.get("own_network", False) or "addresses" in change
    return {**seed, **change, "customised": True, "own_network": own, "revision": seed.get("revision", 0) + 1}


def has_whole_network(seed: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the guest was given a network configuration as one text, into which no name server can be put."""
    said = extra_config.seed_of_metadata(config)
    return not seed.get("own_network") and bool(said.get("network_config") or seed.get("network_config"))


def reconfigured(seed: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The seed after its machine's extra configuration was changed: a new instance when the guest should take it in, unless its
    own instance id says when that is."""
    watched = ("guestinfo.userdata", "guestinfo.metadata")
    if all(before.get(key) == after.get(key) for key in watched):
        return dict(seed)
    if extra_config.seed_of_metadata(after).get("instance_id"):
        return dict(seed)
    return {**seed, "revision": seed.get("revision", 0) + 1}


def unread(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Why the guest of a machine will not take in its changed extra configuration, in words; empty when it will, or when nothing
    is changed that it reads at its first start alone. A guest reads its network and its user data once for each instance id."""
    old, new = extra_config.seed_of_metadata(before), extra_config.seed_of_metadata(after)
    own = new.get("instance_id")
    if not own or own != old.get("instance_id"):
        return ""
    changed = [
        words
        for words, values in (
            ("network configuration", [said.get("network_config") for said in (old, new)]),
            ("user data", [extra_config.user_data(config) for config in (before, after)]),
        )
        if values[0] != values[1]
    ]
    if not changed:
        return ""
    return f"the guest reads its {' and '.join(changed)} at the first start of an instance only, and the instance-id is {own} as before"
