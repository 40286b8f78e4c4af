"""The way between blades and arrays, encrypted and authenticated: TLS with certificates on both sides, of one authority.

An array with a folder of certificates answers nobody in clear. A volume's daemon lets in those whose certificates name one of the
volume's clients: the blades of its tenant, and arrays. QEMU 7.2 has one such list for a server, and a daemon has one server: so a
blade reaches the exports of volumes on which its tenant may run machines, and no other volume's.
"""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor

SERVER, CLIENT, CLIENTS = "tls", "tls-out", "clients"
"""Objects of the daemon: what it answers with, what it connects to other arrays with, and whom it lets in."""
FILES = ("ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem")
"""What the folder holds, under QEMU's names. The second pair is for copies to other arrays."""


def options(place: Place, clients: Sequence[str]) -> list[str]:
    """Words of the daemon's command, before its server's; none without a folder."""
    if place.tls is None:
        return []
    shared = {
        "qom-type": "tls-creds-x509",
        "dir": str(PurePosixPath(place.tls)),
        "priority": "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    }
    objects = (
        {**shared, "id": SERVER, "endpoint": "server", "verify-peer": True},
        {**shared, "id": CLIENT, "endpoint": "client", "verify-peer": True},
        {"qom-type": "authz-list", "id": CLIENTS, "policy": "deny", "rules": _rules(clients)},
    )
    return [word for made in objects for word in ("--object", json.dumps(made))]


def server(place: Place) -> dict[str, str]:
    """What the daemon's server says of it."""
    return {} if place.tls is None else {"tls-creds": SERVER, "tls-authz": CLIENTS}


def client(*, tls: bool) -> dict[str, str]:
    """What a node says that connects to another array."""
    return {"tls-creds": CLIENT} if tls else {}


def admit(monitor: Monitor, place: Place, clients: Sequence[str]) -> None:
    """From now on these and nobody else are let in; who is connected stays so."""
    if place.tls is not None:
        asked = {"path": f"/objects/{CLIENTS}", "property": "rules", "value": _rules(clients)}
        monitor.execute("qom-set", asked)


def _rules(clients: Sequence[str]) -> list[dict[str, Any]]:
    return [{"match": f"CN={name}", "policy": "allow", "format": "exact"} for name in sorted(set(clients))]
