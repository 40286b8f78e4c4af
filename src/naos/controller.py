"""The controller: assembles tables, rack, activity engine, supervisor and API into one process.

python -m naos.controller [--fd N | --host ADDRESS --port PORT]
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import structlog

from naos import migrations
from naos.activity import Engine
from naos.api.app import area_modules, create_app
from naos.api.services import Services
from naos.api.serving import serve
from naos.availability.watcher import Watcher
from naos.catalogue import library
from naos.catalogue.images import tiny
from naos.compute.balancer import Balancer
from naos.compute.sampling import Sampler
from naos.compute.supervisor import Supervisor
from naos.compute.updater import Updater
from naos.database import Database
from naos.engines.hosts import host_for
from naos.engines.hypervisor import acceleration
from naos.engines.ports import Rack
from naos.fleet import cpools
from naos.inventory.catalogues import load_blades, load_storage
from naos.inventory.model import Inventory, load
from naos.protection.backup.instant_keeper import InstantKeeper
from naos.protection.backup.scheduler import Scheduler
from naos.protection.notices.postman import Postman
from naos.protection.recovery.keeper import Keeper
from naos.protection.replication.replicator import Replicator
from naos.settings import Settings, settings
from naos.storage.figure_sampling import VolumeSampler
from naos.storage.snapshot_growth import SnapshotWatch
from naos.tenancy.bootstrap import bootstrap, save_credential
from naos.tenancy.errors import KeyUnusable
from naos.tenancy.models import Tenant
from naos.world import World

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8470
PROBE_FOLDER = f"{acceleration.STORE}/probe"

log = structlog.get_logger()


@contextmanager
def running(
    chosen: Settings,
    connect: Callable[[Inventory], Rack],
    make_engine: Callable[[Database, World], Engine] = Engine,
) -> Iterator[Services]:
    """A controller at work on `chosen`'s database and inventory, stopped at the end. `connect` makes its rack."""
    chosen.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    inventory = load(chosen.inventory)
    database = Database(chosen.database_url)
    area_modules("models")  # their tables are known once they are imported,
    area_modules("activities")  # and so is the work that an engine may find unfinished,
    area_modules("routes")  # wherever in an area it is declared
    migrations.upgrade(database)
    rack = connect(inventory)
    world = World(
        database,
        rack,
        inventory,
        load_blades(_path(inventory.catalogues.blades)),
        load_storage(_path(inventory.catalogues.storage)),
        chosen,
    )
    _furnish(world)
    engine = make_engine(database, world)
    engine.start()
    watches = [
        watch(world, engine)
        for watch in (
            Supervisor,
            Sampler,
            Watcher,
            VolumeSampler,
            SnapshotWatch,
            Balancer,
            Updater,
            Scheduler,
            Replicator,
            Keeper,
            InstantKeeper,
            Postman,
        )
    ]
    for watch in watches:
        watch.start()
    try:
        yield Services(world, engine, engine.controller_id)
    finally:
        for watch in reversed(watches):
            watch.stop()
        engine.stop()
        rack.close()
        database.close()


def connected(inventory: Inventory) -> Rack:
    """The real rack of an inventory; blades that were not probed yet show first whether they can use KVM."""
    from naos.engines.rack import ConnectedRack

    found = {}
    for blade in inventory.blades:
        host = host_for(blade.name, blade.access)
        answer = acceleration.stored(host)
        if answer is None:
            kernel, initrd = tiny.build_probe_kernel()
            host.run(["mkdir", "-p", PROBE_FOLDER])
            host.put(kernel, f"{PROBE_FOLDER}/kernel")
            host.put(initrd, f"{PROBE_FOLDER}/initrd")
            answer = acceleration.probe(host, f"{PROBE_FOLDER}/kernel", f"{PROBE_FOLDER}/initrd")
        found[blade.name] = answer
    log.info("controller.acceleration", **found)
    return ConnectedRack(inventory, found)


def _furnish(world: World) -> None:
    """What a platform has from its first start on: the inventory's blades, one tenant with its owner, token and library."""
    credentials = world.settings.credentials
    with world.database.write() as session:
        cpools.synchronise(session, world.inventory)
        first = bootstrap(
            session,
            organisation="naos",
            tenant="Default",
            owner_name="Owner",
            owner_email="owner@naos.invalid",
            snc=False,
            renew_token=not credentials.exists(),
        )
        for tenant_id in session.scalars(sa.select(Tenant.id)):
            library.ensure_default(session, tenant_id)
        if first.secret is not None:
            save_credential(credentials, first.token_id, first.secret)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _log_as_json() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING, format='{"logger":"%(name)s","level":"%(levelname)s","event":"%(message)s"}'
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m naos.controller", description="Run a controller of naos.")
    parser.add_argument("--fd", type=int, help="an inherited listening socket; then host and port are not used")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    options = parser.parse_args()
    _log_as_json()
    with running(settings(), connected) as services:
        try:
            app = create_app(services)
        except KeyUnusable as refusal:
            sys.exit(str(refusal))
        log.info("controller.ready", controller=services.controller_id)
        serve(app, fd=options.fd, host=options.host, port=options.port)


if __name__ == "__main__":
    main()
