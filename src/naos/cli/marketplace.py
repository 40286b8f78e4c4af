"""`naos marketplace`: images that the platform offers to every tenant."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from naos.cli import creation, naming, options, waiting
from naos.cli.client import Json, connect
from naos.cli.naming import MACHINE, POOL, VLAN, VOLUME, Kind, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes, completes
from naos.cli.output import field, gib, json_out, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Marketplace: images that the platform offers to every tenant.")

ITEM = Kind("marketplace item", "/marketplace/v1/items", "naos marketplace list", by_name=False)
LIST = (
    field("NAME", "name"),
    field("VERSION", "version"),
    field("EDITOR", "editor"),
    field("UPDATED", "lastUpdate", show=moment),
    field("ID", "id"),
)
SHOW = (
    *LIST[:2],
    field("BUILD", "build"),
    *LIST[2:4],
    field("DESCRIPTION", "descriptionEn"),
    field("VCPUS", "cpu", "count"),
    field("MEMORY", "memory", show=gib),
    LIST[4],
)
ItemName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name or id of the marketplace item.", autocompletion=completes(ITEM), show_default=False
    ),
]


@app.command("list", epilog="Example: naos marketplace list")
def list_items(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List what there is."""
    with connect(context) as api:
        found = api.get(ITEM.path)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="The marketplace has nothing yet.")


@app.command(epilog="Example: naos marketplace show debian-12")
def show(context: typer.Context, name: ItemName, as_json: AsJson = False) -> None:
    """Show an item, and what a machine of it gets."""
    with connect(context) as api:
        item = find(api, ITEM, name)
        info = api.get(f"{ITEM.path}/{item['id']}/vmware/info")
    show_object({**info, **item}, SHOW, as_json=as_json)
    if not as_json:
        adapters = [{**entry, "kind": "adapter"} for entry in info["networkAdapters"]]
        columns = (field("ADAPTER", "name"), field("NETWORK", "networkName"), field("TYPE", "type"))
        show_list(adapters, columns, empty="It has no adapter.")
        columns = (field("SETTING", "key"), field("DEFAULT", "value"), field("REQUIRED", "required"))
        show_list(info["extraConfig"], columns, empty="It has no setting of its own.")


@app.command(epilog="Example: naos marketplace publish debian-12 --editor Debian --version 12.8 --category Linux")
def publish(
    context: typer.Context,
    *,
    template: Annotated[
        str,
        typer.Argument(
            metavar="TEMPLATE",
            help="Name or id of the template to offer.",
            autocompletion=options.complete_templates,
            show_default=False,
        ),
    ],
    editor: Annotated[str, typer.Option(help="Who made the image.", show_default=False)],
    version: Annotated[str, typer.Option(help="Its version.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the offer; left out, the template's.", show_default=False)
    ] = None,
    build: Annotated[str, typer.Option(help="Its build.", show_default=False)] = "",
    category: Annotated[list[str] | None, typer.Option(help="A category; once for each.")] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with icon, description, descriptionEn, and the tables details and detailsEn of overview, "
            "howToUse, support and termsAndConditions.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Offer a template to every tenant; owners of the platform's first organisation may."""
    wanted = _texts(texts) if texts is not None else {}
    with connect(context) as api:
        found = naming.find_template(api, template)
        body = {
            **wanted,
            "contentLibraryItemId": found["id"],
            "name": name if name is not None else found["name"],
            "editor": editor,
            "version": version,
            "build": build,
            "categories": category or [],
        }
        made = api.change("POST", ITEM.path, body)
        note(f"Published {made['name']}.")
        show_object(made, LIST, as_json=as_json)


@app.command(epilog="Example: naos marketplace withdraw debian-12")
def withdraw(context: typer.Context, *, name: ItemName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Take an offer back; machines that were made of it are not touched."""
    with connect(context) as api:
        item = find(api, ITEM, name)
        options.confirm(f"Withdraw {item['name']} {item['version']} from the marketplace?", yes=yes)
        api.change("DELETE", f"{ITEM.path}/{item['id']}")
        note(f"Withdrew {item['name']}.")
        if as_json:
            json_out(item)


@app.command(epilog="Example: naos marketplace deploy debian-12 web-1 --network front=dmz --set hostname=web-1")
def deploy(
    context: typer.Context,
    *,
    item: ItemName,
    name: Annotated[str, typer.Argument(metavar="MACHINE", help="Name of the new machine.", show_default=False)],
    pool: Annotated[
        str | None,
        typer.Option(help="Pool to run in; may be left out when there is one.", autocompletion=completes(POOL)),
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option(
            help="Volume for its disks; may be left out when the pool's zone has one.", autocompletion=completes(VOLUME)
        ),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE=VLAN", help="VLAN for a network of the image; once for each.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the image, or one of cloud-init's."),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")] = True,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a machine of an offer; its processors and memory are the image's."""
    networks, settings = creation.pairs(network, "--network"), creation.pairs(setting, "--set")
    with connect(context) as api:
        offer = find(api, ITEM, item)
        place = find(api, POOL, pool) if pool is not None else naming.only(api, POOL, "--pool")
        zone = place["datacenter"]["id"]
        disk = find(api, VOLUME, volume) if volume else naming.only(api, VOLUME, "--volume", datacenterId=zone)
        body: Json = {
            "id": offer["id"],
            "name": name,
            "datacenterId": zone,
            "hostClusterId": place["id"],
            "datastoreId": disk["id"],
            "networkData": [
                {"sourceNetworkName": source, "destinationNetworkId": find_id(api, VLAN, vlan)}
                for source, vlan in networks.items()
            ],
            "deployOptions": [{"id": key, "value": value} for key, value in settings.items()],
            "powerOn": start,
        }
        activity = api.write("POST", f"{ITEM.path}/vmware/deploy", body)
        ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
        if ended is None:
            return
        note(f"Created {name}.")
        columns = (field("NAME", "name"), field("STATE", "powerState"), field("VCPUS", "cpu"), field("ID", "id"))
        show_object(api.get(f"{MACHINE.path}/{waiting.made(ended, 'virtual_machine')}"), columns, as_json=as_json)


def _texts(file: Path) -> dict[str, Any]:
    """Raises a usage error for what is no TOML file."""
    try:
        return tomllib.loads(options.read_text(file, "a description"))
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"{file} is no TOML file: {error}", param_hint="--texts") from error
