"""The simulated controller behind a real socket of the loopback."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI
from provider_client import Client
from simulated_platform import Platform, inventory_text

from naos.tenancy.bootstrap import load_credential

VAULT = 'vaults = [{ name = "az07-vault", zone = "AZ07", access = { driver = "namespace", target = "/none" }, path = "/v" }]'


def keep_inventory(folder: Path, blades_per_zone: int) -> None:
    """Write an inventory whose third zone keeps the backups of the other two."""
    text = inventory_text(blades_per_zone).replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
    (folder / "inventory.toml").write_text(f"{VAULT}\n{text}", encoding="utf-8")


@dataclass
class Served:
    """`platform`: the same controller, called in process."""

    platform: Platform
    address: str
    token_id: str
    secret: str

    def client(self, prefix: str = "", **options: float) -> Client:
        return Client(self.address, self.token_id, self.secret, prefix, **options)


@contextmanager
def served(platform: Platform, port: int = 0) -> Iterator[Served]:
    """Serve `platform`'s application until the block ends. `port` 0: any free one."""
    app = cast(FastAPI, platform.client.app)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, access_log=False, log_config=None, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="served-platform", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    bound = server.servers[0].sockets[0].getsockname()[1]
    token_id, secret = load_credential(platform.services.settings.credentials)
    try:
        yield Served(platform, f"http://127.0.0.1:{bound}", token_id, secret)
    finally:
        server.should_exit = True
        thread.join(30)
