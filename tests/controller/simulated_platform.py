"""A whole controller on a simulated rack, as labelled: two zones of two blades and an array; the API is called in process."""

import atexit
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from naos.activity import Engine
from naos.activity.models import UNFINISHED, Activity
from naos.addresses import parse_network
from naos.api.app import create_app
from naos.api.services import Services
from naos.catalogue import library
from naos.controller import running
from naos.engines.simulated import SimulatedRack
from naos.identity import Identity
from naos.inventory.model import Inventory
from naos.settings import Settings
from naos.tenancy import members
from naos.tenancy.bootstrap import load_credential
from naos.tenancy.permissions import permissions
from naos.tenancy.rules import to_milliseconds
from naos.tenancy.tokens import TokenRequest, create_token, utc_now

GIB = 2**30
COMPUTE = "/compute/v1/vcenters"
POWER = f"{COMPUTE}/virtual_machines/power"
INVENTORY = """
arrays = [ {arrays} ]
blades = [ {blades} ]
[[regions]]
name = "FR1"
zones = [ {{ name = "AZ05" }}, {{ name = "AZ06" }} ]
"""
ARRAY = (
    '{{ name = "az{zone:02}-array", zone = "AZ{zone:02}", access = {{ driver = "namespace", target = "/none" }}, '
    'address = "10.0.{zone}.2", backing = "file", path = "/none", capacity = 4398046511104 }}'
)
BLADE = (
    '{{ name = "az{zone:02}-blade{number}", zone = "AZ{zone:02}", model = "LAB v1", hypervisor = "test:///", '
    'access = {{ driver = "namespace", target = "/none" }}, chassis = {{ driver = "lab", address = "/none" }}, '
    'fabric = {{ driver = "vxlan", address = "10.0.{zone}.1{number}" }} }}'
)


def inventory_text(blades_per_zone: int = 2) -> str:
    zones = (5, 6)
    blades = [BLADE.format(zone=zone, number=n) for zone in zones for n in range(1, blades_per_zone + 1)]
    return INVENTORY.format(arrays=", ".join(ARRAY.format(zone=zone) for zone in zones), blades=", ".join(blades))


def settings_in(folder: Path, database_url: str | None = None, blades_per_zone: int = 2) -> Settings:
    home = folder / "controller"
    home.mkdir(parents=True, exist_ok=True)
    inventory = folder / "inventory.toml"
    if not inventory.exists():
        inventory.write_text(inventory_text(blades_per_zone), encoding="utf-8")
    return Settings(
        home=home,
        database_url=database_url or f"sqlite:///{home}/naos.db",
        inventory=inventory,
        token_lifetime_seconds=1800,
        credentials=folder / "credentials",
        requests_per_second=None,
        volume_keys=folder / "volume-keys",  # a test that wants encrypted volumes writes it
        notice_networks=(parse_network("127.0.0.1"),),
        notice_authorities=folder / "notice-authorities",  # a test that wants notices under TLS writes it
    )


@dataclass
class Platform:
    """`client` speaks as the owner of the only tenant; `rack` is the simulated world."""

    services: Services
    client: TestClient
    folder: Path
    made: dict[str, str] = field(default_factory=dict)

    @property
    def rack(self) -> SimulatedRack:
        rack = self.services.rack
        assert isinstance(rack, SimulatedRack)
        return rack

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def write(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """The id of the activity that a write started."""
        answer = self.client.request(method, path, json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["Location"])

    def ended(self, activity_id: str, timeout: float = 60.0) -> dict[str, Any]:
        """The activity's wire form once it has ended."""
        engine = self.services.engine
        assert isinstance(engine, Engine)
        engine.wait(activity_id, timeout)
        activity: dict[str, Any] = self.get(f"/activity/v1/activities/{activity_id}")
        return activity

    def done(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """Do a write and see it completed; the id of the object that it made or changed."""
        activity = self.ended(self.write(method, path, body))
        assert "completed" in activity["state"], activity["state"]
        return str(activity["state"]["completed"]["result"])

    def failed(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """Do a write and see it fail; the reason."""
        activity = self.ended(self.write(method, path, body))
        assert "failed" in activity["state"], activity["state"]
        return str(activity["state"]["failed"]["reason"])

    def refused(self, method: str, path: str, body: Any = None, *, client: TestClient | None = None) -> dict[str, Any]:
        """Try a call that is refused at once and in words; the error."""
        answer = (client or self.client).request(method, path, json=body)
        assert answer.status_code >= 400, answer.text
        assert "Location" not in answer.headers
        error: dict[str, Any] = answer.json()["error"]
        assert error["code"] not in {"naos.internal", "api.refused"}, error
        assert error["message"][-1] in ".?", error
        return error

    def stranger(self, organisation: str = "naos") -> TestClient:
        """The owner of another tenant, of the same organisation unless another one is named."""
        with self.services.database.write() as session:
            company = members.ensure_organisation(session, organisation)
            home = members.ensure_tenant(session, company, "Other")
            user = members.ensure_user(session, company, name="Stranger", email="stranger@naos.invalid")
            members.make_tenant_owner(session, home, user)
            library.ensure_default(session, home.id)
            held = members.effective_permissions(session, user.id, home.id)
            request = TokenRequest(
                name="stranger",
                roles=[permissions()[name].id for name in held],
                expires_at=to_milliseconds(utc_now() + timedelta(days=1)),
            )
            issued = create_token(session, Identity(user.id, home.id, company.id, held, ""), request, utc_now())
            token_id, secret = issued.token.id, issued.secret
        return logged_in(TestClient(self.client.app, raise_server_exceptions=False), token_id, secret)

    def zone(self, name: str) -> str:
        """The id of an availability zone."""
        return str(self.get(f"{COMPUTE}/virtual_datacenters", name=name)[0]["id"])

    def settled(self, timeout: float = 20.0) -> list[dict[str, Any]]:
        """What the doctor finds once no activity is left, but background ones, and the supervisor has come to rest."""
        end = time.monotonic() + timeout
        while True:
            with self.services.database.read() as session:
                unfinished = sa.select(Activity.id).where(
                    Activity.state.in_(UNFINISHED), Activity.preemptible.is_(False)
                )
                busy = session.scalar(unfinished.limit(1))
            findings = self.findings()
            if (not busy and not findings) or time.monotonic() > end:
                return findings
            time.sleep(0.05)

    def remove(self, machine_id: str) -> None:
        """Power a machine off and delete it."""
        self.done("PATCH", POWER, {"id": machine_id, "powerAction": "off"})
        self.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")

    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/platform/v1/doctor")
        return found

    # ------------------------------------------------------------------------------------------- the first objects

    def furnish(self) -> "Platform":
        """A cpool and a volume in each zone, a VLAN over both, a template."""
        for zone in ("AZ05", "AZ06"):
            pool = {"name": f"pool-{zone}", "datacenterId": zone, "model": "LAB v1", "hosts": 2}
            self.made[f"pool-{zone}"] = self.done("POST", f"{COMPUTE}/host_clusters", pool)
            volume = {"name": f"volume-{zone}", "datacenterId": zone, "storageClass": "standard", "capacity": 500 * GIB}
            self.made[f"volume-{zone}"] = self.done("POST", f"{COMPUTE}/datastores", volume)
        pools = [self.made["pool-AZ05"], self.made["pool-AZ06"]]
        self.made["vlan"] = self.done("POST", f"{COMPUTE}/networks", {"name": "front", "hostClusterIds": pools})
        self.made["library"] = self.get(f"{COMPUTE}/content_libraries")[0]["id"]
        self.made["template"] = self.add_template("tiny")
        return self

    def upload(self, image: Path | None = None) -> str:
        """The id of an upload of `image`, by default an empty disk of 64 MiB."""
        if image is None:
            image = self.folder / "image.qcow2"
            if not image.exists():
                subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "64M"], check=True)
        answer = self.client.post(f"{COMPUTE}/content_libraries/uploads", content=image.read_bytes())
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def add_template(self, name: str, image: Path | None = None) -> str:
        body = {"name": name, "uploadId": self.upload(image)}
        return self.done("POST", f"{COMPUTE}/content_libraries/{self.made['library']}/templates", body)

    def deployment(self, name: str, *, zone: str = "AZ05", **changes: Any) -> dict[str, Any]:
        return {
            "contentLibraryItemId": self.made["template"],
            "name": name,
            "hostClusterId": self.made[f"pool-{zone}"],
            "datastoreId": self.made[f"volume-{zone}"],
            "cpu": 1,
            "memory": 128 * 2**20,
            "networkAdapters": [{"networkId": self.made["vlan"]}],
            "powerOn": True,
            **changes,
        }

    @property
    def deploy_path(self) -> str:
        return f"{COMPUTE}/content_libraries/{self.made['library']}/items"

    def deploy(self, name: str, **changes: Any) -> str:
        return self.done("POST", self.deploy_path, self.deployment(name, **changes))

    def machine(self, machine_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"{COMPUTE}/virtual_machines/{machine_id}")
        return found


@contextmanager
def platform_in(
    folder: Path,
    *,
    database_url: str | None = None,
    make_engine: Callable[..., Engine] = Engine,
    blades_per_zone: int = 2,
) -> Iterator[Platform]:
    """A controller over `folder`, which keeps tables and simulated world from one controller to the next."""
    chosen = settings_in(folder, database_url, blades_per_zone)

    def connect(inventory: Inventory) -> SimulatedRack:
        return SimulatedRack(folder / "world", inventory)

    with (
        running(chosen, connect, make_engine) as services,
        TestClient(create_app(services), raise_server_exceptions=False) as client,  # one event loop for all calls
    ):
        yield Platform(services, logged_in(client, *load_credential(chosen.credentials)), folder)


@contextmanager
def furnished_in(folder: Path, *, blades_per_zone: int = 2) -> Iterator[Platform]:
    """A furnished platform: in an empty folder a copy of the first one that this process furnished, which took seconds."""
    is_plain = not any(folder.iterdir())  # else it has an inventory of its own
    if is_plain:
        shutil.copytree(_furnished(blades_per_zone), folder, dirs_exist_ok=True)
    with platform_in(folder, blades_per_zone=blades_per_zone) as platform:
        if is_plain:
            platform.made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
        else:
            platform.furnish()
        yield platform


_kept: list[Path] = []


@atexit.register
def clean_up() -> None:
    for folder in _kept:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _furnished(blades_per_zone: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="naos-furnished-", dir="/dev/shm"))
    _kept.append(folder)
    with platform_in(folder, blades_per_zone=blades_per_zone) as platform:
        made = platform.furnish().made
        assert platform.settled() == []
    (folder / "made.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def logged_in(client: TestClient, token_id: str, secret: str) -> TestClient:
    answer = client.post("/iam/v2/auth/personal_access_token", json={"id": token_id, "secret": secret})
    assert answer.status_code == 200, answer.text
    client.headers["Authorization"] = f"Bearer {answer.text.strip()}"
    return client
