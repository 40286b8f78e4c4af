"""Objects by name or id. Names are looked up in the lists of the API, never used as part of an address."""

import difflib
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from naos.cli.client import Api, Json
from naos.cli.failures import Failure
from naos.cli.output import plain

COMPUTE = "/compute/v1/vcenters"


@dataclass(frozen=True)
class Kind:
    """A kind of object: what people call it, where its list is, which command shows it.

    by_name: the list takes a `name` filter.
    """

    noun: str
    path: str
    command: str
    by_name: bool = True


MACHINE = Kind("machine", f"{COMPUTE}/virtual_machines", "naos vm list")
POOL = Kind("pool", f"{COMPUTE}/host_clusters", "naos pool list")
BUILD = Kind("hypervisor build", f"{COMPUTE}/hypervisor_builds", "naos build list")
BLADE = Kind("blade", f"{COMPUTE}/hosts", "naos blade list")
ZONE = Kind("zone", f"{COMPUTE}/virtual_datacenters", "naos zone list")
RULE = Kind("affinity rule", f"{COMPUTE}/affinity_rules", "naos affinity list")
VOLUME = Kind("volume", f"{COMPUTE}/datastores", "naos volume list")
VLAN = Kind("VLAN", f"{COMPUTE}/networks", "naos vlan list")
DISK = Kind("disk", f"{COMPUTE}/virtual_disks", "naos disk list")
DEVICE = Kind("controller or drive", f"{COMPUTE}/virtual_controllers", "naos device list", by_name=False)
SNAPSHOT = Kind("snapshot", f"{COMPUTE}/snapshots", "naos snapshot list", by_name=False)
NIC = Kind("adapter", f"{COMPUTE}/network_adapters", "naos nic list", by_name=False)
LIBRARY = Kind("content library", f"{COMPUTE}/content_libraries", "naos template libraries")
TEMPLATE = Kind("template", "", "naos template list")


def normal_id(reference: str) -> str | None:
    """The id as the API writes it; None when `reference` is not a UUID."""
    try:
        return str(uuid.UUID(reference)) if len(reference) == 36 else None
    except ValueError:
        return None


def normal_name(reference: str) -> str:
    """The name as the API keeps it."""
    return unicodedata.normalize("NFC", reference).strip()


def find(api: Api, kind: Kind, reference: str, **filters: str | None) -> Json:
    """The one object that `reference` names. `filters` narrow the list, e.g. to one machine's disks.

    Raises Failure when there is none (with names that look alike) or more than one (with their ids).
    """
    identifier = normal_id(reference)
    if identifier is not None:
        try:
            found: Json = api.get(f"{kind.path}/{identifier}")
        except Failure as failure:
            if failure.status != 404:  # a name may look like an id
                raise
        else:
            return found
    name = normal_name(reference)
    narrowed = dict(filters, name=name) if kind.by_name else filters
    matching = [item for item in api.get(kind.path, **narrowed) if item["name"] == name] if name else []
    if len(matching) == 1:
        only: Json = matching[0]
        return only
    if matching:
        raise ambiguous(kind, reference, matching)
    raise unknown(kind, reference, [item["name"] for item in api.get(kind.path, **filters)])


def find_id(api: Api, kind: Kind, reference: str, **filters: str | None) -> str:
    """The id of the object that `reference` names."""
    found: str = find(api, kind, reference, **filters)["id"]
    return found


def only(api: Api, kind: Kind, option: str, **filters: str | None) -> Json:
    """The one object of its kind, where a command lets it be left out. Raises Failure that lists the choices."""
    items: list[Json] = api.get(kind.path, **filters)
    if len(items) == 1:
        return items[0]
    if not items:
        raise Failure(f"There is no {kind.noun} yet; make one first (see `{kind.command.rsplit(' ', 1)[0]} --help`).")
    choices = ", ".join(sorted(plain(item["name"]) for item in items))
    raise Failure(f"There are several {kind.noun}s ({choices}); choose one with {option}.")


def templates(api: Api, library: str | None = None) -> list[Json]:
    """Every template with its `library`, of one library or of all."""
    libraries = [find(api, LIBRARY, library)] if library is not None else api.get(LIBRARY.path)
    return [
        {**item, "library": {"id": place["id"], "name": place["name"]}}
        for place in libraries
        for item in api.get(f"{LIBRARY.path}/{place['id']}/items")
    ]


def find_template(api: Api, reference: str, library: str | None = None) -> Json:
    """A template by name or id, wherever it is; it carries its `library`. Raises Failure as `find` does."""
    every = templates(api, library)
    return choose(TEMPLATE, reference, every)


def choose(kind: Kind, reference: str, items: Sequence[Json]) -> Json:
    """The one of `items` that `reference` names: an id first, then a name. Raises Failure as `find` does."""
    identifier, name = normal_id(reference), normal_name(reference)
    matching = [item for item in items if item["id"] == identifier] or [item for item in items if item["name"] == name]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ambiguous(kind, reference, matching)
    raise unknown(kind, reference, [item["name"] for item in items])


def ambiguous(kind: Kind, reference: str, matching: Sequence[Json]) -> Failure:
    lines = "".join(f"\n  {item['id']}{_place(item)}" for item in matching)
    return Failure(f"{len(matching)} {kind.noun}s are named {reference!r}; give the id of one:{lines}")


def unknown(kind: Kind, reference: str, present: Sequence[str]) -> Failure:
    folded = {name.casefold(): name for name in present}
    alike = difflib.get_close_matches(reference.casefold(), folded, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(repr(folded[name]) for name in alike)}?"
    hint = meant if alike else f"`{kind.command}` shows those that there are."
    return Failure(f"There is no {kind.noun} {reference!r}; {hint}", status=404)


def _place(item: Json) -> str:
    """What tells two objects of one name apart, beside the id."""
    for key in ("library", "hostCluster", "datacenter"):
        value: Any = item.get(key)
        if isinstance(value, dict) and value.get("name"):
            return f"  in {plain(str(value['name']))}"
    machine = item.get("virtualMachineId")
    return f"  of machine {machine}" if machine else ""


def find_build(api: Api, reference: str) -> Json:
    """A hypervisor build by version or id. Raises Failure with the versions that there are."""
    builds: list[Json] = api.get(BUILD.path)
    for build in builds:
        if reference in (build["version"], build["id"]):
            return build
    known = ", ".join(build["version"] for build in builds) or "none was published yet"
    raise Failure(f"There is no hypervisor build {reference!r}: {known} (see `{BUILD.command}`).")
